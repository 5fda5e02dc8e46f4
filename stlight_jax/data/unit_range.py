"""Bytes as floats in [0, 1], exactly."""

from __future__ import annotations

from etils import epy

with epy.lazy_imports():  # configs import the data sets for their keys, and need no JAX
    import jax
    import jax.numpy as jnp

# 1/255 = 257/65535 in two parts. An integer of 15 bits times the first is exact in float32, so only the sum of the two
# products rounds.
_LEADING = 257 / 65536
_REMAINDER = 257 / (65535 * 65536)


def to_unit_range(frames: jax.Array) -> jax.Array:
    """Scales uint8 frames to [0, 1] on the device, so that a quarter of the bytes cross to it.

    The result is the correctly rounded quotient by 255, as in NumPy and PyTorch. XLA turns a division by a constant into a
    product with its rounded inverse, which differs for every second value.

    Args:
      frames: uint8 of any shape, or integers of at most 15 bits.

    Returns:
      float32 of the same shape, in [0, 1] for uint8.
    """
    frames = frames.astype(jnp.float32)
    return frames * _LEADING + frames * _REMAINDER
