"""Batches of stored frames, divided into inputs and targets."""

from __future__ import annotations

import chex
import jax
import jax.flatten_util

from stlight_jax.data.scaling import Scaling
from stlight_jax.model.stlight import STLight


def split_frames(
    frames: jax.Array, model: STLight, scaling: Scaling | None = None
) -> tuple[jax.Array, jax.Array, jax.Array | None]:
    """Stored `[b, T + horizon, h, w, c]` -> float32 inputs `[b, T, ...]`, targets `[b, horizon, ...]`, and where these are.

    The last is bool, like the targets, False where values are missing; None where none can be.
    """
    scaling = scaling or Scaling()
    chex.assert_type(frames, scaling.dtype)
    first = model.config.in_frames
    values, here = scaling.to_network(frames)
    channels = model.config.out_channels
    return values[:, :first], values[:, first:, ..., :channels], None if here is None else here[:, first:, ..., :channels]
