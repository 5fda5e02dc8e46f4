"""Folders of pictures, each folder a sequence, and stacks of pictures in one file, each file a sequence."""

import contextlib
import dataclasses
import pathlib
import struct
import zlib
from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np
from etils import epath
from PIL import Image

from stlight_jax.data.dates_in_names import NOT_READ, with_year_first
from stlight_jax.data.formats.file_format import FileFormat, OutputLimits, WriteFrame
from stlight_jax.data.formats.output_spec import OutputSpec
from stlight_jax.data.formats.picture_groups import names_with_dates, split_cameras
from stlight_jax.data.formats.picture_sequence import DecodedPicture, PictureSequence
from stlight_jax.data.formats.pillow_frames import FileContents, decode_file, file_contents, open_stack
from stlight_jax.data.formats.types import ReadOptions
from stlight_jax.data.formats.value_conversion import to_dtype, to_grey_levels
from stlight_jax.data.numbers_in_names import numbered_order, ticks_of_numbers
from stlight_jax.data.times import TimeAxis
from stlight_jax.data.times_in_names import times_in_names
from stlight_jax.errors import InputError

_PNG_SIGNATURE = b"\x89PNG\r\n\x1a\n"
_PNG_KINDS = {1: 0, 2: 4, 3: 2, 4: 6}  # by the number of channels: grey, grey and alpha, rgb, rgb and alpha


def _read(files: Sequence[epath.Path], name: str, options: ReadOptions) -> list[PictureSequence]:
    """Opens the pictures of a folder, or one stack.

    Args:
      files: all pictures of the folder in natural order, or one file.
      name: name of the folder or of the file.
      options: the user's options.

    Raises:
      InputError: a file is damaged, or is one picture.
    """
    contents = {file: file_contents(file) for file in files}
    pictures = [file for file in files if len(contents[file].pages) == 1]
    is_file = len(files) == 1 and files[0].name == name
    if is_file and pictures:
        raise InputError(f"{files[0]} is one picture; expected the folder that holds the pictures of a sequence")
    sequences = []
    for label, group in (split_cameras(pictures) if pictures else {}).items():
        sequences.append(_open_pictures(group, f"{name}/{label}" if label else name, contents, options, label))
    for file in files:
        if len(contents[file].pages) > 1:
            own = name if is_file else f"{name}/{file.name}"
            sequences.append(open_stack(file, FORMAT.name, own, contents[file], options))
    return sequences


def _open_pictures(
    files: list[epath.Path], name: str, contents: dict[epath.Path, FileContents], options: ReadOptions, label: str
) -> PictureSequence:
    """Opens pictures of one sequence; `label` is the part of their names that other sequences of the folder have not."""
    order, remarks = _in_order(files, options), []
    folders = len({file.parent for file in files})
    if label:
        remarks.append(
            "the pictures of its folder are several sequences of equal numbers, by the part of the name that differs"
        )
    if folders > 1:
        remarks.append(f"{folders:,} folders with {len(files):,} pictures are one sequence, in the order of their times")

    def decode(first: int) -> Iterator[DecodedPicture]:
        for file in order.files[first:]:
            yield from decode_file(file, contents[file])

    return PictureSequence(
        files[0].parent,
        FORMAT.name,
        name,
        len(files),
        decode,
        options,
        any(contents[file].has_alpha for file in files),
        ticks=order.ticks,
        times=order.times,
        remarks=(*remarks, *order.remarks),
    )


class _Order(NamedTuple):
    """The order of the pictures of a folder.

    Attributes:
      files: the pictures in their order.
      times: their times.
      ticks: int64 `[t]`, their times in sampling steps, if they have no times and their numbers have gaps.
      remarks: messages for the user.
    """

    files: list[epath.Path]
    times: TimeAxis | None = None
    ticks: np.ndarray | None = None
    remarks: tuple[str, ...] = ()


def _in_order(files: list[epath.Path], options: ReadOptions) -> _Order:
    """Returns files in the order of the times in their names, or else of the numbers, or else in natural order as they are."""
    names, messages = [file.stem for file in files], tuple[str, ...]()
    if options.time != "none" and len(files) > 1:
        names, remark = with_year_first(names_with_dates(files))
        messages = (remark,) * bool(remark)
    times = None if options.time == "none" or len(files) < 2 else times_in_names(names)
    if times is None:
        return _in_order_of_numbers(files, names, options, messages)
    order = np.argsort(times.values, kind="stable")
    if not np.diff(times.values[order]).all():
        return _Order(
            files, remarks=(*messages, "times in the names of its pictures are ignored, as some occur more than once")
        )
    times = dataclasses.replace(times, values=times.values[order], stored=times.stored[order])
    remark = "the names of its pictures give their times and their order; --config.data.time=none ignores them"
    return _Order([files[place] for place in order], times, remarks=(*messages, remark))


def _in_order_of_numbers(files: list[epath.Path], names: list[str], options: ReadOptions, messages: tuple[str, ...]) -> _Order:
    found = numbered_order(names)
    if found is None or messages == (NOT_READ,):
        return _Order(files, remarks=messages)
    order, numbers = found
    files = [files[place] for place in order]
    if options.time == "none":
        return _Order(files)
    ticks, remarks = ticks_of_numbers([file.name for file in files], numbers)
    return _Order(files, ticks=ticks, remarks=(*messages, *remarks))


def _to_16_bits(frame: np.ndarray, spec: OutputSpec) -> np.ndarray:
    return to_dtype(frame, np.dtype(np.uint16), spec.fill, spec.overflow)


@contextlib.contextmanager
def _write(path: pathlib.Path, spec: OutputSpec) -> Iterator[WriteFrame]:
    """Writes PNGs numbered by their frames, of 16 bits if the frames have them, and TIFFs of frames of other types.

    Pixels whose values are missing are transparent, if no value marks them.
    """
    path.mkdir()

    def write(frame: np.ndarray, index: int) -> None:
        name = path / spec.picture_name(index)
        if spec.keeps_values and spec.source.dtype != np.uint16:
            Image.fromarray(to_dtype(frame[..., 0], np.dtype(np.float32), spec.fill)).save(f"{name}.tif")
            return
        known = np.nan_to_num(frame) if spec.fill is None else frame
        picture = _to_16_bits(known, spec) if spec.keeps_values else to_grey_levels(frame, spec)
        missing = np.isnan(frame).any(-1, keepdims=True) & (spec.fill is None)
        if missing.any():
            alpha = np.where(missing, 0, np.iinfo(picture.dtype).max).astype(picture.dtype)
            picture = np.concatenate([picture, alpha], axis=-1)
        pathlib.Path(f"{name}.png").write_bytes(_png(picture))

    yield write


def _png(pixels: np.ndarray) -> bytes:
    """Returns a PNG of pixels uint8 or uint16 `[h, w, 1..4]`. Pillow writes no colours, and no alpha, of 16 bits."""
    height, width, channels = pixels.shape
    header = struct.pack(">IIBBBBB", width, height, 8 * pixels.itemsize, _PNG_KINDS[channels], 0, 0, 0)
    rows = pixels.astype(pixels.dtype.newbyteorder(">")).reshape(height, -1).view(np.uint8)
    unfiltered = np.concatenate([np.zeros((height, 1), np.uint8), rows], axis=1).tobytes()
    chunks = ((b"IHDR", header), (b"IDAT", zlib.compress(unfiltered)), (b"IEND", b""))
    return _PNG_SIGNATURE + b"".join(
        struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data)) for kind, data in chunks
    )


FORMAT = FileFormat(
    name="pictures",
    title="a folder of pictures",
    endings=(".png", ".apng", ".jpg", ".jpeg", ".bmp", ".tif", ".tiff", ".webp"),
    reader=_read,
    output_endings=(),
    writer=_write,
    is_folder=True,
    is_pictures=True,
    limits=OutputLimits(channels=(1, 3)),
)
