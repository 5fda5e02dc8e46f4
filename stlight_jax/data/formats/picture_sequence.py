"""Sequences of pictures that a video, a GIF or a folder holds: their depth, their transparency, and grey or rgb."""

import dataclasses
from collections.abc import Callable, Iterator, Sequence
from typing import NamedTuple

import numpy as np
from etils import epath

from stlight_jax.data.formats.types import FrameSource, ReadOptions, SourceInfo, in_blocks, integer_fill
from stlight_jax.data.times import TimeAxis
from stlight_jax.errors import InputError

# Video codecs and JPEG, which have 8 bits, colour grey slightly.
_GREY_TOLERANCE = 8
_UNCONVERTED = (np.dtype(np.uint8), np.dtype(np.uint16), np.dtype(np.int16))
_MAX_EXACT_IN_FLOAT32 = 2**24


class DecodedPicture(NamedTuple):
    """A decoded frame.

    Attributes:
      label: the picture's name in messages.
      dtype: the stored element type.
      is_grey: whether the picture is stored without colours.
      to_array: returns the picture as it is shown, `[h, w, 3]` for True and `[h, w, 1]` for False, of `dtype`.
      to_alpha: returns float32 `[h, w]`, 0 where pixels are transparent (or have no value) and 1 where they are opaque; None if
        the picture has no transparency.
      remark: a message for the user.
    """

    label: str
    dtype: np.dtype
    is_grey: bool
    to_array: Callable[[bool], np.ndarray]
    to_alpha: Callable[[], np.ndarray] | None = None
    remark: str = ""


class Turn(NamedTuple):
    """How a stored picture is turned to be shown: its axes are exchanged first, then mirrored."""

    transposed: bool = False
    flipped_rows: bool = False
    flipped_columns: bool = False

    def __call__(self, pixels: np.ndarray) -> np.ndarray:
        """Turns pixels `[h, w, ...]`."""
        if self.transposed:
            pixels = pixels.swapaxes(0, 1)
        return pixels[:: -1 if self.flipped_rows else 1, :: -1 if self.flipped_columns else 1]


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
      has_alpha: whether pictures can be transparent; None: whether the first one can.
      frame_rate: frames per second of a video or GIF.
      step: the sampling step as text; "" if unknown.
      ticks: int64 `[t]`, the time of each frame in sampling steps, if presentation times have gaps.
      times: the moments of the frames, if they have dates.
      remarks: messages for the user.

    Raises:
      InputError: the file has no frames, or the first one is damaged.
    """

    path: epath.Path
    format: str
    name: str
    frames: int
    decode: Callable[[int], Iterator[DecodedPicture]]
    options: ReadOptions
    has_alpha: bool | None = None
    frame_rate: float | None = None
    step: str = ""
    ticks: np.ndarray | None = None
    times: TimeAxis | None = None
    remarks: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        pictures = self.decode(0)  # a picture can be used until the next is decoded
        first = next(pictures, None)
        if first is None:
            raise InputError(f"{self.path} has no frames; expected at least one")
        self._size, self.dtype, self._is_grey = first.to_array(False).shape[:2], first.dtype, first.is_grey
        self.remarks += (first.remark,) * bool(first.remark)
        if self.has_alpha is None:
            self.has_alpha = first.to_alpha is not None

    def contents(self, look_for_colour: bool) -> "Contents":
        """Reads frames until all is known.

        Args:
          look_for_colour: whether to search colours; otherwise "has_colour" is False.

        Raises:
          InputError: a frame is damaged.
        """
        found = Contents()
        if not (look_for_colour or self.has_alpha):
            return found
        wanted = Contents(look_for_colour, bool(self.has_alpha), bool(self.has_alpha))
        for picture in self.decode(0):
            if found == wanted:
                break
            alpha = None
            if picture.to_alpha is not None and found[1:] != wanted[1:]:
                alpha = picture.to_alpha()
                transparent = found.has_missing or not alpha.all()
                found = Contents(found.has_colour, transparent, found.has_partial or bool(((alpha > 0) & (alpha < 1)).any()))
            if look_for_colour and not found.has_colour and not picture.is_grey:
                shown = picture.to_array(True)
                found = found._replace(has_colour=_is_colourful(shown if alpha is None else shown[alpha > 0]))
        return found

    def frame_source(self, rgb: bool, has_missing: bool, remarks: tuple[str, ...]) -> FrameSource:
        """Returns the sequence, with three channels if `rgb`, else with one; deep grey pictures are always grey.

        Args:
          rgb: whether colours are kept.
          has_missing: whether pixels can be missing: values are float32 then, with NaN.
          remarks: further messages for the user.

        Raises:
          InputError: the user asks for rgb and the pictures are grey with more than 8 bits, or for an impossible fill value.
        """
        only_grey = self._is_grey and self.dtype != np.uint8
        if only_grey and self.options.channels == "rgb":
            raise InputError(
                f"{self.name} holds {_depth(self.dtype)} grey pictures; read them with --config.data.channels=grey"
            )
        rgb = rgb and not only_grey
        dtype = self.dtype if self.dtype in _UNCONVERTED and not has_missing else np.dtype(np.float32)
        shape = (*self._size, 3 if rgb else 1)
        if self.dtype not in (*_UNCONVERTED, dtype):
            remarks += (f"{self.dtype} is read as {dtype}",)
        return FrameSource(
            name=self.name,
            frames=self.frames,
            shape=shape,
            dtype=dtype,
            blocks=lambda first=0: in_blocks(self._arrays(rgb, dtype, first), shape, dtype),
            info=SourceInfo(self.path, self.format, self.dtype, frame_rate=self.frame_rate, is_pictures=True),
            fill=None if dtype.kind == "f" else integer_fill(self.path, self.options.fill_value, dtype),
            ticks=self.ticks,
            step=self.step,
            remarks=self.remarks + remarks,
            times=self.times,
            data_fill=self.options.fill_value if dtype.kind == "f" and self.dtype.kind in "iu" else None,
        )

    def _arrays(self, rgb: bool, dtype: np.dtype, first: int) -> Iterator[np.ndarray]:
        for picture in self.decode(first):
            pixels = picture.to_array(rgb)
            if pixels.shape[:2] != self._size:
                size, first_size = (f"{width} x {height}" for height, width in (pixels.shape[:2], self._size))
                raise InputError(
                    f"{picture.label} has {size} pixels, the first frame {first_size}; all must be of one size; resize them, "
                    "or put each size in a folder of its own"
                )
            if picture.dtype != self.dtype:
                own, other = (_depth(dtype).replace("-bit", " bits") for dtype in (picture.dtype, self.dtype))
                raise InputError(
                    f"{picture.label} has {own}, the first frame {other.removesuffix(' bits')}; all must have the same"
                )
            yield self._to_floats(picture, pixels) if dtype.kind == "f" else pixels

    def _to_floats(self, picture: DecodedPicture, pixels: np.ndarray) -> np.ndarray:
        """Returns float32 `[h, w, c]`, NaN where pixels are missing."""
        missing = np.isnan(pixels)
        if picture.to_alpha is not None:
            missing |= (picture.to_alpha() == 0)[..., None]
        if self.options.fill_value is not None:
            missing |= pixels == self.options.fill_value
        with np.errstate(over="ignore", invalid="ignore"):
            values = np.where(missing, np.float32(np.nan), pixels.astype(np.float32))
        inexact = np.isinf(values)
        if pixels.dtype.kind != "f" and pixels.itemsize > 2:
            inexact = ~missing & (np.abs(pixels.astype(np.int64)) > _MAX_EXACT_IN_FLOAT32)
        if inexact.any():
            raise InputError(
                f"{picture.label}: value {pixels[inexact][0]} has no exact float32; expected finite numbers, and integers of "
                "at most 2**24 in size; scale them, or name what means missing with --config.data.fill_value"
            )
        return values


class Contents(NamedTuple):
    """The properties of a sequence that only its pixels show.

    Attributes:
      has_colour: whether pixels have colours.
      has_missing: whether pixels are transparent.
      has_partial: whether pixels are partially transparent.
    """

    has_colour: bool = False
    has_missing: bool = False
    has_partial: bool = False

    @property
    def remarks(self) -> tuple[str, ...]:
        """Messages for the user."""
        texts = {
            "transparent pixels, and those without data, are missing values": self.has_missing,
            "partially transparent pixels have the values that are stored": self.has_partial,
        }
        return tuple(text for text, applies in texts.items() if applies)


def frame_sources(sequences: Sequence[PictureSequence], channels: str) -> list[FrameSource]:
    """Opens all sequences of pictures of a call: grey if all are grey, and with missing pixels if any is transparent.

    Args:
      sequences: the sequences.
      channels: the user's choice, one of `types.CHANNELS`.

    Raises:
      InputError: a frame is damaged, or the choice does not fit.
    """
    contents: list[Contents] = []
    for sequence in sequences:
        contents.append(sequence.contents(channels == "auto" and not any(known.has_colour for known in contents)))
    rgb = channels == "rgb" or any(known.has_colour for known in contents)
    # All sequences must agree in their element type.
    with_missing = {sequence.dtype for sequence, known in zip(sequences, contents, strict=True) if known.has_missing}
    return [
        sequence.frame_source(rgb, sequence.dtype in with_missing, known.remarks)
        for sequence, known in zip(sequences, contents, strict=True)
    ]


def _depth(dtype: np.dtype) -> str:
    return f"{8 * dtype.itemsize}-bit" + ("" if dtype.kind == "u" else f" ({dtype})")


def to_grey(rgb: np.ndarray) -> np.ndarray:
    """Returns the luma `[h, w, 1]` of colours `[h, w, 3]` after ITU-R BT.601, in their element type."""
    luma = rgb @ np.array([0.299, 0.587, 0.114])
    return (luma if rgb.dtype.kind == "f" else np.rint(luma)).astype(rgb.dtype)[..., None]


def _is_colourful(rgb: np.ndarray) -> bool:
    """Returns whether the channels `[..., 3]` differ by more than codecs make them differ."""
    if not rgb.size:
        return False
    return bool((rgb.max(-1) - rgb.min(-1) > (_GREY_TOLERANCE if rgb.dtype == np.uint8 else 0)).any())
