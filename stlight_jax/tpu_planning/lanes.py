"""How well a network's width fits a TPU, whose memory and vector unit have 128 lanes."""

from __future__ import annotations

import dataclasses
import math

LANES = 128  # the innermost dimension of an array in memory is padded to a multiple of it, on all chips


@dataclasses.dataclass(frozen=True)
class LaneFit:
    """A `hidden_dim` on a TPU.

    Attributes:
      hidden_dim: d.
      padded: the number of lanes that an array `[..., d]` fills.
      padding: the part of `padded` that is empty, in [0, 1).
      narrower: the largest `hidden_dim` up to d that needs no padding; 0 if none exists.
      wider: the smallest `hidden_dim` from d on that needs no padding.
    """

    hidden_dim: int
    padded: int
    padding: float
    narrower: int
    wider: int


def lane_fit(hidden_dim: int, patch_size: int, lanes: int = LANES) -> LaneFit:
    """Computes the padding of a width, and the nearest widths without padding.

    Args:
      hidden_dim: d.
      patch_size: p; the pixel shuffle needs multiples of `p**2`, so `narrower` and `wider` are.
      lanes: 128, or the side of a matrix unit (256 on v6e).
    """
    step = math.lcm(lanes, patch_size**2)
    padded = -(-hidden_dim // lanes) * lanes
    return LaneFit(hidden_dim, padded, 1 - hidden_dim / padded, hidden_dim // step * step, -(-hidden_dim // step) * step)
