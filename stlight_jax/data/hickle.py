"""Hickle files (HDF5) of versions 1 to 5, which call their arrays by different names: one array of frames, or strings."""

import operator
import os
import re
from typing import Any

import numpy as np
from etils import epath, epy

from stlight_jax.errors import InputError

with epy.lazy_imports():
    import h5py


def open_hickle(path: epath.Path) -> h5py.File:
    """Opens a file for reading.

    Args:
      path: the file.

    Returns:
      The open file.

    Raises:
      InputError: the file is not HDF5.
    """
    try:
        return h5py.File(os.fspath(path), "r")
    except OSError as error:
        raise InputError(f"{path}: expected a hickle (HDF5) file, found one that does not open ({error})") from None


def find_frames(path: epath.Path, file: h5py.File, shape: tuple[int, int, int]) -> h5py.Dataset:
    """Finds the only array of frames in a file.

    Args:
      path: of the file, for messages.
      file: the open file.
      shape: of a frame, `[h, w, c]`.

    Returns:
      The array uint8 `[n, h, w, c]`, still on disk.

    Raises:
      InputError: the file contains none or several such arrays.
    """
    arrays = _arrays(file)
    frames = [array for array in arrays if array.ndim == 4 and array.dtype == np.uint8]
    if len(frames) != 1 or frames[0].shape[1:] != shape or not len(frames[0]):
        found = ", ".join(f"{array.dtype} {list(array.shape or ())}" for array in arrays[:4]) or "no array"
        raise InputError(f"{path}: expected one array uint8 [n, {', '.join(map(str, shape))}], found {found}")
    return frames[0]


def read_strings(path: epath.Path, file: h5py.File) -> list[str]:
    """Reads a list of strings: one array, as in hickle 1 to 4, or numbered arrays with a string each, as in hickle 5.

    Args:
      path: of the file, for messages.
      file: the open file.

    Returns:
      The strings.

    Raises:
      InputError: the file contains something else.
    """
    arrays = _arrays(file)
    try:
        if len(arrays) == 1 and arrays[0].ndim == 1 and arrays[0].dtype.kind in "SO":
            return [_text(item) for item in arrays[0][()]]
        numbered = sorted(((_number(array), array) for array in arrays), key=operator.itemgetter(0))
        return [_text(_resolve(array)) for _, array in numbered]
    except (TypeError, ValueError, OSError) as error:
        raise InputError(f"{path}: expected a list of strings, found something else ({error})") from None


def _arrays(file: h5py.File) -> list[h5py.Dataset]:
    """Lists all arrays, without the names of types: one array in version 1, a table in version 5."""
    found: list[h5py.Dataset] = []

    def visit(name: str, node: h5py.HLObject) -> None:
        if isinstance(node, h5py.Dataset) and name.split("/")[0] not in ("type", "hickle_types_table"):
            found.append(node)

    file.visititems(visit)
    return found


def _number(array: h5py.Dataset) -> int:
    match = re.search(r"\d+$", array.name)
    if match is None:
        raise TypeError(f"an array {array.name}, which has no number")
    return int(match[0])


def _resolve(array: h5py.Dataset) -> Any:
    """Reads an array; hickle 5 writes an object that occurs again as a reference to its first occurrence."""
    content = array[()]
    return array.file[content][()] if isinstance(content, h5py.Reference) else content


def _text(value: Any) -> str:
    """Decodes a string, which versions of hickle store as itself, as its bytes, or as an array of either."""
    if isinstance(value, np.ndarray):
        if value.dtype.kind not in "SOu":
            raise TypeError(f"{value.dtype} {list(value.shape)}")
        value = b"".join(value.ravel()) if value.dtype.kind == "O" else value.tobytes().rstrip(b"\0")
    if not isinstance(value, bytes | str):
        raise TypeError(f"a {type(value).__name__}")
    return value.decode() if isinstance(value, bytes) else value
