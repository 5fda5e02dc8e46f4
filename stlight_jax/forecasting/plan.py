"""The plan of a prediction: which frames the network sees, which forecasts are made, and which true frames are known."""

import dataclasses
import pathlib
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from rich import filesize

from stlight_jax.data.available_memory import memory_available
from stlight_jax.data.continued_times import continue_times
from stlight_jax.data.formats.joined_files import NOT_JOINED
from stlight_jax.data.formats.types import FrameSource
from stlight_jax.data.formats.unlike_quantities import common_units
from stlight_jax.data.moments import moment_on_axis
from stlight_jax.data.suspicion import ValueSurvey
from stlight_jax.data.ticks import assign_ticks, format_duration, sampling_step
from stlight_jax.data.times import TimeAxis, other_calendar, time_text
from stlight_jax.errors import InputError
from stlight_jax.forecasting.forecast_windows import SampledSource, known_after, starts_along
from stlight_jax.forecasting.request import InputReader, Request
from stlight_jax.inference.forecaster import Forecaster
from stlight_jax.model.context import check_horizon

_LATEST_START = 1.25  # sampling steps after the last frame


@dataclasses.dataclass(frozen=True, eq=False)
class ForecastPlan:
    """The forecasts of a request.

    Attributes:
      reader: How the files are read.
      sources: The frames that the network sees, one item for each sequence of the input.
      starts: For each source, the indices of the first predicted frames.
      truths: For each source, the true frames from a file of their own, `[t, h, w, c]`; None if the source has them.
      truth_remarks: For each file of true frames, a line that names the frames.
      horizon: Frames to predict at each start.
      rolling: Whether forecasts are made all along the sources.
      joined: Whether the forecasts of a source follow each other without gap or overlap and are written as one sequence.
      skipped: Number of forecasts that gaps in time rule out.
      read_paths: The files of all frames.
      in_frames: Frames that the network sees, without its history.
      history: For each earlier frame that the network sees beside its input frames, the sampling steps of the file from it to
        the last input frame; None for a time between two steps of the file.
    """

    reader: InputReader
    sources: list[SampledSource]
    starts: list[list[int]]
    truths: list[np.ndarray | None]
    truth_remarks: list[str]
    horizon: int
    rolling: bool
    joined: bool
    skipped: int
    read_paths: list[pathlib.Path]
    in_frames: int
    history: tuple[int | None, ...] = ()

    @property
    def without_forecasts(self) -> list[str]:
        """Names of the sequences in which no forecast is possible."""
        return [source.original.name for source, starts in zip(self.sources, self.starts, strict=True) if not starts]

    @property
    def unit(self) -> str:
        """The name of the data's units; "" if the files name none, or several."""
        return common_units([source.original for source in self.sources])

    @property
    def rows_go_north(self) -> bool:
        """Whether the first row of the frames is the southernmost."""
        return all(source.original.info.rows_go_north for source in self.sources)

    def knows_truth(self, source: int) -> bool:
        """Whether a true frame of any forecast of a source is known."""
        truth = self.truths[source]
        if truth is not None:
            return len(truth) > 0
        return any(known_after(self.sources[source], start, self.horizon) for start in self.starts[source])

    def earlier(self, source: int, starts: Sequence[int]) -> list[np.ndarray]:
        """Returns the indices in the file of the history of some forecasts of a source; -1 where it has no such frame."""
        steps = [0 if step is None else step for step in self.history]
        exists = np.array([step is not None for step in self.history], bool)
        return [np.where(exists, self.sources[source].earlier(start, steps), -1) for start in starts]

    def moments(self, source: int, start: int, earlier: np.ndarray) -> np.ndarray | None:
        """Returns the moments of all frames of a forecast: its history, its input frames and the predicted ones.

        Args:
          source: Index of the source.
          start: Index of the first predicted frame.
          earlier: The history, as from `earlier`.

        Returns:
          datetime64 `[history + in_frames + horizon]`, NaT where a moment is unknown; None if the source has no dates.
        """
        sampled = self.sources[source]
        times, original = sampled.times, sampled.original.times
        if times is None or original is None or not times.dated:
            return None
        end = start + known_after(sampled, start, self.horizon)
        further = start + self.horizon - end
        continued = continue_times(times, np.zeros(0, np.int64), end - 1, further) if further else None
        ahead = np.full(further, np.datetime64("NaT", "us")) if continued is None else continued.values.astype("M8[us]")
        past = np.where(earlier < 0, np.datetime64("NaT", "us"), original.values[earlier].astype("M8[us]"))
        return np.concatenate([past, times.values[start - self.in_frames : end].astype("M8[us]"), ahead])

    def frames_written(self, source: int, start: int) -> int:
        """Returns the number of frames of a forecast that are written: a joined sequence ends where its input does."""
        return min(self.horizon, self.sources[source].frames - start) if self.joined else self.horizon

    def written_indices(self, source: int) -> np.ndarray:
        """Returns the indices in the source of all frames that are written; they may exceed its end."""
        parts = [start + np.arange(self.frames_written(source, start)) for start in self.starts[source]]
        return np.concatenate(parts or [np.zeros(0, np.int64)])

    def times(self, source: int) -> TimeAxis | None:
        """Returns the times of the written frames, or of the last frames before forecasts that are not joined.

        Returns:
          The times; None if the source has none, or has no forecast.
        """
        times, starts = self.sources[source].times, self.starts[source]
        if times is None or not starts:
            return None
        if self.rolling:
            return continue_times(times, self.written_indices(source) if self.joined else np.array(starts) - 1, 0, 0)
        (start,) = starts
        known = known_after(self.sources[source], start, self.horizon)
        return continue_times(times, start + np.arange(known), start + known - 1, self.horizon - known)

    def window_times(self, source: int) -> TimeAxis | None:
        """Returns the times of the frames of forecasts that are not joined, one forecast after the other; None without."""
        times, starts = self.sources[source].times, self.starts[source]
        if times is None or not starts or not self.rolling or self.joined:
            return None
        frames = self.sources[source].frames
        further = max(0, starts[-1] + self.horizon - frames)
        continued = continue_times(times, np.arange(frames), frames - 1, further)
        return continued and continue_times(continued, self.written_indices(source), 0, 0)


def make_plan(request: Request, reader: InputReader, forecaster: Forecaster) -> ForecastPlan:
    """Opens the input and decides which forecasts are made.

    Args:
      request: The request.
      reader: Opens its files.
      forecaster: Makes the predictions.

    Raises:
      InputError: The input has too few frames or channels, a gap in time, or does not match the truth; or the horizon is
        impossible.
    """
    originals, model = reader.open(request.input_path), forecaster.model
    horizon = model.out_frames if request.horizon is None else request.horizon
    check_horizon("--horizon", horizon, model, model.in_channels - forecaster.channels)
    every = request.every or horizon
    history = tuple(_steps_of_file(-time, reader.frame_step, model.frame_step) for time in forecaster.history(horizon))
    sources, starts, skipped = [], [], 0
    for original in originals:
        _check_channels(original, forecaster)
        before = _Before(model.in_frames, reader.frame_step, max(filter(None, history), default=0), model.periods)
        source, first = _find_start(original, reader, before, request)
        if request.rolling:
            found, ruled_out = starts_along(source, first, every, model.in_frames, horizon)
            skipped += ruled_out
        else:
            found = [first]
            _check_gap(source, first, model.in_frames)
        sources.append(source)
        starts.append(found)
    _check_memory(horizon, sources[0].shape, model.out_channels)
    if not any(starts):
        raise InputError(
            f"{originals[0].name}: no {model.in_frames} frames, with the frames to predict, are without a gap in time; ignore "
            "times with --time=none"
        )
    truths: list[np.ndarray | None] = [None] * len(sources)
    remarks: list[str] = []
    true_originals: list[FrameSource] = []
    if request.truth:
        true_originals = reader.open(pathlib.Path(request.truth).expanduser())
        truths, remarks = _read_truths(sources, starts, reader, horizon, true_originals, f"--truth={request.truth}")
    paths = dict.fromkeys(original.info.path for original in (*originals, *true_originals))
    return ForecastPlan(
        reader=reader,
        sources=sources,
        starts=starts,
        truths=truths,
        truth_remarks=remarks,
        horizon=horizon,
        rolling=request.rolling,
        joined=request.rolling and every == horizon,
        skipped=skipped,
        in_frames=model.in_frames,
        history=history,
        read_paths=[*map(pathlib.Path, paths), *([pathlib.Path(request.truth).expanduser()] if request.truth else [])],
    )


def _check_channels(original: FrameSource, forecaster: Forecaster) -> None:
    channels, covariates = original.shape[-1], forecaster.covariates
    if channels != forecaster.channels:
        beside = "" if covariates is None else f" beside {', '.join(covariates.names)}, which predict makes"
        raise InputError(
            f"{original.name} has frames of shape {list(original.shape)}, {channels} channel{'s' * (channels > 1)}; the "
            f"model sees {forecaster.channels}{beside}; choose another model or --variable, or name the axes with --layout"
        )
    if covariates is not None and covariates.clock and (original.times is None or not original.times.dated):
        calendar = other_calendar(original.times)
        found = f"dates of the calendar {calendar}" if calendar else "no dates"
        raise InputError(
            f"{original.name} has {found}, and the model sees the time (data.clock={','.join(covariates.clock)}); expected "
            "frames with dates in the standard calendar; name their coordinate with --time"
        )


def _check_memory(horizon: int, shape: tuple[int, int, int], out_channels: int) -> None:
    """Refuses a forecast that would take more than half of the free memory."""
    height, width, _ = shape
    needed = 4 * horizon * height * width * out_channels
    if needed > memory_available() / 2:
        raise InputError(
            f"--horizon={horizon}: a forecast of so many frames would take {filesize.decimal(needed)} of memory, and "
            f"{filesize.decimal(int(memory_available()))} are free; predict fewer"
        )


def _steps_of_file(steps: int, file_step: int, frame_step: int) -> int | None:
    """Converts sampling steps of the training to those of a file; both are given by the steps from one frame to the next."""
    return steps * file_step // frame_step if steps * file_step % frame_step == 0 else None


class _Before(NamedTuple):
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


def _find_start(original: FrameSource, reader: InputReader, before: _Before, request: Request) -> tuple[SampledSource, int]:
    """Returns the frames that the network sees, and the index of the first predicted frame among them."""
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


def _check_gap(source: SampledSource, start: int, in_frames: int) -> None:
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


def _read_truths(
    sources: list[SampledSource],
    starts: list[list[int]],
    reader: InputReader,
    horizon: int,
    originals: Sequence[FrameSource],
    option: str,
) -> tuple[list[np.ndarray | None], list[str]]:
    """Reads the true frames from files of their own: by their dates if both files have dates, else from the first frame.

    Args:
      sources: The frames that the network sees.
      starts: The start of the forecast of each source.
      reader: How the files are read.
      horizon: Frames to predict.
      originals: The sequences of true frames.
      option: The flag and its value, for messages.

    Returns:
      The frames for each source, and a line for each that names them.
    """
    if len(originals) != len(sources):
        raise InputError(f"{option} holds {len(originals)} sequence(s), the input {len(sources)}; give one for each")
    truths: list[np.ndarray | None] = []
    remarks = []
    for source, (start,), original in zip(sources, starts, originals, strict=True):
        by_date = _first_true_frame(source, start, original, option)
        true, first = reader.sampled(original, by_date or 0)
        if true.shape != source.shape:
            shapes = f"frames of shape {list(true.shape)}, the input {list(source.shape)}"
            raise InputError(f"{option}: {original.name} has {shapes}")
        frames = _read(true, first, known_after(true, first, horizon, since=first))
        truths.append(frames)
        how = "from its first frame, because not both have dates" if by_date is None else "by their dates"
        survey = ValueSurvey(true.shape[-1], frames.dtype)
        survey.add(original.name, frames)
        remarks += [f"{original.name}: {remark}" for remark in survey.remarks("--fill_value")]
        remarks.append(f"true frames: {len(frames):,} of {original.name} from frame {true.file_index(first)} on ({how})")
    return truths, remarks


def _read(source: SampledSource, first: int, count: int) -> np.ndarray:
    """Reads some frames, `[count, h, w, c]`."""
    parts, missing = [], count
    for block in source.blocks(first):
        parts.append(block[:missing])
        missing -= len(parts[-1])
        if missing <= 0:
            break
    return np.concatenate(parts)


def _first_true_frame(source: SampledSource, start: int, original: FrameSource, option: str) -> int | None:
    """Returns the index in the file of true frames of the first predicted frame; None if not both have dates."""
    ours, theirs = source.original.times, original.times
    if ours is None or theirs is None or not (ours.dated and theirs.dated) or source.times is None:
        return None
    further = continue_times(source.times, np.zeros(0, int), start - 1, 1)
    if further is None:
        return None
    our_step, their_step = (sampling_step([times.values]) for times in (ours, theirs))
    if our_step and their_step and not 0.5 <= their_step / our_step <= 1.5:
        raise InputError(
            f"{option}: {original.name} has a frame every {format_duration(their_step)}, the input every "
            f"{format_duration(our_step)}; give true frames at the input's sampling step"
        )
    nearest = int(np.abs(theirs.values - further.values[0]).argmin())
    if abs(theirs.values[nearest] - further.values[0]) > (their_step or our_step or 0) / 2:
        wanted = np.datetime64(int(further.values[0]), "us").astype("M8[s]")
        raise InputError(f"{option}: {original.name} has no frame of {wanted}, the first one predicted")
    return nearest
