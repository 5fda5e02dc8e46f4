"""Files of several arrays under names: the choice of frames, their axes and their times. One path for every such format."""

import collections
import contextlib
import dataclasses
import functools
import re
from collections.abc import Sequence
from typing import Any

import numpy as np

from stlight_jax.data.formats.array_slicing import FORECASTS, MERGED, ArraySlicer, resolve_layout
from stlight_jax.data.formats.cf_attributes import PACKING, ValueRules, attribute_text, read_rules
from stlight_jax.data.formats.frame_grids import grid_coordinates, grid_digest, rows_go_north
from stlight_jax.data.formats.read_errors import read_errors
from stlight_jax.data.formats.stored_arrays import ArrayFile, StoredArray, describe_arrays
from stlight_jax.data.formats.types import FrameSource, ReadOptions
from stlight_jax.data.times import TimeAxis, counts_since, decode_times, is_absolute, parse_times
from stlight_jax.errors import InputError

_MAX_COUNTED = 2**27  # values; counting those of larger files would take longer than many forecasts
_TIME_NAMES = re.compile(r"((valid|date)_?)?times?|dates?|time_?stamps?|t|(days|hours|minutes|seconds|milliseconds)(_.*)?")
_SPACE_NAMES = re.compile(r"x|y|z|lats?|lons?|latitudes?|longitudes?|rows?|columns?|cols?|height|width|levels?|channels?")
_TIME_DIMENSIONS = ("time", "t", "valid_time")
_LEADS = ("lead", "lead_time", "step", "prediction_timedelta")  # dimensions of forecasts
_STARTS = ("start", "sequence", "init_time", "forecast_reference_time")
_MERGED_DIMENSIONS = ("expver",)  # final and preliminary data of ERA5
_DIRECTIONS = {
    "x": re.compile(r"x|xc|rlon|lons?|longitudes?|degrees_?e(ast)?|projection_x_coordinate|grid_longitude|west_east|easting"),
    "y": re.compile(r"y|yc|rlat|lats?|latitudes?|degrees_?n(orth)?|projection_y_coordinate|grid_latitude|south_north|northing"),
}


def is_time_name(key: str) -> bool:
    """Returns whether an array's name, without those of its groups, is one that time coordinates usually have."""
    return _TIME_NAMES.fullmatch(_base_name(key)) is not None


def side_of_name(key: str) -> str:
    """Returns "x" or "y" if an array's name is one that coordinates of columns or rows usually have, else ""."""
    return next((side for side, names in _DIRECTIONS.items() if names.fullmatch(_base_name(key))), "")


def open_arrays(file: ArrayFile, options: ReadOptions) -> list[FrameSource]:
    """Returns the sequences in the arrays of a file.

    Raises:
      InputError: no array can hold frames, several can and are not alike, or an element type, shape, mask, attribute or time
        axis is wrong.
    """
    chosen = [file.find(options.variable, "variable")] if options.variable else _candidates(file, options)
    mask = file.find(options.mask, "mask") if options.mask else None
    slicers, time_dims = [], []
    for array in chosen:
        axes, time, remarks = _axes(file, array, options)
        slicer = ArraySlicer(file.path, file.format, file.name, array, options, mask, axes, file)
        slicer.remarks = [*file.broken.values(), *remarks, *array.remarks(), *_count_missing(slicer)]
        slicers.append(slicer)
        time_dims.append(time)
    if len({(slicer.array.dtype, slicer.frame_shape, "n" in slicer.axes) for slicer in slicers}) > 1:
        raise InputError(
            f"{file.path} holds arrays of different frames; choose one with --config.data.variable: {describe_arrays(chosen)}"
        )
    times = _FileTimes(file, options, {slicer.sizes["t"] for slicer in slicers})
    time_axes = [times.of_array(slicer, dim) for slicer, dim in zip(slicers, time_dims, strict=True)]
    # A single time in the file is not the time of each of several frames.
    shared = {id(axis) for axis, count in collections.Counter(time_axes).items() if count > 1}
    digests: dict[tuple[str, ...], str] = {}
    for slicer in slicers:
        slicer.grid = grid_digest(file, grid_coordinates(file, slicer.array, slicer.axes), digests)
        slicer.rows_go_north = rows_go_north(file, slicer.array, slicer.axes)
    return [
        sequence
        for slicer, axis in zip(slicers, time_axes, strict=True)
        for sequence in slicer.sequences(None if id(axis) in shared and "t" not in slicer.axes else axis)
    ]


def _candidates(file: ArrayFile, options: ReadOptions) -> list[StoredArray]:
    """Returns the arrays that can be frames; where dimensions have names, the only one.

    Two axes are one frame if no array has three.
    """
    numeric = [array for array in file.arrays if array.is_numeric and not array.alias_of]
    numeric = [array for array in numeric if not options.mask or array.key != options.mask]
    fitting = [array for array in numeric if len(array.shape) >= 3]
    # Arrays without time are, say, the corners of grid cells.
    fitting = [array for array in fitting if _time_dimension(file, array, options)] or fitting
    if not fitting and options.layout == "auto":
        described = _described_by_others(file.arrays)
        pictures = [array for array in numeric if len(array.shape) == 2 and array.key not in described]
        fitting = [array for array in pictures if not _SPACE_NAMES.fullmatch(_base_name(array.key))]
    if not fitting:
        kind = "variable" if any(array.dims for array in file.arrays) else "array"
        other = [array for array in file.arrays if array.dtype.kind in "cV" and len(array.shape) >= 2]
        advice = [f"frames are real numbers: save the parts of {array.key!r} as arrays of their own" for array in other[:1]]
        found = "; ".join([f"it holds {describe_arrays(file.arrays)}", *advice, *file.broken.values()])
        raise InputError(f"{file.path} holds no {kind} of at least 3 axes that could be frames; {found}")
    numbered = {(len(array.shape), re.sub("[0-9]+", "#", array.key)) for array in fitting}
    if len(fitting) > 1 and any(array.dims for array in fitting) and not (len(numbered) == 1 and fitting[0].shape[2:] == ()):
        names = ", ".join(array.key for array in fitting)
        raise InputError(f"{file.path} holds several variables; choose one with --config.data.variable: {names}")
    return fitting


def _described_by_others(arrays: Sequence[StoredArray]) -> set[str]:
    """Returns the keys of arrays that attributes of other arrays name as coordinates or bounds."""
    found = set()
    for array in arrays:
        group = array.key.rpartition("/")[0]
        for name in ("bounds", "coordinates", "ancillary_variables", "climatology"):
            for key in attribute_text(array.attributes.get(name, "")).split():
                found.add(f"{group}/{key}".strip("/") if "/" not in key else key.strip("/"))
    return found


# ---- Axes ----


def _axes(file: ArrayFile, array: StoredArray, options: ReadOptions) -> tuple[str, str, list[str]]:
    """Returns a letter for each axis of an array, its dimension of frames ("" without a name), and remarks.

    Raises:
      InputError: the array is empty, or its axes are not those of frames.
    """
    label = f"{file.path}#{array.key}" if array.key else str(file.path)
    if options.layout in ("auto", FORECASTS) and any(array.dims) and 0 not in array.shape:
        lead, items = _forecast_dimensions(file, array) if options.layout == FORECASTS else ("", [])
        time = lead or _time_dimension(file, array, options)
        if time or all(array.dims):
            return _axes_by_name(file, array, time, label, items)
    axes = resolve_layout(label, array.shape, options.layout)
    return axes, array.dims[axes.index("t")] if array.dims and "t" in axes else "", []


def _forecast_dimensions(file: ArrayFile, array: StoredArray) -> tuple[str, list[str]]:
    """Returns the dimension of lead times of saved forecasts, or "", and those of several forecasts."""
    kinds = {
        dim: [attribute_text(other.attributes.get("standard_name", "")) for other in file.along(dim)] for dim in array.dims
    }
    lead = next((dim for dim, names in kinds.items() if "forecast_period" in names or _base_name(dim) in _LEADS), "")
    starts = [dim for dim, names in kinds.items() if "forecast_reference_time" in names or _base_name(dim) in _STARTS]
    dated = [dim for dim in array.dims if lead and any(map(is_dated, file.along(dim)))]
    return lead, [dim for dim in starts or dated if dim != lead][:1]


def _axes_by_name(
    file: ArrayFile, array: StoredArray, time: str, label: str, items: Sequence[str] = ()
) -> tuple[str, str, list[str]]:
    remarks: list[str] = []
    dims = [dim or f"axis {place}" for place, dim in enumerate(array.dims, 1)]
    letters = {dim: MERGED for dim in dims if _base_name(dim) in _MERGED_DIMENSIONS}
    merged = len(letters)
    if merged:
        remarks.append(f"the entries of its dimension {next(iter(letters))!r} are merged to one")
    letters |= dict.fromkeys(items, "n")
    sides = {dim: _direction(file, dim) for dim in dims}
    rest = [dim for dim in dims if dim not in (time, *letters)]
    if not time and len(rest) == 3:
        time = next((dim for dim in rest if not sides[dim]), rest[0]) if {*sides.values()} >= {"x", "y"} else rest[0]
        rest.remove(time)
        remarks.append(f"no times found; dimension {time!r} is taken for time")
    if len(rest) not in (2, 3) or merged > 1 or (not time and len(rest) == 3):
        raise InputError(
            f"{label} has the dimensions {', '.join(dims)}; expected time and two of space, with or without channels; name "
            "them with --config.data.layout, e.g. ntchw, and --config.data.time"
        )
    if time:
        letters[time] = "t"
    if len(rest) == 3:
        spatial = [dim for dim in rest if sides[dim]]
        channels = rest[0] if len(spatial) != 2 else next(dim for dim in rest if dim not in spatial)
        letters[channels] = "c"
        rest.remove(channels)
        remarks.append(f"dimension {channels!r} is read as channels")
    on_its_side = [sides[dim] for dim in rest] == ["x", "y"]
    if on_its_side:
        remarks.append(f"dimension {rest[0]!r} is read as columns, {rest[1]!r} as rows")
    letters.update(zip(rest, "wh" if on_its_side else "hw", strict=True))
    return "".join(letters[dim] for dim in dims), time, remarks


def _direction(file: ArrayFile, dim: str) -> str:
    """Returns "x" or "y" by a dimension's name or coordinate; "" if both are unknown."""
    texts = [_base_name(dim)]
    for array in file.along(dim)[:1]:
        texts += [attribute_text(array.attributes.get(name, "")).lower() for name in ("axis", "standard_name", "units")]
    return next((side for side, names in _DIRECTIONS.items() if any(names.fullmatch(text) for text in texts)), "")


def _time_dimension(file: ArrayFile, array: StoredArray, options: ReadOptions) -> str:
    """Returns the dimension of the frames: that of the user's time coordinate, one with dates, or one called time; or ""."""
    if options.time not in ("", "none"):
        return next((dim for dim in file.find(options.time, "time").dims if dim and dim in array.dims), "")
    called = [dim for dim in array.dims if _base_name(dim) in _TIME_DIMENSIONS]
    dated = [dim for dim in array.dims if any(map(is_dated, file.along(dim)))]
    return next(iter([dim for dim in called if dim in dated] or called or dated), "")


# ---- Missing values ----


def _count_missing(slicer: ArraySlicer) -> list[str]:
    """Returns remarks on values that are missing by a format's own fill value, or as they are beyond the valid range.

    Where no value has the implied fill value, integers need no float type for it.
    """
    array, rules = slicer.array, slicer.rules
    # Entries that are merged fill each other's missing values.
    if (rules.implied is None and not rules.is_bounded) or MERGED in slicer.axes:
        return []
    beyond_name = f"beyond its {_limits(rules)}," if rules.is_bounded else ""
    fill_name = "" if array.implied_fill is None else f"{array.implied_fill[0]:g}, {array.implied_fill[1]}"
    if np.prod(array.shape, dtype=float) > _MAX_COUNTED:
        names = [beyond_name] * rules.is_bounded + [f"of {fill_name}"] * (rules.implied is not None)
        return [f"values {name} are missing" for name in names]
    implied, beyond = slicer.count_missing()
    if not implied:
        slicer.rules = dataclasses.replace(rules, implied=None)
    remarks = []
    if implied:
        share = f"{100 * implied / np.prod(array.shape, dtype=float):.3g} %"
        remarks.append(f"{_values(implied)} ({share}) of {fill_name}, {'are' if implied > 1 else 'is'} missing")
    if beyond:
        remarks.append(f"{_values(beyond)} {beyond_name} {'are' if beyond > 1 else 'is'} missing")
    return remarks


def _limits(rules: ValueRules) -> str:
    if rules.low is not None and rules.high is not None:
        return f"valid_range, {rules.low:g} to {rules.high:g}"
    return f"valid_max, {rules.high:g}" if rules.low is None else f"valid_min, {rules.low:g}"


def _values(count: int) -> str:
    return f"{count:,} value{'s' * (count > 1)}"


# ---- Times ----


class _FileTimes:
    """The time coordinates of a file. Arrays that share a coordinate share its time axis."""

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
        flat = [array for array in flat if not _SPACE_NAMES.fullmatch(_base_name(array.key))]
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


def _base_name(key: str) -> str:
    return key.rsplit("/", 1)[-1].lower()
