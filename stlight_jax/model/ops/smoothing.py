"""Copies of frames that are smoothed at several scales.

The filter of a scale is the B3-spline (1, 4, 6, 4, 1) / 16 along rows and columns with holes that double from scale to scale,
the à-trous wavelet transform of Holschneider et al., "A real-time algorithm for signal analysis with the help of the wavelet
transform" (Wavelets, 1989). The standard deviations of the first scales are 1, 2.2, 4.6, 9.2 and 18.5 pixels. It consists of
shifts and sums, so a program of it holds for frames of any size.
"""

from __future__ import annotations

import functools
import operator

from etils import epy

with epy.lazy_imports():  # an ONNX file is run without JAX
    import jax
    import jax.numpy as jnp
    from jax import lax

KERNEL = (1 / 16, 4 / 16, 6 / 16, 4 / 16, 1 / 16)
LEAST_SHARE = 1e-3  # of valid values in a window, by their weights; below, a value stays as it is


def radius(scales: int) -> int:
    """Returns the largest distance in pixels of a value that a copy depends on."""
    return 2 * (2**scales - 1)


def smoothed(frames: jax.Array, valid: jax.Array | None, scales: int) -> list[jax.Array]:
    """Smooths frames at each scale. Beyond an edge, frames continue with their edge values without end.

    So rows and columns that repeat the last ones, as those that fill up a patch, change no copy.

    Args:
      frames: `[..., h, w, c]`.
      valid: bool that broadcasts to the shape of `frames`: values that count; None if all do.
      scales: The number of scales.

    Returns:
      For each scale an array like `frames`: the mean of valid values, weighted by the filter.
    """
    copies = []
    total = _extended(frames if valid is None else jnp.where(valid, frames, 0), radius(scales))
    weight = None if valid is None else _extended(valid.astype(frames.dtype), radius(scales))
    for scale in range(scales):
        margin = radius(scales) - radius(scale + 1)  # that the coarser scales need
        total = _filtered(total, 2**scale)
        copy = _without_margin(total, margin)
        if weight is not None:
            weight = _filtered(weight, 2**scale)
            inner = _without_margin(weight, margin)
            copy = jnp.where(inner > LEAST_SHARE, copy / jnp.maximum(inner, LEAST_SHARE), frames)
        copies.append(copy)
    return copies


def _extended(x: jax.Array, margin: int) -> jax.Array:
    return jnp.pad(x, [(0, 0)] * (x.ndim - 3) + [(margin, margin)] * 2 + [(0, 0)], mode="edge")


def _without_margin(x: jax.Array, margin: int) -> jax.Array:
    return x[..., margin : x.shape[-3] - margin, margin : x.shape[-2] - margin, :]


def _filtered(x: jax.Array, dilation: int) -> jax.Array:
    """Filters rows and columns of `[..., h, w, c]`, both of which become shorter by four holes."""
    for axis in (x.ndim - 3, x.ndim - 2):
        size = x.shape[axis] - 4 * dilation
        taps = [lax.slice_in_dim(x, tap * dilation, tap * dilation + size, axis=axis) for tap in range(len(KERNEL))]
        x = functools.reduce(operator.add, (weight * tap for weight, tap in zip(KERNEL, taps, strict=True)))
    return x
