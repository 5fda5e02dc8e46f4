"""The netCDF format, read through xarray and written through netCDF4.

A written variable continues that of the source, with its coordinates, attributes, units, calendar and packing.
"""

from __future__ import annotations

import contextlib
import dataclasses
import functools
import pathlib
from collections.abc import Collection, Iterator, Sequence
from typing import Any, NamedTuple

import numpy as np
from etils import epath

from stlight_jax.data.continued_times import to_datetime64
from stlight_jax.data.formats import cf_attributes as cf
from stlight_jax.data.formats.array_slicing import ArraySlicer, StoredArray, resolve_layout
from stlight_jax.data.formats.file_format import FileFormat, OutputLimits, WriteFrames
from stlight_jax.data.formats.named_arrays import describe_arrays, find_array, is_time_name
from stlight_jax.data.formats.output_spec import OutputSpec, free_name
from stlight_jax.data.formats.read_errors import read_errors
from stlight_jax.data.formats.types import BLOCK_BYTES, FrameSource, ReadOptions
from stlight_jax.data.formats.value_conversion import reorder_axes, to_dtype
from stlight_jax.data.times import TimeAxis, calendar_name, counts_since, parse_times
from stlight_jax.errors import InputError

_TIME_DIMENSIONS = ("time", "t", "valid_time")
# Others (noleap, 360_day, ...) have no calendar dates that datetime64 knows; their numbers are evenly spaced as they are.
_REAL_CALENDARS = ("standard", "gregorian", "proleptic_gregorian")
_OTHER_CALENDARS = ("julian", "noleap", "365_day", "360_day", "all_leap", "366_day")
_MAX_COUNTED = 2**27  # values; counting those of larger files would take longer than many forecasts
_DIMENSION_NAMES = {"n": "sequence", "h": "y", "w": "x", "c": "channel"}
_UNIT_NAMES = {"s": "seconds", "ms": "milliseconds", "us": "microseconds"}
_DTYPES = ("bool", "int8", "int16", "int32", "int64", "uint8", "uint16", "uint32", "uint64", "float32", "float64")


# ---- Reading ----


def _read(files: Sequence[epath.Path], name: str, options: ReadOptions) -> list[FrameSource]:
    """Opens the sequence in a variable, or the sequences along its n-axis.

    Values are unpacked, and float32 with NaN where they are missing. Values beyond the valid range are missing, as in netCDF4.
    """
    (path,) = files
    with read_errors(path), _dataset(path) as data:
        contents = _Contents(path, data, options)
        key = contents.choose_variable()
        variable, label = data[key], f"{path}#{key}"
        contents.remarks += _describe_invalid(path, key, variable)
        time = contents.time_dimension(variable.dims)
        if options.layout == "auto":
            if 0 in variable.shape:
                raise InputError(f"{label} has shape {list(variable.shape)}; expected at least one frame and one pixel")
            axes, time = contents.axes(label, variable.dims, time)
        else:
            axes = resolve_layout(label, variable.shape, options.layout)
            time = variable.dims[axes.index("t")]
        mask = find_array(path, contents.arrays, options.mask, "mask") if options.mask else None
        times = None if options.time == "none" else contents.times(time)
    slicer = ArraySlicer(path, FORMAT, name, contents.array(key), options, mask, axes, True, contents.remarks)
    return slicer.sequences(times)


def _dataset(path: epath.Path) -> Any:
    import xarray  # slow to import

    # Times are decoded one by one below: calendars that datetime64 cannot express would need another package.
    return xarray.open_dataset(path, engine="netcdf4", decode_times=False, cache=False)


class _Variable:
    """A variable to slice; each slice is read when it is asked for.

    Args:
      variable: the variable as xarray unpacks it.
      stored: the variable as it is stored, if it declares a valid range: xarray ignores that.
    """

    def __init__(self, variable: Any, stored: Any = None):
        self._variable, self._stored = variable, stored
        if stored is not None:
            self._range = cf.ValidRange.from_attributes(_attributes(stored), stored.dtype)

    def __getitem__(self, index: Any) -> np.ndarray:
        return self.masked(index)[0]

    def masked(self, index: Any) -> tuple[np.ndarray, int]:
        """Returns values, NaN where they are missing, and the number of those that only the valid range makes missing."""
        values = self._variable[index].values.astype(_unpacked_dtype(self._variable), copy=False)
        if self._stored is None:
            return values, 0
        beyond = self._range.excludes(np.asarray(self._stored[index])) & ~np.isnan(values)
        return np.where(beyond, values.dtype.type(np.nan), values), int(beyond.sum())


@contextlib.contextmanager
def _opened(path: epath.Path, key: str) -> Iterator[_Variable]:
    import netCDF4

    with _dataset(path) as data, contextlib.ExitStack() as open_files:
        stored = None
        if _is_bounded(data[key]):
            file = open_files.enter_context(netCDF4.Dataset(str(path)))
            file.set_auto_maskandscale(False)  # the valid range is given in stored numbers
            stored = file[key]
        yield _Variable(data[key], stored)


def _is_bounded(variable: Any) -> bool:
    return variable.dtype.kind in "iuf" and cf.has_valid_range(variable.attrs)


def _unpacked_dtype(variable: Any) -> np.dtype:
    """Returns a float type for integers of which some may be missing, as xarray does for those with a fill value."""
    if variable.dtype.kind == "f" or not _is_bounded(variable):
        return variable.dtype
    return np.dtype(np.float32 if variable.dtype.itemsize <= 2 else np.float64)


def _describe_invalid(path: epath.Path, key: str, variable: Any) -> list[str]:
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


class _Contents:
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


# ---- Writing ----


class _WindowNames(NamedTuple):
    """Names of the dimensions of windows, and of the variables along them."""

    window: str
    lead: str
    start: str
    start_time: str

    @classmethod
    def unused(cls, time: str, taken: Collection[str]) -> _WindowNames:
        """Returns names that no dimension or variable in `taken` has."""
        return cls(*(free_name(name, taken) for name in ("window", "lead", "start", f"start_{time}")))


class _Dimensions(NamedTuple):
    """The dimensions of a written variable.

    Attributes:
      by_letter: the dimension of each letter of "nthwc"; of "t" only if the output has no windows.
      order: the variable's dimensions.
      windows: names for windows.
    """

    by_letter: dict[str, str]
    order: tuple[str, ...]
    windows: _WindowNames

    def create(self, target: Any, spec: OutputSpec, unlimited: Collection[str] = ()) -> None:
        """Creates the dimensions in a file."""
        sizes = {self.by_letter.get(letter): size for letter, size in zip("nhwc", (spec.items, *spec.shape), strict=True)}
        if spec.window_starts is None:
            sizes[self.by_letter["t"]] = spec.frames
        else:
            sizes.update({self.windows.window: len(spec.window_starts), self.windows.lead: spec.frames})
        for dim in self.order:
            target.createDimension(dim, None if dim in unlimited else sizes[dim])


class _OutputVariable(NamedTuple):
    """A variable that frames are written to.

    Attributes:
      variable: the variable of netCDF4.
      dimensions: its dimensions.
      spec: the frames.
      packing: the attributes that pack values.
      fill: marks missing values; None: NaN.
    """

    variable: Any
    dimensions: _Dimensions
    spec: OutputSpec
    packing: dict[str, Any]
    fill: float | None

    def write(self, frames: np.ndarray, first: int) -> None:
        """Writes frames `[n, h, w, c]` in the data's units, the first of which has the index `first`."""
        dims, item = self.variable.dimensions, self.dimensions.by_letter.get("n")
        frame_letters = {dim: letter for letter, dim in self.dimensions.by_letter.items() if letter in "hwc"}
        frame_axes = "".join(frame_letters[dim] for dim in dims if dim in frame_letters)
        outer = sorted((dim for dim in dims if dim not in frame_letters), key=lambda dim: dim != item)
        for number, values in enumerate(reorder_axes(frames, frame_axes), first):
            if self.packing:
                offset, scale = self.packing.get("add_offset", 0), self.packing.get("scale_factor", 1)
                values = (values.astype(np.float64) - offset) / scale
            index = dict(zip(outer, map(int, np.unravel_index(number, self.spec.outer_shape)), strict=True))
            stored = to_dtype(values, self.variable.dtype, self.fill)
            self.variable[tuple(index.get(dim, slice(None)) for dim in dims)] = stored


@contextlib.contextmanager
def _write(path: pathlib.Path, spec: OutputSpec) -> Iterator[WriteFrames]:
    """Writes a variable with its coordinates; windows have the dimensions `window` and `lead`, or names like these."""
    import netCDF4

    with contextlib.ExitStack() as open_files:
        target = open_files.enter_context(netCDF4.Dataset(str(path), "w"))
        if spec.source.format is FORMAT:
            source = open_files.enter_context(netCDF4.Dataset(str(spec.source.path)))
            source.set_auto_maskandscale(False)
            yield _continue_variable(target, source, spec).write
        else:
            yield _create_variable(target, spec).write


def _continue_variable(target: Any, source: Any, spec: OutputSpec) -> _OutputVariable:
    """Creates a variable like that of the source, with all attributes that still hold."""
    old = source[spec.source.key]
    dimensions = _continued_dimensions(source, old, spec)
    unlimited = {dim for dim, item in source.dimensions.items() if item.isunlimited()}
    dimensions.create(target, spec, unlimited)

    attributes = _attributes(old)
    packing = {name: attributes[name] for name in cf.PACKING if name in attributes}
    # The source's element type is that of unpacked values.
    other_dtype = spec.dtype_requested and (packing or old.dtype != spec.dtype)
    keeps_dtype = spec.dtype == spec.source.dtype and cf.UNSIGNED not in attributes and not other_dtype
    packing = packing if keeps_dtype else {}
    dtype = np.dtype(old.dtype if keeps_dtype else spec.dtype)
    fill = _continued_fill(attributes, dtype, bool(packing)) if keeps_dtype else spec.fill
    if fill is None and not packing:
        fill = spec.fill

    new = _new_variable(target, spec.key, dtype, dimensions.order, fill)
    left_out = {*cf.FILL_VALUES, *cf.RANGES, *(() if keeps_dtype else (cf.UNSIGNED, *cf.PACKING))}
    new.setncatts({name: value for name, value in attributes.items() if name not in left_out})
    if keeps_dtype and "missing_value" in attributes and fill is not None:
        new.missing_value = dtype.type(fill)
    target.setncatts(_attributes(source))
    _copy_coordinates(target, source, old, spec)
    _write_times(target, spec, dimensions)
    return _OutputVariable(new, dimensions, spec, packing, fill)


def _continued_dimensions(source: Any, old: Any, spec: OutputSpec) -> _Dimensions:
    """Returns the dimensions of the source's variable, with windows, channels and items as the output has them."""
    letters = dict(zip(spec.source.axes, old.dimensions, strict=True))
    taken = {*source.dimensions, *source.variables}
    windows = _WindowNames.unused(letters["t"], taken)
    order: list[str] = []
    for dim in old.dimensions:
        if dim == letters["t"] and spec.window_starts is not None:
            order += windows[:2]
        elif dim != letters.get("n") or spec.items is not None:  # without items, each has a file of its own
            order.append(dim)
    if "c" not in letters and spec.shape[-1] > 1:
        letters["c"] = free_name("channel", taken)
        order.append(letters["c"])
    return _Dimensions(letters, tuple(order), windows)


def _continued_fill(attributes: dict[str, Any], dtype: np.dtype, packed: bool) -> float | None:
    """Returns the fill value of a variable that continues another.

    It is netCDF's own where the declared one is not valid, and for packed numbers. It is None for integers without missing
    values, and for floats, where NaN is missing.
    """
    import netCDF4

    defaults: dict[str, Any] = netCDF4.default_fillvals
    fill = cf.declared_fill(attributes, dtype)
    needs_fill = packed or not {*cf.FILL_VALUES, *cf.RANGES}.isdisjoint(attributes)
    return defaults[dtype.str[1:]] if fill is None and dtype.kind in "iu" and needs_fill else fill


def _copy_coordinates(target: Any, source: Any, old: Any, spec: OutputSpec) -> None:
    """Copies the variables that do not depend on time along dimensions whose sizes stay, and the bounds of their cells."""
    sizes = {"n": spec.items, **dict(zip("hwc", spec.shape, strict=True))}
    letters = dict(zip(old.dimensions, spec.source.axes, strict=True))
    kept = {dim for dim, letter in letters.items() if sizes.get(letter) == len(source.dimensions[dim])}
    time = old.dimensions[spec.source.axes.index("t")]
    wanted = [name for name, item in source.variables.items() if name != spec.source.key and {*item.dimensions} <= kept]
    bounds = {getattr(source[name], "bounds", None) for name in wanted} & {*source.variables} - {*wanted}
    for name in [*wanted, *(name for name in bounds if time not in source[name].dimensions)]:
        item, attributes = source[name], _attributes(source[name])
        for dim in item.dimensions:
            if dim not in target.dimensions:
                target.createDimension(dim, len(source.dimensions[dim]))
        new = target.createVariable(name, item.dtype, item.dimensions, fill_value=attributes.pop("_FillValue", None))
        new.set_auto_maskandscale(False)
        new.setncatts(attributes)
        new[...] = item[...]


def _create_variable(target: Any, spec: OutputSpec) -> _OutputVariable:
    """Creates a variable for frames that do not come from netCDF."""
    key = spec.key.rsplit("/", 1)[-1]
    time = (spec.times.key.rsplit("/", 1)[-1] if spec.times is not None else "") or "time"
    letters: dict[str, str] = {}
    for letter, name in {"t": time, **_DIMENSION_NAMES}.items():
        letters[letter] = free_name(name, [key, *letters.values()])
    windows = _WindowNames.unused(letters["t"], [key, *letters.values()])
    outer = (letters["t"],) if spec.window_starts is None else windows[:2]
    item = () if spec.items is None else (letters["n"],)
    dimensions = _Dimensions(letters, (*item, *outer, *(letters[letter] for letter in spec.axes)), windows)
    dimensions.create(target, spec)
    dtype = np.dtype(np.int8) if spec.dtype.kind == "b" else spec.dtype
    variable = _new_variable(target, key, dtype, dimensions.order, spec.fill)
    _write_times(target, spec, dimensions)
    return _OutputVariable(variable, dimensions, spec, {}, spec.fill)


def _new_variable(target: Any, key: str, dtype: np.dtype, dims: tuple[str, ...], fill: Any) -> Any:
    """Creates a variable; floats without a fill value get NaN."""
    if fill is None and dtype.kind == "f":
        fill = np.nan
    variable = target.createVariable(key, dtype, dims, fill_value=None if fill is None else dtype.type(fill))
    variable.set_auto_maskandscale(False)
    return variable


def _write_times(target: Any, spec: OutputSpec, dimensions: _Dimensions) -> None:
    """Writes the moments of the frames, or the starts of windows, their moments and the lead times."""
    windows = dimensions.windows
    key = dim = dimensions.by_letter["t"]
    continues = spec.source.format is FORMAT
    if spec.window_starts is not None:
        key, dim = windows.start_time, windows.window
        target.createVariable(windows.start, np.int64, (windows.window,))[:] = spec.window_starts
        target.createVariable(windows.lead, np.int32, (windows.lead,))[:] = np.arange(1, spec.frames + 1)
    elif continues and spec.times is not None:
        key = spec.times.key
    if spec.times is None:
        return
    values = spec.times.stored
    attributes = {name: value for name, value in spec.times.attributes.items() if name not in ("bounds", *cf.RANGES)}
    if spec.times.dated and not continues:
        values = to_datetime64(spec.times)
        units = f"{_UNIT_NAMES[np.datetime_data(values.dtype)[0]]} since 1970-01-01 00:00:00"
        values = values.astype(np.int64)
        attributes = {"units": units, "calendar": "proleptic_gregorian", "standard_name": "time"}
    if values.dtype.kind in "SUO":
        values = np.array([value.decode() if isinstance(value, bytes) else str(value) for value in values], object)
    variable = target.createVariable(key, str if values.dtype.kind == "O" else values.dtype, (dim,))
    variable.setncatts(attributes)
    variable[:] = values


def _attributes(item: Any) -> dict[str, Any]:
    return {name: item.getncattr(name) for name in item.ncattrs()}


FORMAT = FileFormat(
    name="nc",
    title="a netCDF file",
    endings=(".nc", ".nc4", ".netcdf"),
    reader=_read,
    output_endings=(".nc", ".nc4", ".netcdf"),
    writer=_write,
    packages=("xarray", "netCDF4"),
    extra="netcdf",
    has_named_arrays=True,
    limits=OutputLimits(dtypes=_DTYPES, missing_values=True, times=True, array_names=True, outer_axes=True),
)
