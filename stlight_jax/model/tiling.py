"""Tiles of a frame: how a network's receptive field limits them, how they are cut, and how their predictions are blended."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator

import numpy as np
from etils import epy

from stlight_jax.errors import InputError
from stlight_jax.model.ops import smoothing
from stlight_jax.model.stlight_config import STLightConfig

with epy.lazy_imports():  # an ONNX file is run without JAX
    import jax
    import jax.numpy as jnp
    from jax import lax


def receptive_radius(config: STLightConfig) -> int:
    """Returns the largest distance in pixels of an input that a predicted pixel depends on, a multiple of the patch."""
    near, far = config.near_kernel // 2, config.far_kernel // 2 * config.dilation
    encoder = -(-(config.encoder_kernel - config.patch_size) // (2 * config.patch_size))
    of_network = config.patch_size * (config.depth * (near + far) + encoder)
    of_shortcut = -(-smoothing.radius(config.smoothed_copies) // config.patch_size) * config.patch_size
    return max(of_network, of_shortcut)


def crop_tile(config: STLightConfig, crop: int) -> int:
    """Returns the side of the tiles in which a network predicts that was trained on crops.

    Where the receptive field exceeds the crop, the network has learnt the zero padding of its convolutions beside the crop.
    A pixel far from the padding, as in whole frames, is unknown to it.

    Args:
      config: The network.
      crop: `data.crop`, the side of the crops in pixels; 0 for whole frames.

    Returns:
      The side in pixels, whole patches; 0 if the network predicts whole frames.
    """
    if not 0 < crop <= 2 * receptive_radius(config):
        return 0
    return -(-crop // config.patch_size) * config.patch_size


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
            raise InputError(f"tile is {side}; it must be 0, or at least model.patch_size, {patch}")
        if overlap is None:
            overlap = min(2 * radius, rounded // 2 // patch * patch)
        if not 0 <= overlap <= rounded - patch:
            raise InputError(f"overlap is {overlap} with a tile of {rounded}; it must be 0 to {rounded - patch}")
        overlap = -(-overlap // patch) * patch
        # The inner half of a small overlap is blended; its outer quarters suffer most from the cut.
        return cls(rounded, rounded, overlap, min(radius, overlap // 4 if overlap < 2 * radius else radius))

    def tiles(self, height: int, width: int) -> Iterator[Tile]:
        """Yields the tiles of a frame, all of one size: the last tile of a row or column overlaps more."""
        columns = self._along(width, self.width)
        for rows, row_weights in self._along(height, self.height):
            for across, column_weights in columns:
                yield Tile(rows, across, row_weights[:, None] * column_weights)

    def blend(self, predict: Callable[[jax.Array], jax.Array], frames: jax.Array) -> jax.Array:
        """Predicts in tiles, one after the other, and blends the predictions.

        Args:
          predict: Maps `[b, t, h, w, c]` to `[b, t', h, w, c']`.
          frames: `[b, t, h, w, c]`; the patch divides h and w.

        Returns:
          `[b, t', h, w, c']`.
        """
        height, width = frames.shape[2:4]
        rows, columns = self._along(height, self.height), self._along(width, self.width)
        if len(rows) == len(columns) == 1:
            return predict(frames)
        size = (*frames.shape[:2], min(height, self.height), min(width, self.width), frames.shape[-1])
        shape = jax.eval_shape(predict, jax.ShapeDtypeStruct(size, frames.dtype))

        def add(total: jax.Array, tile: tuple[jax.Array, ...]) -> tuple[jax.Array, None]:
            row, column, down, across = tile
            predicted = predict(lax.dynamic_slice(frames, (0, 0, row, column, 0), size))  # [b, t', rows, columns, c']
            predicted *= (down[:, None] * across)[:, :, None]
            present = lax.dynamic_slice(total, (0, 0, row, column, 0), shape.shape)
            return lax.dynamic_update_slice(total, present + predicted, (0, 0, row, column, 0)), None

        pairs = [(down, across) for down in rows for across in columns]
        firsts = [jnp.array([pair[axis][0].start for pair in pairs]) for axis in (0, 1)]
        weights = [jnp.array([pair[axis][1] for pair in pairs], shape.dtype) for axis in (0, 1)]
        total = jnp.zeros((*shape.shape[:2], height, width, shape.shape[-1]), shape.dtype)
        return lax.scan(add, total, (*firsts, *weights))[0]

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


def in_tiles(predict: Callable[[jax.Array], jax.Array], config: STLightConfig, tile: int) -> Callable[[jax.Array], jax.Array]:
    """Makes a function that predicts in tiles as a `Forecaster` does, but within a program.

    Args:
      predict: Maps `[b, context_frames + T, h, w, c]` to `[b, T', h, w, c']`.
      config: The network.
      tile: Side of a tile in pixels; 0 for whole frames.

    Raises:
      InputError: The tiles are impossible.
    """
    if not tile:
        return predict
    tiling, patch = Tiling.square(config, tile), config.patch_size

    def predict_in_tiles(frames: jax.Array) -> jax.Array:
        height, width = frames.shape[2:4]
        padding = ((0, 0), (0, 0), (0, -height % patch), (0, -width % patch), (0, 0))
        return tiling.blend(predict, jnp.pad(frames, padding, mode="edge"))[:, :, :height, :width]

    return predict_in_tiles
