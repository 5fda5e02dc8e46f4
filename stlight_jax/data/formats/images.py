"""Folders of pictures, and GIFs."""

from __future__ import annotations

import dataclasses
import itertools
import struct
import zlib
from collections.abc import Callable, Iterator
from typing import NamedTuple

import numpy as np
from etils import epath
from PIL import Image, ImageSequence

from stlight_jax.data.formats.types import Origin, RawSequence, ReadOptions, in_blocks, integer_fill, refuse_array_options
from stlight_jax.errors import InputError

# Video codecs and JPEG colour grey slightly.
_GREY_TOLERANCE = 8
_DAMAGE = (
    OSError,
    SyntaxError,
    ValueError,
    EOFError,
    struct.error,
    zlib.error,
    Image.DecompressionBombError,
    IndexError,
)  # the last one is what Pillow raises for a GIF cut short


class _Picture(NamedTuple):
    label: str
    image: Image.Image


def is_colourful(rgb: np.ndarray) -> bool:
    """Whether the colour channels of a frame uint8 `[h, w, 3]` differ by more than codecs make them differ."""
    return bool((rgb.max(-1) - rgb.min(-1) > _GREY_TOLERANCE).any())


class Pictures:
    """Frames that Pillow reads; whether they are grey or rgb is said when the sequence is made."""

    def __init__(
        self, name: str, frames: int, opened: Callable[[int], Iterator[_Picture]], options: ReadOptions, origin: Origin
    ):
        self._name, self._frames, self._opened, self._options, self._origin = name, frames, opened, options, origin
        first = next(opened(0))
        self._size, self._deep = first.image.size, _is_deep(first)

    def is_colourful(self) -> bool:
        """Looks at the frames until one has colours. Raises InputError for damaged ones."""
        return any(
            picture.image.mode not in ("1", "L", "LA") and not _is_deep(picture) and is_colourful(_as_array(picture, True))
            for picture in self._opened(0)
        )

    def sequence(self, rgb: bool) -> RawSequence:
        """Raises InputError for 16-bit pictures that are to be rgb on the user's demand, and for an impossible fill value."""
        if self._deep and self._options.channels == "rgb":
            raise InputError(f"{self._name} holds 16-bit grey pictures; read them with --config.data.channels=grey")
        rgb = rgb and not self._deep
        dtype = np.dtype(np.uint16 if self._deep else np.uint8)
        shape = (self._size[1], self._size[0], 3 if rgb else 1)
        return RawSequence(
            name=self._name,
            frames=self._frames,
            shape=shape,
            dtype=dtype,
            fill=integer_fill(self._name, self._options.fill_value, dtype),
            ticks=None,
            step="",
            remarks=(),
            blocks=lambda first=0: in_blocks(self._arrays(rgb, first), shape, dtype),
            origin=dataclasses.replace(self._origin, dtype=dtype),
        )

    def _arrays(self, rgb: bool, first: int) -> Iterator[np.ndarray]:
        for picture in self._opened(first):
            if picture.image.size != self._size:
                sizes = [f"{width} x {height}" for width, height in (picture.image.size, self._size)]
                raise InputError(
                    f"{picture.label} has {sizes[0]} pixels, the first picture {sizes[1]}; all must be of one size"
                )
            if _is_deep(picture) != self._deep:
                bits = (16, 8) if self._deep else (8, 16)
                raise InputError(f"{picture.label} has {bits[1]} bits, the first picture {bits[0]}; all must have the same")
            yield _as_array(picture, rgb)


def open_folder(folder: epath.Path, files: list[epath.Path], name: str, options: ReadOptions) -> Pictures:
    """The pictures `files` of a folder, in this order, as a sequence.

    Raises InputError: a damaged picture, one of several pages or of more than 16 bits, options for arrays.
    """
    refuse_array_options(folder, options, "a folder of pictures", keys=("variable", "time", "mask"))

    def opened(first: int) -> Iterator[_Picture]:
        for file in files[first:]:
            yield from _opened(file, animated=False)

    return Pictures(name, len(files), opened, options, Origin(folder, "pictures"))


def open_gif(path: epath.Path, name: str, options: ReadOptions) -> Pictures:
    """The frames of a GIF as one sees them. Raises InputError: damage, options for arrays."""
    refuse_array_options(path, options, "a GIF", keys=("variable", "time", "mask"))
    try:
        with Image.open(path) as image:
            frames, milliseconds = image.n_frames, image.info.get("duration")
    except _DAMAGE as error:
        raise _damaged(path, error) from None
    origin = Origin(path, "gif", rate=1000 / milliseconds if milliseconds else None)
    return Pictures(name, frames, lambda first: itertools.islice(_opened(path, animated=True), first, None), options, origin)


def _opened(path: epath.Path, animated: bool) -> Iterator[_Picture]:
    try:
        with Image.open(path) as image:
            if not animated and getattr(image, "n_frames", 1) > 1:
                raise InputError(f"{path} holds {image.n_frames} pictures; expected one in each file of a folder, or a .gif")
            for place, frame in enumerate(ImageSequence.Iterator(image)):
                frame.load()
                yield _Picture(f"{path}, frame {place}" if animated else str(path), frame)
    except InputError:
        raise
    except _DAMAGE as error:
        raise _damaged(path, error) from None


def _damaged(path: epath.Path, error: Exception) -> InputError:
    return InputError(f"{path} is damaged, or not what its name says: {error}")


def _is_deep(picture: _Picture) -> bool:
    """Whether it has 16 bits of grey; raises InputError if it has more."""
    mode = picture.image.mode
    # 16-bit PNGs come as "I" from some versions of Pillow; in a TIFF that means 32 bits.
    if mode == "F" or (mode == "I" and picture.image.format != "PNG"):
        raise InputError(f"{picture.label} has 32 bits for each pixel; expected 8 or 16; save the frames as a .npy instead")
    return mode.startswith("I")


def _as_array(picture: _Picture, rgb: bool) -> np.ndarray:
    """-> `[h, w, 1]` or `[h, w, 3]`."""
    if _is_deep(picture):
        return np.asarray(picture.image).astype(np.uint16)[..., None]
    # Pillow warns of palettes that are partly transparent, unless they are spelt out first.
    image = picture.image.convert("RGBA") if picture.image.mode == "P" else picture.image
    return np.asarray(image.convert("RGB")) if rgb else np.asarray(image.convert("L"))[..., None]
