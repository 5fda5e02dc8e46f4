"""One pass of a network over frames of any size: whole if memory holds them, else in overlapping tiles that are blended."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from stlight_jax.console.messages import print_message
from stlight_jax.errors import InputError
from stlight_jax.model.stlight_config import FITTED_SHORTCUTS, MOVING_SHORTCUTS, STLightConfig
from stlight_jax.model.tiling import Tiling, crop_tile, receptive_radius

_MAX_BATCH = 64  # tiles in one pass
# Measured on programs for CPUs; `tests/inference/test_memory.py` checks them.
_GRID_COPIES, _FRAME_COPIES, _SHORTCUT_COPIES = 5, 3, 2


class TiledPass:
    """`[b, context_frames + T, h, w, c] -> [b, T', h, w, c']`, in the network's range, for any b, h and w.

    Prints one message when frames are cut for the first time.

    Args:
      programs: Run the network on tiles that fit, `[n, context_frames + T, h, w, c]`.
      model: The network.
      tile: See `Forecaster`.
      overlap: See `Forecaster`.
      memory: See `Forecaster`.
      crop: `data.crop` of the training.

    Raises:
      InputError: The memory is less than a MiB, or the tiles are impossible.
    """

    def __init__(
        self,
        programs: Callable[[np.ndarray], Any],
        model: STLightConfig,
        tile: int | None,
        overlap: int | None,
        memory: int,
        crop: int = 0,
    ):
        self._programs, self._model, self._memory = programs, model, memory
        self._crop_tile = crop_tile(model, crop)
        tile = self._crop_tile if tile is None else tile
        self._always_tiled, self._printed = bool(tile), False
        if isinstance(memory, bool) or not isinstance(memory, int | float | np.number):
            raise InputError(f"memory is {memory!r}; expected a number of bytes, such as {2**31}")
        if not memory >= 2**20:  # nor NaN
            raise InputError(f"memory is {memory} bytes; a pass needs at least 1 MiB, {2**20}")
        if not self._always_tiled:
            tile = max(int((self._memory / _bytes_per_pixel(self._model)) ** 0.5), self._model.patch_size)
        self._tiling = Tiling.square(self._model, tile, overlap)

    def __call__(self, frames: np.ndarray) -> np.ndarray:
        """Runs the pass.

        Args:
          frames: `[b, context_frames + T, h, w, c]` of the network's dtype.

        Returns:
          `[b, T', h, w, c']`.
        """
        batch, _, height, width, _ = frames.shape
        tiling, padded_height, padded_width, batch_size = self._layout(height, width)
        padding = ((0, 0), (0, 0), (0, padded_height - height), (0, padded_width - width), (0, 0))
        if padded_height > height or padded_width > width:
            frames = np.pad(frames, padding, mode="edge")
        tiles = list(tiling.tiles(padded_height, padded_width))
        if len(tiles) > 1 and not self._printed:
            self._printed = True
            self._print_cut(height, width, tiling, len(tiles))
        shape = (batch, self._model.out_frames, padded_height, padded_width, self._model.out_channels)
        result = np.zeros(shape, frames.dtype)
        jobs = [(sequence, tile) for sequence in range(batch) for tile in tiles]
        for first in range(0, len(jobs), batch_size):
            chosen = jobs[first : first + batch_size]
            fillers = [chosen[-1]] * (_bucket(len(chosen), batch_size) - len(chosen))
            inputs = np.stack([frames[sequence, :, tile.rows, tile.columns] for sequence, tile in chosen + fillers])
            outputs = np.asarray(self._programs(inputs))
            for (sequence, tile), output in zip(chosen, outputs, strict=False):
                if len(tiles) == 1:
                    result[sequence] = output
                else:
                    result[sequence, :, tile.rows, tile.columns] += output * tile.weights[:, :, None]
        return result[:, :, :height, :width]

    def shapes(self, batch: int, height: int, width: int) -> list[tuple[int, ...]]:
        """Returns the shapes in which a batch of frames of a size passes through the network."""
        tiling, height, width, batch_size = self._layout(height, width)
        jobs = batch * sum(1 for _ in tiling.tiles(height, width))
        size = (self._model.seen_frames, min(tiling.height, height), min(tiling.width, width), self._model.in_channels)
        batches = {_bucket(min(batch_size, jobs - first), batch_size) for first in range(0, jobs, batch_size)}
        return [(count, *size) for count in sorted(batches)]

    def _layout(self, height: int, width: int) -> tuple[Tiling, int, int, int]:
        """Returns how frames of a size are cut, their sides in whole patches, and the number of tiles in one pass."""
        patch = self._model.patch_size
        height, width = (-(-side // patch) * patch for side in (height, width))
        per_pixel = _bytes_per_pixel(self._model)
        whole = Tiling(height, width, 0, 0)
        tiling = self._tiling if self._always_tiled or height * width * per_pixel > self._memory else whole
        pixels = min(tiling.height, height) * min(tiling.width, width)
        batch_size = int(np.clip(self._memory // (pixels * per_pixel), 1, _MAX_BATCH))
        return tiling, height, width, 1 << (batch_size.bit_length() - 1)

    def _print_cut(self, height: int, width: int, tiling: Tiling, count: int) -> None:
        exact = 2 * receptive_radius(self._model)
        if tiling.height == self._crop_tile:
            remark = "the network was trained on such crops (data.crop); tile=0 predicts whole frames"
        elif tiling.overlap >= exact:
            remark = "enough for the prediction of whole frames"
        else:
            remark = f"the prediction of whole frames needs {exact}, or one tile for all: expect seams"
        print_message(
            f"frames of {height} x {width} are cut into {count:,} tiles of at most {tiling.height} x {tiling.width}, with an "
            f"overlap of {tiling.overlap} pixels; {remark}",
        )


def _bucket(count: int, most: int) -> int:
    """Returns the batch size for some tiles: a power of two, so that few programs serve all numbers, at most `most`."""
    return min(most, 1 << (count - 1).bit_length())


def _bytes_per_pixel(model: STLightConfig) -> float:
    """Returns the approximate memory of a pass: a few copies of the patch grid, of the frames, and of a shortcut's inputs."""
    width = {"float32": 4, "bfloat16": 2, "float64": 8}[model.dtype]
    grid = _GRID_COPIES * width * model.hidden_dim / model.patch_size**2
    of_shortcut = model.shortcut_inputs if model.shortcut in (*FITTED_SHORTCUTS, *MOVING_SHORTCUTS) else 0
    frames = _FRAME_COPIES * (model.encoded_channels + model.out_frames * model.out_channels) + _SHORTCUT_COPIES * of_shortcut
    return grid + max(width, 4) * frames
