"""Frames that Pillow decodes, of folders of pictures and of GIFs."""

import functools
from collections.abc import Iterator

import numpy as np
from etils import epath
from PIL import Image, ImageSequence

from stlight_jax.data.formats.picture_sequence import DecodedPicture
from stlight_jax.data.formats.read_errors import read_errors
from stlight_jax.errors import InputError


def decode_file(path: epath.Path, *, animated: bool) -> Iterator[DecodedPicture]:
    """Yields the pictures in a file.

    Args:
      path: the file.
      animated: whether it may hold several frames, as a GIF does.

    Raises:
      InputError: the file is damaged, has more than 16 bits, or holds several pictures though it is not animated.
    """
    with read_errors(path, Image.DecompressionBombError), Image.open(path) as image:
        pages = getattr(image, "n_frames", 1)
        if not animated and pages > 1:
            raise InputError(f"{path} holds {pages} pictures; expected one in each file of a folder, or a .gif")
        for number, frame in enumerate(ImageSequence.Iterator(image)):
            frame.load()
            label, mode = f"{path}, frame {number}" if animated else str(path), frame.mode
            # 16-bit PNGs come as "I" from some versions of Pillow; in a TIFF that means 32 bits.
            if mode == "F" or (mode == "I" and frame.format != "PNG"):
                raise InputError(f"{label} has 32 bits for each pixel; expected 8 or 16; save the frames as a .npy instead")
            is_deep, (width, height) = mode.startswith("I"), frame.size
            is_grey = is_deep or mode in ("1", "L", "LA")
            to_array = functools.partial(_to_array, frame, is_deep)
            yield DecodedPicture(label, (height, width), 16 if is_deep else 8, is_grey, to_array)


def _to_array(image: Image.Image, is_deep: bool, rgb: bool) -> np.ndarray:
    """Returns `[h, w, 3]` if `rgb`, else `[h, w, 1]`."""
    if is_deep:
        return np.asarray(image).astype(np.uint16)[..., None]
    # Pillow warns of palettes that are partly transparent, unless they are spelt out first.
    image = image.convert("RGBA") if image.mode == "P" else image
    return np.asarray(image.convert("RGB")) if rgb else np.asarray(image.convert("L"))[..., None]
