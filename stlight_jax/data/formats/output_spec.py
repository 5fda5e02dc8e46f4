"""The description of an output that every writer gets."""

import dataclasses
import math
from collections.abc import Collection

import numpy as np

from stlight_jax.data.formats.types import SourceInfo
from stlight_jax.data.times import TimeAxis
from stlight_jax.data.times_in_names import name_of_time

_MIN_DIGITS = 5


@dataclasses.dataclass
class Overflow:
    """The number of written values that were beyond the limits of their integer type, and became its least or largest value.

    Attributes:
      count: of these values.
    """

    count: int = 0


@dataclasses.dataclass(frozen=True, eq=False)
class OutputSpec:
    """Frames to write: one item of the n-axis after the other, and within an item one window after the other.

    Attributes:
      source: where the frames are stored that these continue; their axes and names are kept.
      frames: number of frames of a sequence, or of a window if the output has windows.
      shape: shape of a frame, (h, w, c).
      dtype: element type of arrays.
      fill: the number that marks missing values; None: NaN, in floats.
      low: the value, or the value of each channel, that becomes 0 in pictures, unless values are grey levels.
      high: the value, or the value of each channel, that becomes 255 in pictures, unless values are grey levels.
      items: length of the n-axis; None without one.
      window_starts: the index of the first frame of each window in its sequence; None: frames follow each other.
      frame_numbers: the index of each frame in its sequence, which numbers pictures; None: count from 0.
      times: the moments of the frames, or of the last frames before the windows.
      window_times: with windows, the moments of their frames, one window after the other.
      frame_rate: frames per second.
      dtype_requested: whether the user chose `dtype`; otherwise packed values are packed again.
      overflow: what the writers of arrays and of pictures of 16 bits count.
    """

    source: SourceInfo
    frames: int
    shape: tuple[int, int, int]
    dtype: np.dtype
    fill: float | None = None
    low: tuple[float, ...] = (0.0,)
    high: tuple[float, ...] = (255.0,)
    items: int | None = None
    window_starts: np.ndarray | None = None
    frame_numbers: np.ndarray | None = None
    times: TimeAxis | None = None
    window_times: TimeAxis | None = None
    frame_rate: float = 10.0
    dtype_requested: bool = False
    overflow: Overflow = dataclasses.field(default_factory=Overflow)

    @property
    def key(self) -> str:
        """The name of the array."""
        return self.source.key or "frames"

    @property
    def total_frames(self) -> int:
        """The number of frames in all items and windows."""
        return (self.items or 1) * (1 if self.window_starts is None else len(self.window_starts)) * self.frames

    @property
    def axes(self) -> str:
        """The letters of a frame's axes, in the order of the source."""
        axes = "".join(letter for letter in self.source.axes if letter in "hwc") or "hwc"
        return f"{axes}c" if "c" not in axes and self.shape[-1] > 1 else axes

    @property
    def outer_shape(self) -> tuple[int, ...]:
        """The sizes before those of a frame: (items, windows, frames), the first two only if the output has them."""
        windows = () if self.window_starts is None else (len(self.window_starts),)
        return (*(() if self.items is None else (self.items,)), *windows, self.frames)

    @property
    def array_shape(self) -> tuple[int, ...]:
        """The shape of an array that holds all frames."""
        sizes = dict(zip("hwc", self.shape, strict=True))
        return (*self.outer_shape, *(sizes[letter] for letter in self.axes))

    @property
    def array_bytes(self) -> int:
        """The size of this array in bytes."""
        return math.prod(self.array_shape) * self.dtype.itemsize

    @property
    def is_eight_bit(self) -> bool:
        """Whether values are grey levels from 0 to 255: those of pictures and videos, or bytes with this value range."""
        from_pictures = self.source.is_pictures and self.source.dtype == np.uint8
        return from_pictures or (self.dtype == np.uint8 and {*self.low} == {0.0} and {*self.high} == {255.0})

    @property
    def keeps_values(self) -> bool:
        """Whether a folder of pictures keeps values that are not grey levels of 8 bits, as they come from such pictures."""
        dtype = self.source.dtype
        return self.source.is_pictures and (dtype == np.uint16 or (dtype != np.uint8 and self.shape[-1] == 1))

    def picture_name(self, frame: int) -> str:
        """Returns a picture's name without its ending: its time if the source's names give times, else its padded number."""
        if self.times is not None and self.source.is_pictures and self.times.dated:
            return name_of_time(self.times.values, frame)
        numbers = self.frame_numbers
        number, last = (frame, self.total_frames - 1) if numbers is None else (numbers[frame], numbers[-1])
        return f"{number:0{max(_MIN_DIGITS, len(str(last)))}}"


def free_name(name: str, taken: Collection[str]) -> str:
    """Returns `name`, with underscores appended until no array or group of arrays in `taken` has it."""
    while any(other == name or other.startswith(f"{name}/") for other in taken):
        name += "_"
    return name
