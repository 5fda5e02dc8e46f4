"""The real programs of a config, compiled for a slice of a TPU pod without one, and what can be read off them."""

from __future__ import annotations

import dataclasses
import functools
import re
import time
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import ml_collections
import numpy as np
from jax.sharding import SingleDeviceSharding

from stlight_jax.data.data_sections import check_config
from stlight_jax.data.network_config import network_config
from stlight_jax.errors import InputError
from stlight_jax.inference.predictor import make_predict
from stlight_jax.model.initial_variables import init_variables
from stlight_jax.model.ops import batch_norm
from stlight_jax.model.stlight import STLight
from stlight_jax.parallel.launchers import AXIS, ShardMapLauncher
from stlight_jax.tpu_planning.chips import Chip, Slice
from stlight_jax.tpu_planning.hlo import Collective, Cost, Program
from stlight_jax.training.schedule import Hyperparameters
from stlight_jax.training.state import create_state, make_optimizer
from stlight_jax.training.step import configured_training


class TooLargeError(Exception):
    """A program that does not fit into a chip's memory; `needed`: bytes of its temporaries alone, if the compiler tells."""

    def __init__(self, needed: float | None):
        super().__init__("the program does not fit into a chip's memory")
        self.needed = needed


@dataclasses.dataclass(frozen=True)
class Memory:
    """Bytes on one chip at the peak: what goes in, what comes out beside that (the state is updated in place), temporaries."""

    arguments: int
    results: int
    temporaries: int
    code: int

    @property
    def total(self) -> int:
        """All of it."""
        return self.arguments + self.results + self.temporaries + self.code


@dataclasses.dataclass(frozen=True)
class Bound:
    """Seconds that a step takes at least if everything overlaps and runs at the published peaks. Not a measurement."""

    products: float
    memory: float
    network: float

    @property
    def seconds(self) -> float:
        """Of the step."""
        return max(self.products, self.memory, self.network)

    @property
    def limited_by(self) -> str:
        """The largest part."""
        return max(("products", "memory", "network"), key=lambda part: getattr(self, part))


@dataclasses.dataclass(frozen=True)
class Compiled:
    """A program for one slice.

    Attributes:
      kind: "training" (the step of `train.py`, all chips together) or "prediction" (`Predictor`, each chip by itself).
      batch_per_chip: sequences.
      cost: of one run on one chip.
      seconds: that its compilation took here.
    """

    kind: str
    slice: Slice
    batch_per_chip: int
    memory: Memory
    cost: Cost
    collectives: tuple[Collective, ...]
    seconds: float

    @property
    def bound(self) -> Bound:
        """See `Bound`."""
        return bound(self.slice.chip, self.cost, self.collectives, len(self.slice.devices))

    @property
    def sequences_per_second(self) -> float:
        """Of the whole slice, at most."""
        return self.batch_per_chip * len(self.slice.devices) / self.bound.seconds

    def as_json(self) -> dict[str, Any]:
        """Plain data, per chip where nothing else is said; times in seconds, sizes in bytes."""
        chip, limit = self.slice.chip, self.bound
        kinds = sorted({collective.kind for collective in self.collectives})
        return {
            "program": self.kind,
            "topology": self.slice.name,
            "chips": len(self.slice.devices),
            "hosts": self.slice.hosts,
            "batch_per_chip": self.batch_per_chip,
            "memory": {**dataclasses.asdict(self.memory), "total": self.memory.total, "capacity": int(chip.hbm_bytes)},
            "flops": self.cost.flops,
            "flops_of_products": self.cost.product_flops,
            "bfloat16_passes_of_products": self.cost.product_passes,
            "transcendentals": self.cost.transcendentals,
            "bytes_moved": self.cost.bytes,
            "bytes_moved_that_are_padding": self.cost.padding_bytes,
            "arithmetic_intensity": self.cost.flops / self.cost.bytes,
            "collectives": {
                kind: {
                    "per_step": sum(one.times for one in self.collectives if one.kind == kind),
                    "bytes_per_step": sum(one.times * one.bytes for one in self.collectives if one.kind == kind),
                    "largest_bytes": max(one.bytes for one in self.collectives if one.kind == kind),
                }
                for kind in kinds
            },
            "bound_not_a_measurement": {
                **dataclasses.asdict(limit),
                "seconds_per_step": limit.seconds,
                "limited_by": limit.limited_by,
                "sequences_per_second": self.sequences_per_second,
            },
            "compile_seconds": self.seconds,
        }


@dataclasses.dataclass(frozen=True)
class Misfit:
    """A program that does not fit a chip of a slice; kind and batch as in `Compiled`, `needed` as in `TooLargeError`."""

    kind: str
    slice: Slice
    batch_per_chip: int
    needed: float | None

    def as_json(self) -> dict[str, Any]:
        """Plain data, sizes in bytes."""
        return {
            "program": self.kind,
            "topology": self.slice.name,
            "chips": len(self.slice.devices),
            "batch_per_chip": self.batch_per_chip,
            "does_not_fit": True,
            "needed": self.needed,
            "capacity": int(self.slice.chip.hbm_bytes),
        }


def bound(chip: Chip, cost: Cost, collectives: tuple[Collective, ...], chips: int) -> Bound:
    """What published peaks allow at best."""
    sent = sum(one.times * one.bytes * _sent(one.kind, chips) for one in collectives)
    return Bound(cost.product_passes / chip.bf16_flops, cost.bytes / chip.hbm_bandwidth, sent / (chip.ici_bandwidth / 2))


def _sent(kind: str, chips: int) -> float:
    """How often each chip sends the bytes of a collective's result at least."""
    others = (chips - 1) / chips
    return {"all-reduce": 2 * others, "reduce-scatter": chips - 1, "collective-permute": 1.0}.get(kind, others)


class Plan:
    """A config's programs, for uint8 frames of one size.

    Args:
      config: as in `configs/`.
      frame_size: (height, width).

    Raises InputError for a config that is none, and for frames that the network does not take.
    """

    def __init__(self, config: ml_collections.ConfigDict, frame_size: tuple[int, int]):
        checked = check_config(config)
        model = network_config(checked)
        if model.depthwise == "auto":  # which it is on a TPU; the kernels for CPUs need not be compiled to find that out
            model = dataclasses.replace(model, depthwise="native")
        self.config, self.model_config = checked, model
        self._frame_shape = (*frame_size, model.in_channels)
        model.check_frames((1, model.in_frames, *self._frame_shape))

    def training(self, slice_: Slice, batch_per_chip: int) -> Compiled:
        """The training step. Raises TooLargeError if it does not fit, InputError for a batch that cannot be divided."""
        train = self.config.train
        if batch_per_chip % train.accumulate:
            raise InputError(f"--batch_per_chip={batch_per_chip} is no multiple of train.accumulate, {train.accumulate}")
        launcher = ShardMapLauncher(slice_.devices)
        model, step = configured_training(self.config, self.model_config, AXIS, scaling=None)
        optimizer = make_optimizer(self.config.optimizer)
        state = jax.eval_shape(lambda: create_state(model, optimizer, 0, self._frame_shape, train.ema_decay > 0))
        frames = self.model_config.in_frames + (train.horizon or self.model_config.out_frames)
        batch = launcher.abstract_batch((batch_per_chip * len(slice_.devices), frames, *self._frame_shape), np.uint8)
        rates = launcher.abstract(Hyperparameters(*(np.zeros((), np.float32) for _ in Hyperparameters._fields)))
        return _compile("training", slice_, batch_per_chip, launcher.train(step), launcher.abstract(state), batch, rates)

    def prediction(self, slice_: Slice, batch_per_chip: int) -> Compiled:
        """What `Predictor` compiles. Raises TooLargeError if it does not fit."""
        model = STLight(self.model_config)
        variables = jax.eval_shape(functools.partial(init_variables, model, 0, self._frame_shape))
        place = SingleDeviceSharding(slice_.devices[0])
        folded, frames = jax.tree.map(
            lambda x: jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=place),
            (
                jax.eval_shape(batch_norm.fold, variables),
                jax.ShapeDtypeStruct((batch_per_chip, self.model_config.in_frames, *self._frame_shape), jnp.uint8),
            ),
        )
        return _compile("prediction", slice_, batch_per_chip, jax.jit(make_predict(self.model_config)), folded, frames)


@dataclasses.dataclass(frozen=True)
class Search:
    """What a search for the largest batch found.

    Attributes:
      fits: the largest batch per chip that was compiled and fits; 0 if none does.
      too_large: the smallest that was tried and does not; None if all fitted.
      tried: bytes on a chip by batch; None where a program that does not fit came without a figure.
    """

    fits: int
    too_large: int | None
    tried: dict[int, float | None]


def largest_batch(
    compiled_at: Callable[[int], Compiled], capacity: float, start: int, step: int, limit: int, fine: int = 1
) -> Search:
    """Searches the largest batch per chip whose program fits, to an eighth of itself (or `step`, where that is more).

    Where even one `step` is too large, it goes on below that in steps of `fine`.

    Args:
      compiled_at: compiles for a batch per chip; raises TooLargeError.
      capacity: bytes of a chip's memory, for a first guess: the compiler decides.
      start: where to begin; a multiple of `step`.
      step: batches tried are multiples of it.
      limit: how many compilations at most.
      fine: a divisor of `step`.
    """
    fits, too_large = 0, None
    tried: dict[int, float | None] = {}
    batch = start
    while batch and batch not in tried and len(tried) < limit:
        try:
            memory = compiled_at(batch).memory
        except TooLargeError as error:
            tried[batch], too_large = error.needed, batch
        else:
            tried[batch], fits = float(memory.total), batch
            # Memory grows with the batch, but for the parameters and what belongs to them.
            guess = int((capacity - memory.arguments - memory.code) / ((memory.temporaries + memory.results) / batch))
        if too_large == step:  # the smallest of these multiples
            step = fine
        if too_large is None:
            batch = max(guess // step, fits // step + 1) * step
        elif too_large - fits <= max(step, fits // 8):
            break
        else:
            batch = (fits + too_large) // 2 // step * step
    return Search(fits, too_large, tried)


def _compile(kind: str, slice_: Slice, batch_per_chip: int, function: Any, *arguments: Any) -> Compiled:
    begun = time.monotonic()
    try:
        compiled = function.lower(*arguments).compile()
    except jax.errors.JaxRuntimeError as error:
        if "RESOURCE_EXHAUSTED" not in str(error) and "Ran out of memory" not in str(error):
            raise
        raise TooLargeError(hbm_needed(str(error))) from None
    seconds = time.monotonic() - begun
    found = compiled.memory_analysis()
    results = found.output_size_in_bytes - found.alias_size_in_bytes
    # All temporaries are more than are there at once, and the peak counts the small memories close to the units, too.
    at_the_peak = found.peak_memory_in_bytes - found.argument_size_in_bytes - results
    temporaries = min(found.temp_size_in_bytes, at_the_peak)
    memory = Memory(found.argument_size_in_bytes, results, temporaries, found.generated_code_size_in_bytes)
    program = Program(compiled.as_text())
    return Compiled(kind, slice_, batch_per_chip, memory, program.cost(), tuple(program.collectives()), seconds)


def hbm_needed(message: str) -> float | None:
    """The bytes that a program needs by the compiler's message that they are not there; None if it does not say so.

    One version's words are "required for HLO temporaries (65.59G) exceeds available HBM (15.75G)", another's "Ran out of
    memory in memory space hbm. Used 64.00G of 15.75G hbm."
    """
    found = re.search(r"\(([\d.]+)([KMGT])\) exceeds available HBM|Used ([\d.]+)([KMGT]) of [\d.]+[KMGT] hbm", message)
    if not found:
        return None
    figure, unit = (group for group in found.groups() if group)
    return float(figure) * 2 ** {"K": 10, "M": 20, "G": 30, "T": 40}[unit]
