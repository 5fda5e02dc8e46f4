"""The GIF format, through Pillow."""

import contextlib
import pathlib
import struct
from collections.abc import Iterator, Sequence

import numpy as np
from etils import epath
from PIL import GifImagePlugin, Image

from stlight_jax.data.formats.file_format import FileFormat, OutputLimits, WriteFrame
from stlight_jax.data.formats.output_spec import OutputSpec
from stlight_jax.data.formats.picture_sequence import PictureSequence
from stlight_jax.data.formats.pillow_frames import file_contents, open_stack
from stlight_jax.data.formats.types import ReadOptions
from stlight_jax.data.formats.value_conversion import to_grey_levels

_MIN_MILLISECONDS = 20  # players show faster frames more slowly
_LOOP_FOREVER = b"!\xff\x0bNETSCAPE2.0\x03\x01\x00\x00\x00"


def _read(files: Sequence[epath.Path], name: str, options: ReadOptions) -> list[PictureSequence]:
    """Opens the frames as players show them."""
    (path,) = files
    return [open_stack(path, FORMAT.name, name, file_contents(path), options)]


@contextlib.contextmanager
def _write(path: pathlib.Path, spec: OutputSpec) -> Iterator[WriteFrame]:
    """Writes each frame with its own palette. Pillow's `save` would keep all frames in memory and merge equal ones."""
    milliseconds = max(_MIN_MILLISECONDS, round(1000 / spec.frame_rate))
    height, width, _ = spec.shape
    with open(path, "wb") as file:
        file.write(b"GIF89a" + struct.pack("<HHBBB", width, height, 0x70, 0, 0) + _LOOP_FOREVER)

        def write(frame: np.ndarray, index: int) -> None:
            image = _with_palette(to_grey_levels(frame, spec))
            file.write(b"".join(GifImagePlugin.getdata(image, duration=milliseconds, include_color_table=True)))

        yield write
        file.write(b";")


def _with_palette(levels: np.ndarray) -> Image.Image:
    if levels.shape[-1] == 3:
        return Image.fromarray(levels).quantize(256, dither=Image.Dither.NONE)
    image = Image.new("P", levels.shape[1::-1])
    image.putpalette(np.repeat(np.arange(256, dtype=np.uint8), 3).tobytes())
    image.frombytes(levels.tobytes())
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
