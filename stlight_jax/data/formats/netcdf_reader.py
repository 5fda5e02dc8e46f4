"""Variables in netCDF files, through xarray."""

from __future__ import annotations

import contextlib
import dataclasses
import functools
from collections.abc import Iterator
from typing import Any

import numpy as np
from etils import epath

from stlight_jax.data.formats.arrays import TIME_NAMES, listed
from stlight_jax.data.formats.members import NUMERIC, Cut, Member, damage_named, resolve_layout
from stlight_jax.data.formats.types import BLOCK_BYTES, Origin, RawSequence, ReadOptions, needed
from stlight_jax.data.times import Stamps, calendar_of, parse_stamps
from stlight_jax.errors import InputError

_TIME_DIMENSIONS = ("time", "t", "valid_time")
# Others (noleap, 360_day, ...) have no calendar dates that datetime64 knows; their numbers are evenly spaced as they are.
_REAL_CALENDARS = ("standard", "gregorian", "proleptic_gregorian")
_VALID = ("valid_range", "valid_min", "valid_max")
_MOST_COUNTED = 2**27  # values; to count those of larger files would take longer than many a forecast
_OTHER_CALENDARS = ("julian", "noleap", "365_day", "360_day", "all_leap", "366_day")


def open_netcdf(path: epath.Path, name: str, options: ReadOptions) -> list[tuple[RawSequence, Stamps | None]]:
    """The sequence in a variable, or those along its n-axis, and their times.

    Values are unpacked, missing ones NaN, and all float32. What lies beyond the valid range is missing, as netCDF4 has it.

    Raises:
      InputError: xarray or netCDF4 is missing, the file is damaged, it holds no variable or several that could be meant, or the
        axes, the mask or the times are not what they should be.
    """
    needed("xarray", "netcdf", path)
    needed("netCDF4", "netcdf", path)
    with damage_named(path), _dataset(path) as data:
        key = _choose(path, data, options)
        array = data[key]
        label, remarks = f"{path}#{key}", _beyond(path, key, array)
        time = _time_dimension(path, data, array.dims, options)
        if options.layout == "auto":
            axes, time = _axes(label, array, time, remarks)
            if 0 in array.shape:
                raise InputError(f"{label} has shape {list(array.shape)}; expected at least one frame and one pixel")
        else:
            axes = resolve_layout(label, array.shape, options.layout)
            time = array.dims[axes.index("t")]
        if options.mask and options.mask not in data:
            raise InputError(f"{path}: data.mask is {options.mask!r}, which it does not hold; it holds {_names(data)}")
        mask = _member(path, data, options.mask) if options.mask else None
        cut = Cut(
            label,
            Origin(path, "netcdf"),
            f"{name}#{key}",
            _member(path, data, key),
            axes,
            options,
            mask,
            always_float=True,
            remarks=remarks,
        )
        stamps = None if options.time == "none" else _stamps(path, data, time, options, remarks)
    return [(sequence, stamps) for sequence in cut.sequences()]


def _dataset(path: epath.Path) -> Any:
    import xarray  # optional, and slow to import

    # Times are decoded one by one below: calendars that datetime64 cannot express would need yet another package.
    return xarray.open_dataset(path, engine="netcdf4", decode_times=False, cache=False)


@contextlib.contextmanager
def _opened(path: epath.Path, key: str) -> Iterator[Any]:
    with _dataset(path) as data:
        if not _is_bounded(data[key]):
            yield _Sliceable(data[key])
            return
        with needed("netCDF4", "netcdf", path).Dataset(str(path)) as file:
            file.set_auto_maskandscale(False)  # the valid range is that of the numbers as they are stored
            yield _Bounded(data[key], file[key])


class _Sliceable:
    """A variable that reads what it is asked for."""

    def __init__(self, variable: Any):
        self._variable = variable

    def __getitem__(self, index: Any) -> np.ndarray:
        return self._variable[index].values


class _Bounded(_Sliceable):
    """One with a valid range, which xarray knows nothing of."""

    def __init__(self, variable: Any, stored: Any):
        super().__init__(variable)
        self._stored = stored
        self._unsigned = str(getattr(stored, "_Unsigned", "")).lower() == "true"
        both = self._limit("valid_range", 2)
        self._low, self._high = (self._limit("valid_min", 1), self._limit("valid_max", 1)) if both is None else both

    def __getitem__(self, index: Any) -> np.ndarray:
        return self.with_count(index)[0]

    def with_count(self, index: Any) -> tuple[np.ndarray, int]:
        """Values, NaN where they are missing, and how many of these are so only for lying beyond the range."""
        values = super().__getitem__(index)
        values = values.astype(_dtype_of(self._variable), copy=False)
        stored, beyond = self._as_meant(np.asarray(self._stored[index])), np.zeros(values.shape, bool)
        if self._low is not None:
            beyond |= stored < self._low
        if self._high is not None:
            beyond |= stored > self._high
        beyond &= ~np.isnan(values)
        return np.where(beyond, values.dtype.type(np.nan), values), int(beyond.sum())

    def _limit(self, name: str, count: int) -> np.ndarray | None:
        """As stored values are; None if there is none, or none that integers can have."""
        value = np.asarray(getattr(self._stored, name, None))
        if value.dtype.kind not in "iuf" or value.size != count:
            return None
        with np.errstate(invalid="ignore", over="ignore"):
            limit = value.astype(self._stored.dtype)
        if limit.dtype.kind in "iu" and (limit != value).any():
            return None
        return self._as_meant(limit if count > 1 else limit.reshape(()))

    def _as_meant(self, stored: np.ndarray) -> np.ndarray:
        return stored.view(stored.dtype.str.replace("i", "u")) if self._unsigned else stored


def _is_bounded(variable: Any) -> bool:
    return variable.dtype.kind in "iuf" and not set(_VALID).isdisjoint(variable.attrs)


def _dtype_of(variable: Any) -> np.dtype:
    """That of its values, a float if some may be missing; as xarray has it for those with a fill value."""
    if variable.dtype.kind == "f" or not _is_bounded(variable):
        return variable.dtype
    return np.dtype(np.float32 if variable.dtype.itemsize <= 2 else np.float64)


def _beyond(path: epath.Path, key: str, variable: Any) -> list[str]:
    """What is to be said of values beyond the valid range."""
    if not _is_bounded(variable) or variable.ndim < 1:
        return []
    told = ", ".join(f"{name} {np.asarray(variable.attrs[name]).tolist()}" for name in _VALID if name in variable.attrs)
    if variable.size > _MOST_COUNTED:
        return [f"values beyond its {told} are missing"]
    step = max(1, BLOCK_BYTES // max(1, variable[:1].nbytes))
    with _opened(path, key) as opened:
        count = sum(opened.with_count(slice(first, first + step))[1] for first in range(0, len(variable), step))
    return [f"{count:,} value{'s' * (count > 1)} beyond its {told} {'are' if count > 1 else 'is'} missing"] if count else []


def _member(path: epath.Path, data: Any, key: str) -> Member:
    return Member(key, data[key].shape, _dtype_of(data[key]), functools.partial(_opened, path, key))


def _names(data: Any) -> str:
    return listed([Member(str(key), item.shape, item.dtype, contextlib.nullcontext) for key, item in data.variables.items()])


def _choose(path: epath.Path, data: Any, options: ReadOptions) -> str:
    if options.variable:
        if options.variable not in data:
            raise InputError(f"{path}: data.variable is {options.variable!r}, which it does not hold; it holds {_names(data)}")
        return options.variable
    fit = [key for key, item in data.data_vars.items() if item.dtype.kind in NUMERIC and item.ndim >= 3 and key != options.mask]
    timed = [key for key in fit if _time_dimension(path, data, data[key].dims, options)]
    fit = timed or fit  # others are no frames but, say, the corners of grid cells
    if not fit:
        raise InputError(f"{path} holds no variable of at least 3 axes that could be frames; it holds {_names(data)}")
    if len(fit) > 1:
        raise InputError(f"{path} holds several variables; choose one with --config.data.variable: {', '.join(map(str, fit))}")
    return fit[0]


def _time_dimension(path: epath.Path, data: Any, dims: tuple[str, ...], options: ReadOptions) -> str | None:
    """The dimension of the frames: named by the user, with dates along it, or called time."""
    if options.time not in ("", "none"):
        if options.time not in data.variables:
            raise InputError(f"{path}: data.time is {options.time!r}, which it does not hold; it holds {_names(data)}")
        return next((dim for dim in data.variables[options.time].dims if dim in dims), None)
    called = [dim for dim in dims if str(dim).lower() in _TIME_DIMENSIONS]
    dated = [dim for dim in dims if any(_is_dated(data.variables[key]) for key in _along(data, dim))]
    return next(iter([dim for dim in called if dim in dated] or called or dated), None)


def _along(data: Any, dim: str) -> list[str]:
    """Variables with one value for each place along a dimension, its namesake first."""
    keys = [key for key, item in data.variables.items() if item.dims == (dim,)]
    return sorted(keys, key=lambda key: key != dim)


def _is_dated(variable: Any) -> bool:
    return variable.dtype.kind == "M" or " since " in str(variable.attrs.get("units", ""))


def _axes(label: str, array: Any, time: str | None, remarks: list[str]) -> tuple[str, str]:
    """A letter for each dimension, and the dimension of the frames."""
    dims = array.dims
    if time is None and len(dims) == 3:
        time = dims[0]
        remarks.append(f"no times found; dimension {time!r} is taken for time")
    if time is None or len(dims) not in (3, 4):
        raise InputError(
            f"{label} has the dimensions {', '.join(map(str, dims))}; expected time and two of space, with or without "
            f"channels; say what they are with --config.data.layout, e.g. ntchw, and --config.data.time"
        )
    rest = [dim for dim in dims if dim != time]
    if len(rest) == 3:
        remarks.append(f"dimension {rest[0]!r} is read as channels")
    letters = {time: "t", **dict(zip(rest, "chw" if len(rest) == 3 else "hw", strict=True))}
    return "".join(letters[dim] for dim in dims), time


def _stamps(path: epath.Path, data: Any, dim: str, options: ReadOptions, remarks: list[str]) -> Stamps | None:
    import xarray

    keys = _along(data, dim)
    dated = [key for key in keys if _is_dated(data.variables[key])]
    written = [key for key in keys if TIME_NAMES.fullmatch(str(key).lower()) and data.variables[key].dtype.kind in "SUO"]
    key = options.time or next(iter([key for key in keys if key == dim] or dated or written), None)
    if key is None:
        return None
    variable = data.variables[key]
    if variable.dims != (dim,):
        raise InputError(
            f"{path}: the times {key!r} have the dimensions {', '.join(map(str, variable.dims))}; expected {dim!r}, one "
            f"for each frame, or ignore them with --config.data.time=none"
        )
    units = str(variable.attrs.get("units", key))
    values = variable.values
    calendar = calendar_of(variable.attrs)
    if " since " in units and calendar not in (*_REAL_CALENDARS, *_OTHER_CALENDARS):
        remarks.append(f"the calendar {calendar!r} of {key!r} is not known; its times are taken for numbers at equal steps")
    if " since " in units and calendar in _REAL_CALENDARS:
        # Units that xarray cannot decode (months since ...) are numbers, too.
        with contextlib.suppress(ValueError, OverflowError):
            decoded = xarray.decode_cf(xarray.Dataset({key: (dim, values, {**variable.attrs, "calendar": calendar})}))[
                key
            ].values
            values = decoded if decoded.dtype.kind == "M" else values
    stamps = parse_stamps(values, units if values.dtype.kind in "iuf" else str(key), str(path))
    return dataclasses.replace(stamps, key=str(key), stored=variable.values, attributes=dict(variable.attrs))
