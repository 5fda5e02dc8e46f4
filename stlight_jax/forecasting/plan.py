"""The plan of a prediction: which frames the network sees, which forecasts are made, and which true frames are known."""

import dataclasses
import math
import pathlib
from collections.abc import Sequence

import numpy as np
from rich import filesize

from stlight_jax.data.available_memory import memory_available
from stlight_jax.data.continued_times import continue_times
from stlight_jax.data.formats.types import FrameSource
from stlight_jax.data.formats.unlike_quantities import common_units
from stlight_jax.data.times import TimeAxis, other_calendar
from stlight_jax.errors import InputError
from stlight_jax.forecasting.forecast_start import FramesBefore, check_gap, find_start
from stlight_jax.forecasting.forecast_windows import SampledSource, known_after, starts_along
from stlight_jax.forecasting.request import InputReader, Request
from stlight_jax.forecasting.true_frames import read_true_frames
from stlight_jax.inference.forecaster import Forecaster
from stlight_jax.inference.frame_input import latest_known
from stlight_jax.model.context import check_horizon


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
        the last input frame; for a mean, those of all its frames. Times between two steps of the file are left out.
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
    history: tuple[tuple[int, ...], ...] = ()

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
        """Returns the indices in the file of the history of some forecasts of a source.

        Returns:
          For each forecast int `[history, n]`: the frames that a history frame is the mean of, the latest one first, and -1
          where the file has no such frame.
        """
        steps = np.full((len(self.history), max(map(len, self.history), default=0)), -1)
        for row, of_frame in zip(steps, self.history, strict=True):
            row[: len(of_frame)] = of_frame
        return [np.where(steps >= 0, self.sources[source].earlier(start, steps), -1) for start in starts]

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
        latest = latest_known(earlier) if earlier.size else np.full(len(earlier), -1)
        past = np.where(latest < 0, np.datetime64("NaT", "us"), original.values[latest].astype("M8[us]"))
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
    _check_memory(horizon, reader.sampled(originals[0], 0)[0].shape, model.out_channels)  # a plan takes memory, too
    every = request.every or horizon
    steps = reader.frame_step, model.frame_step
    history = tuple(_steps_of_file(frame.times, *steps) for frame in forecaster.history(horizon))
    _check_history(history, originals, reader.sampled(originals[0], 0)[0].shape, request.rolling)
    sources, starts, skipped = [], [], 0
    for original in originals:
        _check_channels(original, forecaster)
        reach = max((of_frame[0] for of_frame in history if of_frame), default=0)
        before = FramesBefore(model.in_frames, reader.frame_step, reach, model.periods_text)
        source, first = find_start(original, reader, before, request)
        if request.rolling:
            found, ruled_out = starts_along(source, first, every, model.in_frames, horizon)
            skipped += ruled_out
        else:
            found = [first]
            check_gap(source, first, model.in_frames)
        sources.append(source)
        starts.append(found)
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
        truths, remarks = read_true_frames(sources, starts, reader, horizon, true_originals, f"--truth={request.truth}")
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


def _check_history(
    history: Sequence[Sequence[int]], originals: Sequence[FrameSource], shape: tuple[int, int, int], rolling: bool
) -> None:
    """Refuses earlier frames that would take more than half of the free memory: rolling forecasts hold a whole stretch."""
    steps = {step for of_frame in history for step in of_frame}
    held = min(max(steps, default=0) if rolling else len(steps), max(original.frames for original in originals))
    needed = 4 * held * math.prod(shape)
    if needed > memory_available() / 2:
        size, free = filesize.decimal(needed), filesize.decimal(int(memory_available()))
        raise InputError(
            f"{held:,} earlier frames of {shape[0]} x {shape[1]} (data.periods) would take {size} of memory, and {free} are "
            f"free; {'predict without --rolling, or ' * rolling}give smaller frames, or a network without such periods"
        )


def _steps_of_file(times: Sequence[int], file_step: int, frame_step: int) -> tuple[int, ...]:
    """Converts times of a history frame to sampling steps of a file before the last input frame.

    Args:
      times: In sampling steps of the training since the last input frame.
      file_step: Sampling steps of the file from one input frame to the next.
      frame_step: Those of the training.

    Returns:
      The steps, without those of times between two steps of the file.
    """
    return tuple(-time * file_step // frame_step for time in times if time * file_step % frame_step == 0)
