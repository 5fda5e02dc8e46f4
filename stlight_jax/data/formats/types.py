"""The records that every reader shares: how the user wants files read, and the frames that a reader finds."""

import dataclasses
import itertools
from collections.abc import Callable, Iterator

import numpy as np
from etils import epath

from stlight_jax.data.formats.stored_arrays import ArrayFile, StoredArray
from stlight_jax.data.times import TimeAxis
from stlight_jax.errors import InputError

LAYOUTS = ("auto", "thw", "thwc", "tchw", "nthw", "nthwc", "ntchw", "hw", "hwc", "chw")
CHANNELS = ("auto", "grey", "rgb")
BLOCK_BYTES = 32 * 2**20


@dataclasses.dataclass(frozen=True)
class ReadOptions:
    """The user's choices where files can be read in more than one way.

    Attributes:
      variable: name of the array in an npz, HDF5 or netCDF file; "" chooses the only array that can hold frames, or all of
        them if they have equal frames.
      time: name of the time coordinate in the same file; "" searches for one, "none" ignores times.
      layout: letters of an array's axes: n sequences, t frames, c channels, h rows, w columns. "auto" chooses thw, thwc or
        nthwc by the number of axes.
      channels: channels of videos and pictures. "auto" reads grey if all frames of all files are grey, else rgb.
      fill_value: the number that marks missing values.
      mask: name of an array in the same file that is non-zero where values are missing; its shape is [h, w], [t, h, w] or that
        of the data.
    """

    variable: str = ""
    time: str = ""
    layout: str = "auto"
    channels: str = "auto"
    fill_value: float | None = None
    mask: str = ""


@dataclasses.dataclass(frozen=True)
class SourceInfo:
    """Where and how a sequence is stored; writers of its continuation use it.

    Attributes:
      path: the file, or the folder of pictures.
      format: name of the file's format.
      dtype: the stored element type in the byte order of this machine.
      key: name of the array in the file; "" if the file holds a single array without a name.
      axes: a letter of "nthwc" for each axis of the array; "" for videos and pictures.
      item: index along the n-axis; None without an n-axis.
      frame_rate: frames per second of a video or GIF.
      is_pictures: whether values are grey levels or colours of pictures.
      array: the array, if its file names arrays.
      file: all arrays of this file.
      span: the part of the sequence's name that names its first and last file, such as 000..023, if it has several.
      grid: a digest of the coordinates of the pixels; "" if they are large, or cannot be read.
      rows_go_north: whether the first row is the southernmost, by a coordinate of latitudes.
      meaning: units, name and place of the values, as far as the file has them; files that differ in them are not joined.
    """

    path: epath.Path
    format: str
    dtype: np.dtype
    key: str = ""
    axes: str = ""
    item: int | None = None
    frame_rate: float | None = None
    is_pictures: bool = False
    grid: str = ""
    rows_go_north: bool = False
    meaning: tuple[str, ...] = ()
    array: StoredArray | None = None
    file: ArrayFile | None = None
    span: str = ""


@dataclasses.dataclass(frozen=True, eq=False)
class FrameSource:
    """A sequence of frames that is read from its file block by block.

    Attributes:
      name: path relative to the root, with `#key` for an array in a file and `[i]` for item i of an n-axis.
      frames: number of frames; an upper bound for videos.
      shape: shape of a frame, (h, w, c).
      dtype: element type of the blocks: uint8, uint16, int16 or float32.
      blocks: yields blocks `[n, h, w, c]` in order, each of about 32 MiB or a single frame, from the first frame or from the
        frame whose index it gets. It can be called again, and raises InputError for damage that only reading reveals.
      info: where and how the sequence is stored.
      fill: integers of this value are missing; in floats, NaN is missing.
      ticks: int64 `[t]`, the time of each frame in whole sampling steps since an origin that all sequences of a call with the
        same sampling step and kind of time share; None if the file has no times, so that frames follow each other.
      step: the sampling step as text, such as "1 h"; "" if unknown.
      remarks: messages for the user.
      times: the time axis that `ticks` come from.
      data_fill: the integer that marks missing values in the file, where frames are floats.
    """

    name: str
    frames: int
    shape: tuple[int, int, int]
    dtype: np.dtype
    blocks: Callable[..., Iterator[np.ndarray]]
    info: SourceInfo
    fill: float | None = None
    ticks: np.ndarray | None = None
    step: str = ""
    remarks: tuple[str, ...] = ()
    times: TimeAxis | None = None
    data_fill: float | None = None


def integer_fill(path: epath.PathLike, fill_value: float | None, dtype: np.dtype) -> float | None:
    """Returns `fill_value` as a float, or None if it is None.

    Raises:
      InputError: an integer array of `dtype` cannot hold it.
    """
    if fill_value is None:
        return None
    limits = np.iinfo(dtype)
    if fill_value != fill_value or fill_value % 1 or not limits.min <= fill_value <= limits.max:
        raise InputError(
            f"{path}: data.fill_value is {fill_value:g}, which {dtype} cannot hold; "
            f"give a whole number from {limits.min} to {limits.max}, or none",
            key="fill_value",
        )
    return float(fill_value)


def frames_per_block(shape: tuple[int, int, int], dtype: np.dtype) -> int:
    """Returns how many frames of a shape (h, w, c) fit into a block; at least 1."""
    return max(1, BLOCK_BYTES // max(1, int(np.prod(shape)) * np.dtype(dtype).itemsize))


def in_blocks(frames: Iterator[np.ndarray], shape: tuple[int, int, int], dtype: np.dtype) -> Iterator[np.ndarray]:
    """Yields blocks `[n, h, w, c]` of frames `[h, w, c]`."""
    size = frames_per_block(shape, dtype)
    while block := list(itertools.islice(frames, size)):
        yield np.stack(block)
