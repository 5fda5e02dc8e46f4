"""Folders of pictures, each folder a sequence."""

import contextlib
import pathlib
from collections.abc import Iterator, Sequence

import numpy as np
from etils import epath
from PIL import Image

from stlight_jax.data.formats.file_format import FileFormat, OutputLimits, WriteFrame
from stlight_jax.data.formats.output_spec import OutputSpec
from stlight_jax.data.formats.picture_sequence import DecodedPicture, PictureSequence
from stlight_jax.data.formats.pillow_frames import decode_file
from stlight_jax.data.formats.types import ReadOptions
from stlight_jax.data.formats.value_conversion import to_dtype, to_grey_levels


def _read(files: Sequence[epath.Path], name: str, options: ReadOptions) -> PictureSequence:
    """Opens the pictures of a folder in the order of `files`."""

    def decode(first: int) -> Iterator[DecodedPicture]:
        for file in files[first:]:
            yield from decode_file(file, animated=False)

    return PictureSequence(files[0].parent, FORMAT.name, name, len(files), decode, options)


@contextlib.contextmanager
def _write(path: pathlib.Path, spec: OutputSpec) -> Iterator[WriteFrame]:
    """Writes PNGs numbered by their frames, of 16 bits if the frames have them."""
    path.mkdir()

    def write(frame: np.ndarray, index: int) -> None:
        if spec.is_sixteen_bit:
            picture = to_dtype(np.nan_to_num(frame) if spec.fill is None else frame, spec.dtype, spec.fill)
        else:
            picture = to_grey_levels(frame, spec)
        Image.fromarray(picture[..., 0] if picture.shape[-1] == 1 else picture).save(path / f"{spec.picture_name(index)}.png")

    yield write


FORMAT = FileFormat(
    name="pictures",
    title="a folder of pictures",
    endings=(".png", ".jpg", ".jpeg", ".bmp", ".tif", ".tiff", ".webp"),
    reader=_read,
    output_endings=(),
    writer=_write,
    is_folder=True,
    is_pictures=True,
    limits=OutputLimits(channels=(1, 3)),
)
