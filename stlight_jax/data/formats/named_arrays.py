"""Files of several arrays under names: the choice of frames and their axes. One path for every such format."""

import collections
import dataclasses
import re
from collections.abc import Sequence

import numpy as np

from stlight_jax.data.formats.array_layouts import FORECASTS, resolve_layout
from stlight_jax.data.formats.array_slicing import MERGED, ArraySlicer
from stlight_jax.data.formats.array_times import FileTimes, is_dated
from stlight_jax.data.formats.cf_attributes import ValueRules, attribute_text
from stlight_jax.data.formats.coordinate_names import base_name, is_space_name, side_of
from stlight_jax.data.formats.frame_grids import grid_coordinates, grid_digest, rows_go_north
from stlight_jax.data.formats.stored_arrays import ArrayFile, StoredArray, describe_arrays
from stlight_jax.data.formats.types import FrameSource, ReadOptions
from stlight_jax.errors import InputError

_MAX_COUNTED = 2**27  # values; counting those of larger files would take longer than many forecasts
_TIME_DIMENSIONS = ("time", "t", "valid_time")
_LEADS = ("lead", "lead_time", "step", "prediction_timedelta")  # dimensions of forecasts
_STARTS = ("start", "sequence", "init_time", "forecast_reference_time")
_MERGED_DIMENSIONS = ("expver",)  # final and preliminary data of ERA5


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
    times = FileTimes(file, options, {slicer.sizes["t"] for slicer in slicers})
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
        fitting = [array for array in pictures if not is_space_name(array.key)]
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
    lead = next((dim for dim, names in kinds.items() if "forecast_period" in names or base_name(dim) in _LEADS), "")
    starts = [dim for dim, names in kinds.items() if "forecast_reference_time" in names or base_name(dim) in _STARTS]
    dated = [dim for dim in array.dims if lead and any(map(is_dated, file.along(dim)))]
    return lead, [dim for dim in starts or dated if dim != lead][:1]


def _axes_by_name(
    file: ArrayFile, array: StoredArray, time: str, label: str, items: Sequence[str] = ()
) -> tuple[str, str, list[str]]:
    remarks: list[str] = []
    dims = [dim or f"axis {place}" for place, dim in enumerate(array.dims, 1)]
    letters = {dim: MERGED for dim in dims if base_name(dim) in _MERGED_DIMENSIONS}
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
    texts = [base_name(dim)]
    for array in file.along(dim)[:1]:
        texts += [attribute_text(array.attributes.get(name, "")).lower() for name in ("axis", "standard_name", "units")]
    return side_of(texts)


def _time_dimension(file: ArrayFile, array: StoredArray, options: ReadOptions) -> str:
    """Returns the dimension of the frames: that of the user's time coordinate, one with dates, or one called time; or ""."""
    if options.time not in ("", "none"):
        return next((dim for dim in file.find(options.time, "time").dims if dim and dim in array.dims), "")
    called = [dim for dim in array.dims if base_name(dim) in _TIME_DIMENSIONS]
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
