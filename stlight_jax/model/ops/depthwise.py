"""Depthwise convolution: one operation, its gradients, and the adaptor for `nn.Conv`.

It has four implementations, for four kinds of machine:

- "native" is XLA's grouped convolution, the best one for TPUs: ahead-of-time compilation of a training step (v5e, d 256,
  6 blocks, bf16) shows 55.7 GFLOP and 4.3 GB accessed against the tap sum's 71.6 GFLOP and 13.3 GB. On a CPU it runs at under
  1 GFLOP/s, and its filter gradient is expanded to a dense convolution of channels x channels.
- "phases" is for NVIDIA GPUs, whose library has fast depthwise kernels for ordinary convolutions only. A dilated convolution is
  an ordinary one on each of its dilation x dilation phases, so the image is divided into phases and put together again.
- "cpu" calls hand-written kernels (`cpu_kernels.cc`), which a C++ compiler builds on first use. They support float32 (and
  bfloat16 by conversion), 16 channels or more and kernels up to 11 wide; other convolutions use "taps". The program runs on
  CPUs only, in processes that have this package.
- "taps" writes the convolution as k*k shifted multiply-adds, which XLA fuses into loops. It is portable, for CPUs without a
  compiler and for shapes that the kernels do not support.

Milliseconds at batch 4, 32 x 32, 256 channels, float32, on 2 cores of an AMD EPYC (Zen 4) with jax 0.12.0.1; the matrix
product of a pointwise layer takes 3.1 there, and "native" 300 to 2000 (`benchmarks/depthwise.py`):

| kernel | | "taps" | "cpu" |
|---|---|---|---|
| 7x7, dilation 3 | forward | 5.0 | 0.7 |
| | gradients | 11 | 1.5 |
| 3x3 | forward | 0.5 | 0.2 |
| | gradients | 4.0 | 0.5 |

Milliseconds on one NVIDIA H200 at batch 16, 32 x 32, 1400 channels, dilation 3 with jax 0.11.2, beside the better of PyTorch
2.11's two memory formats (cuDNN, the same card and run); 3x3 without dilation takes 0.05 to 0.10 in all of them:

| kernel | | "native" | "phases" | PyTorch |
|---|---|---|---|---|
| 7x7, float32 | forward | 1.77 | 0.75 | 0.71 |
| | filter gradient | 6.34 | 1.57 | 1.60 |
| 7x7, bfloat16 | forward | 1.76 | 0.32 | 0.74 |
| | filter gradient | 0.99 | 0.33 | 1.63 |
| 5x5, float32 | forward | 1.18 | 0.33 | |
| 5x5, bfloat16 | forward | 1.20 | 0.20 | |

"auto" takes "cpu" if a program is compiled for a CPU ("taps" without a compiler, or if the default platform of the process is
not the CPU), "phases" for NVIDIA GPUs and "native" for other platforms. "portable" takes "taps" instead of "cpu", so that the
program can be exported.
"""

import functools
from collections.abc import Callable, Sequence
from typing import Any, Literal, get_args

import chex
import jax
import jax.numpy as jnp
from jax import lax

from stlight_jax.errors import InputError
from stlight_jax.model.ops import cpu_kernels

Implementation = Literal["auto", "native", "phases", "taps", "cpu", "portable"]
IMPLEMENTATIONS: tuple[Implementation, ...] = get_args(Implementation)
_BY_PLATFORM = ("auto", "portable")

_STRETCH = 16  # pixels of a row that one turn of the loop of `_taps_filter_gradient` adds
_FEW_TAPS = 25  # cuDNN is fast for the filter gradients of kernels up to this size
_NHWC = ("NHWC", "HWIO", "NHWC")


def depthwise_conv(
    x: jax.Array,
    kernel: jax.Array,
    dilation: int = 1,
    implementation: Implementation = "auto",
    precision: lax.PrecisionLike = None,
) -> jax.Array:
    """Convolves every channel with its own kernel; stride 1, zero padding, output of the same size.

    Args:
      x: `[b, h, w, d]`.
      kernel: `[k_h, k_w, 1, d]`, odd sides.
      dilation: Distance between neighbouring taps, in pixels.
      implementation: See above; all but "native" define their own gradients (reverse mode, first order).
      precision: Precision of the products of "native" and "phases"; the others multiply and add in float32, or in float64 if
        `x` is float64.

    Returns:
      `[b, h, w, d]`, in the type of `x`.

    Raises:
      ValueError: The kernel has an even side, the dilation is not positive, or `implementation` is unknown.
      InputError: `implementation` is "cpu" and the kernels cannot be compiled on this machine.
    """
    chex.assert_rank([x, kernel], 4)
    chex.assert_axis_dimension(kernel, 2, 1)
    chex.assert_axis_dimension(kernel, 3, x.shape[-1])
    if kernel.shape[0] % 2 == 0 or kernel.shape[1] % 2 == 0:
        raise ValueError(f"depthwise_conv needs odd kernel sides, got {kernel.shape[:2]}")
    if dilation < 1:
        raise ValueError(f"depthwise_conv needs a dilation of at least 1, got {dilation}")
    if implementation not in IMPLEMENTATIONS:
        raise ValueError(f"depthwise implementation {implementation!r} is unknown; choose one of {IMPLEMENTATIONS}")
    if implementation == "cpu" and (reason := cpu_kernels.why_unavailable()):
        raise InputError(f"model.depthwise is 'cpu', which is not available: {reason}; choose 'auto' to fall back to XLA")
    if implementation == "native":
        return _native(x, kernel, dilation, precision)
    return _with_own_gradients(x, kernel, dilation, implementation, precision)


def as_conv_general_dilated(implementation: Implementation) -> Callable[..., jax.Array]:
    """Makes `depthwise_conv` an argument for `nn.Conv(conv_general_dilated=...)`; the layer keeps its parameters and names.

    Args:
      implementation: As in `depthwise_conv`.

    Returns:
      A function with the signature of `lax.conv_general_dilated`. It raises ValueError for convolutions that are not depthwise
      with stride 1 and padding "SAME".
    """

    def conv_general_dilated(
        x: jax.Array, kernel: jax.Array, window_strides: Sequence[int], padding: Any, **options: Any
    ) -> jax.Array:
        if tuple(window_strides) != (1, 1) or padding != "SAME" or options["feature_group_count"] != x.shape[-1]:
            raise ValueError("expected a depthwise convolution: stride 1, padding 'SAME', as many groups as channels")
        return depthwise_conv(x, kernel, options["rhs_dilation"][0], implementation, options.get("precision"))

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
    # Without barriers, XLA fuses the operations that produce `x` into every tap, and the taps into every use of their sum.
    padded = lax.optimization_barrier(_pad(x, (kernel_height, kernel_width), dilation))
    total = jnp.zeros(x.shape, jnp.promote_types(x.dtype, jnp.float32))
    for row in range(kernel_height):
        for column in range(kernel_width):
            total += _shifted(padded, row, column, dilation, height, width) * kernel[row, column, 0]
    return lax.optimization_barrier(total.astype(x.dtype))


def _phases(x: jax.Array, dilation: int) -> jax.Array:
    """Divides into phases: `[b, h, w, d]` to `[b * dilation**2, ceil(h / dilation), ceil(w / dilation), d]`, zero-filled."""
    batch, height, width, channels = x.shape
    rows, columns = -(-height // dilation), -(-width // dilation)
    x = jnp.pad(x, ((0, 0), (0, rows * dilation - height), (0, columns * dilation - width), (0, 0)))
    x = x.reshape(batch, rows, dilation, columns, dilation, channels)
    return x.transpose(0, 2, 4, 1, 3, 5).reshape(batch * dilation**2, rows, columns, channels)


def _from_phases(phases: jax.Array, shape: tuple[int, ...], dilation: int) -> jax.Array:
    """Inverts `_phases`: `[b * dilation**2, rows, columns, d]` to `[b, h, w, d]`."""
    batch, height, width, channels = shape
    _, rows, columns, _ = phases.shape
    x = phases.reshape(batch, dilation, dilation, rows, columns, channels).transpose(0, 3, 1, 4, 2, 5)
    return x.reshape(batch, rows * dilation, columns * dilation, channels)[:, :height, :width]


def _phased(x: jax.Array, kernel: jax.Array, dilation: int, precision: lax.PrecisionLike) -> jax.Array:
    if dilation == 1:
        return _native(x, kernel, 1, precision)
    return _from_phases(_native(_phases(x, dilation), kernel, 1, precision), x.shape, dilation)


def _phased_gradients(
    x: jax.Array, kernel: jax.Array, cotangent: jax.Array, dilation: int, precision: lax.PrecisionLike
) -> tuple[jax.Array, jax.Array]:
    if dilation == 1:
        input_gradient, filter_gradient = _native_gradients(x, kernel, cotangent, 1, precision)
    else:
        phases = (_phases(x, dilation), kernel, _phases(cotangent, dilation))
        input_gradient, filter_gradient = _native_gradients(*phases, 1, precision)
        input_gradient = _from_phases(input_gradient, x.shape, dilation)
    if kernel.shape[0] * kernel.shape[1] > _FEW_TAPS and x.dtype.itemsize >= 4:
        # cuDNN has no fast filter gradient for these in float32, phases or not: 6.5 ms for 7x7, and 0.3 for 5x5; this form
        # takes 1.6 and 0.9. XLA drops the unused gradient.
        filter_gradient = _summed_filter_gradient(x, cotangent, kernel.shape[:2], dilation).astype(kernel.dtype)
    return input_gradient, filter_gradient


def _summed_filter_gradient(x: jax.Array, cotangent: jax.Array, kernel_sides: tuple[int, ...], dilation: int) -> jax.Array:
    """Returns the kernel's gradient, `[k_h, k_w, 1, d]` in float32 or wider, as a sum over all pixels for each tap."""
    _, height, width, _ = x.shape
    wide = jnp.promote_types(x.dtype, jnp.float32)
    padded = lax.optimization_barrier(_pad(x, kernel_sides, dilation))
    rows, columns = kernel_sides
    sums = [
        jnp.sum(_shifted(padded, row, column, dilation, height, width).astype(wide) * cotangent.astype(wide), (0, 1, 2))
        for row in range(rows)
        for column in range(columns)
    ]
    return jnp.stack(sums).reshape(rows, columns, 1, -1)


def _taps_filter_gradient(x: jax.Array, cotangent: jax.Array, kernel_sides: tuple[int, ...], dilation: int) -> jax.Array:
    """Returns the kernel's gradient, `[k_h, k_w, 1, d]` in float32 or wider.

    It is a tap sum as well: the cotangent's pixels are the taps and the kernel's gradient is the output. A dilated convolution
    is an ordinary one on each of its dilation x dilation phases, which makes the images small. One turn of the loop adds a
    stretch of a row's pixels, so few that their inputs stay in the first-level cache.
    """
    wide = jnp.promote_types(x.dtype, jnp.float32)
    x, cotangent = _phases(x.astype(wide), dilation), _phases(cotangent.astype(wide), dilation)
    images, height, width, channels = x.shape
    stretches = -(-width // _STRETCH)
    stretch = -(-width // stretches)
    beyond = ((0, 0), (0, 0), (0, stretches * stretch - width), (0, 0))
    padded = jnp.pad(_pad(x, kernel_sides, 1), beyond)
    cotangent = jnp.pad(cotangent, beyond)
    rows, columns = kernel_sides

    def add_stretch(turn: jax.Array, total: jax.Array) -> jax.Array:
        top, left = turn // stretches, turn % stretches * stretch
        inputs = lax.dynamic_slice(padded, (0, top, left, 0), (images, rows, stretch + columns - 1, channels))
        outputs = lax.dynamic_slice(cotangent, (0, top, left, 0), (images, 1, stretch, channels))
        for column in range(stretch):
            total += inputs[:, :, column : column + columns] * outputs[:, :, column : column + 1]
        return total

    zeros = jnp.zeros((images, rows, columns, channels), wide)
    return lax.fori_loop(0, height * stretches, add_stretch, zeros).sum(0)[:, :, None]


def _native_gradients(
    x: jax.Array, kernel: jax.Array, cotangent: jax.Array, dilation: int, precision: lax.PrecisionLike
) -> tuple[jax.Array, jax.Array]:
    _, transpose = jax.vjp(lambda x, kernel: _native(x, kernel, dilation, precision), x, kernel)
    return transpose(cotangent)


def _taps_gradients(x: jax.Array, kernel: jax.Array, cotangent: jax.Array, dilation: int) -> tuple[jax.Array, jax.Array]:
    input_gradient = _taps(cotangent, kernel[::-1, ::-1], dilation)
    filter_gradient = _taps_filter_gradient(x, cotangent, kernel.shape[:2], dilation)
    return input_gradient, filter_gradient.astype(kernel.dtype)


def _cpu(x: jax.Array, kernel: jax.Array, dilation: int, flip: bool) -> jax.Array:
    return cpu_kernels.convolve(x.astype(jnp.float32), kernel.astype(jnp.float32), dilation, flip).astype(x.dtype)


def _cpu_gradients(x: jax.Array, kernel: jax.Array, cotangent: jax.Array, dilation: int) -> tuple[jax.Array, jax.Array]:
    sides = (kernel.shape[0], kernel.shape[1])
    filter_gradient = cpu_kernels.filter_gradient(x.astype(jnp.float32), cotangent.astype(jnp.float32), sides, dilation)
    return _cpu(cotangent, kernel, dilation, flip=True), filter_gradient.astype(kernel.dtype)


def _use_cpu_kernels(x: jax.Array, kernel: jax.Array, implementation: Implementation) -> bool:
    supported = x.shape[-1] >= cpu_kernels.MIN_CHANNELS and kernel.shape[1] in cpu_kernels.WIDTHS
    fits = supported and {x.dtype, kernel.dtype} <= {jnp.dtype(jnp.float32), jnp.dtype(jnp.bfloat16)}
    return fits and (implementation == "cpu" or (implementation == "auto" and cpu_kernels.available()))


# The choice by platform is inside the rule, so that JAX never differentiates through `platform_dependent`.
@functools.partial(jax.custom_vjp, nondiff_argnums=(2, 3, 4))
def _with_own_gradients(
    x: jax.Array, kernel: jax.Array, dilation: int, implementation: Implementation, precision: lax.PrecisionLike
) -> jax.Array:
    def on_cpu(x: jax.Array, kernel: jax.Array) -> jax.Array:
        if _use_cpu_kernels(x, kernel, implementation):
            return _cpu(x, kernel, dilation, flip=False)
        return _taps(x, kernel, dilation)

    phased = functools.partial(_phased, dilation=dilation, precision=precision)
    if implementation == "phases":
        return phased(x, kernel)
    if implementation not in _BY_PLATFORM:
        return on_cpu(x, kernel)
    elsewhere = functools.partial(_native, dilation=dilation, precision=precision)
    return lax.platform_dependent(x, kernel, cpu=on_cpu, cuda=phased, default=elsewhere)


def _backward(
    dilation: int,
    implementation: Implementation,
    precision: lax.PrecisionLike,
    residuals: tuple[jax.Array, jax.Array],
    cotangent: jax.Array,
) -> tuple[jax.Array, jax.Array]:
    def on_cpu(x: jax.Array, kernel: jax.Array, cotangent: jax.Array) -> tuple[jax.Array, jax.Array]:
        gradients = _cpu_gradients if _use_cpu_kernels(x, kernel, implementation) else _taps_gradients
        return gradients(x, kernel, cotangent, dilation)

    phased = functools.partial(_phased_gradients, dilation=dilation, precision=precision)
    if implementation == "phases":
        return phased(*residuals, cotangent)
    if implementation not in _BY_PLATFORM:
        return on_cpu(*residuals, cotangent)
    elsewhere = functools.partial(_native_gradients, dilation=dilation, precision=precision)
    return lax.platform_dependent(*residuals, cotangent, cpu=on_cpu, cuda=phased, default=elsewhere)


_with_own_gradients.defvjp(lambda x, kernel, *settings: (_with_own_gradients(x, kernel, *settings), (x, kernel)), _backward)
