"""Compiled programs for one pass of a network, from the network's code or from an exported program."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import flax.traverse_util
import jax
import numpy as np
from jax import export

from stlight_jax.console.messages import one_line
from stlight_jax.errors import InputError
from stlight_jax.inference.predictor import compiler_options, make_predict
from stlight_jax.inference.trained import ExportedProgram, TrainedModel
from stlight_jax.model.ops import batch_norm


class Programs:
    """Runs one pass, `[b, T, h, w, c] -> [b, T', h, w, c']` in the network's range; compiles a program for each shape.

    Any batch size, and any height and width that the patch divides, are possible.

    Args:
      model: The network; its exported program is run if it has one, else the network's code.
      device: Where it runs.

    Attributes:
      dtype: Float type of the frames.

    Raises:
      InputError: The program has expired or is for other platforms, or JAX's float64 is not enabled.
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
            function = _deserialised(model, model.program, device.platform)
        if model.config.dtype == "float64" and not jax.config.jax_enable_x64:  # JAX would take float32 without a warning
            raise InputError(
                f"{model.source}: float64 needs JAX's 64-bit types; set JAX_ENABLE_X64=1, or choose float32 as compute_dtype"
            )
        self._variables = jax.device_put(variables, device)
        self._function = jax.jit(function, compiler_options=compiler_options(device))
        self._compiled: dict[tuple[int, ...], jax.stages.Compiled] = {}

    def __len__(self) -> int:
        """Number of compiled programs."""
        return len(self._compiled)

    def compiled(self, shape: tuple[int, ...]) -> jax.stages.Compiled:
        """Returns the program for frames `[b, T, h, w, c]`, compiled at its first use."""
        if shape not in self._compiled:
            device = jax.sharding.SingleDeviceSharding(self._device)
            frames = jax.ShapeDtypeStruct(shape, self.dtype, sharding=device)
            self._compiled[shape] = self._function.lower(self._variables, frames).compile()
        return self._compiled[shape]

    def __call__(self, frames: np.ndarray) -> jax.Array:
        """Runs one pass; returns before it is computed."""
        return self.compiled(frames.shape)(self._variables, jax.device_put(frames, self._device))


def _deserialised(model: TrainedModel, program: ExportedProgram, platform: str) -> Callable[[Any, jax.Array], jax.Array]:
    advice = "export it again, or run its weights by this package's own code (use_program=False)"
    try:
        exported = export.deserialize(bytearray(program.content))
    except Exception as error:  # JAX has no exception type for programs that it cannot read
        raise InputError(
            f"{model.source}: its program was made by JAX {program.jax} on {program.created}, to be read until "
            f"{program.expires}; JAX {jax.__version__} cannot read it ({one_line(error)}); {advice}"
        ) from None
    ours = {"gpu": "cuda"}.get(platform, platform)
    if ours not in exported.platforms:
        raise InputError(f"{model.source}: its program is for {', '.join(exported.platforms)}, this device is {ours}; {advice}")
    wanted, frames = jax.tree.unflatten(exported.in_tree, exported.in_avals)[0]
    _check_sizes(model, frames, *exported.out_avals)
    found = flax.traverse_util.flatten_dict(model.variables, sep="/")
    for name, aval in flax.traverse_util.flatten_dict(wanted, sep="/").items():
        if name not in found or (found[name].shape, found[name].dtype) != (aval.shape, aval.dtype):
            raise InputError(f"{model.source} is damaged: its weights are not those of its program ({name})")
    return exported.call


def _check_sizes(model: TrainedModel, frames: Any, predicted: Any) -> None:
    """Compares shapes and types of a program's input and output, with letters for any size, with the model's description."""
    config = model.config
    patch = f"{config.patch_size}*" if config.patch_size > 1 else ""
    described = [config.dtype == "float64", config.in_frames, f"{patch}height", f"{patch}width", config.in_channels]
    described += [config.out_frames, config.out_channels]
    actual = [frames.dtype == np.float64, *frames.shape[1:], predicted.shape[1], predicted.shape[-1]]
    if list(map(str, actual)) != list(map(str, described)):
        raise InputError(
            f"{model.source} is damaged: its program takes {frames} and gives {predicted}, its description has "
            f"{config.in_frames} -> {config.out_frames} frames, {config.in_channels} -> {config.out_channels} channel(s), "
            f"patches of {config.patch_size} and {config.dtype}; get a complete copy"
        )
