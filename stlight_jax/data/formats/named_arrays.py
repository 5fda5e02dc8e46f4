"""Files of several arrays under names: the choice of frames and times, and the arrays that are written beside frames."""

import re
from typing import Any

import numpy as np
from etils import epath

from stlight_jax.data.continued_times import to_datetime64
from stlight_jax.data.formats.array_slicing import ArraySlicer, StoredArray
from stlight_jax.data.formats.output_spec import OutputSpec, free_name
from stlight_jax.data.formats.read_errors import read_errors
from stlight_jax.data.formats.types import FrameSource, ReadOptions
from stlight_jax.data.times import TimeAxis, counts_since, parse_times
from stlight_jax.errors import InputError

_MAX_LISTED = 12
_TIME_NAMES = re.compile(r"((valid|date)_?)?times?|dates?|time_?stamps?|t|(days|hours|minutes|seconds|milliseconds)(_.*)?")
_SPACE_NAMES = re.compile(r"x|y|z|lats?|lons?|latitudes?|longitudes?|rows?|columns?|cols?|height|width|levels?|channels?")


def is_time_name(key: str) -> bool:
    """Returns whether an array's name, without those of its groups, is one that time coordinates usually have."""
    return _TIME_NAMES.fullmatch(_base_name(key)) is not None


def describe_arrays(arrays: list[StoredArray]) -> str:
    """Returns names, element types and shapes for messages."""
    shown = ", ".join(map(str, arrays[:_MAX_LISTED])) or "nothing"
    return f"{shown} and {len(arrays) - _MAX_LISTED} more" if len(arrays) > _MAX_LISTED else shown


def find_array(path: epath.PathLike, arrays: list[StoredArray], key: str, option: str) -> StoredArray:
    """Returns the array that the user names.

    Args:
      path: the file, for messages.
      arrays: all arrays of the file.
      key: the array's name.
      option: the key of the config that names it.

    Raises:
      InputError: the file has no such array.
    """
    for array in arrays:
        if array.key == key.lstrip("/"):
            return array
    raise InputError(f"{path}: data.{option} is {key!r}, which it does not hold; it holds {describe_arrays(arrays)}")


def open_arrays(
    path: epath.Path, format_name: str, name: str, arrays: list[StoredArray], options: ReadOptions
) -> list[FrameSource]:
    """Returns the sequences in the arrays of a file.

    Args:
      path: the file.
      format_name: name of its format.
      name: its name relative to the root.
      arrays: all its arrays.
      options: the user's options.

    Raises:
      InputError: no array can hold frames, several have different frames, or an element type, shape, mask or time axis is
        wrong.
    """
    if options.variable:
        chosen = [find_array(path, arrays, options.variable, "variable")]
    else:
        chosen = [array for array in arrays if array.is_numeric and len(array.shape) >= 3 and array.key != options.mask]
    if not chosen:
        raise InputError(f"{path} holds no array of at least 3 axes that could be frames; it holds {describe_arrays(arrays)}")
    mask = find_array(path, arrays, options.mask, "mask") if options.mask else None
    slicers = [ArraySlicer(path, format_name, name, array, options, mask) for array in chosen]
    if len({(slicer.array.dtype, slicer.frame_shape, "n" in slicer.axes) for slicer in slicers}) > 1:
        raise InputError(
            f"{path} holds arrays of different frames; choose one with --config.data.variable: {describe_arrays(chosen)}"
        )
    times = _FileTimes(path, arrays, options, {slicer.sizes["t"] for slicer in slicers})
    return [sequence for slicer in slicers for sequence in slicer.sequences(times.of_array(slicer))]


class _FileTimes:
    """The time coordinates of a file. Arrays that share a coordinate share its time axis."""

    def __init__(self, path: epath.Path, arrays: list[StoredArray], options: ReadOptions, lengths: set[int]):
        self._path, self._arrays, self._options, self._lengths = path, arrays, options, lengths
        self._parsed: dict[str, TimeAxis] = {}

    def of_array(self, slicer: ArraySlicer) -> TimeAxis | None:
        """Returns the times of an array's frames, or None.

        Raises:
          InputError: the number of times differs from that of frames, or several coordinates fit.
        """
        coordinate = self._find(slicer.sizes["t"])
        if coordinate is None:
            return None
        if coordinate.shape != (slicer.sizes["t"],):
            raise InputError(
                f"{slicer.label} has {slicer.sizes['t']} frames, its times {coordinate.key!r} have shape "
                f"{list(coordinate.shape)}; expected one for each frame, or ignore them with --config.data.time=none"
            )
        if coordinate.key not in self._parsed:
            with read_errors(self._path), coordinate.opened() as values:
                self._parsed[coordinate.key] = parse_times(values[:], coordinate.key, str(self._path))
        return self._parsed[coordinate.key]

    def _find(self, frames: int) -> StoredArray | None:
        """Returns the coordinate that the user names, or the only one that fits `frames` frames."""
        if self._options.time == "none":
            return None
        if self._options.time:
            return find_array(self._path, self._arrays, self._options.time, "time")
        flat = [array for array in self._arrays if len(array.shape) == 1 and array.dtype.kind in "iufMSUO"]
        flat = [array for array in flat if not _SPACE_NAMES.fullmatch(_base_name(array.key))]
        fitting = [array for array in flat if array.shape[0] == frames]
        named = [array for array in fitting if is_time_name(array.key)]
        if len(named) == 1 or len(fitting) == 1:
            return (named or fitting)[0]
        if fitting:
            raise InputError(
                f"{self._path}: name its times with --config.data.time=NAME (or none); it holds {describe_arrays(fitting)}"
            )
        # Times that fit no array of the file at all are a mistake, not a choice.
        unused = [array for array in flat if is_time_name(array.key) and array.shape[0] not in {1, *self._lengths}]
        return unused[0] if unused else None


def extra_arrays(spec: OutputSpec) -> dict[str, tuple[np.ndarray, dict[str, Any]]]:
    """Returns the arrays that are written beside the frames: their times, and where windows start.

    Times are written as in the source. A name that the frames have already gets an underscore.

    Returns:
      {name: (values, attributes)}.
    """
    arrays: dict[str, tuple[np.ndarray, dict[str, Any]]] = {}
    if spec.window_starts is not None:
        arrays[free_name("start", [spec.key])] = np.asarray(spec.window_starts, np.int64), {}
    if spec.times is not None:
        key, stored, attributes = spec.times.key or "time", spec.times.stored, spec.times.attributes
        if counts_since(attributes) and spec.times.dated:
            stored = to_datetime64(spec.times)  # numbers would mean nothing without their units
        stored = stored.astype(str) if stored.dtype.kind == "O" else stored
        kept = {name: attributes[name] for name in ("units", "calendar") if name in attributes}
        name = free_name(key if spec.window_starts is None else f"start_{key}", [spec.key, *arrays])
        arrays[name] = stored, kept if stored.dtype.kind in "iuf" else {}
    return arrays


def _base_name(key: str) -> str:
    return key.rsplit("/", 1)[-1].lower()
