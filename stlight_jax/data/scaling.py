"""From frames as they are stored to the range the network works in."""

from __future__ import annotations

import jax
import jax.numpy as jnp

# 1/255 = 257/65535 in two parts. An uint8 times the first is exact in float32, so only the sum of the two products rounds.
_FIRST = 257 / 65536
_REST = 257 / (65535 * 65536)


def to_unit_range(frames: jax.Array) -> jax.Array:
    """uint8 frames 0..255 -> float32 in [0, 1]. Runs on the device, so that a quarter of the bytes cross to it.

    The correctly rounded quotient by 255, as in NumPy and PyTorch. XLA turns a division by a constant into a product with its
    rounded inverse, which is another number for every second value.
    """
    frames = frames.astype(jnp.float32)
    return frames * _FIRST + frames * _REST
