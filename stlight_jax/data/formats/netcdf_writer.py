"""netCDF: a variable that goes on, with its coordinates, attributes, units, calendar and packing."""

from __future__ import annotations

import contextlib
import pathlib
from collections.abc import Collection, Iterator
from typing import Any, NamedTuple

import numpy as np

from stlight_jax.data.continued_times import as_dates
from stlight_jax.data.formats.output import Form, Write, as_type, can_hold, free_name, in_order
from stlight_jax.data.formats.types import needed

_NAMES = {"n": "sequence", "h": "y", "w": "x", "c": "channel"}
_PACKING = ("scale_factor", "add_offset")
# Of the values that were there, and packed as these are; readers would take predicted ones beyond them for missing.
_RANGES = ("valid_range", "valid_min", "valid_max", "actual_range")
_FILLS = ("_FillValue", "missing_value")


class _Windows(NamedTuple):
    """Names of the dimensions of windows, and of the variables along them."""

    window: str
    lead: str
    start: str
    start_time: str

    @classmethod
    def free(cls, time: str, taken: Collection[str]) -> _Windows:
        """Such names that nothing has yet."""
        return cls(*(free_name(name, taken) for name in ("window", "lead", "start", f"start_{time}")))


@contextlib.contextmanager
def netcdf(path: pathlib.Path, form: Form) -> Iterator[Write]:
    """A variable with its coordinates; windows have dimensions `window` and `lead`, or others where there are such."""
    netCDF4 = needed("netCDF4", "netcdf", path)
    with contextlib.ExitStack() as open_files:
        target = open_files.enter_context(netCDF4.Dataset(str(path), "w"))
        if form.origin.kind == "netcdf":
            source = open_files.enter_context(netCDF4.Dataset(str(form.origin.path)))
            write = _continued(target, source, form)
        else:
            write = _new(target, form)
        yield write


def _continued(target: Any, source: Any, form: Form) -> Write:
    source.set_auto_maskandscale(False)
    old = source[form.origin.key]
    attributes = {name: old.getncattr(name) for name in old.ncattrs()}
    target.setncatts({name: source.getncattr(name) for name in source.ncattrs()})
    of_letters = dict(zip(form.origin.axes, old.dimensions, strict=True))
    time, sizes = of_letters["t"], {of_letters[a]: b for a, b in zip("hwc", form.shape, strict=True) if a in of_letters}
    taken = {*source.dimensions, *source.variables}
    names = _Windows.free(time, taken)
    outer = (time,) if form.starts is None else names[:2]
    place = old.dimensions.index(time)
    dims = (*old.dimensions[:place], *outer, *old.dimensions[place + 1 :])
    if form.items is None:  # of several, which have files of their own
        dims = tuple(dim for dim in dims if dim != of_letters.get("n"))
    if "c" not in of_letters and form.shape[-1] > 1:
        channel = free_name("channel", taken)
        of_letters, dims, sizes = {**of_letters, "c": channel}, (*dims, channel), {**sizes, channel: form.shape[-1]}
    for dim in dims:
        known = source.dimensions.get(dim)
        size = _outer_sizes(time, names, form).get(dim) or sizes.get(dim) or len(known)
        target.createDimension(dim, None if known is not None and known.isunlimited() else size)
    packing = {name: attributes[name] for name in _PACKING if name in attributes}
    as_it_was = form.dtype == form.origin.dtype and "_Unsigned" not in attributes
    if form.asked and (packing or old.dtype != form.dtype):  # the origin's type is that of unpacked values
        as_it_was = False
    packing = packing if as_it_was else {}
    dtype = np.dtype(old.dtype if as_it_was else form.dtype)
    fill = _fill_of(attributes, dtype, bool(packing)) if as_it_was else form.fill
    if fill is None and not packing:
        fill = form.fill
    new = _variable(target, form.key, dtype, dims, fill)
    left_out = (*_FILLS, *_RANGES, *(() if as_it_was else ("_Unsigned", *_PACKING)))
    new.setncatts({name: value for name, value in attributes.items() if name not in left_out})
    if as_it_was and "missing_value" in attributes and fill is not None:
        new.missing_value = dtype.type(fill)
    same = {dim for dim in set(old.dimensions) & set(dims) - {time} if sizes.get(dim, 0) in (0, len(source.dimensions[dim]))}
    _copy_coordinates(target, source, form.key, time, same)
    _write_times(target, form, time, names)
    return _writer(new, {of_letters[a]: a for a in "hwc" if a in of_letters}, of_letters.get("n"), form, packing, fill)


def _fill_of(attributes: dict[str, Any], dtype: np.dtype, packed: bool) -> Any:
    """The fill value of a variable that goes on; netCDF's own where what it has cannot be one, and for packed numbers.

    Returns None for integers of which none is missing, and for floats, where NaN are.
    """
    for name in _FILLS:
        value = np.asarray(attributes.get(name))
        if value.size == 1 and value.dtype.kind in "iuf" and can_hold(dtype, value.item()):
            return value.item()
    if dtype.kind in "iu" and (packed or not {*_FILLS, *_RANGES}.isdisjoint(attributes)):
        return needed("netCDF4", "netcdf", "its fill values").default_fillvals[dtype.str[1:]]
    return None


def _copy_coordinates(target: Any, source: Any, key: str, time: str, dims: set[str]) -> None:
    """Everything that does not depend on time and lies along dimensions whose sizes stay, with the bounds of cells."""
    wanted = [name for name, item in source.variables.items() if name != key and set(item.dimensions) <= dims]
    bounds = {getattr(source[name], "bounds", None) for name in wanted}
    wanted += [
        name for name in bounds if name in source.variables and name not in wanted and time not in source[name].dimensions
    ]
    for name in wanted:
        item = source[name]
        for dim in item.dimensions:
            if dim not in target.dimensions:
                target.createDimension(dim, len(source.dimensions[dim]))
        attributes = {name: item.getncattr(name) for name in item.ncattrs()}
        new = target.createVariable(name, item.dtype, item.dimensions, fill_value=attributes.pop("_FillValue", None))
        new.set_auto_maskandscale(False)
        new.setncatts(attributes)
        new[...] = item[...]


def _new(target: Any, form: Form) -> Write:
    key = form.key.rsplit("/", 1)[-1]
    time = (form.stamps.key.rsplit("/", 1)[-1] if form.stamps is not None else "") or "time"
    of_letters: dict[str, str] = {}
    for letter, name in {"t": time, **_NAMES}.items():
        of_letters[letter] = free_name(name, [key, *of_letters.values()])
    time = of_letters["t"]
    names = _Windows.free(time, [key, *of_letters.values()])
    outer = (time,) if form.starts is None else names[:2]
    item = () if form.items is None else (of_letters["n"],)
    dims = (*item, *outer, *(of_letters[letter] for letter in form.axes))
    sizes = {of_letters[letter]: size for letter, size in zip("nhwc", (form.items, *form.shape), strict=True)}
    for dim in dims:
        target.createDimension(dim, _outer_sizes(time, names, form).get(dim) or sizes[dim])
    dtype = np.dtype(np.int8) if form.dtype.kind == "b" else form.dtype
    variable = _variable(target, key, dtype, dims, form.fill)
    _write_times(target, form, time, names)
    return _writer(variable, {of_letters[letter]: letter for letter in form.axes}, of_letters["n"], form, {}, form.fill)


def _outer_sizes(time: str, names: _Windows, form: Form) -> dict[str, int]:
    if form.starts is None:
        return {time: form.frames}
    return {names.window: len(form.starts), names.lead: form.frames}


def _variable(target: Any, key: str, dtype: np.dtype, dims: tuple[str, ...], fill: Any) -> Any:
    """Its fill value is the one there is, NaN of floats."""
    if fill is None and dtype.kind == "f":
        fill = np.nan
    variable = target.createVariable(key, dtype, dims, fill_value=None if fill is None else dtype.type(fill))
    variable.set_auto_maskandscale(False)
    return variable


def _write_times(target: Any, form: Form, time: str, names: _Windows) -> None:
    stamps, key, dim = form.stamps, time, time
    if form.starts is not None:
        key, dim = names.start_time, names.window
        target.createVariable(names.start, np.int64, (names.window,))[:] = form.starts
        target.createVariable(names.lead, np.int32, (names.lead,))[:] = np.arange(1, form.frames + 1)
    if stamps is None:
        return
    if form.starts is None and form.origin.kind == "netcdf":
        key = stamps.key
    left_out = ("bounds", *_RANGES)
    values, attributes = stamps.stored, {name: value for name, value in stamps.attributes.items() if name not in left_out}
    if stamps.dated and form.origin.kind != "netcdf":
        values = as_dates(stamps)
        unit = {"s": "seconds", "ms": "milliseconds", "us": "microseconds"}[np.datetime_data(values.dtype)[0]]
        values = values.astype(np.int64)
        attributes = {"units": f"{unit} since 1970-01-01 00:00:00", "calendar": "proleptic_gregorian", "standard_name": "time"}
    if values.dtype.kind in "SUO":
        values = np.array([value.decode() if isinstance(value, bytes) else str(value) for value in values], object)
    variable = target.createVariable(key, str if values.dtype.kind == "O" else values.dtype, (dim,))
    variable.setncatts(attributes)
    variable[:] = values


def _writer(variable: Any, letters: dict[str, str], item: str | None, form: Form, packing: dict[str, Any], fill: Any) -> Write:
    """Args: letters: of the dimensions of a frame; item: the dimension of the n-axis."""
    fill = None if fill is None or np.isnan(fill) else fill
    axes = "".join(letters[dim] for dim in variable.dimensions if dim in letters)
    outer = [dim for dim in variable.dimensions if dim not in letters and dim != item]
    order = [*([item] if form.items is not None else []), *outer]
    sizes = form.array_shape[: len(order)]
    done = 0

    def write(frames: np.ndarray) -> None:
        nonlocal done
        for values in in_order(frames, axes):
            if packing:
                values = (values.astype(np.float64) - packing.get("add_offset", 0)) / packing.get("scale_factor", 1)
            place = {dim: int(number) for dim, number in zip(order, np.unravel_index(done, sizes), strict=True)}
            variable[tuple(place.get(dim, slice(None)) for dim in variable.dimensions)] = as_type(values, variable.dtype, fill)
            done += 1

    return write
