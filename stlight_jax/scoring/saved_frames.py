"""Saved predictions and true frames of any program, read a sequence at a time."""

import dataclasses
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from etils import epath

from stlight_jax.console.messages import print_message
from stlight_jax.data.formats import registry
from stlight_jax.data.formats.array_layouts import FORECASTS
from stlight_jax.data.formats.input_files import open_sequences
from stlight_jax.data.formats.npy import memory_map
from stlight_jax.data.formats.types import FrameSource, ReadOptions
from stlight_jax.data.reading_flags import errors_name_flags
from stlight_jax.data.scaling import Scaling
from stlight_jax.data.statistics import with_nan
from stlight_jax.data.times import TimeAxis, time_text
from stlight_jax.errors import InputError
from stlight_jax.scoring.matched_times import Match, frame_times, match_times
from stlight_jax.storage import paths
from stlight_jax.storage.copies import local_file

# Without "n", each item of one more axis is a sequence.
LAYOUTS = ("auto", "tchw", "thwc", "thw", "ntchw", "nthwc", "nthw")
_LAYOUTS_WITH_ITEMS = {"auto": FORECASTS, "tchw": "ntchw", "thwc": "nthwc", "thw": "nthw"}
_PREDICTED_RANGE, _TRUE_RANGE = (-100.0, 100.0), (-0.001, 1.001)  # predictions may overshoot


@dataclasses.dataclass(frozen=True)
class Reading:
    """How saved frames are read.

    Attributes:
      variable: name of the array in files of named arrays; "" for the only one that can hold frames.
      true_variable: that in the file of true frames; "" for `variable`.
      fill_value: the number that marks missing values, besides NaN.
      mask: name of an array that is not 0 where values are missing, in the file of true frames or of predictions.
      value_range: the values that become 0 and 1; None for floats in [0, 1] and uint8.
      time: name of the time coordinate in files of named arrays; "" finds it, "none" compares frames in their order.
    """

    variable: str = ""
    true_variable: str = ""
    fill_value: float | None = None
    mask: str = ""
    value_range: tuple[float, float] | None = None
    time: str = ""


class SavedFrames(NamedTuple):
    """Saved frames.

    Attributes:
      path: the file as the user names it.
      sources: the sequences.
      scaling: from stored values to [0, 1].
      limits: smallest and largest scaled value that is taken for one in [0, 1].
      matches: the sequences and frames to score; empty for all, in their order.
    """

    path: epath.PathLike
    sources: Sequence[FrameSource]
    scaling: Scaling
    limits: tuple[float, float]
    matches: Sequence[Match] = ()

    @property
    def shape(self) -> tuple[int, int, int, int, int]:
        """(sequences, frames, height, width, channels)."""
        first = self.sources[0]
        if self.matches:
            return (len(self.matches), len(self.matches[0].frames), *first.shape)
        return (len(self.sources), first.frames, *first.shape)

    def read(self, index: int) -> np.ndarray:
        """Reads a sequence, float32 `[t, h, w, c]` in [0, 1], NaN where values are missing.

        Raises:
          InputError: values are outside the range.
        """
        if not self.matches:
            source = self.sources[index]
            return self._checked(np.concatenate([self._scaled(source, block) for block in source.blocks()]))
        sequence, wanted = self.matches[index]
        source, frames = self.sources[sequence], np.full(self.shape[1:], np.nan, np.float32)
        first, last = int(wanted[wanted >= 0].min()), int(wanted.max())
        for block in source.blocks(first):
            here = np.flatnonzero((wanted >= first) & (wanted < first + len(block)))
            frames[here] = self._scaled(source, block[wanted[here] - first])
            first += len(block)
            if first > last:
                break
        return self._checked(frames)

    def has_frames(self, indices: np.ndarray) -> np.ndarray:
        """Returns which frames of sequences the file has, bool `[n, t]`."""
        if not self.matches:
            return np.ones((len(indices), self.shape[1]), bool)
        return np.stack([self.matches[index].frames >= 0 for index in indices.tolist()])

    def _scaled(self, source: FrameSource, block: np.ndarray) -> np.ndarray:
        return self.scaling.to_network_on_host(with_nan(block, source.fill))

    def _checked(self, frames: np.ndarray) -> np.ndarray:
        if np.isnan(frames).all():
            return frames
        lowest, highest = float(np.nanmin(frames)), float(np.nanmax(frames))
        if lowest < self.limits[0] or highest > self.limits[1]:
            raise InputError(
                f"{self.path} holds values from {lowest:g} to {highest:g}; expected floats in [0, 1] or uint8; give the range "
                f"of other values with --value_range=LOW,HIGH, such as {lowest:.3g},{highest:.3g}"
            )
        return frames


def open_saved(
    prediction: epath.PathLike, truth: epath.PathLike, layout: str, reading: Reading
) -> tuple[SavedFrames, SavedFrames]:
    """Opens predictions and true frames.

    Args:
      prediction: the file of predictions.
      truth: the file of true frames.
      layout: one of `LAYOUTS`.
      reading: how the files are read.

    Raises:
      InputError: a file is missing, damaged, of another shape or type, or an option does not fit.
    """
    if layout not in LAYOUTS:
        raise InputError(f"--layout={layout}: choose one of {', '.join(LAYOUTS)}")
    for flag, name in (("variable", reading.variable), ("true_variable", reading.true_variable)):
        if name and not any(_has_named_arrays(path) for path in (prediction, truth)):
            raise InputError(f"--{flag} is {name!r}, but {prediction} and {truth} have no named arrays; leave it out")
    if reading.value_range is not None and not -np.inf < reading.value_range[0] < reading.value_range[1] < np.inf:
        low, high = reading.value_range
        raise InputError(f"--value_range={low:g},{high:g}: expected two numbers, the first one less than the second")
    options = ReadOptions(time="none", layout=_LAYOUTS_WITH_ITEMS.get(layout, layout), fill_value=reading.fill_value)
    true_options = dataclasses.replace(options, variable=reading.true_variable or reading.variable, mask=reading.mask)
    options = dataclasses.replace(options, variable=reading.variable)
    with errors_name_flags():
        try:
            true = _open(truth, true_options)
        except InputError as error:
            if error.key != "mask":
                raise
            true_options, options = dataclasses.replace(true_options, mask=""), dataclasses.replace(options, mask=reading.mask)
            true = _open(truth, true_options)
        predicted = _open(prediction, options)
        saved = (
            SavedFrames(prediction, predicted, _scaling(prediction, predicted[0], reading), _limits(_PREDICTED_RANGE, reading)),
            SavedFrames(truth, true, _scaling(truth, true[0], reading), _limits(_TRUE_RANGE, reading)),
        )
        matched = None if reading.time == "none" else _by_times(*saved, options, true_options, reading.time)
    if matched is not None:
        return matched
    _check_alike(predicted)
    _check_alike(true)
    if saved[0].shape != saved[1].shape:
        ours, theirs = map(_shape_as_stored, saved)
        expected = f"[{', '.join(true[0].info.axes)}], as" if len(ours) != len(theirs) else "that of"
        raise InputError(f"{prediction} has shape {ours}; expected {expected} {truth}, {theirs}; {_remedy(*saved)}")
    return saved


def _remedy(predicted: SavedFrames, true: SavedFrames) -> str:
    """Returns what to do about predictions and truth of different shapes."""
    (sequences, frames, *size), (true_sequences, true_frames, *true_size) = predicted.shape, true.shape
    if size != true_size:
        return "bring both to one frame size, or name the axes with --layout"
    if sequences != true_sequences:
        return "give the true frames of the predicted sequences only, in their order"
    if frames > true_frames:
        return "give all true frames of the predicted times, or fewer predictions"
    return (
        "give the true frames of the predicted times only, such as true[10:20] for ten frames predicted from ten; where the "
        "input file continues, predict itself prints the errors"
    )


def _by_times(
    predicted: SavedFrames, true: SavedFrames, options: ReadOptions, true_options: ReadOptions, time: str
) -> tuple[SavedFrames, SavedFrames] | None:
    """Pairs predicted and true frames by their times.

    Args:
      predicted: the predictions, in their order.
      true: the true frames.
      options: how the predictions are read.
      true_options: how the true frames are read.
      time: as in `Reading`.

    Returns:
      Predictions and truth; None if not both have times that can be compared.

    Raises:
      InputError: no true frame has the time of a predicted one, or frames differ in their size.
    """
    try:
        sources = _with_times(predicted, dataclasses.replace(options, time=time))
        # Files that follow each other in time are one sequence of true frames.
        true_sources = _open(true.path, dataclasses.replace(true_options, time=time))
        times, true_times = frame_times(sources), frame_times(true_sources)
    except InputError as error:
        if time:
            raise
        print_message(f"frames are compared in their order, not by their times: {error}")
        return None
    if len(sources) != len(predicted.sources) or times is None or true_times is None:
        return None
    of_one_array = len({(source.info.path, source.info.key) for source in true_sources}) == 1
    matches = match_times(times, true_times, of_one_array)
    if matches is None:
        print_message("frames are compared in their order: the times of predictions and truth cannot be compared")
        return None
    _check_alike(sources)
    if {source.shape for source in true_sources} != {sources[0].shape}:
        shapes = [list(source[0].shape) for source in (sources, true_sources)]
        raise InputError(f"{predicted.path} has frames of shape {shapes[0]}, {true.path} {shapes[1]}; they must be equal")
    places = [np.flatnonzero(match.frames >= 0) for match in matches]
    found, total = sum(map(len, places)), sum(source.frames for source in sources)
    if not found:
        ours, theirs = map(_range_of_times, (times, true_times))
        raise InputError(
            f"{predicted.path} has frames of {ours}, {true.path} of {theirs}, and none of one time; expected the true frames "
            "of the predicted times; give them, or compare frames in their order with --time=none"
        )
    others = "" if found == total else "; the others count nowhere"
    print_message(f"{found:,} of {total:,} predicted frames have a true frame of their time{others}")
    frames = 1 + max(int(own[-1]) for own in places if len(own))
    chosen = [number for number, own in enumerate(places) if len(own)]
    return (
        predicted._replace(sources=sources, matches=[Match(number, np.arange(frames)) for number in chosen]),
        true._replace(
            sources=true_sources,
            matches=[Match(matches[number].sequence, matches[number].frames[:frames]) for number in chosen],
        ),
    )


def _with_times(saved: SavedFrames, options: ReadOptions) -> list[FrameSource]:
    """Opens the same sequences with their times: forecasts that follow each other in time stay apart."""
    sources = _open(saved.path, options)
    if len(sources) == len(saved.sources):
        return sources
    files = dict.fromkeys(source.info.path for source in saved.sources)
    return [source for file in files for source in _open(file, options)]


def _range_of_times(axes: Sequence[TimeAxis]) -> str:
    places = [(axis, int(find(axis.values))) for axis in axes for find in (np.argmin, np.argmax)]
    ends = [(axis.values[index], time_text(axis, index)) for axis, index in places]
    return f"{min(ends)[1]} to {max(ends)[1]}"


def _open(path: epath.PathLike, options: ReadOptions) -> list[FrameSource]:
    """Opens the sequences of one array."""
    file_format = registry.input_format(str(path))
    if file_format is not None and file_format.name == "npy":
        array = memory_map(path, "expected a whole .npy file with one array")
        if 0 in array.shape or not 3 <= array.ndim <= 5:
            raise InputError(f"{path} has shape {list(array.shape)}; expected [n, t, c, h, w], [n, t, h, w, c] or [n, t, h, w]")
    local = local_file(path) if paths.is_remote(path) else epath.Path(path)
    if not local.exists():
        raise InputError(f"{path}: there is no such file")
    if file_format is not None and not _has_named_arrays(path):
        options = dataclasses.replace(options, variable="", time=options.time if options.time == "none" else "")
    try:
        sources = open_sequences(local, options)
    except InputError as error:
        one = {long: short for short, long in _LAYOUTS_WITH_ITEMS.items()}.get(options.layout)
        if one is None or error.key != "layout":
            raise
        sources = open_sequences(local, dataclasses.replace(options, layout=one))
    keys = dict.fromkeys(source.info.key for source in sources)
    if len(keys) > 1:
        raise InputError(f"{path} holds several arrays; choose one with --variable: {', '.join(keys)}")
    return sources


def _has_named_arrays(path: epath.PathLike) -> bool:
    """Returns whether a file, or a folder of files, may have named arrays."""
    file_format = registry.input_format(str(path))
    return file_format is None or file_format.has_named_arrays


def _check_alike(sources: Sequence[FrameSource]) -> None:
    first = sources[0]
    for source in sources:
        if (source.frames, source.shape, source.info.dtype) != (first.frames, first.shape, first.info.dtype):
            raise InputError(f"{_described(source)}, {_described(first)}; expected sequences of one length, size and type")


def _described(source: FrameSource) -> str:
    return f"{source.name} holds {source.frames} frames of shape {list(source.shape)} and type {source.info.dtype}"


def _scaling(path: epath.PathLike, source: FrameSource, reading: Reading) -> Scaling:
    dtype = source.info.dtype
    if reading.value_range is not None:
        low, high = reading.value_range
        return Scaling("float32", (low,), (high,))
    if dtype == np.uint8:
        return Scaling()
    if dtype.kind not in "fb":
        raise InputError(
            f"{path} holds {dtype}; expected floats in [0, 1] or uint8; give the range of other values with "
            "--value_range=LOW,HIGH"
        )
    return Scaling("float32", (0.0,), (1.0,))


def _limits(limits: tuple[float, float], reading: Reading) -> tuple[float, float]:
    return limits if reading.value_range is None else (-np.inf, np.inf)


def _shape_as_stored(saved: SavedFrames) -> list[int]:
    info = saved.sources[0].info
    sizes = dict(zip("nthwc", saved.shape, strict=True))
    return [sizes[letter] for letter in info.axes if letter in sizes]
