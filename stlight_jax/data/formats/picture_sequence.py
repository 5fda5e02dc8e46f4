"""Sequences of pictures that a video, a GIF or a folder holds: their size, their depth, and grey or rgb."""

import dataclasses
from collections.abc import Callable, Iterator
from typing import NamedTuple

import numpy as np
from etils import epath

from stlight_jax.data.formats.types import FrameSource, ReadOptions, SourceInfo, in_blocks, integer_fill
from stlight_jax.errors import InputError

# Video codecs and JPEG colour grey slightly.
_GREY_TOLERANCE = 8


class DecodedPicture(NamedTuple):
    """A decoded frame.

    Attributes:
      label: the picture's name in messages.
      size: height and width in pixels.
      bits: depth of a channel, 8 or 16; pictures of 16 bits are grey.
      is_grey: whether the picture is stored without colours.
      to_array: returns uint8 `[h, w, 3]` for True, or uint8 or uint16 `[h, w, 1]` for False.
    """

    label: str
    size: tuple[int, int]
    bits: int
    is_grey: bool
    to_array: Callable[[bool], np.ndarray]


@dataclasses.dataclass(eq=False)
class PictureSequence:
    """A sequence of pictures. All sequences of a call together decide between grey and rgb.

    Attributes:
      path: the file, or the folder of pictures.
      format: name of the file's format.
      name: name of the sequence.
      frames: number of frames.
      decode: yields the pictures from the one with this index on.
      options: the user's options.
      frame_rate: frames per second of a video or GIF.
      step: the sampling step as text; "" if unknown.

    Raises:
      InputError: the file has no frames, or the first one is damaged.
    """

    path: epath.Path
    format: str
    name: str
    frames: int
    decode: Callable[[int], Iterator[DecodedPicture]]
    options: ReadOptions
    frame_rate: float | None = None
    step: str = ""

    def __post_init__(self) -> None:
        first = next(self.decode(0), None)
        if first is None:
            raise InputError(f"{self.path} has no frames; expected at least one")
        self._size, self._bits = first.size, first.bits

    def has_colour(self) -> bool:
        """Reads frames until one has colours.

        Raises:
          InputError: a frame is damaged.
        """
        return any(not picture.is_grey and _is_colourful(picture.to_array(True)) for picture in self.decode(0))

    def frame_source(self, rgb: bool) -> FrameSource:
        """Returns the sequence, with three channels if `rgb`, else with one; pictures of 16 bits are always grey.

        Raises:
          InputError: the user asks for rgb and the pictures have 16 bits, or for an impossible fill value.
        """
        is_deep = self._bits > 8
        if is_deep and self.options.channels == "rgb":
            raise InputError(f"{self.name} holds 16-bit grey pictures; read them with --config.data.channels=grey")
        rgb = rgb and not is_deep
        shape, dtype = (*self._size, 3 if rgb else 1), np.dtype(np.uint16 if is_deep else np.uint8)
        return FrameSource(
            name=self.name,
            frames=self.frames,
            shape=shape,
            dtype=dtype,
            blocks=lambda first=0: in_blocks(self._arrays(rgb, first), shape, dtype),
            info=SourceInfo(self.path, self.format, dtype, frame_rate=self.frame_rate, is_pictures=True),
            fill=integer_fill(self.path, self.options.fill_value, dtype),
            step=self.step,
        )

    def _arrays(self, rgb: bool, first: int) -> Iterator[np.ndarray]:
        for picture in self.decode(first):
            if picture.size != self._size:
                size, first_size = (f"{width} x {height}" for height, width in (picture.size, self._size))
                raise InputError(f"{picture.label} has {size} pixels, the first frame {first_size}; all must be of one size")
            if picture.bits != self._bits:
                raise InputError(
                    f"{picture.label} has {picture.bits} bits, the first frame {self._bits}; all must have the same"
                )
            yield picture.to_array(rgb)


def _is_colourful(rgb: np.ndarray) -> bool:
    """Returns whether the channels of a frame uint8 `[h, w, 3]` differ by more than codecs make them differ."""
    return bool((rgb.max(-1) - rgb.min(-1) > _GREY_TOLERANCE).any())
