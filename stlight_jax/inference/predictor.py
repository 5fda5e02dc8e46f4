"""Runs a network on frames in its own range, as fast as possible: with folded constants and one program per shape."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from stlight_jax.data.scaling import to_unit_range
from stlight_jax.errors import InputError
from stlight_jax.model.ops import batch_norm
from stlight_jax.model.stlight import STLight, STLightConfig
from stlight_jax.storage import caches


class Predictor:
    """Predicts future frames on one device.

    The statistics of batch norms are folded into their parameters once; a program is compiled at the first call with a new
    shape or dtype.

    Args:
      config: The network.
      variables: Its variables, {"params", "batch_stats"}.
      device: JAX's default device if None.
    """

    def __init__(self, config: STLightConfig, variables: dict[str, Any], device: jax.Device | None = None):
        device = device or jax.local_devices()[0]
        self._config, self._device = config, device
        self._variables = jax.device_put(jax.jit(batch_norm.fold)(jax.device_get(variables)), device)
        self._predict = jax.jit(make_predict(config), compiler_options=compiler_options(device))

    def __call__(self, frames: np.ndarray | jax.Array) -> jax.Array:
        """Predicts; returns before the frames are computed, as JAX's functions do.

        Args:
          frames: `[b, in_frames, h, w, in_channels]`, uint8 or floats in [0, 1].

        Returns:
          float32 or wider `[b, out_frames, h, w, out_channels]`, not clipped.

        Raises:
          InputError: Shape or dtype do not fit the network.
        """
        self._config.check_frames(frames.shape)
        if frames.dtype != np.uint8 and not jnp.issubdtype(frames.dtype, jnp.floating):
            raise InputError(f"frames are {frames.dtype}; the network takes uint8 (0 to 255) or floats (0 to 1)")
        return self._predict(self._variables, jax.device_put(frames, self._device))


def make_predict(config: STLightConfig) -> Callable[[Any, jax.Array], jax.Array]:
    """Returns the function that a `Predictor` compiles, of variables with folded statistics, and frames."""
    model = STLight(config, folded=True)

    def predict(variables: Any, frames: jax.Array) -> Any:
        if frames.dtype == jnp.uint8:
            frames = to_unit_range(frames)
        return model.apply(variables, frames)

    return predict


def compiler_options(device: jax.Device) -> dict[str, Any]:
    """Returns options for XLA, which by default uses half of an AVX-512 register: a twentieth to a tenth of the time."""
    wide = device.platform == "cpu" and "avx512f" in caches.processor_features()
    return {"xla_cpu_prefer_vector_width": 512} if wide else {}
