"""MSE, MAE and RMSE as OpenSTL defines them (`openstl/core/metrics.py`): of predictions as they are, not clipped."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np

from stlight_jax.metrics.metric import DerivedMetric, FrameMetric, FramePair


def _squared_error(frame: FramePair) -> jax.Array:
    return jnp.sum(jnp.square(frame.error))


def _absolute_error(frame: FramePair) -> jax.Array:
    return jnp.sum(jnp.abs(frame.error))


_DEFINITION = "summed over pixels and channels, averaged over frames"

MSE = FrameMetric("mse", "MSE", significant_digits=4, direction="lower", definition=_DEFINITION, compute=_squared_error)
MAE = FrameMetric("mae", "MAE", significant_digits=4, direction="lower", definition=_DEFINITION, compute=_absolute_error)
RMSE = DerivedMetric(
    "rmse",
    "RMSE",
    significant_digits=4,
    direction="lower",
    charted=False,
    definition="the root of the MSE",
    base=MSE,
    derive=np.sqrt,
)
