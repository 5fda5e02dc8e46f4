"""Mixer blocks in training on CPUs: one kernel for the forward pass of a stack, one for its gradients."""

import functools
from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from stlight_jax.model.ops.batch_norm import EPSILON
from stlight_jax.model.ops.cpu_library import CpuLibrary

_Parameters = Mapping[str, Any]
_Residuals = tuple[jax.Array, _Parameters, tuple[jax.Array, ...]]

# The parameters in the order of the kernels' arguments.
_NAMES = tuple(
    (layer, name)
    for layer, names in {
        "near": ("kernel", "bias"),
        "far": ("kernel", "bias"),
        "spatial_norm": ("scale", "bias"),
        "pointwise": ("kernel", "bias"),
        "pointwise_norm": ("scale", "bias"),
    }.items()
    for name in names
)
_LIBRARY = CpuLibrary(
    "training",
    ("cpu_training_forward.cc", "cpu_training_backward.cc"),
    tuple(f"stlight_training_{part}_{dtype}" for part in ("forward", "backward") for dtype in ("float32", "bfloat16")),
)
available, why_unavailable = _LIBRARY.available, _LIBRARY.why_unavailable


@functools.partial(jax.custom_vjp, nondiff_argnums=(2,))
def mixers(x: jax.Array, params: _Parameters, dilation: int) -> tuple[jax.Array, jax.Array]:
    """Applies a stack of mixer blocks that normalise by the statistics of the batch.

    The gradients (reverse mode, first order) ignore the cotangents of the statistics.

    Args:
      x: float32 or bfloat16 `[b, h, w, d]`.
      params: float32 parameters of `MixerBlock`, stacked: the first axis is the block.
      dilation: Distance between neighbouring taps of the far convolution, in pixels.

    Returns:
      `[b, h, w, d]` of the same type, and float32 statistics `[blocks, 4, d]`: mean and variance of the spatial norm, mean and
      variance of the pointwise norm.
    """
    return _forward(x, params, dilation)[0]


def _forward(x: jax.Array, params: _Parameters, dilation: int) -> tuple[tuple[jax.Array, jax.Array], _Residuals]:
    arguments = [params[layer][name] for layer, name in _NAMES]
    blocks, channels = arguments[1].shape
    stack = jax.ShapeDtypeStruct((blocks, *x.shape), x.dtype)
    inputs = jax.ShapeDtypeStruct((max(1, blocks - 1), *x.shape), x.dtype)  # of all blocks but the first
    statistics = jax.ShapeDtypeStruct((blocks, 4, channels), jnp.float32)
    shapes = (jax.ShapeDtypeStruct(x.shape, x.dtype), statistics, inputs, stack, stack, stack)
    call = jax.ffi.ffi_call(f"stlight_training_forward_{x.dtype.name}", shapes, vmap_method="sequential")
    y, *residuals = call(x, *arguments, dilation=np.int64(dilation), epsilon=np.float32(EPSILON))
    return (y, residuals[0]), (x, params, tuple(residuals))


def _backward(
    dilation: int, residuals: _Residuals, cotangents: tuple[jax.Array, jax.Array]
) -> tuple[jax.Array, dict[str, dict[str, jax.Array]]]:
    x, params, activations = residuals
    arguments = [params[layer][name] for layer, name in _NAMES]
    like = jax.ShapeDtypeStruct(x.shape, x.dtype)
    of_params = [jax.ShapeDtypeStruct(params[layer][name].shape, jnp.float32) for layer, name in _NAMES]
    call = jax.ffi.ffi_call(f"stlight_training_backward_{x.dtype.name}", (like, *of_params, like), vmap_method="sequential")
    x_gradient, *found, _ = call(
        x, *arguments, *activations, cotangents[0], dilation=np.int64(dilation), epsilon=np.float32(EPSILON)
    )
    gradients: dict[str, dict[str, jax.Array]] = {}
    for (layer, name), gradient in zip(_NAMES, found, strict=True):
        gradients.setdefault(layer, {})[name] = gradient
    return x_gradient, gradients


mixers.defvjp(_forward, _backward)
