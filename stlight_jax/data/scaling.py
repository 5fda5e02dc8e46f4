"""From frames as they are stored to the range the network works in."""

from __future__ import annotations

import jax
import jax.numpy as jnp


def to_unit_range(frames: jax.Array) -> jax.Array:
    """uint8 frames 0..255 -> float32 in [0, 1]. Runs on the device, so that a quarter of the bytes cross to it."""
    return frames.astype(jnp.float32) / 255.0
