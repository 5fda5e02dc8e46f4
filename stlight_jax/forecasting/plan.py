"""Which forecasts are made: of which frames, from where on, and what of the truth is known."""

from __future__ import annotations

import pathlib
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from stlight_jax.data.available_memory import memory_available
from stlight_jax.data.continued_times import continue_times
from stlight_jax.data.formats.types import FrameSource
from stlight_jax.data.times import TimeAxis, format_duration, sampling_step
from stlight_jax.errors import InputError
from stlight_jax.forecasting.forecast_windows import SampledSource, known_after, starts_along
from stlight_jax.forecasting.read_options import Reading, open_input
from stlight_jax.model.rollout import check_horizon
from stlight_jax.model.stlight import STLightConfig


class Plan(NamedTuple):
    """Forecasts to make.

    Attributes:
      views: of each sequence.
      starts: for each view the places, in it, of the first predicted frames.
      horizon: frames to predict each time.
      rolling: whether there are forecasts all along the sequences.
      every: frames from one of these to the next.
      left_out: how many of these a gap in time forbids.
      truths: for each view the true frames, if they do not lie in the view itself, else None.
      truths_told: where these were found, for people.
      read_from: the files that all these frames lie in.
    """

    views: list[SampledSource]
    starts: list[list[int]]
    horizon: int
    rolling: bool
    every: int
    left_out: int
    truths: list[np.ndarray | None]
    truths_told: list[str]
    read_from: list[pathlib.Path]

    @property
    def without_forecasts(self) -> list[str]:
        """Names of sequences in which no forecast is possible."""
        return [view.sequence.name for view, starts in zip(self.views, self.starts, strict=True) if not starts]

    @property
    def joined(self) -> bool:
        """Whether forecasts all along a sequence join to one sequence."""
        return self.rolling and self.every == self.horizon

    def knows_truth(self, view: int) -> bool:
        """Whether anything of what is predicted of a view is known."""
        if self.truths[view] is not None:
            return len(self.truths[view]) > 0
        return any(known_after(self.views[view], start, self.horizon) for start in self.starts[view])

    def frames_written(self, view: int, start: int) -> int:
        """Of the forecast there: a joined sequence ends where its input does."""
        return min(self.horizon, self.views[view].frames - start) if self.joined else self.horizon

    def places_written(self, view: int) -> np.ndarray:
        """Of the frames of all forecasts, in the view; those that go on where it ends have further places."""
        counts = [self.frames_written(view, start) for start in self.starts[view]]
        parts = [start + np.arange(count) for start, count in zip(self.starts[view], counts, strict=True)]
        return np.concatenate(parts or [np.zeros(0, np.int64)])

    def stamps(self, view: int) -> TimeAxis | None:
        """The moments of the written frames of a view, or of the starts of forecasts that do not join."""
        stamps, starts = self.views[view].stamps, self.starts[view]
        if stamps is None or not starts:
            return None
        if self.rolling:
            return continue_times(stamps, self.places_written(view) if self.joined else np.array(starts), 0, 0)
        (start,) = starts
        known = known_after(self.views[view], start, self.horizon)
        return continue_times(stamps, start + np.arange(known), start + known - 1, self.horizon - known)


def make_plan(
    sequences: Sequence[FrameSource],
    reading: Reading,
    model: STLightConfig,
    *,
    horizon: int | None,
    start: int | None,
    rolling: bool,
    every: int | None,
    truth: str | None,
) -> Plan:
    """Args: as the command's flags of these names.

    Raises InputError: too few frames, frames that are not one step apart, a truth that does not fit, impossible numbers.
    """
    horizon = model.out_frames if horizon is None else horizon
    if horizon < 1:
        raise InputError(f"--horizon={horizon}: give at least 1")
    check_horizon("--horizon", horizon, model)
    if every is not None and (not rolling or every < 1):
        raise InputError(f"--every={every}: " + ("give at least 1" if rolling else "it goes with --rolling"))
    if truth and (rolling or start is not None):
        raise InputError(
            "--truth goes with a forecast from the end of INPUT on; --start and --rolling take the truth from INPUT"
        )
    every = every or horizon
    views, starts, left_out = [], [], 0
    for sequence in sequences:
        _check_channels(sequence, model)
        view, first = _view(sequence, reading, model.in_frames, start, rolling)
        if rolling:
            own, torn = starts_along(view, first, every, model.in_frames, horizon)
            left_out += torn
        else:
            own = [first]
            _check_gap(view, first, model.in_frames)
        views.append(view)
        starts.append(own)
    height, width, _ = views[0].shape
    needed = 4.0 * horizon * height * width * model.out_channels
    if needed > memory_available() / 2:
        raise InputError(
            f"--horizon={horizon}: a forecast of so many frames would take {needed / 1e9:,.1f} GB of memory, and "
            f"{memory_available() / 1e9:,.1f} GB are there; predict fewer"
        )
    if not any(starts):
        raise InputError(
            f"{sequences[0].name}: nowhere are {model.in_frames} frames, and those to predict, without a gap in time; ignore "
            "times with --time=none"
        )
    true = open_input(pathlib.Path(truth).expanduser(), reading) if truth else []
    truths: list[np.ndarray | None] = [None] * len(views)
    told: list[str] = []
    if truth:
        truths, told = _truths(views, starts, reading, horizon, true, f"--truth={truth}")
    read_from = [pathlib.Path(path) for path in dict.fromkeys(sequence.info.path for sequence in (*sequences, *true))]
    return Plan(views, starts, horizon, rolling, every, left_out, truths, told, read_from)


def _check_channels(sequence: FrameSource, model: STLightConfig) -> None:
    channels = sequence.shape[-1]
    if channels != model.in_channels:
        raise InputError(
            f"{sequence.name} has frames of shape {list(sequence.shape)}, {channels} channel{'s' * (channels > 1)}; the "
            f"model sees {model.in_channels}; choose another model or --variable, or say with --layout which axis is which"
        )


def _view(
    sequence: FrameSource, reading: Reading, in_frames: int, start: int | None, rolling: bool
) -> tuple[SampledSource, int]:
    """The view in which the first frame to predict has a place, and that place."""
    count, step = sequence.frames, reading.frame_step
    place = in_frames * step if rolling else count - 1 + step
    if start is not None:
        place = count + start if start < 0 else start
    view = SampledSource(sequence, step, place % step, reading.size)
    first, least = place // step, in_frames * step
    if first < in_frames or (rolling and first >= view.frames):
        apart = f", {step} apart" if step > 1 else ""
        if start is None:
            at_least = f"{least + 1} with --rolling" if rolling else str(least - step + 1)
            raise InputError(
                f"{sequence.name} has {count} frame{'s' * (count != 1)}; the model sees {in_frames}{apart}, so at least "
                f"{at_least} are needed"
            )
        raise InputError(
            f"--start={start}: {sequence.name} has {count} frames, and {in_frames}{apart} must come before; give {least} to "
            f"{count - 1 if rolling else count}"
        )
    if first > view.frames:
        raise InputError(f"--start={start}: {sequence.name} has {count} frames; give {least} to {count}")
    return view, first


def _check_gap(view: SampledSource, start: int, in_frames: int) -> None:
    gap = view.gap(start - in_frames, start)
    if gap is not None:
        stamps = view.stamps
        moment = f" ({stamps.stored[gap]})" if stamps is not None else ""
        raise InputError(
            f"{view.sequence.name}: the {in_frames} frames to predict from are not one step apart in time, there is a jump "
            f"before frame {view.place(gap)}{moment}; choose another --start, or ignore times with --time=none"
        )


def _truths(
    views: list[SampledSource],
    starts: list[list[int]],
    reading: Reading,
    horizon: int,
    sequences: Sequence[FrameSource],
    said: str,
) -> tuple[list[np.ndarray | None], list[str]]:
    """The true frames in files of their own: by their dates, if both have dates, else from the first frame on.

    Returns them, and a line for each that says which ones they are.

    Args:
      said: what the user has named them by.
    """
    if len(sequences) != len(views):
        raise InputError(f"{said} holds {len(sequences)} sequence(s), the input {len(views)}; there must be one for each")
    results: list[np.ndarray | None] = []
    told = []
    for view, (start,), sequence in zip(views, starts, sequences, strict=True):
        found = _first_true(view, start, sequence, said)
        place = found or 0
        how = "from its first one on, for not both have dates" if found is None else "by their dates"
        own = SampledSource(sequence, reading.frame_step, place % reading.frame_step, reading.size)
        if own.shape != view.shape:
            raise InputError(f"{said}: {sequence.name} has frames of shape {list(own.shape)}, the input {list(view.shape)}")
        first = place // reading.frame_step
        end = first + known_after(own, first, horizon, since=first)
        parts, place = [], first
        for block in own.blocks(first):
            parts.append(block[: end - place])
            place += len(parts[-1])
            if place >= end:
                break
        results.append(np.concatenate(parts))
        told.append(f"true frames: {len(results[-1]):,} of {sequence.name} from frame {own.place(first)} on ({how})")
    return results, told


def _first_true(view: SampledSource, start: int, truth: FrameSource, said: str) -> int | None:
    """The place, in all of the true frames, of the first one predicted; None where no dates tell."""
    ours, theirs = view.sequence.times, truth.times
    if ours is None or theirs is None or not (ours.dated and theirs.dated):
        return None
    further = continue_times(view.stamps, np.zeros(0, int), start - 1, 1)
    if further is None:
        return None
    our_step, their_step = (sampling_step([stamps.values]) for stamps in (ours, theirs))
    if our_step and their_step and not 0.5 <= their_step / our_step <= 1.5:
        raise InputError(
            f"{said}: {truth.name} has a frame every {format_duration(their_step)}, the input every "
            f"{format_duration(our_step)}; give true frames at the input's sampling step"
        )
    nearest = int(np.abs(theirs.values - further.values[0]).argmin())
    if abs(theirs.values[nearest] - further.values[0]) > (their_step or our_step or 0) / 2:
        wanted = np.datetime64(int(further.values[0]), "us").astype("M8[s]")
        raise InputError(f"{said}: {truth.name} has no frame of {wanted}, the first one predicted")
    return nearest
