"""Augmentation: random crops and flips of training sequences, functions of (seed, epoch, index) alone."""

from collections.abc import Sequence

import numpy as np

from stlight_jax.data.sequences import Sequences
from stlight_jax.errors import InputError

_STREAM = 1  # of the counter-based generator; an epoch's order is drawn from stream 0


class AugmentedSequences(Sequences):
    """Sequences, each cropped at a random position and flipped at random."""

    def __init__(self, sequences: Sequences, crop: int, flips: bool, seed: int):
        """Checks the crop.

        Args:
          sequences: the sequences to augment.
          crop: side, in pixels, of the square that is cut from all frames of a sequence; 0 keeps whole frames.
          flips: whether to mirror rows, columns, both or neither, each with equal chances.
          seed: together with epoch and index, it determines the crop and the flips.

        Raises:
          InputError: the crop is larger than the frames.
        """
        length, height, width, channels = sequences.shape
        if crop > min(height, width):
            raise InputError(f"data.crop is {crop}, but frames are {height} x {width} pixels; make it smaller, or 0")
        self._sequences, self._flips, self._seed = sequences, flips, seed
        self._room = (height - crop, width - crop) if crop else (0, 0)
        self.description, self.scaling = sequences.description, sequences.scaling
        self.shape = (length, crop or height, crop or width, channels)

    def __len__(self) -> int:
        """Returns the number of sequences in an epoch."""
        return len(self._sequences)

    def frames(self, indices: np.ndarray, epoch: int = 0) -> np.ndarray:
        """Reads and augments sequences; see `Sequences.frames`."""
        return self._augmented(self._sequences.frames(indices, epoch), indices, epoch)

    def frames_before(self, indices: np.ndarray, steps: Sequence[int], epoch: int = 0) -> tuple[np.ndarray, np.ndarray] | None:
        """Reads earlier frames, and augments them like their sequences; see `Sequences.frames_before`."""
        past = self._sequences.frames_before(indices, steps, epoch)
        return past and (self._augmented(past[0], indices, epoch), past[1])

    def ticks(self, indices: np.ndarray, epoch: int = 0) -> np.ndarray | None:
        """Returns the moments of frames, see `Sequences.ticks`."""
        return self._sequences.ticks(indices, epoch)

    def _augmented(self, whole: np.ndarray, indices: np.ndarray, epoch: int) -> np.ndarray:
        """Crops and flips `[n, t, h, w, c]`."""
        _, height, width, channels = self.shape
        result = np.empty((*whole.shape[:2], height, width, channels), whole.dtype)
        for row, index in enumerate(indices):
            counter = np.array([0, 0, int(index), _STREAM], np.uint64)
            random = np.random.Generator(np.random.Philox(key=np.array([self._seed, epoch], np.uint64), counter=counter))
            top, left = (int(random.integers(room + 1)) for room in self._room)
            crop = whole[row, :, top : top + height, left : left + width]  # [t, h', w', c]
            upside_down, mirrored = random.integers(2, size=2) if self._flips else (0, 0)
            result[row] = crop[:, :: -1 if upside_down else 1, :: -1 if mirrored else 1]
        return result
