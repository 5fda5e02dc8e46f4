"""One pass of the network over frames of any size: whole where memory holds it, else in tiles."""

from __future__ import annotations

import numpy as np

from stlight_jax.console.messages import print_message
from stlight_jax.errors import InputError
from stlight_jax.inference.programs import Programs
from stlight_jax.inference.tiles import Tiling, receptive_radius
from stlight_jax.model.stlight import STLightConfig

_MOST_SEQUENCES = 64  # in one pass
# Measured on programs for CPUs; `tests/inference/test_forecaster.py` holds them to it.
_GRID_COPIES, _FRAME_COPIES = 5, 3


class TiledPass:
    """`[b, T, h, w, c] -> [b, T', h, w, c']`, in the network's range, for any b, h and w.

    That frames are cut is said once.

    Args:
      programs: what computes it, of the network `model`.
      tile, overlap, memory: as for `Forecaster`.

    Raises InputError for less memory than a MiB, and for tiles that cannot be.
    """

    def __init__(self, programs: Programs, model: STLightConfig, tile: int | None, overlap: int | None, memory: int):
        self._programs, self._model, self._memory = programs, model, memory
        self._always_tiled, self._told = tile is not None, False
        if self._memory < 2**20:
            raise InputError(f"memory is {self._memory} bytes; a pass needs a MiB at least")
        if tile is None:
            tile = max(int((self._memory / _bytes_per_pixel(self._model)) ** 0.5), self._model.patch_size)
        self._tiling = Tiling.of(self._model, tile, overlap)

    def __call__(self, frames: np.ndarray) -> np.ndarray:
        """Args: frames: of the programs' dtype."""
        batch, _, height, width, _ = frames.shape
        tiling, padded_height, padded_width, most = self._layout(height, width)
        beyond = ((0, 0), (0, 0), (0, padded_height - height), (0, padded_width - width), (0, 0))
        if padded_height > height or padded_width > width:
            frames = np.pad(frames, beyond, mode="edge")
        tiles = list(tiling.tiles(padded_height, padded_width))
        if len(tiles) > 1 and not self._told:
            self._told = True
            self._tell_cut(height, width, tiling, len(tiles))
        shape = (batch, self._model.out_frames, padded_height, padded_width, self._model.out_channels)
        result = np.zeros(shape, frames.dtype)
        jobs = [(sequence, tile) for sequence in range(batch) for tile in tiles]
        for first in range(0, len(jobs), most):
            some = jobs[first : first + most]
            fillers = [some[-1]] * (_bucket(len(some), most) - len(some))
            inputs = np.stack([frames[sequence, :, tile.rows, tile.columns] for sequence, tile in some + fillers])
            outputs = np.asarray(self._programs(inputs))
            for (sequence, tile), output in zip(some, outputs, strict=False):
                if len(tiles) == 1:
                    result[sequence] = output
                else:
                    result[sequence, :, tile.rows, tile.columns] += output * tile.weights[:, :, None]
        return result[:, :, :height, :width]

    def shapes(self, batch: int, height: int, width: int) -> list[tuple[int, ...]]:
        """In which a batch of frames of this size passes the network."""
        tiling, height, width, most = self._layout(height, width)
        jobs = batch * sum(1 for _ in tiling.tiles(height, width))
        model = self._model
        size = (model.in_frames, min(tiling.height, height), min(tiling.width, width), model.in_channels)
        return [(count, *size) for count in sorted({_bucket(min(most, jobs - first), most) for first in range(0, jobs, most)})]

    def _layout(self, height: int, width: int) -> tuple[Tiling, int, int, int]:
        """How frames of a size are cut, their sides in whole patches, and how many tiles go through the network at once."""
        patch = self._model.patch_size
        height, width = (-(-side // patch) * patch for side in (height, width))
        per_pixel = _bytes_per_pixel(self._model)
        whole = Tiling(height, width, 0, 0)
        tiling = self._tiling if self._always_tiled or height * width * per_pixel > self._memory else whole
        pixels = min(tiling.height, height) * min(tiling.width, width)
        at_once = int(np.clip(self._memory // (pixels * per_pixel), 1, _MOST_SEQUENCES))
        return tiling, height, width, 1 << (at_once.bit_length() - 1)

    def _tell_cut(self, height: int, width: int, tiling: Tiling, count: int) -> None:
        exact = 2 * receptive_radius(self._model)
        seams = (
            "enough for the prediction of whole frames"
            if tiling.overlap >= exact
            else f"the prediction of whole frames needs {exact}, or one tile for all: expect seams"
        )
        print_message(
            f"frames of {height} x {width} are cut into {count:,} tiles of at most {tiling.height} x {tiling.width}, with an "
            f"overlap of {tiling.overlap} pixels; {seams}",
        )


def _bucket(count: int, most: int) -> int:
    """The size of the batch that so many go through the network in: a power of two, so that few programs serve all."""
    return min(most, 1 << (count - 1).bit_length())


def _bytes_per_pixel(model: STLightConfig) -> float:
    """Of memory that a pass takes, about: a few copies of the patch grid, the frames before and after."""
    width = {"float32": 4, "bfloat16": 2, "float64": 8}[model.dtype]
    grid = _GRID_COPIES * width * model.hidden_dim / model.patch_size**2
    seen, predicted = model.in_frames * model.in_channels, model.out_frames * model.out_channels
    return grid + _FRAME_COPIES * max(width, 4) * (seen + predicted)
