"""Where forecasts of a sequence can begin: the frames that come before, and gaps in time."""

from typing import NamedTuple

import numpy as np

from stlight_jax.data.formats.joined_files import NOT_JOINED
from stlight_jax.data.formats.types import FrameSource
from stlight_jax.data.moments import moment_on_axis
from stlight_jax.data.ticks import assign_ticks, sampling_step
from stlight_jax.data.times import time_text
from stlight_jax.errors import InputError
from stlight_jax.forecasting.forecast_windows import SampledSource, starts_along
from stlight_jax.forecasting.request import InputReader, Request

_LATEST_START = 1.25  # sampling steps after the last frame


class FramesBefore(NamedTuple):
    """The frames that must come before a forecast.

    Attributes:
      in_frames: T.
      step: Distance between the input frames, in frames of the file.
      reach: Sampling steps of the file from the first frame of the history to the last input frame; 0 without a history.
      periods: Periods of the network, in sampling steps of the training.
    """

    in_frames: int
    step: int
    reach: int
    periods: tuple[int, ...]

    def __str__(self) -> str:
        apart = f", {self.step} apart" if self.step > 1 else ""
        periods = " and ".join(map(str, self.periods))
        return f"{self.in_frames}{apart}" + (
            f", and frames {periods} steps before the predicted ones (data.periods)" if self.reach else ""
        )

    def least(self, ticks: np.ndarray | None) -> int:
        """Returns the least index in a file of a first predicted frame."""
        last = self.reach
        if ticks is not None and self.reach:  # frames that are missing in the file count as time
            enough = np.flatnonzero(np.asarray(ticks) - np.min(ticks) >= self.reach)
            last = int(enough[0]) if len(enough) else max(self.reach, len(ticks))
        return max(self.in_frames * self.step, last + self.step)


def find_start(original: FrameSource, reader: InputReader, before: FramesBefore, request: Request) -> tuple[SampledSource, int]:
    """Finds the first predicted frame of a sequence.

    Args:
      original: The sequence in its file.
      reader: How the files are read.
      before: The frames that must come before it.
      request: The request, maybe with a start.

    Returns:
      The frames that the network sees, and the index of the first predicted frame among them.

    Raises:
      InputError: The sequence has too few frames, or the start is impossible.
    """
    count, step, rolling = original.frames, reader.frame_step, request.rolling
    start = _index_of_moment(original, request.start) if isinstance(request.start, str) else request.start
    least = before.least(original.ticks)
    index = least if rolling else count - 1 + step
    if start is not None:
        index = count + start if start < 0 else start
    source, first = reader.sampled(original, index)
    if index < least or (rolling and first >= source.frames):
        if start is None:
            needed = max(before.in_frames * step, before.reach + step)
            at_least = f"{needed + 1} with --rolling" if rolling else str(needed - step + 1)
            raise InputError(
                f"{original.name} has {count} frame{'s' * (count != 1)}; the model sees {before}, so at least {at_least} are "
                f"needed{''.join(f'; {remark}' for remark in original.remarks if NOT_JOINED in remark)}"
            )
        raise InputError(
            f"--start={request.start}: {original.name} has {count} frames, and {before} must come before; "
            + (f"give {least} to {count - 1 if rolling else count}" if least <= count else "they are too few")
        )
    if first > source.frames:
        raise InputError(f"--start={request.start}: {original.name} has {count} frames; give {least} to {count}")
    return source, first


def _index_of_moment(original: FrameSource, moment: str) -> int:
    """Returns the index of the first frame from a moment on; that after the last frame, if the moment is one step later."""
    times, option = original.times, f"--start={moment}"
    if times is None:
        raise InputError(f"{option}: {original.name} has no times; expected the index of a frame")
    found = moment_on_axis(times, moment, "--start", original.name)
    later = np.flatnonzero(times.values >= found)
    step = sampling_step([times.values]) or 0
    if len(later) and found > times.values.min() - step:
        return int(later[0])
    if len(later) or found > times.values.max() + _LATEST_START * step:
        first, last = (time_text(times, index) for index in (0, -1))
        raise InputError(f"{option}: {original.name} has frames from {first} to {last}; expected a time until the step after")
    return original.frames


def check_gap(source: SampledSource, start: int, in_frames: int) -> None:
    """Checks that the frames to predict from are one step apart in time.

    Args:
      source: The frames that the network sees.
      start: Index of the first predicted frame.
      in_frames: Frames to predict from.

    Raises:
      InputError: A frame is missing among them.
    """
    gap = source.gap(start - in_frames, start)
    if gap is not None:
        times, whole = source.times, source.original.times
        time = ""
        if times is not None:
            before, after = (time_text(times, index) for index in (gap - 1, gap))
            time = f" ({after})" if times.dated else f" ({times.key!r} goes from {before} to {after})"
        reasons = [] if whole is None else [*assign_ticks([whole])[0].remarks]
        possible, _ = starts_along(source, in_frames, 1, in_frames, 0)
        if possible or not reasons:
            advice = ["choose another --start, or ignore times with --time=none", *reasons]
        else:
            advice = reasons + ["or ignore times with --time=none"] * ("time=none" not in reasons[-1])
        raise InputError(
            f"{source.original.name}: the {in_frames} frames to predict from are not one step apart in time, they have a jump "
            f"before frame {source.file_index(gap)}{time}; {'; '.join(advice)}"
        )
