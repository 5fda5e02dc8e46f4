"""Arrays of `.npy` files without reading them; of those in a bucket, their copies on this machine's disk."""

from __future__ import annotations

import os

import numpy as np
from etils import epath

from stlight_jax.errors import InputError
from stlight_jax.storage import paths
from stlight_jax.storage.copies import local_file


def memory_map(path: epath.PathLike, wanted: str) -> np.ndarray:
    """The array in a file, read where it is looked at.

    Raises InputError, with what was `wanted`, for any other file, and what a bucket raises that does not answer.
    """
    try:
        there = local_file(path)
        array = np.load(os.fspath(there), mmap_mode="r", allow_pickle=False)
    except FileNotFoundError:
        raise InputError(f"{path}: {wanted}, found no such file") from None
    except (ValueError, EOFError, OSError) as error:
        if isinstance(error, InputError) or paths.is_failure(error):
            raise
        raise InputError(f"{path}: {wanted}, found a file that does not load ({error})") from None
    if not isinstance(array, np.ndarray):
        raise InputError(f"{path}: {wanted}, found an archive of arrays")
    return array
