"""The variables of a netCDF file, through xarray: which of them are frames and times, and their values."""

import contextlib
import dataclasses
import functools
from collections.abc import Iterator
from typing import Any

import numpy as np
from etils import epath

from stlight_jax.data.formats import cf_attributes as cf
from stlight_jax.data.formats.array_slicing import StoredArray
from stlight_jax.data.formats.named_arrays import describe_arrays, find_array, is_time_name
from stlight_jax.data.formats.netcdf3_header import check_length
from stlight_jax.data.formats.types import BLOCK_BYTES, ReadOptions
from stlight_jax.data.times import TimeAxis, calendar_name, counts_since, parse_times
from stlight_jax.errors import InputError

_TIME_DIMENSIONS = ("time", "t", "valid_time")
# Others (noleap, 360_day, ...) have no calendar dates that datetime64 knows; their numbers are evenly spaced as they are.
_REAL_CALENDARS = ("standard", "gregorian", "proleptic_gregorian")
_OTHER_CALENDARS = ("julian", "noleap", "365_day", "360_day", "all_leap", "366_day")
_MAX_COUNTED = 2**27  # values; counting those of larger files would take longer than many forecasts


def open_dataset(path: epath.Path) -> Any:
    """Opens a file with xarray, which unpacks values, marks missing ones as NaN, and reads on access."""
    import xarray  # slow to import

    check_length(path)
    # Times are decoded one by one below: calendars that datetime64 cannot express would need another package.
    return xarray.open_dataset(path, engine="netcdf4", decode_times=False, cache=False)


class NetcdfVariables:
    """The variables of a file, and which of them are frames and times.

    Attributes:
      arrays: all variables.
      remarks: messages for the user.
    """

    def __init__(self, path: epath.Path, data: Any, options: ReadOptions):
        self._path, self._data, self._options = path, data, options
        self.remarks: list[str] = []
        self.arrays = [
            StoredArray(str(key), item.shape, _unpacked_dtype(item), functools.partial(_opened, path, key))
            for key, item in data.variables.items()
        ]

    def array(self, key: str) -> StoredArray:
        """Returns the variable of this name."""
        return next(array for array in self.arrays if array.key == key)

    def choose_variable(self) -> str:
        """Returns the name of the variable that the user names, or of the only one that can be frames.

        Raises:
          InputError: no variable can be frames, or several can.
        """
        if self._options.variable:
            return find_array(self._path, self.arrays, self._options.variable, "variable").key
        numeric = [key for key in self._data.data_vars if key != self._options.mask and self.array(str(key)).is_numeric]
        fitting = [key for key in numeric if self._data[key].ndim >= 3]
        # Variables without time are, say, the corners of grid cells.
        fitting = [key for key in fitting if self.time_dimension(self._data[key].dims)] or fitting
        if not fitting:
            found = describe_arrays(self.arrays)
            raise InputError(f"{self._path} holds no variable of at least 3 axes that could be frames; it holds {found}")
        if len(fitting) > 1:
            names = ", ".join(map(str, fitting))
            raise InputError(f"{self._path} holds several variables; choose one with --config.data.variable: {names}")
        return fitting[0]

    def time_dimension(self, dims: tuple[str, ...]) -> str | None:
        """Returns the dimension of the frames: that of the user's time coordinate, one with dates, or one called time."""
        if self._options.time not in ("", "none"):
            coordinate = find_array(self._path, self.arrays, self._options.time, "time")
            return next((dim for dim in self._data.variables[coordinate.key].dims if dim in dims), None)
        called = [dim for dim in dims if str(dim).lower() in _TIME_DIMENSIONS]
        dated = [dim for dim in dims if any(map(self._is_dated, self._along(dim)))]
        return next(iter([dim for dim in called if dim in dated] or called or dated), None)

    def axes(self, label: str, dims: tuple[str, ...], time: str | None) -> tuple[str, str]:
        """Returns a letter for each dimension, and the dimension of the frames.

        Raises:
          InputError: the dimensions are not time, two of space and perhaps channels.
        """
        if time is None and len(dims) == 3:
            time = dims[0]
            self.remarks.append(f"no times found; dimension {time!r} is taken for time")
        if time is None or len(dims) not in (3, 4):
            raise InputError(
                f"{label} has the dimensions {', '.join(map(str, dims))}; expected time and two of space, with or without "
                f"channels; name them with --config.data.layout, e.g. ntchw, and --config.data.time"
            )
        rest = [dim for dim in dims if dim != time]
        if len(rest) == 3:
            self.remarks.append(f"dimension {rest[0]!r} is read as channels")
        letters = {time: "t", **dict(zip(rest, "chw" if len(rest) == 3 else "hw", strict=True))}
        return "".join(letters[dim] for dim in dims), time

    def times(self, dim: str) -> TimeAxis | None:
        """Returns the time axis of a dimension, or None.

        Raises:
          InputError: the user's time coordinate has other dimensions, or a time is not valid.
        """
        keys = self._along(dim)
        written = [key for key in keys if is_time_name(str(key)) and self._data.variables[key].dtype.kind in "SUO"]
        candidates = [key for key in keys if key == dim] or [key for key in keys if self._is_dated(key)] or written
        key = self._options.time or next(iter(candidates), None)
        if key is None:
            return None
        variable = self._data.variables[key]
        if variable.dims != (dim,):
            raise InputError(
                f"{self._path}: the times {key!r} have the dimensions {', '.join(map(str, variable.dims))}; expected {dim!r}, "
                f"one for each frame, or ignore them with --config.data.time=none"
            )
        calendar = calendar_name(variable.attrs)
        if counts_since(variable.attrs) and calendar not in (*_REAL_CALENDARS, *_OTHER_CALENDARS):
            self.remarks.append(
                f"the calendar {calendar!r} of {key!r} is unknown; its times are taken for numbers at equal steps"
            )
        values = _decode_dates(variable, calendar) if counts_since(variable.attrs) else variable.values
        name = str(variable.attrs.get("units", key)) if values.dtype.kind in "iuf" else str(key)
        times = parse_times(values, name, str(self._path))
        return dataclasses.replace(times, key=str(key), stored=variable.values, attributes=dict(variable.attrs))

    def _along(self, dim: str) -> list[str]:
        """Returns the variables with one value for each index of a dimension, its namesake first."""
        keys = [key for key, item in self._data.variables.items() if item.dims == (dim,)]
        return sorted(keys, key=lambda key: key != dim)

    def _is_dated(self, key: str) -> bool:
        variable = self._data.variables[key]
        return variable.dtype.kind == "M" or counts_since(variable.attrs)


def _decode_dates(variable: Any, calendar: str) -> np.ndarray:
    """Returns datetime64 of numbers in units "... since ..."; the numbers themselves if datetime64 cannot express them."""
    import xarray

    if calendar in _REAL_CALENDARS:
        # Units that xarray cannot decode (months since ...) stay numbers.
        with contextlib.suppress(ValueError, OverflowError):
            coordinate = (variable.dims, variable.values, {**variable.attrs, "calendar": calendar})
            decoded = xarray.decode_cf(xarray.Dataset({"times": coordinate}))["times"].values
            if decoded.dtype.kind == "M":
                return decoded
    return variable.values


def describe_invalid(path: epath.Path, key: str, variable: Any) -> list[str]:
    """Returns a remark on the values beyond the valid range, if it has any."""
    if not _is_bounded(variable) or variable.ndim < 1:
        return []
    limits = ", ".join(
        f"{name} {np.asarray(variable.attrs[name]).tolist()}" for name in cf.VALID_RANGE if name in variable.attrs
    )
    if variable.size > _MAX_COUNTED:
        return [f"values beyond its {limits} are missing"]
    step = max(1, BLOCK_BYTES // max(1, variable[:1].nbytes))
    with _opened(path, key) as opened:
        count = sum(opened.masked(slice(first, first + step))[1] for first in range(0, len(variable), step))
    return [f"{count:,} value{'s' * (count > 1)} beyond its {limits} {'are' if count > 1 else 'is'} missing"] if count else []


class _Variable:
    """A variable to slice; each slice is read when it is asked for.

    Args:
      variable: the variable as xarray unpacks it.
      stored: the variable as it is stored, if it declares a valid range: xarray ignores that.
    """

    def __init__(self, variable: Any, stored: Any = None):
        self._variable, self._stored = variable, stored
        if stored is not None:
            self._range = cf.ValidRange.from_attributes(
                {name: stored.getncattr(name) for name in stored.ncattrs()}, stored.dtype
            )

    def __getitem__(self, index: Any) -> np.ndarray:
        return self.masked(index)[0]

    def masked(self, index: Any) -> tuple[np.ndarray, int]:
        """Returns values, NaN where they are missing, and how many are missing only because of the valid range."""
        values = self._variable[index].values.astype(_unpacked_dtype(self._variable), copy=False)
        if self._stored is None:
            return values, 0
        beyond = self._range.excludes(np.asarray(self._stored[index])) & ~np.isnan(values)
        return np.where(beyond, values.dtype.type(np.nan), values), int(beyond.sum())


@contextlib.contextmanager
def _opened(path: epath.Path, key: str) -> Iterator[_Variable]:
    import netCDF4

    with open_dataset(path) as data, contextlib.ExitStack() as open_files:
        stored = None
        if _is_bounded(data[key]):
            file = open_files.enter_context(netCDF4.Dataset(str(path)))
            file.set_auto_maskandscale(False)  # the valid range is given in stored numbers
            stored = file[key]
        yield _Variable(data[key], stored)


def _is_bounded(variable: Any) -> bool:
    return variable.dtype.kind in "iuf" and not variable.attrs.keys().isdisjoint(cf.VALID_RANGE)


def _unpacked_dtype(variable: Any) -> np.dtype:
    """Returns a float type for integers of which some may be missing, as xarray does for those with a fill value."""
    if variable.dtype.kind == "f" or not _is_bounded(variable):
        return variable.dtype
    return np.dtype(np.float32 if variable.dtype.itemsize <= 2 else np.float64)
