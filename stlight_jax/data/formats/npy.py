"""The .npy format, and the only reader of its headers."""

import contextlib
import math
import os
import pathlib
import tokenize
from collections.abc import Iterator, Sequence
from typing import IO, NamedTuple

import numpy as np
from etils import epath

from stlight_jax.data.formats.array_slicing import ArraySlicer
from stlight_jax.data.formats.file_contents import require_kind
from stlight_jax.data.formats.file_format import FileFormat, OutputLimits, WriteFrame
from stlight_jax.data.formats.output_spec import OutputSpec
from stlight_jax.data.formats.read_errors import read_errors
from stlight_jax.data.formats.stored_arrays import StoredArray
from stlight_jax.data.formats.types import FrameSource, ReadOptions
from stlight_jax.data.formats.value_conversion import to_stored
from stlight_jax.errors import InputError
from stlight_jax.storage import paths
from stlight_jax.storage.copies import local_file

# The header is a Python literal; NumPy lets through what Python's parser raises.
_PARSER_ERRORS = (tokenize.TokenError, SyntaxError, TypeError, OverflowError, RecursionError, MemoryError)
_READ_HEADER = {(1, 0): np.lib.format.read_array_header_1_0, (2, 0): np.lib.format.read_array_header_2_0}


class NpyVersionError(ValueError):
    """A .npy file of version 3, which only structured arrays have."""


class NpyHeader(NamedTuple):
    """The header of a .npy file.

    Attributes:
      shape: the array's shape.
      fortran_order: whether the first axis varies fastest.
      dtype: the array's element type.
    """

    shape: tuple[int, ...]
    fortran_order: bool
    dtype: np.dtype


def read_npy_header(file: IO[bytes]) -> NpyHeader:
    """Reads the header of a .npy file of version 1 or 2.

    Args:
      file: the file, or a member of an .npz archive, at its beginning; afterwards at its first value.

    Raises:
      NpyVersionError: the file has another version.
      ValueError: the header is damaged.
    """
    version = np.lib.format.read_magic(file)
    if version not in _READ_HEADER:
        raise NpyVersionError(f"version {'.'.join(map(str, version))} of the .npy format; expected 1.0 or 2.0")
    try:
        return NpyHeader(*_READ_HEADER[version](file))
    except _PARSER_ERRORS as error:
        raise ValueError(f"its header is no description of an array: {error.args[0] if error.args else error}") from None


def write_npy_header(file: IO[bytes], shape: tuple[int, ...], dtype: np.dtype) -> None:
    """Writes the header of an array in C order."""
    described = {"descr": np.lib.format.dtype_to_descr(dtype), "fortran_order": False, "shape": shape}
    np.lib.format.write_array_header_1_0(file, described)


def write_values(file: IO[bytes], array: np.ndarray) -> None:
    """Writes the values of an array in C order."""
    file.write(np.ascontiguousarray(array).data.cast("B"))


def memory_map(path: epath.PathLike, expectation: str) -> np.ndarray:
    """Maps the array of a .npy file into memory, so that values are read on access.

    Args:
      path: the file, local or in a bucket, of which a copy is made on this machine's disk.
      expectation: the part of an error message that names the expected file.

    Returns:
      The array.

    Raises:
      InputError: no such file, or not an array.
      OSError: the bucket does not answer.
    """
    try:
        local = local_file(path)
        content = _other_content(local)
        if content is not None:
            raise InputError(f"{path}: {expectation}, found {content}")
        return np.load(os.fspath(local), mmap_mode="r", allow_pickle=False)
    except FileNotFoundError:
        raise InputError(f"{path}: {expectation}, found no such file") from None
    except (ValueError, EOFError, OSError) as error:
        if isinstance(error, InputError) or paths.is_bucket_error(error):
            raise
        raise InputError(f"{path}: {expectation}, found a file that does not load ({error})") from None


def _other_content(path: epath.PathLike) -> str | None:
    """Returns what a file holds that is no array of numbers; None for a .npy file of numbers.

    Raises:
      ValueError: the header is damaged, or the file is cut off.
      OSError: the file cannot be read.
    """
    with open(path, "rb") as file:
        start = file.read(len(np.lib.format.MAGIC_PREFIX))
        if not start:
            return "an empty file"
        if start != np.lib.format.MAGIC_PREFIX:
            return "a file of another format, without the signature of a .npy file"
        file.seek(0)
        shape, _, dtype = read_npy_header(file)
        if dtype.hasobject:
            return "an array of Python objects; save an array of numbers instead"
        size, found = dtype.itemsize * math.prod(shape), os.fstat(file.fileno()).st_size - file.tell()
        if found < size:
            raise ValueError(f"cut off after {found:,} of the {size:,} bytes of {dtype} {list(shape)}; get a whole copy")
    return None


def _read(files: Sequence[epath.Path], name: str, options: ReadOptions) -> list[FrameSource]:
    """Opens the sequences of an array, which is mapped into memory."""
    (path,) = files
    require_kind(path, "a .npy file of NumPy")

    @contextlib.contextmanager
    def opened() -> Iterator[np.ndarray]:
        yield np.lib.format.open_memmap(path, mode="r")

    with read_errors(path):
        content = _other_content(path)
        if content is not None:
            raise InputError(f"{path}: expected a .npy file with an array of numbers, found {content}")
        with opened() as array:
            stored = StoredArray("", array.shape, array.dtype, opened)
    return ArraySlicer(path, FORMAT.name, name, stored, options).sequences()


@contextlib.contextmanager
def _write(path: pathlib.Path, spec: OutputSpec) -> Iterator[WriteFrame]:
    with open(path, "wb") as file:
        write_npy_header(file, spec.array_shape, spec.dtype)
        yield lambda frame, index: write_values(file, to_stored(frame, spec))


FORMAT = FileFormat(
    name="npy",
    title="a .npy file",
    endings=(".npy",),
    reader=_read,
    output_endings=(".npy",),
    writer=_write,
    limits=OutputLimits(outer_axes=True),
    output_bytes=lambda spec: spec.array_bytes,
)
