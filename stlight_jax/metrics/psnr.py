"""PSNR as OpenSTL defines it (`openstl/core/metrics.py`): the mean over frames of predictions clipped to [0, 1]."""

from __future__ import annotations

import jax
import jax.numpy as jnp

from stlight_jax.metrics.metric import FrameMetric, FramePair, mean_where


def _psnr(frame: FramePair) -> jax.Array:
    """Peak signal-to-noise ratio in dB, of the valid values; infinite for an exact prediction."""
    return -10.0 * jnp.log10(mean_where(jnp.square(frame.clipped - frame.target), frame.valid))


_DEFINITION = "of predictions clipped to [0, 1]"

PSNR = FrameMetric("psnr", "PSNR", unit="dB", decimals=2, direction="higher", definition=_DEFINITION, compute=_psnr)
