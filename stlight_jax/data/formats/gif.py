"""The GIF format, through Pillow."""

import contextlib
import pathlib
import struct
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
from etils import epath
from PIL import GifImagePlugin, Image

from stlight_jax.data.formats.file_format import FileFormat, OutputLimits, WriteFrame
from stlight_jax.data.formats.output_spec import OutputSpec
from stlight_jax.data.formats.picture_sequence import PictureSequence
from stlight_jax.data.formats.pillow_frames import file_contents, open_stack
from stlight_jax.data.formats.types import ReadOptions
from stlight_jax.data.formats.value_conversion import to_grey_levels

_UNIT = 10  # milliseconds
_MIN_DELAY = 2  # units; players show faster frames more slowly
_COLOURS = 255  # and an entry for transparent pixels
_NO_GREY = (255, 0, 255)  # Pillow mixes up the transparent entries of frames whose palettes are levels from 0 to 255
_TO_BACKGROUND = 2  # the disposal of frames with transparent pixels, through which the frame before would be seen
_LOOP_FOREVER = b"!\xff\x0bNETSCAPE2.0\x03\x01\x00\x00\x00"


def _read(files: Sequence[epath.Path], name: str, options: ReadOptions) -> list[PictureSequence]:
    """Opens the frames as players show them."""
    (path,) = files
    return [open_stack(path, FORMAT.name, name, file_contents(path), options)]


@contextlib.contextmanager
def _write(path: pathlib.Path, spec: OutputSpec) -> Iterator[WriteFrame]:
    """Writes each frame with its own palette; pixels whose values are missing are transparent, if no value marks them.

    Pillow's `save` would keep all frames in memory and merge equal ones.
    """
    delay = max(_MIN_DELAY, 1000 / _UNIT / spec.frame_rate)
    height, width, _ = spec.shape
    with open(path, "wb") as file:
        file.write(b"GIF89a" + struct.pack("<HHBBB", width, height, 0x70, 0, 0) + _LOOP_FOREVER)

        held: list[tuple[np.ndarray, np.ndarray, int]] = []  # the last frame, until the next one is known

        def complete(next_has_missing: bool) -> None:
            levels, missing, index = held.pop()
            image, marks = _with_palette(levels, missing, next_has_missing)
            milliseconds = _UNIT * (round((index + 1) * delay) - round(index * delay))  # rounding does not add up
            options: dict[str, Any] = {
                "duration": milliseconds,
                "include_color_table": True,
                "disposal": _TO_BACKGROUND,
                **marks,
            }
            file.write(b"".join(GifImagePlugin.getdata(image, **options)))

        def write(frame: np.ndarray, index: int) -> None:
            missing = np.isnan(frame).any(-1) & (spec.fill is None)
            if held:
                complete(bool(missing.any()))
            held.append((to_grey_levels(frame, spec), missing, index))

        yield write
        if held:
            complete(False)
        file.write(b";")


def _with_palette(levels: np.ndarray, missing: np.ndarray, next_has_missing: bool) -> tuple[Image.Image, dict[str, int]]:
    """Returns levels `[h, w, c]` with a palette, and its entry for transparent pixels, if it has one.

    A frame before one with missing pixels names an entry, too: Pillow takes the background that it leaves for opaque otherwise.
    If all of 256 grey levels occur, the least frequent one stands for missing pixels, and its pixels get a neighbouring level.
    """
    if levels.shape[-1] == 3:
        image = Image.fromarray(levels).quantize(_COLOURS, dither=Image.Dither.NONE)
        colours = bytes(image.getpalette() or ())[: 3 * _COLOURS].ljust(3 * 256, b"\0")
        return _of_entries(np.where(missing, _COLOURS, np.asarray(image)), colours), {"transparency": _COLOURS}
    grey = levels[..., 0]
    counts = np.bincount(grey[~missing], minlength=256)
    entry = int(np.argmin(counts))
    marks = {"transparency": entry} if missing.any() or next_has_missing else {}
    if marks:
        grey = np.where(missing, entry, np.where(grey == entry, entry - 1 if entry else 1, grey))
    palette = np.repeat(np.arange(256, dtype=np.uint8)[:, None], 3, 1)
    if marks:
        palette[entry] = _NO_GREY
    return _of_entries(grey, palette.tobytes()), marks


def _of_entries(entries: np.ndarray, palette: bytes) -> Image.Image:
    image = Image.new("P", entries.shape[::-1])
    image.putpalette(palette)
    image.frombytes(entries.astype(np.uint8).tobytes())
    return image


FORMAT = FileFormat(
    name="gif",
    title="a GIF",
    endings=(".gif",),
    reader=_read,
    output_endings=(".gif",),
    writer=_write,
    is_pictures=True,
    limits=OutputLimits(channels=(1, 3), max_side=2**16 - 1),
)
