"""The Zarr format, versions 2 and 3, in a folder or a ZIP archive, read chunk by chunk."""

import base64
import contextlib
import functools
import os
import pathlib
import struct
import warnings
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
from etils import epath

from stlight_jax.data.formats.file_contents import check_archive
from stlight_jax.data.formats.file_format import FileFormat, OutputLimits, WriteFrame
from stlight_jax.data.formats.named_arrays import open_arrays
from stlight_jax.data.formats.output_spec import OutputSpec
from stlight_jax.data.formats.read_errors import read_errors
from stlight_jax.data.formats.stored_arrays import ArrayFile, StoredArray, describe_unwritten, mostly_unwritten
from stlight_jax.data.formats.types import FrameSource, ReadOptions
from stlight_jax.data.formats.writing_plan import WritingPlan, plan_arrays
from stlight_jax.data.formats.written_arrays import WrittenArray
from stlight_jax.errors import InputError

_DIMENSIONS = "_ARRAY_DIMENSIONS"  # xarray's attribute, in version 2
_METADATA = (".zgroup", ".zarray", ".zmetadata", "zarr.json")
_MAX_COUNTED = 10**5  # chunks; each is a file
_LEAST_STORED = 1e-3  # a share of the chunks; damaged metadata can declare any number


def _read(files: Sequence[epath.Path], name: str, options: ReadOptions) -> list[FrameSource]:
    import zarr

    (path,) = files
    if path.is_file():
        with read_errors(path):
            check_archive(path, *_METADATA)
    with read_errors(path), _opened(path) as root:
        found = dict(root.members(max_depth=None)) if isinstance(root, zarr.Group) else {"": root}
        groups: dict[str, Mapping[str, Any]] = {"": root.attrs.asdict()}
        groups |= {key: item.attrs.asdict() for key, item in found.items() if isinstance(item, zarr.Group)}
        arrays = {key: item for key, item in found.items() if isinstance(item, zarr.Array)}
        listed = [_stored_array(path, key, item, arrays) for key, item in arrays.items()]
        return open_arrays(ArrayFile(path, FORMAT.name, name, listed, groups), options)


@contextlib.contextmanager
def _opened(path: epath.Path, key: str = "") -> Iterator[Any]:
    """Opens a group or an array.

    Raises:
      InputError: a codec is not installed.
    """
    import zarr

    with contextlib.ExitStack() as stack, warnings.catch_warnings():
        warnings.simplefilter("ignore")  # on forms of Zarr that other programs do not read
        store: Any = os.fspath(path)
        if os.path.isfile(path):
            store = stack.enter_context(zarr.storage.ZipStore(os.fspath(path), mode="r"))
        try:
            yield zarr.open(store=store, path=key, mode="r")
        except (ValueError, KeyError, ImportError) as error:
            if "codec" not in str(error).lower() and "codec" not in type(error).__name__.lower():
                raise
            reason = str(error).partition(". ")[0]
            raise InputError(
                f"{path}: a codec of its chunks is not installed ({reason}); install the package that has it, such as "
                "imagecodecs, or store the array with Zstandard"
            ) from None


def _stored_array(path: epath.Path, key: str, item: Any, arrays: Mapping[str, Any]) -> StoredArray:
    attributes, version = item.attrs.asdict(), item.metadata.zarr_format
    dims = attributes.pop(_DIMENSIONS, ()) if version == 2 else item.metadata.dimension_names or ()
    dims = tuple(_full_name(key, dim, arrays) if dim else "" for dim in dims)
    dtype = np.dtype(object) if item.dtype.kind == "T" else item.dtype
    fill, implied = item.fill_value, None
    usable = dtype.kind in "iuf" and fill is not None and fill != 0 and fill == fill
    if version == 2 and usable:  # as xarray writes it
        attributes["_FillValue"] = fill
    elif usable and "_FillValue" not in attributes:
        implied = float(fill) if dtype.kind == "f" else int(fill), "its Zarr fill value"
    if dtype.kind == "f" and isinstance(attributes.get("_FillValue"), str):
        attributes["_FillValue"] = _decode_float(attributes["_FillValue"])
    return StoredArray(
        key,
        item.shape,
        dtype,
        functools.partial(_opened, path, key),
        attributes,
        dims if len(dims) == len(item.shape) else (),
        item.chunks or None,
        implied,
        remarks=functools.partial(_storage_remarks, path, key, item),
    )


def _full_name(key: str, dim: str, arrays: Mapping[str, Any]) -> str:
    """Returns the key of a dimension's coordinate in the group of an array or the nearest group above."""
    group = key.rpartition("/")[0]
    parents = [*("/".join(group.split("/")[:depth]) for depth in range(group.count("/") + 1, 0, -1) if group), ""]
    names = [f"{parent}/{dim}".lstrip("/") for parent in parents]
    return next((name for name in names if name in arrays), names[0])


def _decode_float(text: str) -> float | str:
    """Returns a float that xarray writes in base 64."""
    try:
        return float(text)
    except ValueError:
        pass
    try:
        return float(struct.unpack("<d", base64.standard_b64decode(text))[0])
    except (ValueError, struct.error):
        return text


def _storage_remarks(path: epath.Path, key: str, item: Any) -> tuple[str, ...]:
    """Returns remarks on chunks that are not stored, and on zeros that xarray reads as missing.

    Raises:
      InputError: there are next to none of the declared chunks.
    """
    fill = item.fill_value or 0  # null reads as 0, too
    if item.nchunks > _MAX_COUNTED:
        files = sum(len(names) for _, _, names in os.walk(path))
        if item.shards is None and path.is_dir() and files < item.nchunks * _LEAST_STORED:
            raise mostly_unwritten(f"{path}#{key}", item.shape, f"{item.nchunks:,} chunks", f"its folder has {files:,} files")
        return ()
    left_out = item.nchunks - item.nchunks_initialized
    text, remarks = describe_unwritten(left_out, item.nchunks), []
    if left_out > 0:
        if left_out == item.nchunks and fill != 0:
            raise InputError(f"{path}#{key}: {text}, so that all values are missing; get a whole copy, or write the array anew")
        remarks.append(f"{text}; they read as 0" if fill == 0 else f"{text}; their values are missing (fill value {fill:g})")
    # Most programs write 0 without a meaning.
    if item.fill_value is not None and fill == 0 and item.metadata.zarr_format == 2 and _DIMENSIONS in item.attrs:
        remarks.append("its Zarr fill value is 0: zeros are values here, missing in xarray: --config.data.fill_value=0")
    return tuple(remarks)


@contextlib.contextmanager
def _write(path: pathlib.Path, spec: OutputSpec) -> Iterator[WriteFrame]:
    """Writes an array with its coordinates, in the version of the source, or in version 3."""
    import zarr

    version: Any = 3
    if spec.source.format == FORMAT.name:
        with _opened(epath.Path(spec.source.path), spec.source.key) as source:
            version = source.metadata.zarr_format
    plan = plan_arrays(spec)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        root = zarr.open_group(store=os.fspath(path), mode="w", zarr_format=version)
        for key, attributes in plan.groups.items():
            (root.require_group(key) if key else root).attrs.update(_as_json(attributes))
        frames = _create(root, plan.frames, plan, version)
        for coordinate in plan.coordinates:
            _create(root, coordinate, plan, version)[...] = coordinate.values

        def write(frame: np.ndarray, index: int) -> None:
            key, stored = plan.place(frame, index)
            frames[key] = stored

        yield write
        zarr.consolidate_metadata(os.fspath(path), zarr_format=version)  # so that readers do not search the folder


def _create(root: Any, array: WrittenArray, plan: WritingPlan, version: int) -> Any:
    is_frames = array.values is None
    dtype: Any = str if array.dtype.kind in "USO" else array.dtype
    attributes, names = _as_json(array.attributes), [dim.rpartition("/")[2] for dim in array.dims]
    fill = None if array.fill is None else array.dtype.type(array.fill)
    if version == 2:
        attributes[_DIMENSIONS] = names
    elif fill is not None:  # as xarray reads it
        packed = base64.standard_b64encode(struct.pack("<d", fill)).decode()
        attributes["_FillValue"] = packed if array.dtype.kind == "f" else fill.item()
    shape = plan.shape if array.values is None else array.values.shape
    return root.create_array(
        array.key,
        shape=shape,
        dtype=dtype,
        chunks=plan.chunks if is_frames else tuple(max(1, size) for size in shape),
        fill_value=fill if fill is not None or version == 2 else "" if dtype is str else dtype.type(0),
        attributes=attributes,
        dimension_names=names if version == 3 else None,
        config={"write_empty_chunks": True},
    )


def _as_json(attributes: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value if isinstance(value, str) else np.asarray(value).tolist() for name, value in attributes.items()}


FORMAT = FileFormat(
    name="zarr",
    title="a Zarr folder",
    endings=(".zarr.zip",),
    folder_endings=(".zarr",),
    folder_markers=_METADATA,
    reader=_read,
    output_endings=(".zarr",),
    writer=_write,
    packages=("zarr",),
    extra="zarr",
    has_named_arrays=True,
    limits=OutputLimits(outer_axes=True),
    output_bytes=lambda spec: spec.array_bytes,
)
