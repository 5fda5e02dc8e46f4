"""Batch norm with the variables and the meaning of Flax's, and gradients that pass over the activations half as often."""

from __future__ import annotations

import functools
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
from jax import lax
from jax.ad_checkpoint import checkpoint_name

from stlight_jax.model.ops.channels import channel_sums

STATISTICS = "statistics"  # their name for rematerialisation: small, and a pass over the activations to make again


class BatchNorm(nn.Module):
    """`flax.linen.BatchNorm` over the last axis: the same variables, running averages and (biased) running variance.

    Attributes:
      momentum: of the running averages.
      epsilon: added to the variance.
      axis_name: device axis over which the statistics are averaged in training; None for one device.
      dtype: of the result. Statistics are float32 (float64 for float64).
      param_dtype: of the parameters.
    """

    momentum: float = 0.9
    epsilon: float = 1e-5
    axis_name: str | None = None
    dtype: jnp.dtype = jnp.float32
    param_dtype: jnp.dtype = jnp.float32

    @nn.compact
    def __call__(self, x: jax.Array, train: bool) -> jax.Array:
        """Args: x `[b, h, w, d]`; train: normalise by the batch's statistics and move the running ones towards them."""
        channels = x.shape[-1:]
        wide = jnp.promote_types(x.dtype, jnp.float32)
        scale = self.param("scale", nn.initializers.ones, channels, self.param_dtype)
        bias = self.param("bias", nn.initializers.zeros, channels, self.param_dtype)
        running_mean = self.variable("batch_stats", "mean", jnp.zeros, channels, wide)
        running_variance = self.variable("batch_stats", "var", jnp.ones, channels, wide)
        if not train:
            factor = scale * lax.rsqrt(running_variance.value + self.epsilon)
            return ((x - running_mean.value) * factor + bias).astype(self.dtype)
        # The statistics' own axis exists only where the step runs on devices, not where the variables are made.
        axis_name = None if self.is_initializing() else self.axis_name
        y, mean, variance = _normalise(x, scale, bias, self.epsilon, axis_name)
        if not self.is_initializing():
            for running, of_batch in ((running_mean, mean), (running_variance, variance)):
                running.value = self.momentum * running.value + (1 - self.momentum) * lax.stop_gradient(of_batch)
        return y.astype(self.dtype)


class FoldedBatchNorm(nn.Module):
    """What a batch norm is when its statistics stand still: one factor and one summand per channel; see `fold`.

    It needs no statistics beside the parameters. The time it saves is too little to measure: 20.6 ms against 20.4 for one
    sequence at d 256, depth 16.
    """

    dtype: jnp.dtype = jnp.float32

    @nn.compact
    def __call__(self, x: jax.Array, train: bool) -> jax.Array:
        """As `BatchNorm`, but `train` must be False."""
        if train:
            raise ValueError("folded batch norms cannot train; they have no statistics")
        factor, summand = (
            self.param(name, init, x.shape[-1:])
            for name, init in (("factor", nn.initializers.ones), ("summand", nn.initializers.zeros))
        )
        return (x * factor + summand).astype(self.dtype)


def fold(variables: dict[str, Any], epsilon: float = 1e-5) -> dict[str, Any]:
    """Folds the running statistics into each norm's parameters: {"params", "batch_stats"} -> {"params"}.

    The result fits the same network with `FoldedBatchNorm` in the place of `BatchNorm`.
    """

    def folded(params: Any, statistics: Any) -> Any:
        if "mean" in statistics:
            factor = params["scale"] * lax.rsqrt(statistics["var"] + epsilon)
            return {"factor": factor, "summand": params["bias"] - statistics["mean"] * factor}
        return {name: folded(part, statistics[name]) if name in statistics else part for name, part in params.items()}

    return {"params": folded(variables["params"], variables["batch_stats"])}


@functools.partial(jax.custom_vjp, nondiff_argnums=(3, 4))
def _normalise(x, scale, bias, epsilon, axis_name):
    return _normalise_forward(x, scale, bias, epsilon, axis_name)[0]


def _normalise_forward(x, scale, bias, epsilon, axis_name):
    wide = x.astype(jnp.promote_types(x.dtype, jnp.float32))
    pixels = x.size // x.shape[-1]
    sums = channel_sums(wide, wide, jnp.zeros_like(wide, shape=x.shape[-1:]))
    mean, mean_square = checkpoint_name(_over_devices(jnp.stack(sums), axis_name) / pixels, STATISTICS)
    variance = jnp.maximum(mean_square - jnp.square(mean), 0)
    rsqrt = lax.rsqrt(variance + epsilon)
    factor = scale * rsqrt
    y = ((wide - mean) * factor + bias).astype(x.dtype)
    return (y, mean, variance), (x, scale, mean, rsqrt)


def _normalise_backward(epsilon, axis_name, residuals, cotangents):
    """The statistics' own cotangents are left out: nothing but the running averages takes them."""
    x, scale, mean, rsqrt = residuals
    wide = jnp.promote_types(x.dtype, jnp.float32)
    cotangent = cotangents[0].astype(wide)
    centred = x.astype(wide)
    pixels = x.size // x.shape[-1]
    bias_gradient, product = channel_sums(cotangent, centred, mean)
    scale_gradient = product * rsqrt
    of_all = _over_devices(jnp.stack([bias_gradient, scale_gradient]), axis_name) / pixels
    normalised = (centred - mean) * rsqrt
    x_gradient = scale * rsqrt * (cotangent - of_all[0] - normalised * of_all[1])
    return x_gradient.astype(x.dtype), scale_gradient.astype(scale.dtype), bias_gradient.astype(scale.dtype)


_normalise.defvjp(_normalise_forward, _normalise_backward)


def _over_devices(value: jax.Array, axis_name: str | None) -> jax.Array:
    return value if axis_name is None else lax.pmean(value, axis_name)
