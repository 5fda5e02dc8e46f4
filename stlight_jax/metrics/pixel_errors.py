"""MSE, MAE, RMSE and PSNR as OpenSTL defines them (`openstl/core/metrics.py`).

The errors are those of the predictions as they are, not clipped; PSNR is the mean over frames of clipped predictions.
"""

import jax
import jax.numpy as jnp
import numpy as np

from stlight_jax.metrics.metric import DerivedMetric, FrameMetric, FramePair, mean_where


def _squared_error(frame: FramePair) -> jax.Array:
    return jnp.sum(jnp.square(frame.error))


def _absolute_error(frame: FramePair) -> jax.Array:
    return jnp.sum(jnp.abs(frame.error))


def _psnr(frame: FramePair) -> jax.Array:
    """Peak signal-to-noise ratio in dB, of the valid values; infinite for an exact prediction."""
    return -10.0 * jnp.log10(mean_where(jnp.square(frame.clipped - frame.target), frame.valid))


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
PSNR = FrameMetric(
    "psnr", "PSNR", unit="dB", decimals=2, direction="higher", definition="of predictions clipped to [0, 1]", compute=_psnr
)
