"""What all writers are told of the frames to come, and how values become those of a file."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Collection

import numpy as np

from stlight_jax.data.formats.types import Origin
from stlight_jax.data.times import Stamps

# Takes float32 [n, h, w, c] in the data's own units, NaN where values are missing: the next frames.
Write = Callable[[np.ndarray], None]
_FEWEST_DIGITS = 5
_VALUES_AT_A_TIME = 2**16  # conversions take several float64 of each


@dataclasses.dataclass(frozen=True, eq=False)
class Form:
    """Frames as they are to be written, one item of the n-axis after the other, and in it one window after the other.

    Attributes:
      origin: where the frames lie that these continue; its axes and names are kept.
      frames: of a sequence, or of a window if there are any.
      shape: of a frame, (h, w, c).
      dtype: of values in arrays.
      fill: stands for missing values; None: NaN, in floats.
      low, high: the values that become 0 and 255 in pictures, one or one for each channel, unless values are grey levels.
      items: of an n-axis; None: without one.
      starts: the place of the first frame of each window in its sequence; None: frames follow each other.
      places: of the frames in their sequence, by which pictures are numbered; None: they are counted from 0.
      stamps: the moments of the frames, or of the starts.
      rate: frames per second.
      asked: whether the user has chosen `dtype`; else packed values are packed again.
    """

    origin: Origin
    frames: int
    shape: tuple[int, int, int]
    dtype: np.dtype
    fill: float | None = None
    low: tuple[float, ...] = (0.0,)
    high: tuple[float, ...] = (255.0,)
    items: int | None = None
    starts: np.ndarray | None = None
    places: np.ndarray | None = None
    stamps: Stamps | None = None
    rate: float = 10.0
    asked: bool = False

    @property
    def key(self) -> str:
        """The name of the array."""
        return self.origin.key or "frames"

    @property
    def total(self) -> int:
        """Frames in all items and windows."""
        return (self.items or 1) * (1 if self.starts is None else len(self.starts)) * self.frames

    @property
    def axes(self) -> str:
        """The letters of a frame's axes, in the order of the origin's."""
        kept = [letter for letter in self.origin.axes if letter in "hwc"] or ["h", "w", "c"]
        if "c" not in kept and self.shape[-1] > 1:
            kept.append("c")
        return "".join(kept)

    @property
    def array_shape(self) -> tuple[int, ...]:
        """Of an array with everything: [items, windows, frames, ...], the first two if there are any."""
        sizes = dict(zip("hwc", self.shape, strict=True))
        windows = () if self.starts is None else (len(self.starts),)
        items = () if self.items is None else (self.items,)
        return (*items, *windows, self.frames, *(sizes[letter] for letter in self.axes))

    @property
    def is_eight_bit(self) -> bool:
        """Whether values are grey levels from 0 to 255: those of pictures and videos, and bytes of which that is the range."""
        origin, range_ = self.origin, (set(self.low), set(self.high))
        pictures = origin.kind == "video" or (origin.kind in ("pictures", "gif") and origin.dtype == np.uint8)
        return pictures or (self.dtype == np.uint8 and range_ == ({0.0}, {255.0}))

    @property
    def is_deep(self) -> bool:
        """Whether values are the grey levels of pictures of 16 bits."""
        return self.origin.kind == "pictures" and self.dtype == np.uint16 and self.shape[-1] == 1

    def name_of(self, frame: int) -> str:
        """Of a picture, without its ending: its place."""
        place, last = (frame, self.total - 1) if self.places is None else (self.places[frame], self.places[-1])
        return f"{place:0{max(_FEWEST_DIGITS, len(str(last)))}}"


def free_name(name: str, taken: Collection[str]) -> str:
    """The name, or one that begins with it, that nothing in a file has yet, be it an array or a group of arrays."""
    while any(other == name or other.startswith(f"{name}/") for other in taken):
        name += "_"
    return name


def as_stored(frames: np.ndarray, form: Form) -> np.ndarray:
    """Frames `[n, h, w, c]` in their units -> `[n, ...]` with the axes and the type of the form."""
    return as_type(in_order(frames, form.axes), form.dtype, form.fill)


def in_order(frames: np.ndarray, axes: str) -> np.ndarray:
    """`[n, h, w, c]` -> `[n, ...]` with these letters' axes; without a "c" there is one channel."""
    if "c" not in axes:
        return frames[..., 0].transpose(0, *(1 + "hw".index(letter) for letter in axes))
    return frames.transpose(0, *(1 + "hwc".index(letter) for letter in axes))


def as_type(values: np.ndarray, dtype: np.dtype, fill: float | None) -> np.ndarray:
    """Floats with NaN where values are missing -> `dtype`, with `fill` there.

    What a type cannot hold becomes the least or the largest it can. Whole numbers are rounded, and a value that is there never
    becomes the fill value.

    Raises ValueError for missing values that nothing can stand for.
    """
    stored = np.empty(values.shape, dtype)
    nothing_stands = dtype.kind == "b" or (dtype.kind != "f" and fill is None)
    flags = ["external_loop", "buffered", "zerosize_ok"]
    with np.nditer([values, stored], flags, [["readonly"], ["writeonly"]], buffersize=_VALUES_AT_A_TIME) as parts:
        for part, converted in parts:
            missing = np.isnan(part)
            if nothing_stands and missing.any():
                raise ValueError(
                    f"{np.isnan(values).sum()} values are NaN, for which {dtype} has nothing; a float type, or a fill value, "
                    "is needed"
                )
            converted[...] = _converted(part, missing, dtype, fill)
    return stored


def _converted(values: np.ndarray, missing: np.ndarray, dtype: np.dtype, fill: float | None) -> np.ndarray:
    if dtype.kind == "f":
        if dtype.itemsize < values.dtype.itemsize:
            values = np.clip(values, np.finfo(dtype).min, np.finfo(dtype).max)
        stored = values.astype(dtype)
        if fill is not None:
            stored[missing] = fill
        return stored
    if dtype.kind == "b":
        return values > 0.5
    values = np.where(missing, 0, values)
    stored = np.clip(np.rint(values.astype(np.float64)), *_ends(dtype)).astype(dtype)
    if fill is not None:
        fill = int(fill)
        stored[(stored == fill) & ~missing] = fill - 1 if fill == np.iinfo(dtype).max else fill + 1
        stored[missing] = fill
    return stored


def can_hold(dtype: np.dtype, fill: float) -> bool:
    """Whether `fill` can stand for missing values in arrays of such a type, beside all others."""
    if dtype.kind in "iu":
        limits = np.iinfo(dtype)
        return fill % 1 == 0 and limits.min <= fill <= limits.max
    return dtype.kind == "f" and (not np.isfinite(fill) or abs(fill) <= float(np.finfo(dtype).max))


def _ends(dtype: np.dtype) -> tuple[float, float]:
    """The least and the largest float that an integer type can hold."""
    limits = np.iinfo(dtype)
    # Floats cannot hold the largest integers of 64 bits.
    return limits.min, np.nextafter(float(limits.max), 0) if dtype.itemsize == 8 else limits.max


def as_grey_levels(frames: np.ndarray, form: Form) -> np.ndarray:
    """Frames `[..., c]` in their units -> uint8; black where values are missing and no grey level stands for that."""
    if form.is_eight_bit:
        return as_type(frames if form.fill is not None else np.nan_to_num(frames), np.dtype(np.uint8), form.fill)
    low, high = (np.asarray(values, np.float32) for values in (form.low, form.high))
    return as_type(np.nan_to_num((frames - low) / (high - low) * 255), np.dtype(np.uint8), None)
