"""Where forecasts of a sequence can begin: the frames that come before, and gaps in time."""

from typing import NamedTuple

import numpy as np

from stlight_jax.data.continued_times import continue_times
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
      periods: `data.periods` of the network, in sampling steps of the training.
    """

    in_frames: int
    step: int
    reach: int
    periods: str

    def __str__(self) -> str:
        apart = f", {self.step} apart" if self.step > 1 else ""
        return f"{self.in_frames}{apart}" + (f" and earlier ones (data.periods={self.periods})" if self.reach else "")

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
    least, last = before.least(original.ticks), count - 1 if rolling else count - 1 + step
    if least > last:
        needed = max(before.in_frames * step, before.reach + step)
        at_least = f"{needed + 1} with --rolling" if rolling else str(needed - step + 1)
        raise InputError(
            f"{original.name} has {count} frame{'s' * (count != 1)}; the model sees {before}, so at least {at_least} are "
            f"needed{''.join(f'; {remark}' for remark in original.remarks if NOT_JOINED in remark)}"
        )
    index = least if rolling else last
    if isinstance(request.start, str):
        index = _index_of_moment(original, request.start, f"; give {least} to {last}")
    elif request.start is not None:
        index = count + request.start if request.start < 0 else request.start
    if not least <= index <= last:
        raise InputError(
            f"--start={request.start}: {original.name} has {count} frames{_reach_in_time(original, request.start)}, and "
            f"{before} must come before; give {_possible_starts(original, request.start, least, last)}"
        )
    return reader.sampled(original, index)


def _index_of_moment(original: FrameSource, moment: str, possible: str) -> int:
    """Returns the index of the first frame from a moment on; that after the last frame, if the moment is one step later."""
    times = original.times
    if times is None:
        raise InputError(f"--start={moment}: {original.name} has no times; expected the index of a frame{possible}")
    found = moment_on_axis(times, moment, "--start", original.name)
    later = np.flatnonzero(times.values >= found)
    if len(later):
        return int(later[0])
    step = sampling_step([times.values]) or 0
    return original.frames if found <= times.values.max() + _LATEST_START * step else 2 * original.frames


def _reach_in_time(original: FrameSource, start: int | str | None) -> str:
    """Returns the first and the last time of a sequence; "" for a start by its index."""
    if original.times is None or not isinstance(start, str):
        return ""
    return f" from {time_text(original.times, 0)} to {time_text(original.times, -1)}"


def _possible_starts(original: FrameSource, start: int | str | None, least: int, last: int) -> str:
    """Returns the first and the last possible start, in the form of a start that is impossible."""
    count, times = original.frames, original.times
    ranges = [(str(least), str(last))]
    if isinstance(start, str) and times is not None:
        ahead = continue_times(times, np.arange(count), count - 1, 1) or times
        ranges = [(time_text(ahead, least), time_text(ahead, min(last, len(ahead.values) - 1)))]
    elif isinstance(start, int) and start < 0 and least < count:
        ranges = [(str(least - count), "-1"), *ranges]
    return ", or ".join(first if first == end else f"{first} to {end}" for first, end in ranges)


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
