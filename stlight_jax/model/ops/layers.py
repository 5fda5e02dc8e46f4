"""Flax's convolution and dense layer, GELU and the pointwise product, with gradients that suit CPUs, too."""

from __future__ import annotations

import functools
import math
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
from jax import lax

from stlight_jax.model.ops.channels import add_bias


class Conv(nn.Conv):
    """`nn.Conv` with the same parameters, whose bias is added by `add_bias`."""

    use_bias: bool = False  # by Flax

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        """`[b, h, w, c] -> [b, h, w, features]`."""
        y = super().__call__(x)
        return add_bias(y, self.param("bias", self.bias_init, (self.features,), self.param_dtype))


class Dense(nn.Dense):
    """`nn.Dense` in the same way."""

    use_bias: bool = False

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        """`[b, h, w, c] -> [b, h, w, features]`."""
        y = super().__call__(x)
        return add_bias(y, self.param("bias", self.bias_init, (self.features,), self.param_dtype))


@jax.custom_vjp
def gelu(x: jax.Array) -> jax.Array:
    """Exact GELU as PyTorch computes it, in float32 or wider inside.

    JAX's own is written with erfc, which costs a CPU two and a half times as much.
    """
    wide = x.astype(jnp.promote_types(x.dtype, jnp.float32))
    return (wide * _normal_cdf(wide)).astype(x.dtype)


def _gelu_gradient(x: jax.Array, cotangent: jax.Array) -> tuple[jax.Array]:
    # From x alone, and behind a barrier: an error function that the forward pass has computed costs more to keep and read
    # than to compute again.
    wide = lax.optimization_barrier(x).astype(jnp.promote_types(x.dtype, jnp.float32))
    density = jnp.exp(-0.5 * jnp.square(wide)) * (2 * math.pi) ** -0.5
    return ((cotangent * (_normal_cdf(wide) + wide * density)).astype(x.dtype),)


def _normal_cdf(x: jax.Array) -> jax.Array:
    return 0.5 * (1 + lax.erf(x * math.sqrt(0.5)))


gelu.defvjp(lambda x: (gelu(x), x), _gelu_gradient)


@functools.partial(jax.custom_vjp, nondiff_argnums=(2,))
def matmul(x: jax.Array, kernel: jax.Array, precision: lax.PrecisionLike) -> jax.Array:
    """`[n, d]` by `[d, e]` -> `[n, e]`, with gradients that are plain products, too."""
    return jnp.dot(x, kernel, precision=precision)


def _matmul_gradients(precision, residuals, cotangent):
    x, kernel = residuals
    # JAX would make the transpose of the kernel's gradient and turn it round, which takes a CPU twice as long.
    kernel_gradient = lax.dot_general(x, cotangent, (((0,), (0,)), ((), ())), precision=precision)
    return jnp.dot(cotangent, kernel.T, precision=precision), kernel_gradient


matmul.defvjp(lambda x, kernel, precision: (matmul(x, kernel, precision), (x, kernel)), _matmul_gradients)


def pointwise_product(
    x: jax.Array, kernel: jax.Array, dimension_numbers: Any, precision: lax.PrecisionLike = None, **_: Any
) -> jax.Array:
    """`lax.dot_general` for `nn.Dense(dot_general=...)`: `[..., d]` with `[d, e]` -> `[..., e]` as one plain matrix product."""
    if dimension_numbers != (((x.ndim - 1,), (0,)), ((), ())):
        raise ValueError(f"this is the product of a dense layer, got dimension numbers {dimension_numbers}")
    return matmul(x.reshape(-1, x.shape[-1]), kernel, precision).reshape(*x.shape[:-1], kernel.shape[-1])
