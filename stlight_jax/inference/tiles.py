"""Cuts frames that do not fit into memory into overlapping tiles, whose predictions are blended."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator

import numpy as np

from stlight_jax.errors import InputError
from stlight_jax.model.stlight import STLightConfig


def receptive_radius(config: STLightConfig) -> int:
    """Returns the largest distance in pixels of an input that a predicted pixel depends on, a multiple of the patch."""
    near, far = config.near_kernel // 2, config.far_kernel // 2 * config.dilation
    encoder = -(-(config.encoder_kernel - config.patch_size) // (2 * config.patch_size))
    return config.patch_size * (config.depth * (near + far) + encoder)


@dataclasses.dataclass(frozen=True)
class Tile:
    """A part of a frame, and the weights of its prediction.

    Attributes:
      rows: Its rows in the frame.
      columns: Its columns in the frame.
      weights: float32 `[rows, columns]`; over all tiles of a frame they sum to 1.
    """

    rows: slice
    columns: slice
    weights: np.ndarray


@dataclasses.dataclass(frozen=True)
class Tiling:
    """A way to cut frames.

    Attributes:
      height: Largest height of a tile.
      width: Largest width of a tile.
      overlap: Least number of pixels that neighbouring tiles share. With two receptive radii or more, the blended prediction
        equals that of the whole frame.
      margin: Pixels at a cut edge that have the weight 0, because they depend on pixels beyond the cut.
    """

    height: int
    width: int
    overlap: int
    margin: int

    @classmethod
    def square(cls, config: STLightConfig, side: int, overlap: int | None = None) -> Tiling:
        """Makes square tiles.

        Args:
          config: The network.
          side: Side of a tile in pixels, rounded down to whole patches.
          overlap: Overlap in pixels, rounded up to whole patches. None: two receptive radii, at most half the side, because
            more would take more than four times the work of whole frames.

        Raises:
          InputError: The tiles are smaller than a patch, or the overlap leaves less than a patch of them.
        """
        for name, value in (("tile", side), ("overlap", overlap)):
            if value is not None and (isinstance(value, bool) or not isinstance(value, int | np.integer)):
                raise InputError(f"{name} is {value!r}; it must be a whole number of pixels")
        patch, radius = config.patch_size, receptive_radius(config)
        rounded = side // patch * patch
        if rounded < patch:
            raise InputError(f"tile is {side}; it must be at least model.patch_size, {patch}")
        if overlap is None:
            overlap = min(2 * radius, rounded // 2 // patch * patch)
        if overlap < 0:
            raise InputError(f"overlap is {overlap}; it must be at least 0")
        if overlap > rounded - patch:
            raise InputError(f"overlap is {overlap} with a tile of {rounded}; it must be at most {rounded - patch}")
        overlap = -(-overlap // patch) * patch
        # The inner half of a small overlap is blended; its outer quarters suffer most from the cut.
        return cls(rounded, rounded, overlap, min(radius, overlap // 4 if overlap < 2 * radius else radius))

    def tiles(self, height: int, width: int) -> Iterator[Tile]:
        """Yields the tiles of a frame, all of one size: the last tile of a row or column overlaps more."""
        columns = self._along(width, self.width)
        for rows, row_weights in self._along(height, self.height):
            for across, column_weights in columns:
                yield Tile(rows, across, row_weights[:, None] * column_weights)

    def _along(self, length: int, side: int) -> list[tuple[slice, np.ndarray]]:
        """Returns slices and weights along one axis."""
        if length <= side:
            return [(slice(0, length), np.ones(length, np.float32))]
        count = -(-(length - self.overlap) // (side - self.overlap))
        firsts = [min(number * (side - self.overlap), length - side) for number in range(count)]
        inside = np.arange(side) + 0.5
        raw = np.zeros((count, length))
        for number, first in enumerate(firsts):
            from_left = inside if first > 0 else np.full(side, np.inf)  # the edges of the frame are not cuts
            from_right = inside[::-1] if first + side < length else np.full(side, np.inf)
            beyond_margin = np.minimum(from_left, from_right) - self.margin
            raw[number, first : first + side] = np.clip(beyond_margin, 0, max(self.overlap - 2 * self.margin, 1))
        weights = (raw / raw.sum(0)).astype(np.float32)
        return [(slice(first, first + side), row[first : first + side]) for first, row in zip(firsts, weights, strict=True)]
