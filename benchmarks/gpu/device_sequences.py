"""Moving digits drawn on the device: the host sends corners and numbers of digits, a thousandth of the frames' bytes."""

from __future__ import annotations

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from stlight_jax.data.moving_images import GeneratedSequences


class Placements(NamedTuple):
    """The digits of some sequences, without their pixels.

    Attributes:
      corners: top-left (row, column), int32 `[..., digits, t, 2]`.
      chosen: numbers of the digits, int32 `[..., digits]`.
    """

    corners: np.ndarray | jax.Array
    chosen: np.ndarray | jax.Array


def plan_steps(source: GeneratedSequences, first: int, count: int, batch_size: int) -> Placements:
    """Chooses the digits of the batches of some training steps, those of `stlight_jax.data.pipeline.training_batches`.

    Args:
      source: the training sequences.
      first: number of the first step, from 0.
      count: number of steps.
      batch_size: sequences in a batch.

    Returns:
      Placements with the leading axes `[count, batch_size]`.
    """
    per_epoch = len(source) // batch_size
    parts, step = [], first
    while step < first + count:  # epoch by epoch
        epoch, position = divmod(step, per_epoch)
        steps = min(per_epoch - position, first + count - step)
        parts.append(source.placements(np.arange(position * batch_size, (position + steps) * batch_size), epoch))
        step += steps
    corners, chosen = (np.concatenate(arrays).astype(np.int32) for arrays in zip(*parts, strict=True))
    return Placements(*(x.reshape(count, batch_size, *x.shape[1:]) for x in (corners, chosen)))


def draw(digits: jax.Array, placements: Placements, side: int) -> jax.Array:
    """Draws sequences as `stlight_jax.data.moving_images.render` does, to the same bytes.

    Args:
      digits: all digits, uint8 `[m, s, s]`.
      placements: of n sequences.
      side: of the canvas, in pixels.

    Returns:
      uint8 `[n, t, side, side, 1]`.
    """
    size = digits.shape[-1]
    pixels = jnp.arange(side)
    rows, columns = (pixels - placements.corners[..., axis, None] for axis in (0, 1))  # [n, digits, t, side], in the digit
    inside = ((rows >= 0) & (rows < size))[..., :, None] & ((columns >= 0) & (columns < size))[..., None, :]
    # One gather from the flat digits; places outside a digit take any pixel.
    places = placements.chosen[..., None, None, None] * size**2 + rows[..., :, None] * size + columns[..., None, :]
    drawn = jnp.where(inside, digits.reshape(-1)[jnp.where(inside, places, 0)], 0)  # [n, digits, t, side, side]
    return drawn.max(1)[..., None]
