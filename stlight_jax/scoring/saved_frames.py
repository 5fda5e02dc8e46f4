"""Saved predictions and true frames of any program, read a sequence at a time."""

import dataclasses
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from etils import epath

from stlight_jax.data.formats import registry
from stlight_jax.data.formats.array_slicing import FORECASTS
from stlight_jax.data.formats.input_files import open_sequences
from stlight_jax.data.formats.npy import memory_map
from stlight_jax.data.formats.types import FrameSource, ReadOptions
from stlight_jax.data.reading_flags import errors_name_flags
from stlight_jax.data.scaling import Scaling
from stlight_jax.data.statistics import with_nan
from stlight_jax.errors import InputError
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
    """

    variable: str = ""
    true_variable: str = ""
    fill_value: float | None = None
    mask: str = ""
    value_range: tuple[float, float] | None = None


class SavedFrames(NamedTuple):
    """Saved frames.

    Attributes:
      path: the file as the user names it.
      sources: the sequences.
      scaling: from stored values to [0, 1].
      limits: smallest and largest scaled value that is taken for one in [0, 1].
    """

    path: epath.PathLike
    sources: Sequence[FrameSource]
    scaling: Scaling
    limits: tuple[float, float]

    @property
    def shape(self) -> tuple[int, int, int, int, int]:
        """(sequences, frames, height, width, channels)."""
        first = self.sources[0]
        return (len(self.sources), first.frames, *first.shape)

    def read(self, index: int) -> np.ndarray:
        """Reads a sequence, float32 `[t, h, w, c]` in [0, 1], NaN where values are missing.

        Raises:
          InputError: values are outside the range.
        """
        source = self.sources[index]
        blocks = [self.scaling.to_network_on_host(block) for block in self._blocks(source)]
        frames = np.concatenate(blocks)
        if np.isnan(frames).all():
            return frames
        lowest, highest = float(np.nanmin(frames)), float(np.nanmax(frames))
        if lowest < self.limits[0] or highest > self.limits[1]:
            raise InputError(
                f"{self.path} holds values from {lowest:g} to {highest:g}; expected floats in [0, 1] or uint8; give the range "
                "of other values with --value_range=LOW,HIGH"
            )
        return frames

    @staticmethod
    def _blocks(source: FrameSource) -> list[np.ndarray]:
        return [with_nan(block, source.fill) for block in source.blocks()]


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
            if "data.mask is " not in str(error):
                raise
            true, options = (
                _open(truth, dataclasses.replace(true_options, mask="")),
                dataclasses.replace(options, mask=reading.mask),
            )
        predicted = _open(prediction, options)
    saved = (
        SavedFrames(prediction, predicted, _scaling(prediction, predicted[0], reading), _limits(_PREDICTED_RANGE, reading)),
        SavedFrames(truth, true, _scaling(truth, true[0], reading), _limits(_TRUE_RANGE, reading)),
    )
    if saved[0].shape != saved[1].shape:
        ours, theirs = map(_shape_as_stored, saved)
        if len(ours) != len(theirs):
            axes = ", ".join(true[0].info.axes)
            raise InputError(f"{prediction} has shape {ours}; expected [{axes}], as {truth} with shape {theirs}")
        raise InputError(f"{prediction} has shape {ours}, {truth} {theirs}; they must be equal")
    return saved


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
    if file_format is not None and not file_format.has_named_arrays:
        options = dataclasses.replace(options, variable="")
    try:
        sources = open_sequences(local, options)
    except InputError as error:
        one = {long: short for short, long in _LAYOUTS_WITH_ITEMS.items()}.get(options.layout)
        if one is None or "asks for " not in str(error):
            raise
        sources = open_sequences(local, dataclasses.replace(options, layout=one))
    keys = dict.fromkeys(source.info.key for source in sources)
    if len(keys) > 1:
        raise InputError(f"{path} holds several arrays; choose one with --variable: {', '.join(keys)}")
    first = sources[0]
    for source in sources:
        if (source.frames, source.shape, source.info.dtype) != (first.frames, first.shape, first.info.dtype):
            raise InputError(f"{_described(source)}, {_described(first)}; expected sequences of one length, size and type")
    return sources


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
