"""Values that are permitted and look wrong: numbers that seem to mean "missing", frames without values, unlike ranges.

One pass over the frames as they are stored. A survey keeps a few numbers per channel, and two frames per sequence.
"""

from collections.abc import Collection

import numpy as np

from stlight_jax.data.missing_marks import ChannelMarks, Mark, highest, lowest
from stlight_jax.data.statistics import with_nan
from stlight_jax.data.unlike_ranges import FrameScales, remark_on_channels, remark_on_sequences

FILL_OPTION = "--config.data.fill_value"
_FEWEST_FRAMES = 3  # in which a fixed mask can be seen


def remarks_on_empty_frames(empty: int, frames: int, label: str = "frames") -> list[str]:
    """Counts frames without any value.

    Args:
      empty: their number.
      frames: the number of all frames.
      label: which frames these are.

    Returns:
      A message for the user; nothing if there are none.
    """
    return [f"{empty:,} of {frames:,} {label} hold{'s' * (empty == 1)} no values"] if empty else []


class ValueSurvey:
    """Finds suspicious values in frames, block by block.

    Attributes:
      frames: number of frames seen.
      empty: number of frames without any value.
    """

    def __init__(self, channels: int, dtype: np.dtype | type, fill: float | None = None):
        """Starts with no frames.

        Args:
          channels: c.
          dtype: element type of the frames.
          fill: the integer that marks a missing value; in floats NaN does.
        """
        self._fill, self._dtype = fill, np.dtype(dtype)
        self._channels = [ChannelMarks(self._dtype) for _ in range(channels)]
        self._values = 0  # of each channel
        self._ranges: dict[str, tuple[np.ndarray, np.ndarray]] = {}  # sequence -> lowest and highest value of each channel
        self._scales: dict[str, FrameScales] = {}
        self._pixels: tuple[str, int, np.ndarray, np.ndarray] | None = None  # of the present sequence
        self.frames = self.empty = 0

    def add(self, sequence: str, block: np.ndarray) -> None:
        """Adds frames of a sequence, which follow those of the last call if that was of the same sequence.

        Args:
          sequence: name of the sequence.
          block: `[n, h, w, c]`, as it is stored.
        """
        block = with_nan(block, self._fill)
        self.frames += len(block)
        self.empty += _count_empty(block)
        self._values += block.size // block.shape[-1]
        if self._dtype.kind == "f":
            self._scales.setdefault(sequence, FrameScales(len(self._channels))).add(block)
        lows, highs = lowest(block, axis=0), highest(block, axis=0)  # [h, w, c]
        for number, channel in enumerate(self._channels):
            channel.add(block[..., number], lows[..., number], highs[..., number])
        count = len(block)
        if self._pixels is not None and self._pixels[0] == sequence and self._pixels[2].shape == lows.shape:
            _, before, old_lows, old_highs = self._pixels
            lows, highs, count = np.fmin(lows, old_lows), np.fmax(highs, old_highs), count + before
        else:
            self._end_sequence()
        self._pixels = (sequence, count, lows, highs)

    def _end_sequence(self) -> None:
        if self._pixels is None:
            return
        sequence, frames, lows, highs = self._pixels
        self._pixels = None
        if frames >= _FEWEST_FRAMES:
            for number, channel in enumerate(self._channels):
                channel.add_sequence(lows[..., number], highs[..., number])
        ends = lowest(lows, axis=(0, 1)), highest(highs, axis=(0, 1))  # [c]
        old = self._ranges.get(sequence, ends)
        self._ranges[sequence] = np.fmin(ends[0], old[0]), np.fmax(ends[1], old[1])

    def marks(self) -> list[Mark]:
        """Returns the numbers that seem to mean "missing"."""
        self._end_sequence()
        shares: dict[float, dict[int, float]] = {}  # value -> channel -> share
        masks: dict[float, dict[int, int]] = {}  # value -> channel -> pixels
        for number, channel in enumerate(self._channels):
            for value, share in channel.far(self._values).items():
                shares.setdefault(value, {})[number] = share
            mask = channel.fixed()
            if mask is not None and mask.value is not None:
                masks.setdefault(mask.value, {})[number] = mask.pixels
        found = []
        for value, own in shares.items():
            part = f"{100 * sum(own.values()) / len(own):.3g} %"
            found.append(Mark(value, f"{self._which(own)}{part} of the values are {{}}, far from all others; if they mean"))
        for value, pixels in masks.items():
            is_colour = self._is_rgb and len(pixels) < len(self._channels)  # such as the red of a sign
            if value not in shares and not is_colour:
                where = f"fills the same {max(pixels.values()):,} pixels in all frames and occurs nowhere else; if it means"
                found.append(Mark(value, f"{self._which(pixels)}{{}} {where}"))
        return found

    def remarks(self, option: str, per_channel_option: str = "") -> list[str]:
        """Returns messages for the user.

        Args:
          option: the flag that takes the number that means "missing".
          per_channel_option: the flag that gives each channel a range of its own; "" if channels may differ.
        """
        marks = self.marks()
        only_one = " (it takes one number; replace the others by NaN)" if len(marks) > 1 else ""
        remarks = [f"{mark} missing: {option}={mark.text}{only_one}" for mark in marks]
        return remarks + self._unlike_ranges(per_channel_option)

    def constant_channels(self) -> dict[int, float]:
        """Returns the channels of a single value, {number of the channel from 0: value}."""
        self._end_sequence()
        if not self._ranges:
            return {}
        lows, highs = self._ends()
        low, high = lowest(lows), highest(highs)
        return {int(number): low[number].item() for number in np.flatnonzero(low == high)}

    def _ends(self) -> tuple[np.ndarray, np.ndarray]:
        """Returns the lowest and the highest value of each channel in each sequence, `[sequence, c]`."""
        lows, highs = zip(*self._ranges.values(), strict=True)
        return np.stack(lows), np.stack(highs)

    def _unlike_ranges(self, per_channel_option: str) -> list[str]:
        """Names values in 0..1 beside others in 0..255: of frames or sequences, else of channels."""
        if self._dtype not in (np.uint8, np.float16, np.float32, np.float64) or not self._ranges:
            return []
        lows, highs = self._ends()
        names = list(self._ranges)
        if self._dtype == np.uint8:
            return [remark for remark in (remark_on_sequences(names, lows, highs),) if remark]
        remarks = [scales.remark(name) for name, scales in self._scales.items()]
        remarks.append(remark_on_sequences(names, lows, highs))
        if per_channel_option and not any(remarks):
            fractions = [channel.has_fractions for channel in self._channels]
            remarks.append(remark_on_channels(lowest(lows), highest(highs), fractions, per_channel_option))
        return [remark for remark in remarks if remark][:1]

    @property
    def _is_rgb(self) -> bool:
        return self._dtype == np.uint8 and len(self._channels) == 3

    def _which(self, chosen: Collection[int]) -> str:
        if len(chosen) == len(self._channels):
            return ""
        return f"channel{'s' * (len(chosen) > 1)} {', '.join(str(number + 1) for number in chosen)}: "


def _count_empty(block: np.ndarray) -> int:
    """Counts the frames without a value."""
    if block.dtype.kind != "f":
        return 0
    height, width = block.shape[1:3]
    some = np.isnan(block[:, :: max(1, height // 8), :: max(1, width // 8)]).all(axis=(1, 2, 3))
    return sum(bool(np.isnan(block[index]).all()) for index in np.flatnonzero(some))
