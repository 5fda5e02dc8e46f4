"""Which frames make which window: index arithmetic, and nothing else.

Frames lie one after the other. A run is a stretch of them without a jump: it ends where a sequence ends or where time jumps.
Windows never leave their run.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Literal, NamedTuple

import numpy as np

from stlight_jax.errors import InputError


class Run(NamedTuple):
    """Consecutive frames, one sampling step apart.

    Attributes:
      first: place of its first frame in the storage.
      frames: how many there are.
      tick: of its first frame, in sampling steps since a moment that all runs of a sequence share.
    """

    first: int
    frames: int
    tick: int = 0


def runs_of(ticks: np.ndarray, first: int = 0) -> list[Run]:
    """Cuts frames with these ticks (int `[t]`, in storage order) wherever one is not its predecessor's plus 1."""
    ticks = np.asarray(ticks)
    if not len(ticks):
        return []
    starts = np.concatenate([[0], np.flatnonzero(np.diff(ticks) != 1) + 1])
    ends = np.append(starts[1:], len(ticks))
    return [Run(first + int(a), int(b - a), int(ticks[a])) for a, b in zip(starts, ends, strict=True)]


@dataclasses.dataclass(frozen=True)
class Windows:
    """All windows of some runs, numbered in the order of the runs.

    Attributes:
      runs: where frames follow each other.
      length: frames in a window.
      strides: from the start of a window to that of the next one, in frames; one for all runs, or one for each.
      frame_step: from a frame of a window to its next one; 2 takes every other frame.
      anchor: whether the first window begins where its run does, or the last one ends where its run does.
    """

    runs: Sequence[Run]
    length: int
    strides: int | Sequence[int] = 1
    frame_step: int = 1
    anchor: Literal["start", "end"] = "start"

    def __post_init__(self) -> None:
        strides = np.broadcast_to(np.asarray(self.strides, np.int64), len(self.runs))
        for name, least in (("length", self.length), ("frame_step", self.frame_step), ("stride", strides.min(initial=1))):
            if least < 1:
                raise InputError(f"the {name} of windows is {least}; it must be at least 1")
        runs = np.asarray([tuple(run) for run in self.runs], np.int64).reshape(-1, 3)
        room = runs[:, 1] - self.span
        counts = np.where(room >= 0, room // strides + 1, 0)
        shift = room % strides if self.anchor == "end" else 0
        object.__setattr__(self, "_first", runs[:, 0] + shift)
        object.__setattr__(self, "_tick", runs[:, 2] + shift)
        object.__setattr__(self, "_stride", strides)
        object.__setattr__(self, "_ends", np.cumsum(counts))

    @property
    def span(self) -> int:
        """Frames from a window's first to its last one, both included."""
        return (self.length - 1) * self.frame_step + 1

    def __len__(self) -> int:
        return int(self._ends[-1]) if len(self._ends) else 0

    def frames(self, windows: np.ndarray) -> np.ndarray:
        """The places of their frames: int64 `[n]` -> int64 `[n, length]`. Raises IndexError beyond the last window."""
        run, offset = self._place(windows)
        first = self._first[run] + offset  # [n]
        return first[:, None] + np.arange(self.length) * self.frame_step

    def ticks(self, windows: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """The runs (int64 `[n]`) they lie in and the ticks of their frames (int64 `[n, length]`)."""
        run, offset = self._place(windows)
        first = self._tick[run] + offset
        return run, first[:, None] + np.arange(self.length) * self.frame_step

    def _place(self, windows: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        windows = np.asarray(windows, np.int64)
        if windows.size and (windows.min() < 0 or windows.max() >= len(self)):
            raise IndexError(f"there are {len(self)} windows; asked for {windows.min()} to {windows.max()}")
        run = np.searchsorted(self._ends, windows, side="right")
        before = np.where(run > 0, self._ends[run - 1], 0)
        return run, (windows - before) * self._stride[run]


def permutation(count: int, seed: int, epoch: int) -> np.ndarray:
    """The order of an epoch: int64 `[count]`, a function of its arguments alone (Philox, on every machine the same)."""
    generator = np.random.Generator(np.random.Philox(key=np.array([seed, epoch], np.uint64)))
    return generator.permutation(count)
