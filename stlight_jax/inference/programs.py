"""What computes one pass of the network, compiled ahead for each shape: from the model's code, or from an exported program."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import flax.traverse_util
import jax
import numpy as np
from jax import export

from stlight_jax.errors import InputError
from stlight_jax.inference.predictor import compiler_options, make_predict
from stlight_jax.inference.trained import TrainedModel
from stlight_jax.model.ops import batch_norm


class Programs:
    """One pass, `[b, T, h, w, c] -> [b, T', h, w, c']` in the network's range, for any `b`, and any `h` and `w` that the patch
    divides; a program is compiled for each shape.

    Args:
      model: what is run: its exported program if it has one, the network's code otherwise.
      device: where.

    Raises InputError for a program that has expired, or is not for this device's platform, and for float64 where JAX has none.
    """

    def __init__(self, model: TrainedModel, device: jax.Device):
        self._device = device
        self.dtype = np.dtype(np.float64 if model.config.dtype == "float64" else np.float32)
        function: Callable[[Any, jax.Array], jax.Array]
        if model.program is None:
            variables = jax.jit(batch_norm.fold)(jax.device_get(model.variables))
            function = make_predict(model.config)
        else:
            variables = model.variables
            function = _deserialised(model, device.platform)
        if model.config.dtype == "float64" and not jax.config.jax_enable_x64:  # JAX would take float32 without a word
            raise InputError(
                f"{model.source}: float64 needs JAX's 64-bit types; set JAX_ENABLE_X64=1, or choose float32 as compute_dtype"
            )
        self._variables = jax.device_put(variables, device)
        self._function = jax.jit(function, compiler_options=compiler_options(device))
        self._compiled: dict[tuple[int, ...], jax.stages.Compiled] = {}

    def __len__(self) -> int:
        """How many have been compiled."""
        return len(self._compiled)

    def compiled(self, shape: tuple[int, ...]) -> jax.stages.Compiled:
        """The program for frames `[b, T, h, w, c]`, compiled at its first use."""
        if shape not in self._compiled:
            device = jax.sharding.SingleDeviceSharding(self._device)
            frames = jax.ShapeDtypeStruct(shape, self.dtype, sharding=device)
            self._compiled[shape] = self._function.lower(self._variables, frames).compile()
        return self._compiled[shape]

    def __call__(self, frames: np.ndarray) -> jax.Array:
        """One pass; returns before it is computed."""
        return self.compiled(frames.shape)(self._variables, jax.device_put(frames, self._device))


def _deserialised(model: TrainedModel, platform: str) -> Callable[[Any, jax.Array], jax.Array]:
    told = model.exported
    anew = "export it anew, or run its weights by this package's own code (use_program=False)"
    try:
        program = export.deserialize(bytearray(model.program))
    except Exception as error:  # JAX has no type of its own for what it cannot read
        raise InputError(
            f"{model.source}: its program was made by JAX {told['jax']} on {told['created']}, to be read until "
            f"{told['expires']}; JAX {jax.__version__} cannot read it ({_first_line(error)}); {anew}"
        ) from None
    ours = {"gpu": "cuda"}.get(platform, platform)
    if ours not in program.platforms:
        raise InputError(f"{model.source}: its program is for {', '.join(program.platforms)}, this device is {ours}; {anew}")
    wanted, frames = jax.tree.unflatten(program.in_tree, program.in_avals)[0]
    _check_sizes(model, frames, *program.out_avals)
    found = flax.traverse_util.flatten_dict(model.variables, sep="/")
    for name, aval in flax.traverse_util.flatten_dict(wanted, sep="/").items():
        if name not in found or (found[name].shape, found[name].dtype) != (aval.shape, aval.dtype):
            raise InputError(f"{model.source} is damaged: its weights are not those of its program ({name})")
    return program.call


def _check_sizes(model: TrainedModel, frames: Any, predicted: Any) -> None:
    """Args: what its program takes and gives: shapes, with letters where any number will do, and types."""
    config = model.config
    patch = f"{config.patch_size}*" if config.patch_size > 1 else ""
    told = [config.dtype == "float64", config.in_frames, f"{patch}height", f"{patch}width", config.in_channels]
    told += [config.out_frames, config.out_channels]
    made_for = [frames.dtype == np.float64, *frames.shape[1:], predicted.shape[1], predicted.shape[-1]]
    if list(map(str, made_for)) != list(map(str, told)):
        raise InputError(
            f"{model.source} is damaged: its program takes {frames} and gives {predicted}, its description has "
            f"{config.in_frames} -> {config.out_frames} frames, {config.in_channels} -> {config.out_channels} channel(s), "
            f"patches of {config.patch_size} and {config.dtype}; get a whole copy"
        )


def _first_line(error: Exception) -> str:
    return str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
