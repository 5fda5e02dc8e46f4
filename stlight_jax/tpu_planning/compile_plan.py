"""The real programs of a config, compiled for a slice of a TPU pod without one: memory, cost and the least possible time."""

import dataclasses
import functools
import re
import time
from collections.abc import Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import SingleDeviceSharding

from stlight_jax.config import RunConfig
from stlight_jax.data.load import network_config
from stlight_jax.errors import InputError
from stlight_jax.inference.predictor import make_predict
from stlight_jax.model.context import sequence_length
from stlight_jax.model.ops import batch_norm
from stlight_jax.model.stlight import STLight, init_variables
from stlight_jax.parallel.launchers import AXIS, ShardMapLauncher
from stlight_jax.tpu_planning.chips import Chip, Slice
from stlight_jax.tpu_planning.hlo_program import Collective, HloProgram, ProgramCost
from stlight_jax.training.schedule import Hyperparameters
from stlight_jax.training.state import create_state, make_optimizer
from stlight_jax.training.step import configured_training


class DeviceMemory(NamedTuple):
    """Memory of one chip at the peak, in bytes.

    Attributes:
      arguments: inputs of the program.
      results: outputs beside the state, which is updated in place.
      temporaries: intermediate arrays.
      code: the program itself.
    """

    arguments: int
    results: int
    temporaries: int
    code: int

    @property
    def total(self) -> int:
        """The sum of all parts."""
        return sum(self)


@dataclasses.dataclass(frozen=True)
class PlannedProgram:
    """A program for one slice.

    Attributes:
      kind: "training" (the training step, all chips together) or "prediction" (`Predictor`, each chip alone).
      slice: the slice.
      batch_per_chip: sequences per chip.
    """

    kind: str
    slice: Slice
    batch_per_chip: int

    def as_json(self) -> dict[str, Any]:
        """Returns plain data: figures per chip, times in seconds, sizes in bytes; `sequences_per_second` of the slice."""
        return {
            "program": self.kind,
            "topology": self.slice.name,
            "chips": len(self.slice.devices),
            "batch_per_chip": self.batch_per_chip,
        }


@dataclasses.dataclass(frozen=True)
class OversizedProgram(PlannedProgram):
    """A program that does not fit into the memory of a chip.

    Attributes:
      needed: bytes that the program needs, if the compiler's message has them.
    """

    needed: float | None

    def as_json(self) -> dict[str, Any]:
        """See `PlannedProgram`."""
        return super().as_json() | {
            "does_not_fit": True,
            "needed": self.needed,
            "capacity": int(self.slice.chip.hbm_bytes),
        }


@dataclasses.dataclass(frozen=True)
class CompiledProgram(PlannedProgram):
    """A program that fits.

    Attributes:
      memory: memory of one chip.
      cost: cost of one run on one chip.
      collectives: operations of all chips together.
      seconds: duration of the compilation.
    """

    memory: DeviceMemory
    cost: ProgramCost
    collectives: tuple[Collective, ...]
    seconds: float

    def as_json(self) -> dict[str, Any]:
        """See `PlannedProgram`."""
        chip, chips = self.slice.chip, len(self.slice.devices)
        bound = time_bound(chip, self.cost, self.collectives, chips)
        return super().as_json() | {
            "hosts": len({device.process_index for device in self.slice.devices}),
            "memory": {**self.memory._asdict(), "total": self.memory.total, "capacity": int(chip.hbm_bytes)},
            "flops": self.cost.flops,
            "flops_of_products": self.cost.product_flops,
            "bfloat16_passes_of_products": self.cost.product_passes,
            "transcendentals": self.cost.transcendentals,
            "bytes_moved": self.cost.bytes,
            "bytes_moved_that_are_padding": self.cost.padding_bytes,
            "arithmetic_intensity": self.cost.flops / self.cost.bytes,
            "collectives": _collectives_json(self.collectives),
            "bound_not_a_measurement": {
                **bound,
                "sequences_per_second": self.batch_per_chip * chips / bound["seconds_per_step"],
            },
            "compile_seconds": self.seconds,
        }


def time_bound(chip: Chip, cost: ProgramCost, collectives: Sequence[Collective], chips: int) -> dict[str, Any]:
    """Computes the least time of a step, if everything overlaps and runs at the published peaks. It is not a measurement.

    Args:
      chip: the chip with its peaks.
      cost: cost of one run on one chip.
      collectives: operations of all chips together.
      chips: number of chips.

    Returns:
      The seconds of the matrix units ("products"), of the traffic to and from main "memory" and of that between chips
      ("network"); the largest of them ("seconds_per_step") and its name ("limited_by").
    """
    sent = sum(one.times * one.bytes * _times_sent(one.kind, chips) for one in collectives)
    seconds = {
        "products": cost.product_passes / chip.bf16_flops,
        "memory": cost.bytes / chip.hbm_bandwidth,
        "network": sent / (chip.ici_bandwidth / 2),
    }
    return {**seconds, "seconds_per_step": max(seconds.values()), "limited_by": max(seconds, key=seconds.__getitem__)}


def _times_sent(kind: str, chips: int) -> float:
    """Returns how often each chip sends the bytes of a collective's result at least."""
    others = (chips - 1) / chips
    return {"all-reduce": 2 * others, "reduce-scatter": chips - 1, "collective-permute": 1.0}.get(kind, others)


def _collectives_json(collectives: Sequence[Collective]) -> dict[str, dict[str, int]]:
    found = {}
    for kind in sorted({collective.kind for collective in collectives}):
        same = [collective for collective in collectives if collective.kind == kind]
        found[kind] = {
            "per_step": sum(one.times for one in same),
            "bytes_per_step": sum(one.times * one.bytes for one in same),
            "largest_bytes": max(one.bytes for one in same),
        }
    return found


class CompilePlan:
    """The programs of a config, for uint8 frames of one size.

    Args:
      config: a checked config.
      frame_size: (height, width) in pixels.

    Raises:
      InputError: the network cannot take frames of this size.
    """

    def __init__(self, config: RunConfig, frame_size: tuple[int, int]):
        model = network_config(config)
        if model.depthwise == "auto":  # its choice on a TPU, without compiling the kernels for CPUs
            model = dataclasses.replace(model, depthwise="native")
        self.config, self.model_config = config, model
        self._frame_shape = (*frame_size, model.in_channels)
        model.check_frames((1, model.seen_frames, *self._frame_shape))

    def training(self, slice_: Slice, batch_per_chip: int) -> CompiledProgram | OversizedProgram:
        """Compiles the training step.

        Args:
          slice_: the slice.
          batch_per_chip: sequences per chip.

        Raises:
          InputError: the batch cannot be accumulated in `train.accumulate` parts.
        """
        train = self.config.train
        if batch_per_chip % train.accumulate:
            raise InputError(f"--batch_per_chip={batch_per_chip} is no multiple of train.accumulate, {train.accumulate}")
        launcher = ShardMapLauncher(slice_.devices)
        model, step = configured_training(self.config, self.model_config, AXIS, scaling=None)
        optimizer = make_optimizer(self.config.optimizer)
        state = jax.eval_shape(lambda: create_state(model, optimizer, 0, self._frame_shape, train.ema_decay > 0))
        frames = sequence_length(self.model_config, train.horizon or self.model_config.out_frames)
        batch = launcher.abstract_batch((batch_per_chip * len(slice_.devices), frames, *self._frame_shape), np.uint8)
        rates = launcher.abstract(Hyperparameters(np.float32(0), np.float32(0)))
        return _compile(
            "training", slice_, batch_per_chip, launcher.compile_train_step(step), launcher.abstract(state), batch, rates
        )

    def prediction(self, slice_: Slice, batch_per_chip: int) -> CompiledProgram | OversizedProgram:
        """Compiles the program of `Predictor`.

        Args:
          slice_: the slice, whose first chip predicts.
          batch_per_chip: sequences per chip.
        """
        sharding = SingleDeviceSharding(slice_.devices[0])
        variables = jax.eval_shape(functools.partial(init_variables, STLight(self.model_config), 0, self._frame_shape))
        folded = jax.tree.map(
            lambda x: jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=sharding), jax.eval_shape(batch_norm.fold, variables)
        )
        shape = (batch_per_chip, self.model_config.seen_frames, *self._frame_shape)
        frames = jax.ShapeDtypeStruct(shape, jnp.uint8, sharding=sharding)
        return _compile("prediction", slice_, batch_per_chip, jax.jit(make_predict(self.model_config)), folded, frames)


def _compile(
    kind: str, slice_: Slice, batch_per_chip: int, function: Any, *arguments: Any
) -> CompiledProgram | OversizedProgram:
    begun = time.monotonic()
    try:
        compiled = function.lower(*arguments).compile()
    except jax.errors.JaxRuntimeError as error:
        if "RESOURCE_EXHAUSTED" not in str(error) and "Ran out of memory" not in str(error):
            raise
        return OversizedProgram(kind, slice_, batch_per_chip, hbm_needed(str(error)))
    seconds = time.monotonic() - begun
    found = compiled.memory_analysis()
    results = found.output_size_in_bytes - found.alias_size_in_bytes
    # The temporaries are never all alive at once, and the peak includes the small memories close to the units.
    at_peak = found.peak_memory_in_bytes - found.argument_size_in_bytes - results
    temporaries = min(found.temp_size_in_bytes, at_peak)
    memory = DeviceMemory(found.argument_size_in_bytes, results, temporaries, found.generated_code_size_in_bytes)
    program = HloProgram(compiled.as_text())
    return CompiledProgram(kind, slice_, batch_per_chip, memory, program.cost(), tuple(program.collectives()), seconds)


def hbm_needed(message: str) -> float | None:
    """Extracts the bytes that a program needs from the compiler's message about a lack of memory.

    Args:
      message: in one version "required for HLO temporaries (65.59G) exceeds available HBM (15.75G)", in another "Ran out of
        memory in memory space hbm. Used 64.00G of 15.75G hbm."

    Returns:
      The bytes; None if the message has no such figure.
    """
    found = re.search(r"\(([\d.]+)([KMGT])\) exceeds available HBM|Used ([\d.]+)([KMGT]) of [\d.]+[KMGT] hbm", message)
    if not found:
        return None
    figure, unit = (group for group in found.groups() if group)
    return float(figure) * 2 ** {"K": 10, "M": 20, "G": 30, "T": 40}[unit]
