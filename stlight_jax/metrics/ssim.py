"""SSIM as scikit-image computes it by default: 7 x 7 uniform window, sample covariance, predictions clipped to [0, 1].

OpenSTL passes no data range to scikit-image, which then takes 2 for floats: that is `SSIM`, the published number.
`SSIM_UNIT_RANGE` has data range 1, the range of the frames. Means are over the windows without a missing value; frames
smaller than the window have none.
"""

import functools
from typing import NamedTuple

import jax
import jax.numpy as jnp

from stlight_jax.metrics.metric import FrameCount, FrameMetric, FramePair, mean_where

SSIM_WINDOW = 7


class _WindowStatistics(NamedTuple):
    """Statistics of every whole window, `[c, h - 6, w - 6]` each; `whole` is None if no value is missing."""

    mean_a: jax.Array
    mean_b: jax.Array
    variance_a: jax.Array
    variance_b: jax.Array
    covariance: jax.Array
    whole: jax.Array | None


def _window_statistics(frame: FramePair) -> _WindowStatistics:
    valid = frame.valid
    padding = [*((0, max(0, SSIM_WINDOW - side)) for side in frame.target.shape[:2]), (0, 0)]
    if any(after for _, after in padding):  # a frame without any whole window gets one with invalid values
        valid = jnp.pad(jnp.ones(frame.target.shape, bool) if valid is None else valid, padding)
    a, b = (jnp.moveaxis(jnp.pad(x, padding), -1, -3) for x in (frame.clipped, frame.target))  # [c, h, w]
    pixels = SSIM_WINDOW**2
    mean_a, mean_b, mean_aa, mean_bb, mean_ab = _window_means(jnp.stack([a, b, a * a, b * b, a * b]))
    whole = None
    if valid is not None:
        whole = _window_means(jnp.moveaxis(valid, -1, -3).astype(a.dtype)) > 1 - 0.5 / pixels
    unbiased = pixels / (pixels - 1)
    return _WindowStatistics(
        mean_a,
        mean_b,
        unbiased * (mean_aa - mean_a * mean_a),
        unbiased * (mean_bb - mean_b * mean_b),
        unbiased * (mean_ab - mean_a * mean_b),
        whole,
    )


def _window_means(x: jax.Array) -> jax.Array:
    """Mean over every whole window: `[..., h, w] -> [..., h - 6, w - 6]`, rows first, then columns.

    Behind barriers: XLA would fuse both sums with each other and with all that follows, and make 49 additions for every use
    of a mean.
    """
    for axis in (-2, -1):
        size = x.shape[axis] - SSIM_WINDOW + 1
        x = jax.lax.optimization_barrier(x)
        shifted = [jax.lax.slice_in_dim(x, shift, shift + size, axis=axis) for shift in range(SSIM_WINDOW)]
        x = functools.reduce(jnp.add, shifted)
    return jax.lax.optimization_barrier(x / SSIM_WINDOW**2)


def _similarity(frame: FramePair, data_range: float) -> jax.Array:
    mean_a, mean_b, variance_a, variance_b, covariance, whole = frame.once(_window_statistics)
    c1, c2 = (0.01 * data_range) ** 2, (0.03 * data_range) ** 2
    luminance = (2 * mean_a * mean_b + c1) / (mean_a * mean_a + mean_b * mean_b + c1)
    structure = (2 * covariance + c2) / (variance_a + variance_b + c2)
    return mean_where(luminance * structure, whole)


def _count_windows(frame: FramePair) -> jax.Array:
    windows = frame.once(_window_statistics)
    if windows.whole is None:
        return jnp.float32(windows.mean_a.size)
    return jnp.sum(windows.whole, dtype=jnp.float32)


WINDOWS = FrameCount("windows", _count_windows)
SSIM = FrameMetric(
    "ssim",
    "SSIM",
    decimals=4,
    direction="higher",
    definition="of predictions clipped to [0, 1], with data range 2 as in OpenSTL",
    compute=functools.partial(_similarity, data_range=2.0),
    counted_by=WINDOWS,
)
SSIM_UNIT_RANGE = FrameMetric(
    "ssim_unit_range",
    "SSIM, range 1",
    decimals=4,
    direction="higher",
    charted=False,
    definition="the same with data range 1, the range of the frames",
    compute=functools.partial(_similarity, data_range=1.0),
    counted_by=WINDOWS,
)
