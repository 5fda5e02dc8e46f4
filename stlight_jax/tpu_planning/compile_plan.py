"""The real programs of a config, compiled for a slice of a TPU pod without one."""

import dataclasses
import functools
import re
import time
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import SingleDeviceSharding

from stlight_jax.config import RunConfig
from stlight_jax.data.load import network_config
from stlight_jax.errors import InputError
from stlight_jax.inference.predictor import make_predict
from stlight_jax.model.initial_variables import init_variables
from stlight_jax.model.ops import batch_norm
from stlight_jax.model.stlight import STLight
from stlight_jax.parallel.launchers import AXIS, ShardMapLauncher
from stlight_jax.tpu_planning.chips import Slice
from stlight_jax.tpu_planning.compiled_program import CompiledProgram, DeviceMemory, OversizedProgram
from stlight_jax.tpu_planning.hlo_program import HloProgram
from stlight_jax.training.schedule import Hyperparameters
from stlight_jax.training.state import create_state, make_optimizer
from stlight_jax.training.step import configured_training


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
        model.check_frames((1, model.in_frames, *self._frame_shape))

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
        frames = self.model_config.in_frames + (train.horizon or self.model_config.out_frames)
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
        shape = (batch_per_chip, self.model_config.in_frames, *self._frame_shape)
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
