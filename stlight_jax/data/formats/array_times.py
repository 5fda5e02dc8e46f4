"""The times of the arrays of a file: which coordinate or attribute has them, and its values."""

import contextlib
import dataclasses
import functools
from typing import Any

import numpy as np

from stlight_jax.data.formats.array_slicing import ArraySlicer
from stlight_jax.data.formats.cf_attributes import PACKING, read_rules
from stlight_jax.data.formats.coordinate_names import is_space_name, is_time_name
from stlight_jax.data.formats.read_errors import read_errors
from stlight_jax.data.formats.stored_arrays import ArrayFile, StoredArray, describe_arrays
from stlight_jax.data.formats.types import ReadOptions
from stlight_jax.data.times import TimeAxis, counts_since, decode_times, is_absolute, parse_times
from stlight_jax.errors import InputError


class FileTimes:
    """The time coordinates of a file. Arrays that share a coordinate share its time axis.

    Args:
      file: the file.
      options: the user's options.
      lengths: numbers of frames of the arrays of frames.
    """

    def __init__(self, file: ArrayFile, options: ReadOptions, lengths: set[int]):
        self._file, self._options, self._lengths = file, options, lengths
        self._parsed: dict[StoredArray, TimeAxis] = {}

    def of_array(self, slicer: ArraySlicer, dim: str) -> TimeAxis | None:
        """Returns the times of an array's frames, or None.

        Args:
          slicer: the array.
          dim: its dimension of frames; "" if that has no name.

        Raises:
          InputError: the number of times differs from that of frames, or several coordinates fit.
        """
        coordinate = self._find(slicer, dim)
        if coordinate is None:
            return None
        if coordinate.shape not in ([(slicer.sizes["t"],)] if "t" in slicer.axes else [(), (1,)]):
            raise InputError(
                f"{slicer.label} has {slicer.sizes['t']} frames, its times {coordinate.key!r} have shape "
                f"{list(coordinate.shape)}; expected one for each frame, or ignore them with --config.data.time=none"
            )
        if coordinate not in self._parsed:
            self._parsed[coordinate] = self._read(coordinate)
        return self._parsed[coordinate]

    def _read(self, coordinate: StoredArray) -> TimeAxis:
        """Reads a time coordinate, of which no value is missing."""
        label, attributes = f"{self._file.path}#{coordinate.key}", dict(coordinate.attributes)
        with read_errors(self._file.path), coordinate.opened() as stored:
            values = np.asarray(stored[:] if coordinate.shape else stored[()]).reshape(-1)
        if values.dtype.kind in "iuf":
            implied = coordinate.implied_fill
            rules = read_rules(label, attributes, values.dtype, implied[0] if implied else None)
            decoded, missing = rules.decode(values)
            if missing is not None and missing.any():
                raise InputError(
                    f"{label}: time stamp {np.argmax(missing)} is missing (stored as {values[missing][0]:g}); expected a time "
                    "for each frame, or ignore times with --config.data.time=none"
                )
            if rules.is_packed:
                values, attributes = decoded, {key: value for key, value in attributes.items() if key not in PACKING}
        times = decode_times(values, coordinate.key, attributes, str(self._file.path))
        is_of_frame = times.name == coordinate.key and len(values) == 1  # frames of several groups are comparable
        return dataclasses.replace(times, name=coordinate.key.rpartition("/")[2]) if is_of_frame else times

    def _find(self, slicer: ArraySlicer, dim: str) -> StoredArray | None:
        """Returns the coordinate that the user names, that of the dimension, or the only one that fits the frames."""
        if self._options.time == "none":
            return None
        if self._options.time:
            return self._file.find(self._options.time, "time")
        if dim:
            along = [array for array in self._file.along(dim) if array.dtype.kind in "iufMSUO"]
            written = [array for array in along if is_time_name(array.key) and array.dtype.kind in "SUO"]
            namesake = [array for array in along if array.key == dim]
            return next(iter(namesake or [array for array in along if is_dated(array)] or written), None)
        if "t" not in slicer.axes:
            return self._of_frame(slicer.array)
        return self._fitting(slicer.sizes["t"])

    @functools.cached_property
    def _single(self) -> dict[str, StoredArray]:
        """The coordinates of one time by their groups."""
        arrays = [array for array in self._file.arrays if array.shape in ((), (1,)) and array.dtype.kind in "iufMSUO"]
        return {_group_of(array.key): array for array in reversed(arrays) if is_time_name(array.key) or is_dated(array)}

    def _of_frame(self, frame: StoredArray) -> StoredArray | None:
        """Returns the time of one frame: an array of one value in its group or the nearest above, or an attribute."""
        group = _group_of(frame.key)
        parents = [group, *_groups_above(group)]
        if near := next((self._single[parent] for parent in parents if parent in self._single), None):
            return near
        for attributes in (frame.attributes, self._file.groups.get(group, {}) if group else {}):
            for name, value in attributes.items():
                if is_time_name(name) and _is_moment(value):
                    values = np.reshape(np.asarray(value), 1)
                    return StoredArray(name, (1,), values.dtype, functools.partial(contextlib.nullcontext, values))
        return None

    def _fitting(self, frames: int) -> StoredArray | None:
        """Returns the only coordinate without a dimension that fits `frames` frames."""
        flat = [array for array in self._file.arrays if len(array.shape) == 1 and array.dtype.kind in "iufMSUO"]
        flat = [array for array in flat if not any(array.dims) and not array.alias_of]
        flat = [array for array in flat if not is_space_name(array.key)]
        fitting = [array for array in flat if array.shape[0] == frames]
        named = [array for array in fitting if is_time_name(array.key)]
        if len(named) == 1 or len(fitting) == 1:
            return (named or fitting)[0]
        if fitting:
            raise InputError(
                f"{self._file.path}: name its times with --config.data.time=NAME (or none); it holds {describe_arrays(fitting)}"
            )
        # Times that fit no array of the file at all are a mistake, not a choice.
        unused = [array for array in flat if is_time_name(array.key) and array.shape[0] not in {1, *self._lengths}]
        return unused[0] if unused else None


def _is_moment(value: Any) -> bool:
    """Returns whether an attribute is a number, or text that is a date."""
    if np.size(value) != 1 or np.asarray(value).dtype.kind not in "iufMSUO":
        return False
    with contextlib.suppress(InputError):
        parse_times(np.reshape(np.asarray(value), 1), "", "")
        return True
    return False


def is_dated(array: StoredArray) -> bool:
    """Returns whether an array holds dates, or numbers whose units make them dates."""
    return array.dtype.kind == "M" or counts_since(array.attributes) or is_absolute(array.attributes)


def _group_of(key: str) -> str:
    return key.rpartition("/")[0]


def _groups_above(group: str) -> list[str]:
    """Returns the groups that contain a group, the nearest first; "" is the root."""
    parts = group.split("/")
    return ["/".join(parts[:depth]) for depth in range(len(parts) - 1, -1, -1)]
