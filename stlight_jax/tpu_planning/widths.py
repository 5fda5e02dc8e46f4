"""How well a network's width fits a TPU, whose memory and vector unit have 128 lanes."""

from __future__ import annotations

import dataclasses
import math

from stlight_jax.tpu_planning.chips import LANES


@dataclasses.dataclass(frozen=True)
class Width:
    """`hidden_dim` on a TPU.

    Attributes:
      hidden_dim: d.
      padded: the lanes that an array `[..., d]` fills.
      padding: the part of these that holds nothing.
      narrower: the nearest `hidden_dim` below, or d itself, that fills all lanes; 0 if there is none.
      wider: the nearest one from d on.
    """

    hidden_dim: int
    padded: int
    padding: float
    narrower: int
    wider: int


def width(hidden_dim: int, patch_size: int, lanes: int = LANES) -> Width:
    """Args: lanes: 128, or the side of a matrix unit that shall be filled, too (256 on v6e).

    The pixel shuffle wants multiples of `patch_size**2`, which those given are.
    """
    step = math.lcm(lanes, patch_size**2)
    padded = -(-hidden_dim // lanes) * lanes
    return Width(hidden_dim, padded, 1 - hidden_dim / padded, hidden_dim // step * step, -(-hidden_dim // step) * step)
