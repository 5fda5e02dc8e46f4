"""The .npz format: a ZIP archive of .npy files, read frame by frame."""

import contextlib
import functools
import math
import pathlib
import zipfile
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np
from etils import epath

from stlight_jax.data.available_memory import memory_available
from stlight_jax.data.formats.file_contents import check_archive, require_kind
from stlight_jax.data.formats.file_format import FileFormat, OutputLimits, WriteFrame
from stlight_jax.data.formats.named_arrays import open_arrays
from stlight_jax.data.formats.npy import NpyVersionError, read_npy_header, write_npy_header, write_values
from stlight_jax.data.formats.output_spec import OutputSpec
from stlight_jax.data.formats.read_errors import read_errors
from stlight_jax.data.formats.stored_arrays import ArrayFile, StoredArray
from stlight_jax.data.formats.types import FrameSource, ReadOptions
from stlight_jax.data.formats.value_conversion import to_stored
from stlight_jax.data.formats.writing_plan import plan_arrays
from stlight_jax.errors import InputError

_BYTES_PER_READ = 2**20
_MAX_OPEN = 16  # archives; a folder can hold more than a process may open
_ALWAYS_AVAILABLE = 2**28  # bytes that every machine has


def _read(files: Sequence[epath.Path], name: str, options: ReadOptions) -> list[FrameSource]:
    """Opens the sequences of an archive.

    It is read forwards: items of an n-axis follow each other, and so do their frames.
    """
    (path,) = files
    require_kind(path, "a ZIP archive")
    arrays = []
    with read_errors(path), zipfile.ZipFile(path) as archive:
        for entry in archive.infolist():
            if entry.filename.endswith(".npy"):
                with contextlib.suppress(NpyVersionError):  # structured arrays hold no frames
                    arrays.append(_stored_array(path, archive, entry))
    if not arrays:
        check_archive(path, ".npy")
    return open_arrays(ArrayFile(path, FORMAT.name, name, arrays), options)


def _stored_array(path: epath.Path, archive: zipfile.ZipFile, entry: zipfile.ZipInfo) -> StoredArray:
    """Reads the header of an array.

    Raises:
      InputError: the header declares another size than the archive's directory.
      NpyVersionError: the array is structured.
    """
    key = entry.filename.removesuffix(".npy")
    with archive.open(entry) as file:
        header = read_npy_header(file)
        size, found = header.dtype.itemsize * math.prod(header.shape), entry.file_size - file.tell()
    if not header.dtype.hasobject and size != found:
        raise InputError(
            f"{path}: the header of {key} declares {header.dtype} {list(header.shape)}, {size:,} bytes, "
            f"the archive has {found:,} of it; the file is damaged or malicious"
        )
    load = functools.partial(_load_fortran if header.fortran_order and not header.dtype.hasobject else _ForwardArray, path, key)
    return StoredArray(key, header.shape, header.dtype, lambda: contextlib.nullcontext(_loaded(load)))


@functools.lru_cache(maxsize=_MAX_OPEN)
def _loaded(load: Callable[[], Any]) -> Any:
    """Returns an open array: unpacked only once, however often it is opened, unless many others were opened since."""
    return load()


def _load_fortran(path: epath.Path, key: str) -> np.ndarray:
    """Loads an array in Fortran's order, whose frames do not follow each other.

    Raises:
      InputError: the array is larger than this machine's memory.
    """
    with zipfile.ZipFile(path) as archive:
        size = archive.getinfo(f"{key}.npy").file_size
    if size > memory_available() / 2:
        raise InputError(
            f"{path}#{key} is stored in Fortran's order and has {size / 2**20:,.0f} MiB, more than this machine can hold; save "
            f"it with numpy.ascontiguousarray"
        )
    with np.load(path, allow_pickle=False) as file:
        return file[key]


class _ForwardArray:
    """An array in C order of which slices along the outer axes are read; reading an earlier slice starts again."""

    def __init__(self, path: epath.Path, key: str):
        self._label = f"{path}#{key}"
        self._archive = zipfile.ZipFile(path)
        self._file = self._archive.open(f"{key}.npy")
        header = read_npy_header(self._file)
        if header.dtype.hasobject:
            raise InputError(
                f"{self._label} holds Python objects, which are not read, as they can run programs; save it as text with "
                "astype(str), or leave it out (--config.data.time=none ignores times)"
            )
        self._shape, self._dtype, self._start = header.shape, header.dtype, self._file.tell()

    def __getitem__(self, index: Any) -> np.ndarray:
        """Reads a part of the array.

        Args:
          index: numbers, then at most one slice, then whole axes.

        Raises:
          InputError: the part is larger than this machine's memory.
        """
        shape, first = list(self._shape), 0  # `first` counts values before the part
        for part in index if isinstance(index, tuple) else (index,):
            inner = math.prod(shape[1:])
            if isinstance(part, slice):
                start, stop, _ = part.indices(shape[0])
                first, shape = first + start * inner, [stop - start, *shape[1:]]
                break
            first, shape = first + part * inner, shape[1:]
        position, size = self._start + first * self._dtype.itemsize, math.prod(shape) * self._dtype.itemsize
        if self._file.tell() != position:
            self._file.seek(position)
        if size > _ALWAYS_AVAILABLE and size > memory_available() / 2:
            raise InputError(f"{self._label}: {size / 2**20:,.0f} MiB are needed at once, more than this machine can hold")
        array = np.empty(shape, self._dtype)
        content, done = array.reshape(-1).view(np.uint8).data, 0
        while done < len(content):
            part = self._file.read(min(_BYTES_PER_READ, len(content) - done))
            if not part:
                raise EOFError("the array is cut off")
            content[done : done + len(part)] = part
            done += len(part)
        return array


@contextlib.contextmanager
def _write(path: pathlib.Path, spec: OutputSpec) -> Iterator[WriteFrame]:
    """Writes the array under its name, uncompressed like `numpy.savez`, then times and the arrays beside the frames."""
    with zipfile.ZipFile(path, "w", zipfile.ZIP_STORED, allowZip64=True) as archive:
        with archive.open(f"{spec.key}.npy", "w", force_zip64=True) as file:
            write_npy_header(file, spec.array_shape, spec.dtype)
            yield lambda frame, index: write_values(file, to_stored(frame, spec))
        for array in plan_arrays(spec, dates="datetime64").coordinates:
            values = np.asarray(array.values)
            values = values.astype(str) if values.dtype.kind == "O" else values
            with archive.open(f"{array.key}.npy", "w") as file:
                np.lib.format.write_array(file, values, allow_pickle=False)


FORMAT = FileFormat(
    name="npz",
    title="a .npz file",
    endings=(".npz",),
    reader=_read,
    output_endings=(".npz",),
    writer=_write,
    has_named_arrays=True,
    limits=OutputLimits(outer_axes=True),
    output_bytes=lambda spec: spec.array_bytes,
)
