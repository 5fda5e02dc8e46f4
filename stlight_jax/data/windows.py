"""Windows: which frames make up which sequence, by index arithmetic alone.

Frames are stored one after another. A segment is a stretch of frames without a jump in time. A window never leaves its segment.
"""

from __future__ import annotations

import dataclasses
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


@dataclasses.dataclass(frozen=True)
class Windows:
    """All windows of some segments, numbered in the order of the segments.

    Attributes:
      segments: stretches of consecutive frames.
      length: frames in a window.
      strides: frames from the start of a window to the start of the next one; one for all segments, or one for each.
      frame_step: sampling steps between neighbouring frames of a window; 2 takes every other frame.
      anchor: whether the first window begins where its segment begins, or the last window ends where its segment ends.
    """

    segments: Sequence[Segment]
    length: int
    strides: int | Sequence[int] = 1
    frame_step: int = 1
    anchor: Literal["start", "end"] = "start"
    _firsts: np.ndarray = dataclasses.field(init=False, repr=False, compare=False)
    _ticks: np.ndarray = dataclasses.field(init=False, repr=False, compare=False)
    _strides: np.ndarray = dataclasses.field(init=False, repr=False, compare=False)
    _ends: np.ndarray = dataclasses.field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        """Checks the settings and counts the windows of every segment."""
        strides = np.broadcast_to(np.asarray(self.strides, np.int64), (len(self.segments),))
        for name, value in (("length", self.length), ("frame_step", self.frame_step), ("stride", np.min(strides, initial=1))):
            if value < 1:
                raise InputError(f"the {name} of windows is {value}; it must be at least 1")
        segments = np.asarray([tuple(segment) for segment in self.segments], np.int64).reshape(-1, 3)
        room = segments[:, 1] - self.span
        counts = np.where(room >= 0, room // strides + 1, 0)
        shift = room % strides if self.anchor == "end" else 0
        object.__setattr__(self, "_firsts", segments[:, 0] + shift)
        object.__setattr__(self, "_ticks", segments[:, 2] + shift)
        object.__setattr__(self, "_strides", strides)
        object.__setattr__(self, "_ends", np.cumsum(counts))

    @property
    def span(self) -> int:
        """Sampling steps from a window's first frame to its last frame, both included."""
        return (self.length - 1) * self.frame_step + 1

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
        return first[:, None] + np.arange(self.length) * self.frame_step  # [n, length]

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
        return segment, first[:, None] + np.arange(self.length) * self.frame_step  # [n, length]

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
