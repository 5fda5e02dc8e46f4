"""The netCDF format, through netCDF4, which neither masks nor unpacks values here.

A written variable continues that of the source, with its coordinates, attributes, units, calendar and packing.
"""

import contextlib
import functools
import math
import os
import pathlib
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
from etils import epath

from stlight_jax.data.formats import cf_attributes as cf
from stlight_jax.data.formats.file_contents import require_kind
from stlight_jax.data.formats.file_format import FileFormat, OutputLimits, WriteFrame
from stlight_jax.data.formats.hdf5_storage import check_storage, referenced_files
from stlight_jax.data.formats.named_arrays import open_arrays
from stlight_jax.data.formats.netcdf3_header import check_length
from stlight_jax.data.formats.output_spec import OutputSpec
from stlight_jax.data.formats.read_errors import read_errors
from stlight_jax.data.formats.stored_arrays import ArrayFile, StoredArray, mostly_unwritten
from stlight_jax.data.formats.types import FrameSource, ReadOptions
from stlight_jax.data.formats.writing_plan import plan_arrays
from stlight_jax.data.formats.written_arrays import WrittenArray

_MOST_COMPRESSED = 10**5  # times that compression can make data smaller: zlib 1032, Zstandard 32,768
_DTYPES = ("bool", "int8", "int16", "int32", "int64", "uint8", "uint16", "uint32", "uint64", "float32", "float64")


# ---- Reading ----


def read(files: Sequence[epath.Path], name: str, options: ReadOptions) -> list[FrameSource]:
    """Opens the sequences of a file of netCDF-3 or netCDF-4."""
    import netCDF4

    (path,) = files
    if require_kind(path, "an HDF5 file", "a netCDF-3 file") == "a netCDF-3 file":
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
            unlimited = [_full_name(dim) for group in groups.values() for dim in group.dimensions.values() if dim.isunlimited()]
            listed = ArrayFile(path, FORMAT.name, name, arrays, attributes, unlimited=unlimited, always_float=True)
            return open_arrays(listed, options)
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
    checked = functools.partial(_check_size, path, key, shape, dtype)
    fill = _implied_fill(variable, dtype)
    return StoredArray(key, shape, dtype, opened, _attributes(variable), dims, chunks, fill, remarks=checked)


def _check_size(path: epath.Path, key: str, shape: tuple[int, ...], dtype: np.dtype) -> tuple[str, ...]:
    """Refuses a variable of which the file can hold next to nothing; returns no remarks."""
    size, found = dtype.itemsize * math.prod(shape), os.path.getsize(path)
    if size > _MOST_COMPRESSED * found:
        raise mostly_unwritten(f"{path}#{key}", shape, f"{size:,} bytes", f"the file has {found:,}")
    return ()


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
        yield netCDF4.chartostring(variable[...], encoding="bytes") if is_text else _Variable(path, key, variable)


class _Variable:
    """A variable to slice. What the netCDF library cannot unpack is read by h5py, for which more filters exist."""

    def __init__(self, path: epath.Path, key: str, variable: Any):
        self._path, self._key, self._variable = path, key, variable
        self.shape = variable.shape

    def __getitem__(self, index: Any) -> np.ndarray:
        try:
            return self._variable[index]
        except RuntimeError:
            if not self._variable.group().data_model.startswith("NETCDF4"):
                raise
            import h5py

            with h5py.File(self._path, "r") as file:
                check_storage(self._path, file[self._key])
                return file[self._key][index]


# ---- Writing ----


@contextlib.contextmanager
def _write(path: pathlib.Path, spec: OutputSpec) -> Iterator[WriteFrame]:
    """Writes a variable with its coordinates; windows have the dimensions `start` and `lead`, or names like these."""
    import netCDF4

    plan = plan_arrays(spec, keeps_groups=False)
    with netCDF4.Dataset(str(path), "w") as target:
        for key, attributes in plan.groups.items():
            (target.createGroup(key) if key else target).setncatts(attributes)
        for dim, size in plan.sizes.items():
            group, _, name = dim.rpartition("/")
            (target.createGroup(group) if group else target).createDimension(name, None if dim in plan.unlimited else size)
        frames = _create(target, plan.frames)
        for coordinate in plan.coordinates:
            _create(target, coordinate)[...] = coordinate.values

        def write(frame: np.ndarray, index: int) -> None:
            key, stored = plan.place(frame, index)
            frames[key] = stored

        yield write


def _create(target: Any, array: WrittenArray) -> Any:
    """Creates a variable; frames that are floats without a fill value get NaN."""
    dtype: Any = np.dtype(np.int8) if array.dtype.kind == "b" else array.dtype
    fill = np.nan if array.fill is None and array.values is None and dtype.kind == "f" else array.fill
    fill = None if fill is None else dtype.type(fill)
    dims = tuple(dim.rpartition("/")[2] for dim in array.dims)
    variable = target.createVariable(array.key, str if dtype.kind in "SUO" else dtype, dims, fill_value=fill)
    variable.set_auto_maskandscale(False)
    variable.setncatts(array.attributes)
    return variable


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
    referenced_files=referenced_files,
)
