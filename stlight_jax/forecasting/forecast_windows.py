"""Windows along sequences of any length: which there are, and their frames, streamed."""

from __future__ import annotations

import collections
import dataclasses
from collections.abc import Callable, Iterator, Sequence
from typing import NamedTuple

import numpy as np

from stlight_jax.data.formats.types import FrameSource
from stlight_jax.data.statistics import is_missing
from stlight_jax.data.times import TimeAxis
from stlight_jax.errors import InputError


@dataclasses.dataclass(frozen=True, eq=False)
class SampledSource:
    """A sequence as the network is shown it: every `step`-th frame from place `phase` on, resized if asked for.

    Attributes:
      size: (height, width) to resize to; None leaves frames as they are.
    """

    sequence: FrameSource
    step: int = 1
    phase: int = 0
    size: tuple[int, int] | None = None

    @property
    def frames(self) -> int:
        """How many there are in the view."""
        return max(0, -(-(self.sequence.frames - self.phase) // self.step))

    @property
    def shape(self) -> tuple[int, int, int]:
        """Of a frame, (h, w, c)."""
        height, width, channels = self.sequence.shape
        return (*(self.size or (height, width)), channels)

    @property
    def stamps(self) -> TimeAxis | None:
        """Their moments, None where there are none."""
        stamps = self.sequence.times
        if stamps is None:
            return None
        chosen = slice(self.phase, None, self.step)
        return dataclasses.replace(stamps, values=stamps.values[chosen], stored=stamps.stored[chosen])

    def place(self, number: int | np.ndarray) -> int | np.ndarray:
        """Of a frame of the view, or of several, in the sequence."""
        return self.phase + number * self.step

    def gap(self, first: int, last: int) -> int | None:
        """The first place after `first` and before `last` that is not one step after the one before it; None: no gap."""
        if first < 0:
            raise ValueError(f"a view has no place {first}")
        ticks = self.sequence.ticks
        if ticks is None:
            return None
        torn = np.diff(ticks[self.phase :: self.step][first:last]) != self.step
        return first + 1 + int(torn.argmax()) if torn.any() else None

    def blocks(self, first: int) -> Iterator[np.ndarray]:
        """Yields `[n, h, w, c]` from place `first` on; floats with NaN where values are missing, other types if none can be."""
        ahead = 0  # how many frames of the file lie before the next one of the view
        for block in self.sequence.blocks(self.place(first)):
            chosen = block[ahead :: self.step]
            ahead = (ahead - len(block)) % self.step
            if len(chosen):
                yield self._as_known(chosen)

    def _as_known(self, block: np.ndarray) -> np.ndarray:
        if self.size is not None and block.shape[1:3] != self.size:
            # TFDS and TensorFlow, which this needs, are slow to import.
            from stlight_jax.data.datasets.frames import resized_where_known

            block = resized_where_known(block, self.sequence.fill, *self.size)
        if block.dtype.kind == "f" or self.sequence.fill is None:
            return block
        return np.where(is_missing(block, self.sequence.fill), np.float32(np.nan), block.astype(np.float32))


class Window(NamedTuple):
    """One forecast to make, and the truth as far as it is known.

    Attributes:
      view: number of its view.
      start: place of the first predicted frame.
      inputs: `[in_frames, h, w, c]`.
      truth: `[k, h, w, c]`, k from 0 to the horizon.
    """

    view: int
    start: int
    inputs: np.ndarray
    truth: np.ndarray


def starts_along(view: SampledSource, first: int, every: int, in_frames: int, horizon: int) -> tuple[list[int], int]:
    """Where forecasts start, every so many frames up to the last frame, and how many there would be but for gaps in time.

    Before a start are `in_frames` frames one step apart, and so are those after it, as far as there are any.
    """
    candidates = range(first, view.frames, every)
    whole = [start for start in candidates if view.gap(start - in_frames, min(start + horizon, view.frames)) is None]
    return whole, len(candidates) - len(whole)


def known_after(view: SampledSource, start: int, horizon: int, *, since: int | None = None) -> int:
    """How many of the frames to predict from place `start` on are there, one step after the other.

    Args:
      since: the first place that counts for that: `start` where the frame before it is no part of the forecast; None: the last
        input, which lies right before `start`.
    """
    end = min(start + horizon, view.frames)
    torn = view.gap(start - 1 if since is None else since, end)
    return (end if torn is None else torn) - start


def windows_along(view: SampledSource, number: int, starts: Sequence[int], in_frames: int, horizon: int) -> Iterator[Window]:
    """Yields the windows at `starts`, which ascend, reading the sequence once and keeping what one window needs.

    Args:
      number: of the view.

    Raises InputError if the sequence has fewer frames than it said.
    """
    held: collections.deque[tuple[int, np.ndarray]] = collections.deque()
    blocks = view.blocks(starts[0] - in_frames) if len(starts) else iter(())
    end = starts[0] - in_frames if len(starts) else 0
    for start in starts:
        low, high = start - in_frames, start + known_after(view, start, horizon)
        while held and held[0][0] + len(held[0][1]) <= low:
            held.popleft()
        while end < high:
            block = next(blocks, None)
            if block is None:
                raise InputError(
                    f"{view.sequence.name}: {view.sequence.frames} frames were announced, fewer came; is the file whole?"
                )
            if end + len(block) > low:  # forecasts may lie far apart
                held.append((end, block))
            end += len(block)
        frames = np.concatenate([block[max(0, low - first) : high - first] for first, block in held if first < high])
        yield Window(number, start, frames[:in_frames], frames[in_frames:])


def forecasts(
    predict: Callable[[np.ndarray], np.ndarray], windows: Iterator[Window], at_once: int
) -> Iterator[tuple[Window, np.ndarray]]:
    """Predicts, a few windows of equal frames at a time.

    Args:
      predict: `[b, in_frames, h, w, c]` -> float32 `[b, horizon, h, w, c]`.
      at_once: b. Too few windows are filled up, for another b would mean another program to compile.

    Yields windows with their predictions, `[horizon, h, w, c]`.
    """
    waiting: list[Window] = []

    def predicted() -> Iterator[tuple[Window, np.ndarray]]:
        fillers = [waiting[-1].inputs] * (at_once - len(waiting))
        predictions = predict(np.stack([window.inputs for window in waiting] + fillers))
        return zip(waiting, predictions, strict=False)

    for window in windows:
        if waiting and (len(waiting) == at_once or not _alike(waiting[0].inputs, window.inputs)):
            yield from predicted()
            waiting = []
        waiting.append(window)
    if waiting:
        yield from predicted()


def _alike(a: np.ndarray, b: np.ndarray) -> bool:
    return a.shape == b.shape and a.dtype == b.dtype
