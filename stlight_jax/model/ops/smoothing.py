"""Copies of frames that are smoothed at several scales.

The filter of a scale is the B3-spline (1, 4, 6, 4, 1) / 16 along rows and columns with holes that double from scale to scale,
the à-trous wavelet transform of Holschneider et al., "A real-time algorithm for signal analysis with the help of the wavelet
transform" (Wavelets, 1989). The standard deviations of the first scales are 1, 2.2, 4.6, 9.2 and 18.5 pixels.
"""

from __future__ import annotations

import functools
import operator

import numpy as np
from etils import epy

with epy.lazy_imports():  # an ONNX file is run without JAX
    import jax
    import jax.numpy as jnp
    from jax import lax

KERNEL = (1 / 16, 4 / 16, 6 / 16, 4 / 16, 1 / 16)
_SMALL_SIDE = 128
LEAST_SHARE = 1e-3  # of valid values in a window, by their weights; below, a value stays as it is


def radius(scales: int) -> int:
    """Returns the largest distance in pixels of a value that a copy depends on."""
    return 2 * (2**scales - 1)


def smoothed(frames: jax.Array, valid: jax.Array | None, scales: int) -> list[jax.Array]:
    """Smooths frames at each scale. Beyond an edge, frames continue with their edge values without end.

    So copies of the last rows and columns, with which frames are padded to whole patches, change no value.

    Args:
      frames: `[..., h, w, c]`.
      valid: bool that broadcasts to the shape of `frames`: values that count; None if all do.
      scales: The number of scales.

    Returns:
      For each scale an array like `frames`: the mean of valid values, weighted by the filter.
    """
    small = all(isinstance(side, int) and side <= _SMALL_SIDE for side in frames.shape[-3:-1])
    filtered = _by_matrices if small else _by_shifts
    if valid is None:
        return filtered(frames, scales)
    totals, weights = (filtered(x, scales) for x in (jnp.where(valid, frames, 0), valid.astype(frames.dtype)))
    return [
        jnp.where(weight > LEAST_SHARE, total / jnp.maximum(weight, LEAST_SHARE), frames)
        for total, weight in zip(totals, weights, strict=True)
    ]


def _by_matrices(x: jax.Array, scales: int) -> list[jax.Array]:
    """Filters `[..., h, w, c]` by a matrix for rows and one for columns, which small frames take least time with."""
    copies = []
    for scale in range(scales):
        rows, columns = (jnp.asarray(_matrix(side, scale), x.dtype) for side in x.shape[-3:-1])
        copy = jnp.einsum("ih,...hwc->...iwc", rows, x, precision=lax.Precision.HIGHEST)
        copies.append(jnp.einsum("jw,...iwc->...ijc", columns, copy, precision=lax.Precision.HIGHEST))
    return copies


@functools.lru_cache
def _matrix(side: int, scale: int) -> np.ndarray:
    """Returns the filters of all scales up to one, along an axis with edge values beyond its ends, `[side, side]`."""
    kernel = np.ones(1)
    for finer in range(scale + 1):
        with_holes = np.zeros(4 * 2**finer + 1)
        with_holes[:: 2**finer] = KERNEL
        kernel = np.convolve(kernel, with_holes)
    positions = np.arange(side)[:, None] + np.arange(len(kernel)) - len(kernel) // 2  # [side, taps]
    matrix = np.zeros((side, side))
    np.add.at(matrix, (np.arange(side)[:, None], positions.clip(0, side - 1)), kernel)
    return matrix


def _by_shifts(x: jax.Array, scales: int) -> list[jax.Array]:
    """Filters `[..., h, w, c]` scale by scale, with a margin that becomes narrower."""
    margin, copies = radius(scales), []
    x = jnp.pad(x, [(0, 0)] * (x.ndim - 3) + [(margin, margin)] * 2 + [(0, 0)], mode="edge")
    for scale in range(scales):
        for axis in (x.ndim - 3, x.ndim - 2):
            size = x.shape[axis] - 4 * 2**scale
            taps = [lax.slice_in_dim(x, tap * 2**scale, tap * 2**scale + size, axis=axis) for tap in range(len(KERNEL))]
            x = functools.reduce(operator.add, (weight * tap for weight, tap in zip(KERNEL, taps, strict=True)))
        margin -= 2 * 2**scale
        copies.append(x[..., margin : x.shape[-3] - margin, margin : x.shape[-2] - margin, :])
    return copies
