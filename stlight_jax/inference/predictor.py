"""Runs a network on frames in its own range, as fast as possible: with folded constants and one program per shape.

`Predictor` runs the network's code on any device and takes uint8, too; `Programs` also runs an exported program.
"""

import functools
from collections.abc import Callable
from typing import Any

import flax.traverse_util
import jax
import jax.numpy as jnp
import numpy as np
from jax import export

from stlight_jax.console.messages import one_line
from stlight_jax.data.unit_range import to_unit_range
from stlight_jax.errors import InputError
from stlight_jax.inference.trained_model import ExportedProgram, TrainedModel
from stlight_jax.model.ops import batch_norm
from stlight_jax.model.stlight import STLight, STLightConfig
from stlight_jax.model.tiling import in_tiles
from stlight_jax.storage import caches


class Predictor:
    """Predicts future frames on one device.

    The statistics of batch norms are folded into their parameters once; a program is compiled at the first call with a new
    shape or dtype.

    Args:
      config: The network.
      variables: Its variables, {"params", "batch_stats"}.
      device: JAX's default device if None.
      filling: The network's input where values are missing: one value, or one per channel.
      tile: Side in pixels of the tiles that frames are cut into; 0 for whole frames.

    Raises:
      InputError: The tiles are impossible.
    """

    def __init__(
        self,
        config: STLightConfig,
        variables: dict[str, Any],
        device: jax.Device | None = None,
        filling: tuple[float, ...] = (0.0,),
        tile: int = 0,
    ):
        device = device or jax.local_devices()[0]
        self._config, self._device = config, device
        self._variables = jax.device_put(jax.jit(batch_norm.fold)(jax.device_get(variables)), device)
        predict = make_predict(config, filling)

        def predict_in_tiles(variables: Any, frames: jax.Array) -> jax.Array:
            return in_tiles(functools.partial(predict, variables), config, tile)(frames)

        self._predict = jax.jit(predict_in_tiles, compiler_options=compiler_options(device))

    def __call__(self, frames: np.ndarray | jax.Array) -> jax.Array:
        """Predicts; returns before the frames are computed, as JAX's functions do.

        Args:
          frames: `[b, context_frames + in_frames, h, w, in_channels]`, uint8 or floats in [0, 1]; NaN marks missing values.

        Returns:
          float32 or wider `[b, out_frames, h, w, out_channels]`, not clipped.

        Raises:
          InputError: Shape or dtype do not fit the network.
        """
        self._config.check_frames(frames.shape)
        if frames.dtype != np.uint8 and not jnp.issubdtype(frames.dtype, jnp.floating):
            raise InputError(f"frames are {frames.dtype}; the network takes uint8 (0 to 255) or floats (0 to 1)")
        return self._predict(self._variables, jax.device_put(frames, self._device))


class Programs:
    """Runs one pass, `[b, context_frames + T, h, w, c] -> [b, T', h, w, c']` in the network's range.

    Compiles a program for each shape.

    NaN marks missing values in the input. Any batch size, and any height and width that the patch divides, are possible.

    Args:
      model: The network; its exported program is run if it has one, else the network's code.
      device: Where it runs; JAX's default device if None.

    Attributes:
      dtype: Float type of the frames.

    Raises:
      InputError: The device is none of JAX's, the program has expired or is for other platforms, or JAX's float64 is not
        enabled.
    """

    def __init__(self, model: TrainedModel, device: jax.Device | None = None):
        if device is not None and not isinstance(device, jax.Device):
            raise InputError(f"device is {device!r}; expected one of jax.devices(), such as {jax.local_devices()[0]!r}")
        self._device = device = device or jax.local_devices()[0]
        self.dtype = np.dtype(np.float64 if model.config.dtype == "float64" else np.float32)
        function: Callable[[Any, jax.Array], jax.Array]
        filling = model.scaling.for_channels(model.config.in_channels).filling
        if not isinstance(model.program, ExportedProgram):
            variables = jax.jit(batch_norm.fold)(jax.device_get(model.variables))
            function = make_predict(model.config, filling)
        else:
            variables = model.variables
            program = _deserialised(model, model.program, device.platform)
            function = _filling_first(program, filling) if model.config.shortcut == "none" else program
        if self.dtype == np.float64 and not jax.config.read("jax_enable_x64"):  # JAX would take float32 without a warning
            raise InputError(f"{model.source}: float64 needs JAX's 64-bit types; set JAX_ENABLE_X64=1, or choose float32")
        self._variables = jax.device_put(variables, device)
        self._function = jax.jit(function, compiler_options=compiler_options(device))
        self._compiled: dict[tuple[int, ...], jax.stages.Compiled] = {}

    def __len__(self) -> int:
        """Number of compiled programs."""
        return len(self._compiled)

    def compile(self, shape: tuple[int, ...]) -> jax.stages.Compiled:
        """Returns the program for frames `[b, context_frames + T, h, w, c]`, compiled at its first use."""
        if shape not in self._compiled:
            device = jax.sharding.SingleDeviceSharding(self._device)
            frames = jax.ShapeDtypeStruct(shape, self.dtype, sharding=device)
            self._compiled[shape] = self._function.lower(self._variables, frames).compile()
        return self._compiled[shape]

    def __call__(self, frames: np.ndarray) -> jax.Array:
        """Runs one pass; returns before it is computed."""
        return self.compile(frames.shape)(self._variables, jax.device_put(frames, self._device))


def make_predict(config: STLightConfig, filling: tuple[float, ...] = (0.0,)) -> Callable[[Any, jax.Array], jax.Array]:
    """Makes the function that a `Predictor` compiles.

    Args:
      config: The network.
      filling: Its input where values are missing: one value, or one per channel.

    Returns:
      A function of variables with folded statistics, and frames, in which NaN marks missing values.
    """
    model = STLight(config, folded=True)

    def predict(variables: Any, frames: jax.Array) -> Any:
        if frames.dtype == jnp.uint8:
            return model.apply(variables, to_unit_range(frames))
        valid = ~jnp.isnan(frames)
        filled = jnp.where(valid, frames, jnp.asarray(filling, frames.dtype))
        return model.apply(variables, filled, valid=valid)

    return predict


def _filling_first(program: Callable[[Any, jax.Array], jax.Array], filling: tuple[float, ...]) -> Callable[..., jax.Array]:
    """Fills missing values before the program, since programs that stlight_jax 0.1 exported do not."""

    def filling_first(variables: Any, frames: jax.Array) -> jax.Array:
        return program(variables, jnp.where(jnp.isnan(frames), jnp.asarray(filling, frames.dtype), frames))

    return filling_first


def compiler_options(device: jax.Device) -> dict[str, Any]:
    """Returns options for XLA, which by default uses half of an AVX-512 register: a twentieth to a tenth of the time."""
    wide = device.platform == "cpu" and "avx512f" in caches.processor_features()
    return {"xla_cpu_prefer_vector_width": 512} if wide else {}


def _deserialised(model: TrainedModel, program: ExportedProgram, platform: str) -> Callable[[Any, jax.Array], jax.Array]:
    advice = "export it again, or run its weights by this package's own code (use_program=False)"
    try:
        exported = export.deserialize(bytearray(program.content))
        exported.mlir_module()  # else JAX reads the operations, of a newer version maybe, at the first prediction only
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
    described = [config.dtype == "float64", config.seen_frames, f"{patch}height", f"{patch}width", config.in_channels]
    described += [config.out_frames, config.out_channels]
    actual = [frames.dtype == np.float64, *frames.shape[1:], predicted.shape[1], predicted.shape[-1]]
    if list(map(str, actual)) != list(map(str, described)):
        raise InputError(
            f"{model.source} is damaged: its program takes {frames} and gives {predicted}, its description has "
            f"{config.seen_frames} -> {config.out_frames} frames, {config.in_channels} -> {config.out_channels} channel(s), "
            f"patches of {config.patch_size} and {config.dtype}; get a complete copy"
        )
