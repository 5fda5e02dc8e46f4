"""True frames of a prediction from files of their own."""

from collections.abc import Sequence

import numpy as np

from stlight_jax.data.continued_times import continue_times
from stlight_jax.data.formats.types import FrameSource
from stlight_jax.data.suspicion import ValueSurvey
from stlight_jax.data.ticks import format_duration, sampling_step
from stlight_jax.errors import InputError
from stlight_jax.forecasting.forecast_windows import SampledSource, known_after
from stlight_jax.forecasting.request import InputReader


def read_true_frames(
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

    Raises:
      InputError: The sequences do not match the sources in number, shape or time.
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
