"""What all readers share: how the user wants his files read, and what they give back."""

from __future__ import annotations

import dataclasses
import importlib
import itertools
import os
from collections.abc import Callable, Iterator
from types import ModuleType
from typing import TYPE_CHECKING

import numpy as np
from etils import epath

from stlight_jax.errors import InputError

if TYPE_CHECKING:
    from stlight_jax.data.times import Stamps

LAYOUTS = ("auto", "thw", "thwc", "tchw", "nthw", "nthwc", "ntchw")
CHANNELS = ("auto", "grey", "rgb")
BLOCK_BYTES = 32 * 2**20


@dataclasses.dataclass(frozen=True)
class ReadOptions:
    """How to read files that leave it open.

    Attributes:
      variable: the array in an npz, HDF5 or netCDF file; "" takes the one, or the several of equal form, that can be frames.
      time: name of the time coordinate in the same file; "" finds it, "none" ignores times.
      layout: axes of arrays: n sequences, t frames, c channels, h rows, w columns. "auto": thw, thwc or nthwc by their number.
      channels: of videos and pictures. "auto": grey if all frames of all of them are, else rgb.
      fill_value: stands for "missing".
      mask: name of an array in the same file, non-zero where values are missing: [h, w], [t, h, w] or the data's own shape.
    """

    variable: str = ""
    time: str = ""
    layout: str = "auto"
    channels: str = "auto"
    fill_value: float | None = None
    mask: str = ""


@dataclasses.dataclass(frozen=True)
class Origin:
    """Where a sequence lies and how it is stored there, for those who write its continuation.

    Attributes:
      path: the file, or the folder of pictures.
      kind: "video", "gif", "pictures", "npy", "npz", "hdf5" or "netcdf".
      key: the array in the file; "" if there is only one.
      axes: a letter of "nthwc" for each axis of the array; "" of videos and pictures.
      dtype: as stored, in this machine's byte order; None of videos, which have 8 bits.
      item: place along the n-axis; None without one.
      rate: frames per second of a video or GIF.
    """

    path: epath.Path
    kind: str
    key: str = ""
    axes: str = ""
    dtype: np.dtype | None = None
    item: int | None = None
    rate: float | None = None


@dataclasses.dataclass(frozen=True, eq=False)
class RawSequence:
    """A sequence of frames that is still in its file.

    Attributes:
      name: path relative to the root, `#key` for an array in an archive, `[i]` for item i of an n-axis.
      frames: how many; of videos an upper bound.
      shape: of a frame, (h, w, c).
      dtype: of the blocks: uint8, uint16, int16 or float32.
      fill: integers of this value are missing; in floats NaN are.
      ticks: int64 `[t]`, sampling steps since an origin common to all sequences of a call with the same sampling step and kind
        of time; None: no times, frames follow each other.
      step: the sampling step for people, as "1 h"; "" if unknown.
      remarks: what the user should know.
      blocks: yields `[n, h, w, c]` in order, about 32 MiB or one frame each, from the first frame on or from the one whose
        place it is given; can be called again. It raises InputError for damage that only reading shows.
      origin: where it lies.
      stamps: the moments that `ticks` come from.
    """

    name: str
    frames: int
    shape: tuple[int, int, int]
    dtype: np.dtype
    fill: float | None
    ticks: np.ndarray | None
    step: str
    remarks: tuple[str, ...]
    blocks: Callable[..., Iterator[np.ndarray]]
    origin: Origin | None = None
    stamps: Stamps | None = None


def needed(package: str, extra: str, path: epath.PathLike) -> ModuleType:
    """Imports an optional package; raises InputError that says how to install it."""
    try:
        return importlib.import_module(package)
    except ImportError:
        raise InputError(f"{path} needs the package {package}: pip install {package} (or the extra [{extra}])") from None


def refuse_array_options(path: epath.PathLike, options: ReadOptions, kind: str, *, keys: tuple[str, ...]) -> None:
    """Raises InputError for options among `keys` that ask this kind of file for something it cannot hold."""
    for key in keys:
        value = getattr(options, key)
        if value and not (key == "time" and value == "none"):
            raise InputError(f"{path}: data.{key} is {value!r}, but {kind} has no named arrays; leave data.{key} empty")


def integer_fill(path: epath.PathLike, fill_value: float | None, dtype: np.dtype) -> float | None:
    """`fill_value` if integers of `dtype` can have it; raises InputError if they cannot."""
    if fill_value is None:
        return None
    limits = np.iinfo(dtype)
    if fill_value != fill_value or fill_value % 1 or not limits.min <= fill_value <= limits.max:
        raise InputError(
            f"{path}: data.fill_value is {fill_value:g}, which {dtype} cannot hold; "
            f"give a whole number from {limits.min} to {limits.max}, or None"
        )
    return float(fill_value)


def memory_available() -> float:
    """Bytes that this machine can still give; infinite where nobody says."""
    try:
        with open("/proc/meminfo", encoding="ascii") as file:
            return next(1024.0 * int(line.split()[1]) for line in file if line.startswith("MemAvailable:"))
    except (OSError, StopIteration, ValueError):
        try:
            return float(os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE"))
        except (AttributeError, OSError, ValueError):
            return float("inf")


def frames_per_block(shape: tuple[int, int, int], dtype: np.dtype) -> int:
    """How many frames make a block."""
    return max(1, BLOCK_BYTES // max(1, int(np.prod(shape)) * np.dtype(dtype).itemsize))


def in_blocks(frames: Iterator[np.ndarray], shape: tuple[int, int, int], dtype: np.dtype) -> Iterator[np.ndarray]:
    """Frames `[h, w, c]` -> blocks `[n, h, w, c]`."""
    size = frames_per_block(shape, dtype)
    while block := list(itertools.islice(frames, size)):
        yield np.stack(block)
