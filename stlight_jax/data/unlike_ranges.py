"""Values in 0..1 beside values in 0..255: of sequences, of frames of one sequence, and of channels."""

import numpy as np

from stlight_jax.data.missing_marks import highest, lowest, some_values

_FEWEST_FRAMES = 3  # of each scale, in one sequence
_DARK = 32  # a frame of 0..255 whose largest value is less can be one of other data, such as rain


class FrameScales:
    """Counts the frames of one sequence of floats in 0..1 and in 0..255, by channel."""

    def __init__(self, channels: int):
        """Starts with no frames."""
        # Frames in 0..1, in 0..255, and such as neither scale has; and the largest value of the first two kinds.
        self._units, self._grey, self._others = np.zeros((3, channels), int)
        self._unit_end, self._grey_end = np.zeros((2, channels))

    def add(self, block: np.ndarray) -> None:
        """Adds frames `[n, h, w, c]`."""
        lows, highs = lowest(lowest(block, axis=1), axis=1), highest(highest(block, axis=1), axis=1)  # [n, c]
        units = (lows >= 0) & (highs > 0) & (highs <= 1)
        for frame, channel in np.argwhere(units):
            units[frame, channel] = (some_values(block[frame, ..., channel]) % 1 > 0).any()
        grey = (lows >= 0) & (highs >= _DARK) & (highs <= 255)
        self._units += units.sum(0)
        self._grey += grey.sum(0)
        self._others += ((lows < 0) | (highs > 0) & ~units & ~grey).sum(0)
        self._unit_end = np.maximum(self._unit_end, np.where(units, highs, 0).max(0))
        self._grey_end = np.maximum(self._grey_end, np.where(grey, highs, 0).max(0))

    def remark(self, name: str) -> str:
        """Names frames of both scales; "" if there is one scale."""
        enough = (self._units >= _FEWEST_FRAMES) & (self._grey >= _FEWEST_FRAMES) & (self._others == 0)
        found = np.flatnonzero(enough & (self._unit_end > 0.5) & (self._grey_end > 127))
        if not found.size:
            return ""
        units, grey = self._units[found[0]], self._grey[found[0]]
        return f"{name}: values of {units:,} frames lie in 0..1, those of {grey:,} others in 0..255; bring them to one scale"


def remark_on_sequences(names: list[str], lows: np.ndarray, highs: np.ndarray) -> str:
    """Names two sequences whose values lie in 0..1 and in 0..255; "" if there are none.

    Args:
      names: of the sequences.
      lows: lowest values, `[sequence, c]`.
      highs: highest values.
    """
    units, grey = _is_unit(lows, highs), _is_grey(lows, highs)
    for number in range(lows.shape[1]):
        of_units, of_grey = np.flatnonzero(units[:, number]), np.flatnonzero(grey[:, number])
        between = (highs[:, number] > 1) & ~grey[:, number]  # as of rain, in dry and in wet files
        if of_units.size and of_grey.size and not between.any():
            first, second = names[of_units[0]], names[of_grey[0]]
            return f"values of {first} lie in 0..1, those of {second} in 0..255; bring them to one scale"
    return ""


def remark_on_channels(lows: np.ndarray, highs: np.ndarray, has_fractions: list[bool], option: str) -> str:
    """Names two channels whose values lie in 0..1 and in 0..255; "" if there are none.

    Args:
      lows: lowest value of each channel.
      highs: highest values.
      has_fractions: whether values of a channel are no whole numbers.
      option: the flag that gives each channel a range of its own.
    """
    in_units, in_grey = np.flatnonzero(_is_unit(lows, highs) & has_fractions), np.flatnonzero(_is_grey(lows, highs))
    if not in_units.size or not in_grey.size:
        return ""
    first, second = f"channel {in_units[0] + 1}", f"channel {in_grey[0] + 1}"
    return f"values of {first} lie in 0..1, those of {second} in 0..255; to scale each alone: {option}=True"


def _is_unit(low: np.ndarray, high: np.ndarray) -> np.ndarray:
    return (low >= 0) & (high > 0.5) & (high <= 1) & (low < high)


def _is_grey(low: np.ndarray, high: np.ndarray) -> np.ndarray:
    return (low >= 0) & (low < high / 4) & (high > 127) & (high <= 255)
