"""Baselines that need the input frames only."""

from __future__ import annotations

import jax
import jax.flatten_util
import jax.numpy as jnp


def copy_last_frame(inputs: jax.Array, here: jax.Array | None) -> jax.Array:
    """The last seen frame; where a value of it is missing, the last one that is there."""
    last = inputs[:, :1]
    for time in range(1, inputs.shape[1]):
        now = inputs[:, time : time + 1]
        last = now if here is None else jnp.where(here[:, time : time + 1], now, last)
    return last


def mean_of_inputs(inputs: jax.Array, here: jax.Array | None) -> jax.Array:
    """The mean of the seen frames, of those values that are there."""
    if here is None:
        return inputs.mean(1, keepdims=True)
    count = here.sum(1, keepdims=True, dtype=inputs.dtype)
    known = jnp.sum(jnp.where(here, inputs, 0.0), 1, keepdims=True) / jnp.maximum(count, 1.0)
    return jnp.where(count > 0, known, inputs[:, -1:])
