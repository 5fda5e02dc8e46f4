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
from stlight_jax.data.formats.file_contents import require_kind
from stlight_jax.data.formats.file_format import FileFormat, OutputLimits, WriteFrame
from stlight_jax.data.formats.named_arrays import open_arrays
from stlight_jax.data.formats.netcdf3_header import check_length
from stlight_jax.data.formats.output_spec import OutputSpec, free_name
from stlight_jax.data.formats.read_errors import read_errors
from stlight_jax.data.formats.stored_arrays import ArrayFile, StoredArray
from stlight_jax.data.formats.types import FrameSource, ReadOptions
from stlight_jax.data.formats.value_conversion import reorder_axes, to_dtype

_DIMENSION_NAMES = {"n": "sequence", "h": "y", "w": "x", "c": "channel"}
_UNIT_NAMES = {"s": "seconds", "ms": "milliseconds", "us": "microseconds"}
_DTYPES = ("bool", "int8", "int16", "int32", "int64", "uint8", "uint16", "uint32", "uint64", "float32", "float64")


# ---- Reading ----


def read(files: Sequence[epath.Path], name: str, options: ReadOptions) -> list[FrameSource]:
    """Opens the sequences of a file of netCDF-3 or netCDF-4."""
    import netCDF4

    (path,) = files
    require_kind(path, "an HDF5 file", "a netCDF-3 file")
    check_length(path)
    held: list[Any] = []
    with read_errors(path), netCDF4.Dataset(str(path)) as file:
        held.append(file)  # while the file is open, arrays read from it; afterwards each read opens it
        try:
            groups = {group.path.strip("/"): group for group in _groups(file)}
            arrays = [
                _stored_array(path, held, f"{key}/{name}".lstrip("/"), variable)
                for key, group in groups.items()
                for name, variable in group.variables.items()
            ]
            attributes = {key: _attributes(group) for key, group in groups.items()}
            return open_arrays(ArrayFile(path, FORMAT.name, name, arrays, attributes, always_float=True), options)
        finally:
            held.clear()


def _groups(group: Any) -> Iterator[Any]:
    yield group
    for inner in group.groups.values():
        yield from _groups(inner)


def _stored_array(path: epath.Path, held: list[Any], key: str, variable: Any) -> StoredArray:
    dtype = np.dtype(object if variable.dtype is str else variable.dtype)
    shape, dims = variable.shape, tuple(_full_name(dim) for dim in variable.get_dims())
    is_text = dtype == "S1" and len(shape) > 1  # characters along the last dimension
    if is_text:
        dtype, shape, dims = np.dtype(f"S{shape[-1]}"), shape[:-1], dims[:-1]
    opened = functools.partial(_opened, path, key, is_text, held)
    chunks = variable.chunking() if variable.group().data_model.startswith("NETCDF4") and shape else None
    chunks = tuple(chunks) if isinstance(chunks, list) else None
    return StoredArray(key, shape, dtype, opened, _attributes(variable), dims, chunks, _implied_fill(variable, dtype))


def _full_name(dim: Any) -> str:
    name = f"{dim.group().path}/{dim.name}".strip("/")
    return "" if dim.name.startswith("phony_dim_") else name  # of an HDF5 dataset without scales


def _implied_fill(variable: Any, dtype: np.dtype) -> tuple[float, str] | None:
    """Returns the format's own fill value, which marks unwritten values; None for bytes."""
    fill = cf.DEFAULT_FILLS.get(dtype.str[1:])
    if dtype.kind not in "iuf" or dtype.itemsize == 1 or fill is None:
        return None
    if variable.group().data_model.startswith("NETCDF4") and variable.get_fill_value() is None:  # it is switched off
        return None
    return fill, "netCDF's own fill value"


@contextlib.contextmanager
def _opened(path: epath.Path, key: str, is_text: bool, held: Sequence[Any] = ()) -> Iterator[Any]:
    import netCDF4

    with contextlib.nullcontext(held[0]) if held else netCDF4.Dataset(str(path)) as file:
        variable = file[key]
        variable.set_auto_maskandscale(False)
        variable.set_auto_chartostring(False)
        yield netCDF4.chartostring(variable[...], encoding="bytes") if is_text else variable


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


@dataclasses.dataclass(eq=False)
class _OutputVariable:
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

    def __post_init__(self) -> None:
        self._dtype, by_letter = self.variable.dtype, self.dimensions.by_letter
        letters = {dim: letter for letter, dim in by_letter.items() if letter in "hwc"}
        self._axes = "".join(letters[dim] for dim in self.dimensions.order if dim in letters)
        outer = [dim for dim in self.dimensions.order if dim not in letters]
        outer.sort(key=lambda dim: dim != by_letter.get("n"))
        # For each dimension its place in the output's outer shape, or None for those of a frame.
        self._outer = [None if dim in letters else outer.index(dim) for dim in self.dimensions.order]

    def write(self, frame: np.ndarray, index: int) -> None:
        """Writes a frame `[h, w, c]` in the data's units, which has this index in the output."""
        values = reorder_axes(frame, self._axes)
        if self.packing:
            offset, scale = self.packing.get("add_offset", 0), self.packing.get("scale_factor", 1)
            values = (values.astype(np.float64) - offset) / scale
        indices = np.unravel_index(index, self.spec.outer_shape)
        key = tuple(slice(None) if place is None else int(indices[place]) for place in self._outer)
        self.variable[key] = to_dtype(values, self._dtype, self.fill)


@contextlib.contextmanager
def _write(path: pathlib.Path, spec: OutputSpec) -> Iterator[WriteFrame]:
    """Writes a variable with its coordinates; windows have the dimensions `window` and `lead`, or names like these."""
    import netCDF4

    with contextlib.ExitStack() as open_files:
        target = open_files.enter_context(netCDF4.Dataset(str(path), "w"))
        if spec.source.format == FORMAT.name:
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
    continues = spec.source.format == FORMAT.name
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
    reader=read,
    output_endings=(".nc", ".nc4", ".netcdf"),
    writer=_write,
    packages=("netCDF4",),
    extra="netcdf",
    has_named_arrays=True,
    limits=OutputLimits(dtypes=_DTYPES, outer_axes=True),
)
