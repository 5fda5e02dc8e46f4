"""Pixels of the pictures that Pillow opens: their element type, their orientation, and where they have no values."""

import contextlib
import functools
from collections.abc import Iterator
from typing import Any

import numpy as np
from etils import epath
from PIL import Image, UnidentifiedImageError

from stlight_jax.data.formats.file_contents import PICTURES, require_kind
from stlight_jax.data.formats.picture_sequence import Turn, to_grey
from stlight_jax.data.formats.read_errors import read_errors
from stlight_jax.errors import InputError

# By the EXIF tag Orientation.
_TURNS = {
    2: Turn(False, False, True),
    3: Turn(False, True, True),
    4: Turn(False, True, False),
    5: Turn(True, False, False),
    6: Turn(True, False, True),
    7: Turn(True, True, True),
    8: Turn(True, True, False),
}
NODATA = 42113  # GDAL's tag
_ORIENTATION = 0x0112
_BITS, _PHOTOMETRIC, _PLANES, _EXTRA_SAMPLES, _SAMPLE_FORMAT = 258, 262, 284, 338, 339
_SIGNED = (2,)
_BIG, _LITTLE = ";16B", ";16L"
# libtiff gives numbers in the machine's byte order, but Pillow swaps the bytes of these in compressed files.
_SWAPPED = {"I;16BS": "I;16NS", "I;32BS": "I;32NS", "F;32BF": "F;32NF"}
_NATIVE = _LITTLE if np.little_endian else _BIG
_LEVELS = {"L;2": 85, "L;4": 17}  # PNGs of few bits are spread to 0..255, but not their transparent level


@contextlib.contextmanager
def opened(path: epath.Path) -> Iterator[Any]:
    """Opens a file with Pillow; turns its errors in the block into InputError."""
    # Pillow maps a file that it opens by name to memory, and then scrambles TIFFs that are turned by a quarter.
    with _pillow_errors(path), open(path, "rb") as file, Image.open(file) as image:
        yield image


@contextlib.contextmanager
def _pillow_errors(path: epath.Path) -> Iterator[None]:
    """Turns Pillow's errors in the block into InputError."""
    with read_errors(path, Image.DecompressionBombError):
        try:
            yield
        except UnidentifiedImageError:
            kind = require_kind(path, *PICTURES)
            with open(path, "rb") as file:
                if file.read(8)[4:] == b"ftyp":
                    raise InputError(f"{path} is a HEIF picture or a video; convert it to PNG or JPEG") from None
            if kind and kind != "a GIF":
                raise InputError(
                    f"{path} is {kind} that is damaged or of a kind that Pillow cannot read (such as floats of 16 or 64 "
                    "bits, or several channels of floats); if other programs show it, save the frames as a .npy"
                ) from None
            raise InputError(f"{path} is damaged, or not what its name says: its content is no picture") from None


def _set_rawmode(image: Any, rawmode: str) -> None:
    image.tile = [
        tile._replace(args=(rawmode, *tile.args[1:]) if isinstance(tile.args, tuple) else rawmode) for tile in image.tile
    ]


def may_be_transparent(image: Any) -> bool:
    """Returns whether pixels of an open image, at this frame, can be transparent or without data."""
    has_nodata = image.format == "TIFF" and NODATA in image.tag_v2
    return image.mode.endswith(("A", "a")) or "transparency" in image.info or has_nodata


class PillowPicture:
    """A frame of a file. Its pixels are decoded when they are asked for.

    Args:
      path: the file.
      label: the frame's name in messages.
      image: the open image, at this frame.
      page: index of the frame in the file.
      nodata: the value, as text, of pixels without data, if the frame names none of its own; None for no value.

    Raises:
      InputError: it is of a kind that cannot be read right.
    """

    def __init__(self, path: epath.Path, label: str, image: Any, page: int, nodata: str | None = None):
        self._path, self._label, self._image, self._page = path, label, image, page
        mode, self._tags = image.mode, image.tag_v2 if image.format == "TIFF" else {}
        self._nodata = self._tags.get(NODATA, nodata)
        arguments = image.tile[0][3] if image.tile else ""
        self._rawmode = str(arguments[0] if isinstance(arguments, tuple) and arguments else arguments)
        has_16_bits = 16 in self._tags.get(_BITS, ()) or ";16" in self._rawmode
        self._is_deep_colour = has_16_bits and mode in ("RGB", "RGBA", "CMYK")
        self.is_grey = (mode[0] in "1LIF" and mode != "LAB") or self._rawmode == "LA;16B"
        self.remark = ""
        if 0 in self._tags.get(_EXTRA_SAMPLES, ()):
            self.remark = "channels whose meaning the file does not give (TIFF ExtraSamples 0) are left out"
        is_split = self._is_deep_colour and self._tags.get(_PLANES) == 2
        if mode in ("LAB", "HSV") or is_split or (self._is_deep_colour and (mode == "CMYK" or "a" in self._rawmode)):
            bits = f"{max(self._tags.get(_BITS, (8,)))} bits for each channel of "
            raise InputError(
                f"{label} has {bits}{mode} ({self._rawmode}{', in planes' * is_split}), which cannot be read right; convert "
                "the pictures to RGB, or save the frames as a .npy"
            )
        if self._is_deep_colour and image.format == "PNG" and page:
            raise InputError(f"{label} has 16 bits for each colour and several frames; save the frames as a .npy")
        self.dtype = self._dtype(mode)

    def _dtype(self, mode: str) -> np.dtype:
        is_signed = self._tags.get(_SAMPLE_FORMAT) == _SIGNED
        if mode == "F":
            return np.dtype(np.float32)
        if mode.startswith("I;16") or self._is_deep_colour or (mode == "I" and not self._tags):
            return np.dtype(np.uint16)
        if mode == "I" and max(self._tags.get(_BITS, (32,))) == 16:
            return np.dtype(np.int16)
        if mode == "I":
            return np.dtype(np.int32 if is_signed else np.uint32)
        return np.dtype(np.int16 if is_signed else np.uint8)

    def array(self, rgb: bool) -> np.ndarray:
        """Returns `[h, w, 3]` if `rgb`, else `[h, w, 1]`, as the picture is shown.

        Raises:
          InputError: the file is damaged.
        """
        with _pillow_errors(self._path):
            return self._turn(self._pixels(rgb))

    def alpha(self) -> np.ndarray:
        """Returns float32 `[h, w]`, from 0 where the picture is transparent or has no data to 1 where it is opaque.

        Raises:
          InputError: the file is damaged.
        """
        with _pillow_errors(self._path):
            return self._turn(self._opacity().astype(np.float32))

    @property
    def _turn(self) -> Turn:
        # Pillow turns a TIFF itself when it loads it.
        return Turn() if self._tags else _TURNS.get(self._image.getexif().get(_ORIENTATION, 1), Turn())

    def _pixels(self, rgb: bool) -> np.ndarray:
        """Returns the stored picture in `dtype`."""
        if self._is_deep_colour:
            pixels = self._deep[..., :1] if self.is_grey else self._deep[..., :3]
        elif self.dtype == np.uint8:
            return np.asarray(self._eight_bit.convert("RGB")) if rgb else np.asarray(self._eight_bit.convert("L"))[..., None]
        else:
            pixels = np.asarray(self._loaded)
            if pixels.dtype == np.uint8:  # Pillow takes signed bytes for unsigned ones
                pixels = pixels.view(np.int8)
            pixels = pixels.view(self.dtype) if self.dtype == np.uint32 else pixels.astype(self.dtype)
            if self.dtype == np.uint16 and self._tags.get(_PHOTOMETRIC) == 0:  # white is 0; Pillow inverts 8 bits only
                pixels = 2 ** max(self._tags[_BITS]) - 1 - pixels
            pixels = pixels[..., None]
        if rgb:
            return np.broadcast_to(pixels, (*pixels.shape[:2], 3))
        return pixels if pixels.shape[-1] == 1 else to_grey(pixels)

    def _opacity(self) -> np.ndarray:
        if self._nodata is not None:
            return ~self._has_value(str(self._nodata).strip("\0 "))
        transparency = self._loaded.info.get("transparency")
        if self._is_deep_colour and transparency is None:
            return self._deep[..., -1] / np.float32(65535)
        if isinstance(transparency, int) and self._loaded.mode[0] in "1LI":
            level = transparency * _LEVELS.get(self._rawmode, 1)
            return self._pixels(False)[..., 0] != level
        if isinstance(transparency, tuple) and self._loaded.mode == "RGB":
            return (self._pixels(True) != np.array(transparency)).any(-1)
        if self._eight_bit.mode in ("LA", "RGBA"):
            return np.asarray(self._eight_bit.getchannel("A")) / np.float32(255)
        return np.ones(self._eight_bit.size[::-1], np.float32)

    def _has_value(self, text: str) -> np.ndarray:
        pixels = self._pixels(not self.is_grey)
        try:
            value = float(text)
        except ValueError:
            raise InputError(f"{self._label} names {text!r} as its value for missing data; expected a number") from None
        # The value can be beyond the range of integers: -9999 of bytes.
        with np.errstate(over="ignore"):
            nodata = np.asarray(value, np.float32 if pixels.dtype == np.float32 else np.float64)
        return (np.isnan(pixels) if value != value else pixels == nodata).all(-1)

    @functools.cached_property
    def _loaded(self) -> Any:
        if self._rawmode in _SWAPPED and self._image.tile[0].codec_name == "libtiff":
            _set_rawmode(self._image, _SWAPPED[self._rawmode])
        self._image.load()
        return self._image

    @functools.cached_property
    def _eight_bit(self) -> Any:
        """The loaded picture without a palette."""
        image = self._loaded
        if image.mode in ("P", "PA", "RGBa"):  # Pillow warns of palettes that are partly transparent, unless spelt out first
            return image.convert("RGBA")
        return image.convert("LA") if image.mode == "La" else image

    @functools.cached_property
    def _deep(self) -> np.ndarray:
        """Pixels uint16 `[h, w, c]` of 16 bits for each channel, of which Pillow keeps 8.

        It keeps the high byte, so the same pixels read with the other byte order are the low bytes.
        """
        if self._rawmode == "LA;16B":
            high_low = self._decoded("RGBA")
            return high_low[..., ::2] * np.uint16(256) + high_low[..., 1::2]
        kind, stored = self._rawmode.split(";")
        stored = _NATIVE if stored == "16N" else f";{stored}"
        other = _LITTLE if stored == _BIG else _BIG
        return self._decoded(kind + stored) * np.uint16(256) + self._decoded(kind + other)

    def _decoded(self, rawmode: str) -> np.ndarray:
        """Decodes the frame once more, with its bytes taken for pixels of another kind."""
        with opened(self._path) as image:
            image.seek(self._page)
            _set_rawmode(image, rawmode)
            image.load()
            return np.asarray(image).astype(np.uint16)
