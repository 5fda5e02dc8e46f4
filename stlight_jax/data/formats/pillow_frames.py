"""Frames that Pillow decodes, of folders of pictures and of GIFs."""

from __future__ import annotations

import dataclasses
import struct
from collections.abc import Callable, Iterator
from typing import NamedTuple

import numpy as np
from etils import epath
from PIL import Image, ImageSequence

from stlight_jax.data.formats.read_errors import read_errors
from stlight_jax.data.formats.types import FrameSource, ReadOptions, SourceInfo, in_blocks, integer_fill
from stlight_jax.errors import InputError

# Video codecs and JPEG colour grey slightly.
_GREY_TOLERANCE = 8
# What Pillow raises for damaged files beside the usual exceptions; IndexError is that of a GIF cut short.
DAMAGE = (SyntaxError, IndexError, struct.error, Image.DecompressionBombError)


class LabelledPicture(NamedTuple):
    """A picture and its name in messages."""

    label: str
    image: Image.Image


def is_colourful(rgb: np.ndarray) -> bool:
    """Returns whether the channels of a frame uint8 `[h, w, 3]` differ by more than codecs make them differ."""
    return bool((rgb.max(-1) - rgb.min(-1) > _GREY_TOLERANCE).any())


@dataclasses.dataclass(eq=False)
class PillowFrames:
    """A sequence of pictures, grey or rgb as `frame_source` gets it; a `PictureFile`.

    Attributes:
      path: the file, or the folder of pictures.
      format: name of the file's format.
      name: name of the sequence.
      frames: number of frames.
      decode: yields the pictures from the one with this index on.
      options: the user's options.
      frame_rate: frames per second of a GIF.

    Raises:
      InputError: the first picture is damaged or has more than 16 bits.
    """

    path: epath.Path
    format: str
    name: str
    frames: int
    decode: Callable[[int], Iterator[LabelledPicture]]
    options: ReadOptions
    frame_rate: float | None = None

    def __post_init__(self) -> None:
        first = next(self.decode(0))
        self._size, self._is_deep = first.image.size, _is_deep(first)

    def has_colour(self) -> bool:
        """Reads frames until one has colours.

        Raises:
          InputError: a frame is damaged.
        """
        return any(
            picture.image.mode not in ("1", "L", "LA") and not _is_deep(picture) and is_colourful(_to_array(picture, rgb=True))
            for picture in self.decode(0)
        )

    def frame_source(self, rgb: bool) -> FrameSource:
        """Returns the sequence, with three channels if `rgb`, else with one; pictures of 16 bits are always grey.

        Raises:
          InputError: the user asks for rgb and the pictures have 16 bits, or for an impossible fill value.
        """
        if self._is_deep and self.options.channels == "rgb":
            raise InputError(f"{self.name} holds 16-bit grey pictures; read them with --config.data.channels=grey")
        rgb = rgb and not self._is_deep
        shape, dtype = (self._size[1], self._size[0], 3 if rgb else 1), np.dtype(np.uint16 if self._is_deep else np.uint8)
        return FrameSource(
            name=self.name,
            frames=self.frames,
            shape=shape,
            dtype=dtype,
            blocks=lambda first=0: in_blocks(self._arrays(rgb, first), shape, dtype),
            fill=integer_fill(self.name, self.options.fill_value, dtype),
            info=SourceInfo(self.path, self.format, dtype, frame_rate=self.frame_rate, is_pictures=True),
        )

    def _arrays(self, rgb: bool, first: int) -> Iterator[np.ndarray]:
        for picture in self.decode(first):
            if picture.image.size != self._size:
                size, first_size = (f"{width} x {height}" for width, height in (picture.image.size, self._size))
                raise InputError(f"{picture.label} has {size} pixels, the first picture {first_size}; all must be of one size")
            if _is_deep(picture) != self._is_deep:
                bits, first_bits = (8, 16) if self._is_deep else (16, 8)
                raise InputError(f"{picture.label} has {bits} bits, the first picture {first_bits}; all must have the same")
            yield _to_array(picture, rgb)


def decode_file(path: epath.Path, *, animated: bool) -> Iterator[LabelledPicture]:
    """Yields the pictures in a file.

    Args:
      path: the file.
      animated: whether it may hold several frames, as a GIF does.

    Raises:
      InputError: the file is damaged, or holds several pictures though it is not animated.
    """
    with read_errors(path, *DAMAGE), Image.open(path) as image:
        pages = getattr(image, "n_frames", 1)
        if not animated and pages > 1:
            raise InputError(f"{path} holds {pages} pictures; expected one in each file of a folder, or a .gif")
        for number, frame in enumerate(ImageSequence.Iterator(image)):
            frame.load()
            yield LabelledPicture(f"{path}, frame {number}" if animated else str(path), frame)


def _is_deep(picture: LabelledPicture) -> bool:
    """Returns whether a picture has 16 bits of grey.

    Raises:
      InputError: it has more.
    """
    mode = picture.image.mode
    # 16-bit PNGs come as "I" from some versions of Pillow; in a TIFF that means 32 bits.
    if mode == "F" or (mode == "I" and picture.image.format != "PNG"):
        raise InputError(f"{picture.label} has 32 bits for each pixel; expected 8 or 16; save the frames as a .npy instead")
    return mode.startswith("I")


def _to_array(picture: LabelledPicture, rgb: bool) -> np.ndarray:
    """Returns `[h, w, 3]` if `rgb`, else `[h, w, 1]`."""
    if _is_deep(picture):
        return np.asarray(picture.image).astype(np.uint16)[..., None]
    # Pillow warns of palettes that are partly transparent, unless they are spelt out first.
    image = picture.image.convert("RGBA") if picture.image.mode == "P" else picture.image
    return np.asarray(image.convert("RGB")) if rgb else np.asarray(image.convert("L"))[..., None]
