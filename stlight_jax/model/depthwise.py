"""Depthwise convolution: one op, its gradients, and the adaptor that hands it to `nn.Conv`.

XLA's grouped convolution runs at under 1 GFLOP/s on a CPU, and its filter gradient is expanded there to a dense
convolution of channels x channels. The *tap sum* writes the same convolution as k*k shifted multiply-adds, which XLA fuses
into one loop; it is several times faster than PyTorch on a CPU. On a TPU the native form is right: ahead-of-time
compilation of a training step shows a third of the tap sum's memory traffic.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from typing import Any, Literal

import chex
import jax
import jax.numpy as jnp
from jax import lax

Implementation = Literal["auto", "native", "taps"]
IMPLEMENTATIONS: tuple[Implementation, ...] = ("auto", "native", "taps")

_NHWC = ("NHWC", "HWIO", "NHWC")


def depthwise_conv(
    x: jax.Array,
    kernel: jax.Array,
    dilation: int = 1,
    implementation: Implementation = "auto",
    precision: lax.PrecisionLike = None,
) -> jax.Array:
    """Convolves every channel with its own kernel; stride 1, zero padding, same size ("same").

    Args:
      x: `[b, h, w, d]`.
      kernel: `[k_h, k_w, 1, d]`, odd sides.
      dilation: distance between neighbouring taps, in pixels.
      implementation: "native" is XLA's grouped convolution, "taps" the tap sum with its own gradients (reverse mode,
        first order); "auto" takes taps where the program is compiled for a CPU and native elsewhere.
      precision: of the native form's products; the tap sum always multiplies in full.

    Returns:
      `[b, h, w, d]`, in the dtype of `x`.

    Raises:
      ValueError: the kernel has an even side, or `implementation` is unknown.
    """
    chex.assert_rank([x, kernel], 4)
    chex.assert_axis_dimension(kernel, 2, 1)
    chex.assert_axis_dimension(kernel, 3, x.shape[-1])
    if kernel.shape[0] % 2 == 0 or kernel.shape[1] % 2 == 0:
        raise ValueError(f"depthwise_conv needs odd kernel sides, got {kernel.shape[:2]}")
    if implementation == "native":
        return _native(x, kernel, dilation, precision)
    if implementation == "taps":
        return _with_own_gradients(x, kernel, dilation, False, precision)
    if implementation == "auto":
        return _with_own_gradients(x, kernel, dilation, True, precision)
    raise ValueError(f"depthwise implementation {implementation!r} is unknown; choose one of {IMPLEMENTATIONS}")


def as_conv_general_dilated(implementation: Implementation) -> Callable[..., jax.Array]:
    """Makes `depthwise_conv` a value for `nn.Conv(conv_general_dilated=...)`; the layer keeps its parameters and names."""

    def conv_general_dilated(
        lhs: jax.Array,
        rhs: jax.Array,
        window_strides: Sequence[int],
        padding: Any,
        *,
        rhs_dilation: Sequence[int],
        feature_group_count: int,
        precision: lax.PrecisionLike = None,
        **_: Any,
    ) -> jax.Array:
        if tuple(window_strides) != (1, 1) or padding != "SAME" or feature_group_count != lhs.shape[-1]:
            raise ValueError("this convolution is depthwise: stride 1, padding 'SAME', as many groups as channels")
        return depthwise_conv(lhs, rhs, rhs_dilation[0], implementation, precision)

    return conv_general_dilated


def _native(x: jax.Array, kernel: jax.Array, dilation: int, precision: lax.PrecisionLike) -> jax.Array:
    return lax.conv_general_dilated(
        x,
        kernel,
        (1, 1),
        "SAME",
        rhs_dilation=(dilation, dilation),
        dimension_numbers=_NHWC,
        feature_group_count=x.shape[-1],
        precision=precision,
    )


def _pad(x: jax.Array, kernel_sides: Sequence[int], dilation: int) -> jax.Array:
    rows, columns = (side // 2 * dilation for side in kernel_sides)
    return jnp.pad(x, ((0, 0), (rows, rows), (columns, columns), (0, 0)))


def _shifted(padded: jax.Array, row: int, column: int, dilation: int, height: int, width: int) -> jax.Array:
    top, left = row * dilation, column * dilation
    return padded[:, top : top + height, left : left + width, :]


def _taps(x: jax.Array, kernel: jax.Array, dilation: int) -> jax.Array:
    _, height, width, _ = x.shape
    kernel_height, kernel_width = kernel.shape[:2]
    padded = _pad(x, (kernel_height, kernel_width), dilation)
    total = jnp.zeros(x.shape, jnp.promote_types(x.dtype, jnp.float32))
    for row in range(kernel_height):
        for column in range(kernel_width):
            total += _shifted(padded, row, column, dilation, height, width) * kernel[row, column, 0]
    return total.astype(x.dtype)


def _phases(x: jax.Array, dilation: int) -> jax.Array:
    """Space to batch: `[b, h, w, d] -> [b * dilation**2, ceil(h / dilation), ceil(w / dilation), d]`, zero-filled."""
    batch, height, width, channels = x.shape
    rows, columns = -(-height // dilation), -(-width // dilation)
    x = jnp.pad(x, ((0, 0), (0, rows * dilation - height), (0, columns * dilation - width), (0, 0)))
    x = x.reshape(batch, rows, dilation, columns, dilation, channels)
    return x.transpose(0, 2, 4, 1, 3, 5).reshape(batch * dilation**2, rows, columns, channels)


def _taps_filter_gradient(x: jax.Array, cotangent: jax.Array, kernel_sides: tuple[int, int], dilation: int) -> jax.Array:
    """Gradient with respect to the kernel, `[k_h, k_w, 1, d]` in float32 or wider.

    A dilated convolution is an ordinary one on each of its dilation x dilation phases. Scanning over those small images
    keeps both factors in the first cache levels, while every tap reads them again.
    """
    wide = jnp.promote_types(x.dtype, jnp.float32)
    x, cotangent = _phases(x.astype(wide), dilation), _phases(cotangent.astype(wide), dilation)
    _, height, width, channels = x.shape
    padded = _pad(x, kernel_sides, 1)

    def add_image(total: jax.Array, image: tuple[jax.Array, jax.Array]) -> tuple[jax.Array, None]:
        padded_image, cotangent_image = image  # [h + k_h - 1, w + k_w - 1, d], [h, w, d]
        taps = [
            jnp.sum(padded_image[row : row + height, column : column + width] * cotangent_image, axis=(0, 1))
            for row in range(kernel_sides[0])
            for column in range(kernel_sides[1])
        ]
        return total + jnp.stack(taps), None

    total, _ = lax.scan(add_image, jnp.zeros((kernel_sides[0] * kernel_sides[1], channels), wide), (padded, cotangent))
    return total.reshape(*kernel_sides, 1, channels)


def _native_gradients(
    x: jax.Array, kernel: jax.Array, cotangent: jax.Array, dilation: int, precision: lax.PrecisionLike
) -> tuple[jax.Array, jax.Array]:
    _, transpose = jax.vjp(lambda x, kernel: _native(x, kernel, dilation, precision), x, kernel)
    return transpose(cotangent)


def _taps_gradients(x: jax.Array, kernel: jax.Array, cotangent: jax.Array, dilation: int) -> tuple[jax.Array, jax.Array]:
    input_gradient = _taps(cotangent, kernel[::-1, ::-1], dilation)
    filter_gradient = _taps_filter_gradient(x, cotangent, kernel.shape[:2], dilation)
    return input_gradient, filter_gradient.astype(kernel.dtype)


# The choice by platform stands inside the rule, so that nothing ever differentiates through `platform_dependent`.
@functools.partial(jax.custom_vjp, nondiff_argnums=(2, 3, 4))
def _with_own_gradients(x, kernel, dilation, by_platform, precision):
    if not by_platform:
        return _taps(x, kernel, dilation)
    return lax.platform_dependent(
        x,
        kernel,
        cpu=lambda x, kernel: _taps(x, kernel, dilation),
        default=lambda x, kernel: _native(x, kernel, dilation, precision),
    )


def _forward(x, kernel, dilation, by_platform, precision):
    return _with_own_gradients(x, kernel, dilation, by_platform, precision), (x, kernel)


def _backward(dilation, by_platform, precision, residuals, cotangent):
    x, kernel = residuals
    if not by_platform:
        return _taps_gradients(x, kernel, cotangent, dilation)
    return lax.platform_dependent(
        x,
        kernel,
        cotangent,
        cpu=lambda x, kernel, cotangent: _taps_gradients(x, kernel, cotangent, dilation),
        default=lambda x, kernel, cotangent: _native_gradients(x, kernel, cotangent, dilation, precision),
    )


_with_own_gradients.defvjp(_forward, _backward)
