"""The HDF5 format, read slice by slice through h5py."""

import collections
import contextlib
import dataclasses
import functools
import pathlib
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
from etils import epath

from stlight_jax.data.formats import netcdf
from stlight_jax.data.formats.file_contents import require_kind
from stlight_jax.data.formats.file_format import FileFormat, OutputLimits, WriteFrame
from stlight_jax.data.formats.hdf5_storage import check_storage, count_unwritten, referenced_files
from stlight_jax.data.formats.named_arrays import open_arrays
from stlight_jax.data.formats.output_spec import OutputSpec
from stlight_jax.data.formats.radar_hdf5 import radar_arrays
from stlight_jax.data.formats.read_errors import read_errors
from stlight_jax.data.formats.stored_arrays import ArrayFile, StoredArray
from stlight_jax.data.formats.types import FrameSource, ReadOptions
from stlight_jax.data.formats.writing_plan import plan_arrays
from stlight_jax.data.formats.written_arrays import WrittenArray

# Attributes of dimension scales and of netCDF's own bookkeeping, which hold in the file that has them only.
_INTERNAL = ("DIMENSION_LIST", "REFERENCE_LIST", "CLASS", "NAME", "DIMENSION_LABELS", "_Netcdf4Dimid", "_Netcdf4Coordinates")
_MATLAB_AXES = (
    "MATLAB wrote it: its axes have the reverse order here, so that (height, width, time) is read as [time, width, height]"
)
_NO_COORDINATE = "This is a netCDF dimension but not a netCDF variable"


def _read(files: Sequence[epath.Path], name: str, options: ReadOptions) -> list[FrameSource]:
    import h5py

    (path,) = files
    if require_kind(path, "an HDF5 file", "a netCDF-3 file") == "a netCDF-3 file":
        netcdf.FORMAT.require_packages(path, netcdf.FORMAT.packages)
        return netcdf.read(files, name, options)
    held: dict[str, Any] = {}
    with read_errors(path), h5py.File(path, "r") as file:
        try:
            listing = _Listing(path, held)
            listing.collect(file)
            arrays = radar_arrays(path, listing.arrays, listing.groups, options) or listing.arrays
            return open_arrays(ArrayFile(path, FORMAT.name, name, arrays, listing.groups, listing.broken), options)
        finally:
            held.clear()


@contextlib.contextmanager
def _opened(path: epath.Path, key: str, held: Mapping[str, Any]) -> Iterator[Any]:
    import h5py

    with contextlib.nullcontext(held) if held else h5py.File(path, "r") as file:
        item = file[key]
        check_storage(path, item)
        yield item


@dataclasses.dataclass(eq=False)
class _Listing:
    """The arrays of a file, each once under its own name and once more for each link to it.

    Attributes:
      path: the file.
      held: the datasets by their names as long as the file is open; afterwards empty, so that each read opens the file.
        h5py's closing of a file takes longer the more objects of other files are referenced.
      arrays: all arrays.
      groups: attributes of all groups by their names.
      broken: what links point to that lead nowhere, by the names of the links.
    """

    path: epath.Path
    held: dict[str, Any]
    arrays: list[StoredArray] = dataclasses.field(default_factory=list)
    groups: dict[str, dict[str, Any]] = dataclasses.field(default_factory=dict)
    broken: dict[str, str] = dataclasses.field(default_factory=dict)

    def collect(self, file: Any) -> None:
        """Lists what the file holds itself, then what its links lead to; links may lead in circles."""
        import h5py

        seen: dict[tuple[int, int], str] = {}
        groups: collections.deque[tuple[str, Any]] = collections.deque([("", file)])
        links: collections.deque[tuple[str, Any]] = collections.deque()
        while groups or links:
            key, item = groups.popleft() if groups else self._follow(file, links.popleft())
            if item is None:
                continue
            info = h5py.h5o.get_info(item.id)
            original = seen.setdefault((info.fileno, info.addr), key)
            if isinstance(item, h5py.Dataset):
                self._add(key, item, original)
            elif isinstance(item, h5py.Group) and original == key:
                self.groups[key] = _attributes(item)
                for name in item:
                    link = item.get(name, getlink=True)
                    if isinstance(link, h5py.HardLink):
                        groups.append((f"{key}/{name}".lstrip("/"), item[name]))
                    else:  # what an external link leads to is known by its name rather than by that of a link to it
                        add = links.appendleft if isinstance(link, h5py.ExternalLink) else links.append
                        add((f"{key}/{name}".lstrip("/"), link))

    def _follow(self, file: Any, entry: tuple[str, Any]) -> tuple[str, Any]:
        key, link = entry
        with contextlib.suppress(KeyError, OSError, RuntimeError):
            return key, file[key]
        if link is None:
            raise OSError(f"the entry {key!r} cannot be read")
        target = link.path if not hasattr(link, "filename") else f"{link.path} in {link.filename}"
        self.broken[key] = f"{key!r} is a link to {target}, which does not exist or cannot be opened"
        return key, None

    def _add(self, key: str, item: Any, original: str) -> None:
        try:
            shape, dtype = item.shape, item.dtype
        except (TypeError, ValueError):  # types that NumPy does not have
            return
        attributes = _attributes(item)
        if shape is None or str(attributes.get("NAME", b"")).find(_NO_COORDINATE) >= 0:  # an empty dataset, a mere dimension
            return
        self.held[key] = item
        self.arrays.append(
            StoredArray(
                key,
                shape,
                dtype,
                functools.partial(_opened, self.path, key, self.held),
                {name: value for name, value in attributes.items() if name not in _INTERNAL},
                _dimension_names(key, item, attributes),
                item.chunks,
                _implied_fill(item),
                "" if original == key else original,
                functools.partial(self._unwritten, key),
            )
        )

    def _unwritten(self, key: str) -> tuple[str, ...]:
        if not self.held:
            return ()
        item = self.held[key]
        reversed_axes = (_MATLAB_AXES,) if "MATLAB_class" in item.attrs else ()
        return (*reversed_axes, *count_unwritten(f"{self.path}#{key}", item))


def _attributes(item: Any) -> dict[str, Any]:
    found = {}
    for name in item.attrs:
        with contextlib.suppress(OSError, TypeError, ValueError):  # types that NumPy does not have
            found[name] = item.attrs[name]
    return found


def _dimension_names(key: str, item: Any, attributes: Mapping[str, Any]) -> tuple[str, ...]:
    """Returns the keys of the dimension scales, or labels, of a dataset; () if it has none."""
    if item.is_scale and len(item.shape) == 1:
        return (key,)
    if not {"DIMENSION_LIST", "DIMENSION_LABELS"} & {*attributes}:
        return ()
    names, group = [], key.rpartition("/")[0]
    for dim in item.dims:
        name = ""
        with contextlib.suppress(KeyError, OSError, RuntimeError, ValueError):  # a scale that was deleted
            name = dim[0].name.lstrip("/") if len(dim) else f"{group}/{dim.label}".lstrip("/") if dim.label else ""
        names.append(name)
    return tuple(names) if any(names) else ()


def _implied_fill(item: Any) -> tuple[float, str] | None:
    """Returns the fill value that the dataset's author chose, unless it is 0; None for bytes."""
    import h5py

    if item.dtype.kind not in "iuf" or item.dtype.itemsize == 1:
        return None
    if item.id.get_create_plist().fill_value_defined() != h5py.h5d.FILL_VALUE_USER_DEFINED:
        return None
    fill = item.fillvalue.item()
    return (fill, "its HDF5 fill value") if fill and fill == fill else None


@contextlib.contextmanager
def _write(path: pathlib.Path, spec: OutputSpec) -> Iterator[WriteFrame]:
    """Writes the array under its name with the attributes of the source, its times, and the starts of windows."""
    import h5py

    plan = plan_arrays(spec, dates="text")
    with h5py.File(path, "w") as file:
        for key, attributes in plan.groups.items():
            file.require_group(key or "/").attrs.update(attributes)
        array = plan.frames
        frames = file.create_dataset(array.key, plan.shape, array.dtype, chunks=plan.chunks, fillvalue=array.fill)
        written = {array.key: frames}
        for coordinate in plan.coordinates:
            values = np.asarray(coordinate.values)
            if values.dtype.kind in "UO":
                values = np.char.encode(values.astype(str), "utf-8")
            written[coordinate.key] = file.create_dataset(coordinate.key, data=values)
        if any(dim in written for dim in plan.sizes):
            _add_scales(file, written, plan.sizes)
        for item in (array, *plan.coordinates):
            _describe(written, item)

        def write(frame: np.ndarray, index: int) -> None:
            key, stored = plan.place(frame, index)
            frames[key] = stored

        yield write


def _add_scales(file: Any, written: dict[str, Any], sizes: Mapping[str, int]) -> None:
    """Adds scales without values for dimensions without a coordinate: netCDF reads no array of which only some have scales."""
    for dim, size in sizes.items():
        if dim not in file:
            scale = written[dim] = file.create_dataset(dim, (size,), ">f4")
            scale.make_scale(f"{_NO_COORDINATE}.{size:10}")


def _describe(written: Mapping[str, Any], array: WrittenArray) -> None:
    """Writes the attributes of an array and the names of its dimensions, as scales where these are arrays, too."""
    dataset = written[array.key]
    dataset.attrs.update(array.attributes)
    if array.fill is not None:
        dataset.attrs["_FillValue"] = array.dtype.type(array.fill)
    for place, dim in enumerate(array.dims):
        if dim == array.key:
            dataset.make_scale(dim.rpartition("/")[2])
            continue
        dataset.dims[place].label = dim.rpartition("/")[2]
        if dim in written:
            if not written[dim].is_scale:
                written[dim].make_scale(dim.rpartition("/")[2])
            dataset.dims[place].attach_scale(written[dim])


FORMAT = FileFormat(
    name="h5",
    title="an HDF5 file",
    endings=(".h5", ".hdf5", ".hdf", ".he5", ".hd5"),
    reader=_read,
    output_endings=(".h5", ".hdf5"),
    writer=_write,
    packages=("h5py",),
    extra="hdf5",
    has_named_arrays=True,
    limits=OutputLimits(outer_axes=True),
    output_bytes=lambda spec: spec.array_bytes,
    referenced_files=referenced_files,
)
