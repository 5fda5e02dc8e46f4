"""The frames of one forecast, read in order along sequences of any length."""

import collections
import dataclasses
import functools
from collections.abc import Callable, Iterator, Sequence
from typing import NamedTuple, TypeVar

import numpy as np

from stlight_jax.data.formats.types import FrameSource
from stlight_jax.data.statistics import mean_of_valid, with_nan
from stlight_jax.data.times import TimeAxis
from stlight_jax.errors import InputError

_Index = TypeVar("_Index", int, np.ndarray)


@dataclasses.dataclass(frozen=True, eq=False)
class SampledSource:
    """The frames of a sequence that the network sees: every `step`-th frame from `phase` on, resized if requested.

    Attributes:
      original: The sequence in its file.
      step: Distance between neighbouring frames, in frames of the file.
      phase: Index of the first frame in the file.
      size: (height, width) that frames are resized to; None keeps their size.
    """

    original: FrameSource
    step: int = 1
    phase: int = 0
    size: tuple[int, int] | None = None

    @property
    def frames(self) -> int:
        """Number of frames."""
        return max(0, -(-(self.original.frames - self.phase) // self.step))

    @property
    def shape(self) -> tuple[int, int, int]:
        """(h, w, c) of a frame."""
        height, width, channels = self.original.shape
        return (*(self.size or (height, width)), channels)

    @property
    def times(self) -> TimeAxis | None:
        """The times of the frames; None if the file has none."""
        times = self.original.times
        if times is None:
            return None
        chosen = slice(self.phase, None, self.step)
        return dataclasses.replace(times, values=times.values[chosen], stored=times.stored[chosen])

    def file_index(self, index: _Index) -> _Index:
        """Returns the index in the file of a frame, or of several frames."""
        return self.phase + index * self.step

    def gap(self, first: int, last: int) -> int | None:
        """Finds a gap in time between two frames.

        Returns:
          The first index after `first` and before `last` whose frame is not one step after the frame before it; None if the
          frames have no gap.

        Raises:
          ValueError: `first` is negative.
        """
        if first < 0:
            raise ValueError(f"frame {first} does not exist")
        ticks = self.original.ticks
        if ticks is None:
            return None
        apart = np.diff(ticks[self.phase :: self.step][first:last]) != self.step
        return first + 1 + int(apart.argmax()) if apart.any() else None

    def earlier(self, start: int, steps: np.ndarray) -> np.ndarray:
        """Returns the indices in the file of frames before a forecast, -1 where the file has no frame of a time.

        Args:
          start: Index of the first predicted frame.
          steps: For each frame, the sampling steps of the file from it to the last input frame; int of any shape.
        """
        last = self.file_index(start - 1)
        if self.original.ticks is None:
            return np.maximum(last - steps, -1)
        ticks, order = self._ordered_ticks
        wanted = self.original.ticks[last] - steps
        found = np.searchsorted(ticks, wanted, side="right") - 1  # of several frames of one time, the last one
        return np.where((found >= 0) & (ticks[found] == wanted), order[found], -1)

    @functools.cached_property
    def _ordered_ticks(self) -> tuple[np.ndarray, np.ndarray]:
        """The ticks of the file in ascending order, and the index of each."""
        ticks = np.asarray(self.original.ticks)
        order = np.argsort(ticks, kind="stable")
        return ticks[order], order

    def read(self, indices: Sequence[np.ndarray]) -> Iterator[np.ndarray]:
        """Yields means of frames of the file, float32 `[n, h, w, c]` for each array of indices.

        Reads the file once, and holds the frames that are still needed.

        Args:
          indices: Indices in the file, int `[n, frames of a mean]` each; those of -1 count as missing.

        Raises:
          InputError: The file has fewer frames than it declares.
        """
        last_use = {index: number for number, own in enumerate(indices) for index in own.ravel().tolist() if index >= 0}
        needed = np.array(sorted(last_use), np.int64)
        held: dict[int, np.ndarray] = {}
        end = int(needed[0]) if len(needed) else 0
        blocks = self.original.blocks(end) if len(needed) else iter(())
        for number, own in enumerate(indices):
            while own.size and end <= own.max():
                block = next(blocks, None)
                if block is None:
                    raise self.cut_short()
                for index in needed[(needed >= end) & (needed < end + len(block))].tolist():
                    held[index] = np.array(self._resized(block[index - end : index - end + 1])[0], np.float32)
                end += len(block)
            history = np.empty((len(own), *self.shape), np.float32)
            for row, of_mean in enumerate(own):
                frames = [held[index] for index in of_mean[of_mean >= 0].tolist()]
                history[row] = mean_of_valid(np.array(frames, np.float32).reshape(-1, *self.shape))
            yield history
            for index in {*own.ravel().tolist()} - {-1}:
                if last_use[index] == number:
                    del held[index]

    def cut_short(self) -> InputError:
        """Returns the error that the file has fewer frames than it declares."""
        return InputError(f"{self.original.name} declares {self.original.frames} frames and has fewer; is the file complete?")

    def blocks(self, first: int, observe: Callable[[np.ndarray], None] | None = None) -> Iterator[np.ndarray]:
        """Yields `[n, h, w, c]` from index `first` on: floats with NaN for missing values, other types if none can be missing.

        Args:
          first: Index of the first frame.
          observe: Called with each block as it is stored.
        """
        skipped = 0  # frames of the file before the next one that the network sees
        for block in self.original.blocks(self.file_index(first)):
            chosen = block[skipped :: self.step]
            skipped = (skipped - len(block)) % self.step
            if len(chosen):
                if observe is not None:
                    observe(chosen)
                yield self._resized(chosen)

    def _resized(self, block: np.ndarray) -> np.ndarray:
        if self.size is not None and block.shape[1:3] != self.size:
            # TFDS and TensorFlow, which this needs, are slow to import.
            from stlight_jax.data.resize import resize_valid

            block = resize_valid(block, self.original.fill, *self.size)
        return with_nan(block, self.original.fill)


_NOT_PREDICTED = np.zeros((0, 0, 0, 0), np.float32)


class ForecastError(NamedTuple):
    """Squared error of one forecast, in the metrics' range.

    Attributes:
      mse: Summed over valid pixels and channels, averaged over frames.
      per_value: Averaged over valid values.
    """

    mse: float
    per_value: float


class Forecast(NamedTuple):
    """One forecast: its frames, first without a prediction and its error.

    Attributes:
      source: Index of its source in the plan.
      start: Index of the first predicted frame in the source.
      inputs: `[in_frames, h, w, c]` in the data's units, NaN where values are missing.
      truth: `[k, h, w, c]`, the true frames as far as they are known, k from 0 to the horizon.
      history: float32 `[n, h, w, c]`, the earlier frames that a network with periods sees, NaN where values are missing.
      moments: datetime64 `[n + in_frames + horizon]` of the history, the input frames and the predicted frames, NaT where they
        are unknown; None if the source has no dates.
      prediction: float32 `[horizon, h, w, c']` in the data's units, NaN where values are missing.
      error: None where the truth is unknown.
    """

    source: int
    start: int
    inputs: np.ndarray
    truth: np.ndarray
    history: np.ndarray = _NOT_PREDICTED
    moments: np.ndarray | None = None
    prediction: np.ndarray = _NOT_PREDICTED
    error: ForecastError | None = None


def starts_along(source: SampledSource, first: int, every: int, in_frames: int, horizon: int) -> tuple[list[int], int]:
    """Finds the starts of forecasts all along a source.

    Before a start lie `in_frames` frames one step apart, and the frames to predict, as far as the source has them, are one step
    apart, too.

    Args:
      source: The frames.
      first: First possible start.
      every: Frames from one start to the next.
      in_frames: Frames that the network sees.
      horizon: Frames to predict.

    Returns:
      The starts, and the number of starts that gaps in time rule out.
    """
    candidates = range(first, source.frames, every)
    starts = [start for start in candidates if source.gap(start - in_frames, min(start + horizon, source.frames)) is None]
    return starts, len(candidates) - len(starts)


def known_after(source: SampledSource, start: int, horizon: int, *, since: int | None = None) -> int:
    """Counts the frames of a forecast that the source has, up to a gap in time.

    Args:
      source: The frames.
      start: Index of the first predicted frame.
      horizon: Frames to predict.
      since: First index where a gap counts: `start` if the frame before it is no part of the forecast; None for the last input
        frame, right before `start`.

    Returns:
      A number from 0 to `horizon`.
    """
    end = min(start + horizon, source.frames)
    gap = source.gap(start - 1 if since is None else since, end)
    return (end if gap is None else gap) - start


def windows_along(
    source: SampledSource,
    number: int,
    starts: Sequence[int],
    in_frames: int,
    horizon: int,
    observe: Callable[[np.ndarray], None] | None = None,
) -> Iterator[Forecast]:
    """Yields the frames of the forecasts of a source. Reads it once, and holds the frames of one forecast.

    Args:
      source: The frames.
      number: Index of the source in the plan.
      starts: Starts of the forecasts, ascending.
      in_frames: Frames that the network sees.
      horizon: Frames to predict.
      observe: Called with the frames that are read, as they are stored.

    Raises:
      InputError: The file has fewer frames than it declares.
    """
    held: collections.deque[tuple[int, np.ndarray]] = collections.deque()
    blocks = source.blocks(starts[0] - in_frames, observe) if len(starts) else iter(())
    end = starts[0] - in_frames if len(starts) else 0
    for start in starts:
        low, high = start - in_frames, start + known_after(source, start, horizon)
        while held and held[0][0] + len(held[0][1]) <= low:
            held.popleft()
        while end < high:
            block = next(blocks, None)
            if block is None:
                raise source.cut_short()
            if end + len(block) > low:  # forecasts may lie far apart
                held.append((end, block))
            end += len(block)
        frames = np.concatenate([block[max(0, low - first) : high - first] for first, block in held if first < high])
        yield Forecast(number, start, frames[:in_frames], frames[in_frames:])
