"""Arrays in `.npy` files: header only, or memory-mapped; files in a bucket are copied to this machine's disk first."""

from __future__ import annotations

import os
from typing import IO

import numpy as np
from etils import epath

from stlight_jax.errors import InputError
from stlight_jax.storage import paths
from stlight_jax.storage.copies import local_file


def read_npy_header(file: IO[bytes]) -> tuple[tuple[int, ...], bool, np.dtype]:
    """Reads the header of a `.npy` file, of format version 1 or 2.

    Args:
      file: the file, or a member of an `.npz` archive, at its beginning; afterwards at its first value.

    Returns:
      Shape, whether the array is in Fortran order, and dtype.

    Raises:
      ValueError: the header is damaged, or of another version.
    """
    version = np.lib.format.read_magic(file)
    if version == (1, 0):
        return np.lib.format.read_array_header_1_0(file)
    if version == (2, 0):
        return np.lib.format.read_array_header_2_0(file)
    raise ValueError(f"version {'.'.join(map(str, version))} of the .npy format")


def memory_map(path: epath.PathLike, expectation: str) -> np.ndarray:
    """Memory-maps the array of a `.npy` file, so that values are read on access.

    Args:
      path: the file, local or in a bucket.
      expectation: the part of an error message that says what was expected.

    Returns:
      The array.

    Raises:
      InputError: no such file, or not an array.
      OSError: the bucket does not answer.
    """
    try:
        array = np.load(os.fspath(local_file(path)), mmap_mode="r", allow_pickle=False)
    except FileNotFoundError:
        raise InputError(f"{path}: {expectation}, found no such file") from None
    except (ValueError, EOFError, OSError) as error:
        if isinstance(error, InputError) or paths.is_bucket_error(error):
            raise
        raise InputError(f"{path}: {expectation}, found a file that does not load ({error})") from None
    if not isinstance(array, np.ndarray):
        raise InputError(f"{path}: {expectation}, found an archive of arrays")
    return array
