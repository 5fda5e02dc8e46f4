"""Flax's convolution and dense layer, GELU and the pointwise product, with gradients that are also fast on CPUs.

The gradient of a bias is a sum over all pixels of a channel, which the XLA of older versions of JAX computes slowly on CPUs.
"""

import functools
import math
from typing import Any

import chex
import flax.linen as nn
import jax
import jax.numpy as jnp
from jax import lax

from stlight_jax.model.ops import cpu_kernels


def channel_sums(a: jax.Array, b: jax.Array, center: jax.Array) -> tuple[jax.Array, jax.Array]:
    """Sums a and a * (b - center) over all pixels; on CPUs with the kernels, in one pass.

    On a CPU, jax 0.10.1 takes 5 to 8 ms for one such sum of 1M numbers, 0.12.0.1 takes 0.4 and the kernel 0.4 for both (one
    core). The function is not differentiable; its callers define their own gradients.

    Args:
      a: `[b, h, w, d]`.
      b: `[b, h, w, d]`.
      center: `[d]`.

    Returns:
      `[d]` twice.
    """
    chex.assert_rank([a, b, center], [4, 4, 1])

    def by_xla(a: jax.Array, b: jax.Array, center: jax.Array) -> tuple[jax.Array, jax.Array]:
        return jnp.sum(a, (0, 1, 2)), jnp.sum(a * (b - center), (0, 1, 2))

    def on_cpu(a: jax.Array, b: jax.Array, center: jax.Array) -> tuple[jax.Array, jax.Array]:
        kernels = a.dtype == jnp.float32 and cpu_kernels.available()
        return (cpu_kernels.channel_sums if kernels else by_xla)(a, b, center)

    return lax.platform_dependent(a, b, center, cpu=on_cpu, default=by_xla)


@jax.custom_vjp
def add_bias(x: jax.Array, bias: jax.Array) -> jax.Array:
    """Adds a bias `[d]` to `[b, h, w, d]`."""
    chex.assert_rank([x, bias], [4, 1])
    return x + bias.astype(x.dtype)


def _add_bias_gradients(bias: jax.Array, cotangent: jax.Array) -> tuple[jax.Array, jax.Array]:
    wide = cotangent.astype(jnp.promote_types(cotangent.dtype, jnp.float32))
    total, _ = channel_sums(wide, wide, jnp.zeros_like(bias, wide.dtype))
    return cotangent, total.astype(bias.dtype)


add_bias.defvjp(lambda x, bias: (add_bias(x, bias), bias), _add_bias_gradients)


class Conv(nn.Conv):
    """`nn.Conv` with the same parameters, whose bias `add_bias` adds."""

    use_bias: bool = False  # Flax adds none

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        """Maps `[b, h, w, c]` to `[b, h, w, features]`."""
        y = super().__call__(x)
        return add_bias(y, self.param("bias", self.bias_init, (self.features,), self.param_dtype))


class Dense(nn.Dense):
    """`nn.Dense` with the same parameters, whose bias `add_bias` adds."""

    use_bias: bool = False

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        """Maps `[b, h, w, c]` to `[b, h, w, features]`."""
        y = super().__call__(x)
        return add_bias(y, self.param("bias", self.bias_init, (self.features,), self.param_dtype))


@jax.custom_vjp
def gelu(x: jax.Array) -> jax.Array:
    """Computes the exact GELU as PyTorch does, internally in float32 or wider.

    JAX's own uses erfc, which takes a CPU two and a half times as long.

    Args:
      x: Any shape.

    Returns:
      The same shape and type.
    """
    wide = x.astype(jnp.promote_types(x.dtype, jnp.float32))
    return (wide * _normal_cdf(wide)).astype(x.dtype)


def _gelu_gradient(x: jax.Array, cotangent: jax.Array) -> tuple[jax.Array]:
    # Computed from x alone, behind a barrier: to store and read the forward pass's error function costs more than to
    # compute it again.
    wide = lax.optimization_barrier(x).astype(jnp.promote_types(x.dtype, jnp.float32))
    density = jnp.exp(-0.5 * jnp.square(wide)) * (2 * math.pi) ** -0.5
    return ((cotangent * (_normal_cdf(wide) + wide * density)).astype(x.dtype),)


def _normal_cdf(x: jax.Array) -> jax.Array:
    return 0.5 * (1 + lax.erf(x * math.sqrt(0.5)))


gelu.defvjp(lambda x: (gelu(x), x), _gelu_gradient)


@functools.partial(jax.custom_vjp, nondiff_argnums=(2,))
def matmul(x: jax.Array, kernel: jax.Array, precision: lax.PrecisionLike) -> jax.Array:
    """Multiplies `[n, d]` by `[d, e]`; the gradients are plain products too.

    Args:
      x: `[n, d]`.
      kernel: `[d, e]`.
      precision: As in `jnp.dot`.

    Returns:
      `[n, e]`.
    """
    return jnp.dot(x, kernel, precision=precision)


def _matmul_gradients(
    precision: lax.PrecisionLike, residuals: tuple[jax.Array, jax.Array], cotangent: jax.Array
) -> tuple[jax.Array, jax.Array]:
    x, kernel = residuals
    # JAX would compute the transpose of the kernel's gradient and transpose it, which takes a CPU twice as long.
    kernel_gradient = lax.dot_general(x, cotangent, (((0,), (0,)), ((), ())), precision=precision)
    return jnp.dot(cotangent, kernel.T, precision=precision), kernel_gradient


matmul.defvjp(lambda x, kernel, precision: (matmul(x, kernel, precision), (x, kernel)), _matmul_gradients)


def pointwise_product(
    x: jax.Array, kernel: jax.Array, dimension_numbers: Any, precision: lax.PrecisionLike = None, **_: Any
) -> jax.Array:
    """Computes the product of `nn.Dense(dot_general=...)` as one plain matrix product.

    Args:
      x: `[..., d]`.
      kernel: `[d, e]`.
      dimension_numbers: Of `lax.dot_general`; only those of a dense layer are supported.
      precision: Of `lax.dot_general`.

    Returns:
      `[..., e]`.

    Raises:
      ValueError: The dimension numbers are not those of a dense layer.
    """
    if dimension_numbers != (((x.ndim - 1,), (0,)), ((), ())):
        raise ValueError(f"dimension_numbers is {dimension_numbers}; expected those of a dense layer")
    return matmul(x.reshape(-1, x.shape[-1]), kernel, precision).reshape(*x.shape[:-1], kernel.shape[-1])
