"""The hand-written CPU kernels of layers, and of mixer blocks in a prediction."""

from collections.abc import Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.typing import DTypeLike

from stlight_jax.model.ops.cpu_library import CpuLibrary

WIDTHS = (1, 3, 5, 7, 9, 11)  # of depthwise kernels
MIN_CHANNELS = 16  # the widest vector holds so many
_TILE_CHANNELS = 32  # the widest tile of a product holds so many

_LIBRARY = CpuLibrary(
    "forecasts",
    ("cpu_kernels.cc", "cpu_mixers.cc"),
    (
        "stlight_convolve",
        "stlight_filter_gradient",
        "stlight_channel_sums",
        "stlight_mixers_float32",
        "stlight_mixers_bfloat16",
    ),
)
available, why_unavailable = _LIBRARY.available, _LIBRARY.why_unavailable


def convolve(x: jax.Array, kernel: jax.Array, dilation: int, flip: bool) -> jax.Array:
    """Convolves each channel with its own kernel.

    Args:
      x: float32 `[b, h, w, d]`.
      kernel: float32 `[k_h, k_w, 1, d]`.
      dilation: Distance between neighbouring taps, in pixels.
      flip: Whether to rotate the kernel by 180 degrees.

    Returns:
      float32 `[b, h, w, d]`.
    """
    call = jax.ffi.ffi_call("stlight_convolve", jax.ShapeDtypeStruct(x.shape, x.dtype), vmap_method="sequential")
    return call(x, kernel, dilation=np.int64(dilation), flip=flip)


def filter_gradient(x: jax.Array, cotangent: jax.Array, kernel_sides: tuple[int, int], dilation: int) -> jax.Array:
    """Returns the gradient of the convolution with respect to its kernel.

    Args:
      x: float32 `[b, h, w, d]`.
      cotangent: float32 `[b, h, w, d]`.
      kernel_sides: (k_h, k_w).
      dilation: As in `convolve`.

    Returns:
      float32 `[k_h, k_w, 1, d]`.
    """
    shape = jax.ShapeDtypeStruct((*kernel_sides, 1, x.shape[-1]), x.dtype)
    return jax.ffi.ffi_call("stlight_filter_gradient", shape, vmap_method="sequential")(
        x, cotangent, dilation=np.int64(dilation)
    )


def channel_sums(a: jax.Array, b: jax.Array, center: jax.Array) -> tuple[jax.Array, jax.Array]:
    """Sums a and a * (b - center) over all pixels.

    Args:
      a: float32 `[b, h, w, d]`.
      b: float32 `[b, h, w, d]`.
      center: float32 `[d]`.

    Returns:
      float32 `[d]` twice.
    """
    shape = jax.ShapeDtypeStruct(center.shape, center.dtype)
    sums, products = jax.ffi.ffi_call("stlight_channel_sums", (shape, shape), vmap_method="sequential")(a, b, center)
    return sums, products


def mixers(x: jax.Array, params: Mapping[str, Any], dilation: int) -> jax.Array:
    """Applies a stack of mixer blocks with folded batch norms.

    Args:
      x: float32 or bfloat16 `[b, h, w, d]`.
      params: float32 parameters of `MixerBlock`, stacked: the first axis is the block.
      dilation: Distance between neighbouring taps of the far convolution, in pixels.

    Returns:
      `[b, h, w, d]` of the same type.
    """
    channels = x.shape[-1]
    padded = -(-channels // _TILE_CHANNELS) * _TILE_CHANNELS  # room for the weights of a block, in the order of the product
    like = jax.ShapeDtypeStruct(x.shape, x.dtype)
    shapes = (like, like, jax.ShapeDtypeStruct((channels * padded,), jnp.float32))
    layers = [params[name] for name in ("near", "far", "spatial_norm", "pointwise", "pointwise_norm")]
    arguments = [layer[name] for layer in layers for name in ("kernel", "bias", "factor", "summand") if name in layer]
    call = jax.ffi.ffi_call(f"stlight_mixers_{x.dtype.name}", shapes, vmap_method="sequential")
    return call(x, *arguments, dilation=np.int64(dilation))[0]


def supports_mixers(dtype: DTypeLike, channels: int, widths: Sequence[int]) -> bool:
    """Returns whether `mixers`, here and in `cpu_training`, takes a type, a number of channels and widths of kernels."""
    fits = channels >= _TILE_CHANNELS and set(widths) <= set(WIDTHS)
    return fits and (dtype == jnp.float32 or (dtype == jnp.bfloat16 and channels % 2 == 0))
