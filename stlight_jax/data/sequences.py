"""Sequences: the interface between data and all code that trains or evaluates."""

import abc
import hashlib
import json
from collections.abc import Sequence
from typing import Any

import numpy as np

from stlight_jax.data.scaling import Scaling
from stlight_jax.data.statistics import is_missing, mean_of_valid, with_nan
from stlight_jax.errors import InputError

_FINGERPRINT_SEQUENCES = 8

# JSON about sequences, for checkpoints and tables. The keys "name", "published" (whether the sequences are a published test
# set) and "sequences" (their number) are always present; in training data also "sha256", of the frames or digits.
Description = dict[str, Any]


class Sequences(abc.ABC):
    """A set of sequences that are made or read by index.

    Attributes:
      description: facts about the sequences, as JSON for a checkpoint or a table.
      shape: of one sequence, `[t, h, w, c]`.
      scaling: from the sequences' values to the network's range.
    """

    description: Description
    shape: tuple[int, int, int, int]
    scaling: Scaling

    @abc.abstractmethod
    def __len__(self) -> int:
        """Returns the number of sequences in an epoch."""

    @abc.abstractmethod
    def frames(self, indices: np.ndarray, epoch: int = 0) -> np.ndarray:
        """Makes or reads sequences.

        Args:
          indices: int `[n]`, positions in the epoch.
          epoch: number of the epoch, from 0.

        Returns:
          `[n, t, h, w, c]` in the stored dtype.
        """

    def frames_before(self, indices: np.ndarray, steps: Sequence[int], epoch: int = 0) -> tuple[np.ndarray, np.ndarray] | None:
        """Reads frames from before the end of sequences.

        Args:
          indices: int `[n]`, positions in the epoch.
          steps: for each frame, the sampling steps from it to the last frame of a sequence, at least 1.
          epoch: number of the epoch, from 0.

        Returns:
          `[n, steps, h, w, c]` in the stored dtype, and bool `[n, steps]`, whether a frame is known. None if the sequences have
          no past.
        """
        del indices, steps, epoch
        return None

    def ticks(self, indices: np.ndarray, epoch: int = 0) -> np.ndarray | None:
        """Returns the moments of frames.

        Args:
          indices: int `[n]`, positions in the epoch.
          epoch: number of the epoch, from 0.

        Returns:
          int64 `[n, t]` in sampling steps, from an origin that all frames of a clip share; without those of a history. None if
          moments are unknown.
        """
        del indices, epoch
        return None


class EvenlySpaced(Sequences):
    """Some sequences of another set, evenly spaced from its first to its last, as a sample.

    Args:
      source: the set.
      at_most: number of sequences.
      chosen: indices of the frames of each sequence that are kept, in their new order; None keeps all.
    """

    def __init__(self, source: Sequences, at_most: int, chosen: Sequence[int] | None = None) -> None:
        count = len(source)
        self._source, self._indices = source, np.linspace(0, count - 1, min(at_most, count)).astype(int)
        self._chosen = np.arange(source.shape[0]) if chosen is None else np.asarray(chosen)
        self.shape = (len(self._chosen), *source.shape[1:])
        self.scaling, self.description = source.scaling, {**source.description, "sequences": len(self._indices)}

    def __len__(self) -> int:
        return len(self._indices)

    def frames(self, indices: np.ndarray, epoch: int = 0) -> np.ndarray:
        """Reads sequences, see `Sequences`."""
        return self._source.frames(self._indices[indices], epoch)[:, self._chosen]


class WithHistory(Sequences):
    """Sequences with earlier frames, or means of such, before their own, marked as missing where there is no such frame.

    Integers without a fill value are widened, so that a number is free for the mark; with means, all integers become floats.
    The covariates of a mean are those of its latest frame.

    Args:
      source: the sequences.
      steps: for each earlier frame, the sampling steps from it to the last frame of a sequence; of several frames, ascending,
        the mean is taken.

    Raises:
      InputError: the sequences have no past.
    """

    def __init__(self, source: Sequences, steps: Sequence[Sequence[int]]) -> None:
        if source.frames_before(np.zeros(1, int), steps[0][:1]) is None:
            raise InputError(f"data.periods asks for earlier frames, and {source.description['name']} has none; set it to ''")
        self._source, self._steps = source, [tuple(of_frame) for of_frame in steps]
        has_means = any(len(of_frame) > 1 for of_frame in steps)
        self.scaling = source.scaling.with_floats() if has_means else source.scaling.with_mark()
        self._fill = source.scaling.fill if has_means else None  # of integers that become floats
        self.shape = (len(self._steps) + source.shape[0], *source.shape[1:])
        self.description = {**source.description, "shape": list(self.shape)}

    def __len__(self) -> int:
        return len(self._source)

    def frames(self, indices: np.ndarray, epoch: int = 0) -> np.ndarray:
        """Reads sequences, see `Sequences`."""
        past, _ = self.frames_before(indices, [of_frame[0] for of_frame in self._steps], epoch)
        for number, of_frame in enumerate(self._steps):
            if len(of_frame) > 1:  # one sequence at a time: those of a batch would take 30 times the memory of their frames
                past[:, number] = [self._mean_before(index, of_frame, epoch) for index in indices.tolist()]
        own = with_nan(self._source.frames(indices, epoch), self._fill)
        return np.concatenate([past, own], axis=1, dtype=self.scaling.dtype)

    def _mean_before(self, index: int, steps: Sequence[int], epoch: int) -> np.ndarray:
        """Returns the mean of the earlier frames of a sequence, `[h, w, c]`."""
        frames, known = self.frames_before(np.array([index]), steps, epoch)
        frames, data = frames[known], frames.shape[-1] - self.scaling.covariates  # [n, h, w, c], n can be 0
        return np.concatenate([mean_of_valid(frames[..., :data]), mean_of_valid(frames[:1, ..., data:])], axis=-1)

    def frames_before(self, indices: np.ndarray, steps: Sequence[int], epoch: int = 0) -> tuple[np.ndarray, np.ndarray]:
        """Reads earlier frames, see `Sequences`; unknown frames are marked as missing."""
        past = self._source.frames_before(indices, steps, epoch)
        assert past is not None  # checked at the start
        frames, known = with_nan(past[0], self._fill).astype(self.scaling.dtype), past[1]
        frames[~known] = np.nan if self.scaling.fill is None else self.scaling.fill
        return frames, known

    def ticks(self, indices: np.ndarray, epoch: int = 0) -> np.ndarray | None:
        """Returns the moments of the frames after the history, see `Sequences`."""
        return self._source.ticks(indices, epoch)


def check_targets(sequences: Sequences, in_frames: int, channels: int, label: str) -> None:
    """Checks that any target frame holds a value; the search ends at the first one.

    Args:
      sequences: the set.
      in_frames: the frames before the targets: T, and those of the history.
      channels: c', the first channels, which are predicted.
      label: which sequences these are, for the message.

    Raises:
      InputError: all values of all target frames are missing.
    """
    scaling = sequences.scaling
    for index in range(len(sequences) if scaling.missing else 0):
        missing = is_missing(sequences.frames(np.array([index]))[:, in_frames:, ..., :channels], scaling.fill)
        if missing is None or not missing.all():
            return
    if scaling.missing:
        raise InputError(
            f"all values of the {label} targets are missing, in all {len(sequences):,} {label} sequences; choose other frames "
            "with data.split, data.validation_fraction and data.test_fraction, or check data.mask and data.fill_value"
        )


def fingerprint(sequences: Sequences) -> str:
    """Computes a SHA-256 that differs for other data, and for other windows of the same data.

    The digest covers the checksum of the data where it is known, the number of sequences, and a few sequences from the whole
    set. (A published test set is a file of 800 MB, too large to read at every start.)

    Args:
      sequences: the set.

    Returns:
      64 hexadecimal digits.
    """
    count = len(sequences)
    facts = [sequences.description.get("sha256"), count, list(sequences.shape), sequences.scaling.as_json()]
    digest = hashlib.sha256(json.dumps(facts).encode())
    for index in np.linspace(0, count - 1, min(_FINGERPRINT_SEQUENCES, count)).astype(int):
        digest.update(np.ascontiguousarray(sequences.frames(np.array([index]))).data)  # one at a time: sequences can be large
    return digest.hexdigest()
