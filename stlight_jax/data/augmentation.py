"""More from few frames: random crops and flips of training sequences, functions of (seed, epoch, index) alone."""

from __future__ import annotations

from typing import Any

import numpy as np

from stlight_jax.data.scaling import Scaling
from stlight_jax.data.sequences import Sequences
from stlight_jax.errors import InputError

_STREAM = 1  # of the counter-based generator; an epoch's order is drawn from stream 0


class Augmented:
    """Sequences, each cropped at a random place and flipped at random: a `stlight_jax.data.sequences.Sequences`.

    Args:
      sequences: what to augment; their frames must have at least `crop` pixels per side.
      crop: side of the square that is kept of each sequence, the same in all its frames; 0 keeps whole frames.
      flips: whether to mirror rows, columns, both or neither, each with equal chances.
      seed: with epoch and index it determines both.

    Raises InputError for a crop that is larger than the frames.
    """

    def __init__(self, sequences: Sequences, crop: int, flips: bool, seed: int):
        length, height, width, channels = sequences.shape
        if crop > min(height, width):
            raise InputError(f"data.crop is {crop}, but frames are {height} x {width} pixels; make it smaller, or 0")
        self._sequences, self._flips, self._seed = sequences, flips, seed
        self._room = (height - crop, width - crop) if crop else (0, 0)
        self.scaling: Scaling = sequences.scaling
        self.description: dict[str, Any] = sequences.description
        self.shape = (length, crop or height, crop or width, channels)

    def __len__(self) -> int:
        return len(self._sequences)

    def frames(self, indices: np.ndarray, epoch: int = 0) -> np.ndarray:
        """`[n, t, h, w, c]`, see `Sequences`."""
        whole = self._sequences.frames(indices, epoch)
        _, height, width, _ = self.shape
        result = np.empty((len(whole), *self.shape), whole.dtype)
        for row, index in enumerate(indices):
            counter = np.array([0, 0, int(index), _STREAM], np.uint64)
            random = np.random.Generator(np.random.Philox(key=np.array([self._seed, epoch], np.uint64), counter=counter))
            top, left = (int(random.integers(room + 1)) for room in self._room)
            cut = whole[row, :, top : top + height, left : left + width]
            upside_down, mirrored = random.integers(2, size=2) if self._flips else (0, 0)
            result[row] = cut[:, :: -1 if upside_down else 1, :: -1 if mirrored else 1]
        return result

    def frames_before(self, indices: np.ndarray, steps: int, targets: int) -> None:
        """Not kept: training asks for no past."""
