"""Windows: which frames make up which sequence, by index arithmetic alone.

Frames are stored one after another. A segment is a stretch of frames without a jump in time. A window never leaves its segment.
"""

from collections.abc import Sequence
from typing import Literal, NamedTuple

import numpy as np

from stlight_jax.errors import InputError


class Segment(NamedTuple):
    """Consecutive frames, one sampling step apart.

    Attributes:
      first: index of the segment's first frame in the storage.
      frames: number of frames.
      tick: time of the first frame, in sampling steps since an origin that all segments of a sequence share.
    """

    first: int
    frames: int
    tick: int = 0


def split_at_jumps(ticks: np.ndarray, first: int = 0) -> list[Segment]:
    """Splits frames into segments, wherever a tick differs from its predecessor plus 1.

    Args:
      ticks: int `[t]`, one per frame, in storage order.
      first: index of the first frame in the storage.

    Returns:
      The segments, in storage order.
    """
    ticks = np.asarray(ticks)
    if not len(ticks):
        return []
    starts = np.concatenate([[0], np.flatnonzero(np.diff(ticks) != 1) + 1])
    ends = np.append(starts[1:], len(ticks))
    return [Segment(first + int(a), int(b - a), int(ticks[a])) for a, b in zip(starts, ends, strict=True)]


class Windows:
    """All windows of some segments, numbered in the order of the segments.

    Attributes:
      length: frames in a window.
      span: sampling steps from a window's first frame to its last frame, both included.
      separate: number of windows that fit into the segments without overlap.
    """

    def __init__(
        self,
        segments: Sequence[Segment],
        length: int,
        strides: int | Sequence[int] = 1,
        frame_step: int = 1,
        anchor: Literal["start", "end"] = "start",
    ):
        """Checks the settings and counts the windows of every segment.

        Args:
          segments: stretches of consecutive frames.
          length: frames in a window.
          strides: frames from the start of a window to the start of the next one; one for all segments, or one for each.
          frame_step: sampling steps between neighbouring frames of a window; 2 takes every other frame.
          anchor: whether the first window begins where its segment begins, or the last window ends where its segment ends.

        Raises:
          InputError: a length, step or stride is less than 1.
        """
        self._strides = np.broadcast_to(np.asarray(strides, np.int64), (len(segments),))
        for name, value in (("length", length), ("frame_step", frame_step), ("stride", np.min(self._strides, initial=1))):
            if value < 1:
                raise InputError(f"the {name} of windows is {value}; it must be at least 1")
        self.length, self.span = length, (length - 1) * frame_step + 1
        self._steps = np.arange(length) * frame_step  # of a window's frames after its first one
        stored = np.asarray([tuple(segment) for segment in segments], np.int64).reshape(-1, 3)
        self.separate = int((stored[:, 1] // self.span).sum())
        room = stored[:, 1] - self.span
        shift = room % self._strides if anchor == "end" else 0
        self._firsts, self._ticks = stored[:, 0] + shift, stored[:, 2] + shift
        self._ends = np.cumsum(np.where(room >= 0, room // self._strides + 1, 0))

    def __len__(self) -> int:
        """Returns the number of windows."""
        return int(self._ends[-1]) if len(self._ends) else 0

    def frames(self, windows: np.ndarray) -> np.ndarray:
        """Computes the storage indices of the windows' frames.

        Args:
          windows: int `[n]`, numbers of windows.

        Returns:
          int64 `[n, length]`.

        Raises:
          IndexError: a number lies beyond the last window.
        """
        segment, offset = self._locate(windows)
        first = self._firsts[segment] + offset  # [n]
        return first[:, None] + self._steps  # [n, length]

    def ticks(self, windows: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Finds the segments of windows and the ticks of their frames.

        Args:
          windows: int `[n]`, numbers of windows.

        Returns:
          Numbers of segments, int64 `[n]`, and ticks, int64 `[n, length]`.

        Raises:
          IndexError: a number lies beyond the last window.
        """
        segment, offset = self._locate(windows)
        first = self._ticks[segment] + offset  # [n]
        return segment, first[:, None] + self._steps  # [n, length]

    def _locate(self, windows: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Returns each window's segment and its offset from the segment's first window, in frames."""
        windows = np.asarray(windows, np.int64)
        if windows.size and (windows.min() < 0 or windows.max() >= len(self)):
            raise IndexError(f"there are {len(self)} windows; asked for {windows.min()} to {windows.max()}")
        segment = np.searchsorted(self._ends, windows, side="right")
        before = np.where(segment > 0, self._ends[segment - 1], 0)
        return segment, (windows - before) * self._strides[segment]


def permutation(count: int, seed: int, epoch: int) -> np.ndarray:
    """Draws the order of an epoch, a function of its arguments alone: Philox is the same on every machine.

    Args:
      count: number of sequences in the epoch.
      seed: seed of the training data.
      epoch: number of the epoch, from 0.

    Returns:
      int64 `[count]`, a permutation of 0, ..., count - 1.
    """
    generator = np.random.Generator(np.random.Philox(key=np.array([seed, epoch], np.uint64)))
    return generator.permutation(count)
