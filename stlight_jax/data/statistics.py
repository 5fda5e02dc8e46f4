"""Range, mean and standard deviation of every channel, in one pass over blocks of frames."""

from typing import Any

import numpy as np

_VALUES_AT_A_TIME = 2**17  # per channel; in float64, with all that is computed from them, 24 times as large as bytes


def is_missing(frames: np.ndarray, fill: float | None) -> np.ndarray | None:
    """Finds missing values: NaN in floats, `fill` in integers.

    Args:
      frames: array of any shape.
      fill: the integer that marks a missing value; None if no integer does.

    Returns:
      A bool mask of the shape of `frames`, True where values are missing; None if none can be missing.
    """
    if frames.dtype.kind == "f":
        return np.isnan(frames)
    return None if fill is None else frames == fill


def with_nan(frames: np.ndarray, fill: float | None) -> np.ndarray:
    """Converts integers of which `fill` marks missing values to float32 with NaN.

    Args:
      frames: array of any shape.
      fill: the integer that marks a missing value; None if no integer does.

    Returns:
      The converted frames; floats, and integers without a fill value, as they are.
    """
    if fill is None or frames.dtype.kind == "f":
        return frames
    return np.where(frames == fill, np.float32(np.nan), frames.astype(np.float32))


def mean_of_valid(frames: np.ndarray) -> np.ndarray:
    """Averages frames without their missing values.

    Args:
      frames: floats `[..., n, h, w, c]`, NaN where values are missing; n can be 0.

    Returns:
      `[..., h, w, c]` of the dtype of `frames`, NaN where a value is missing in all n frames.
    """
    total, count = frames.sum(-4, dtype=np.float64), np.asarray(frames.shape[-4])
    if not count or np.isnan(total).any():
        valid = ~np.isnan(frames)
        total, count = np.where(valid, frames, 0).sum(-4, dtype=np.float64), valid.sum(-4)
    return np.where(count > 0, total / np.maximum(count, 1), np.nan).astype(frames.dtype)


def is_constant(low: float, high: float) -> bool:
    """Returns whether values between `low` and `high` differ by no more than the rounding of float32."""
    return high - low <= 4 * float(np.finfo(np.float32).eps) * max(abs(low), abs(high))


class ChannelStatistics:
    """Statistics of every channel in float64, without missing values.

    Blocks are merged by Chan's formula, so that large means cost no digits.
    """

    def __init__(self, channels: int, fill: float | None = None):
        """Starts with no values.

        Args:
          channels: c.
          fill: the integer that marks a missing value; in floats NaN does.
        """
        self._fill = fill
        self._count = np.zeros(channels)
        self._missing = np.zeros(channels)
        self._mean = np.zeros(channels)
        self._squares = np.zeros(channels)  # of deviations from the mean
        self._lowest = np.full(channels, np.inf)
        self._highest = np.full(channels, -np.inf)

    def add(self, block: np.ndarray) -> None:
        """Adds the values of a block of frames `[..., c]`."""
        values = block.reshape(-1, block.shape[-1])  # [n, c]
        for first in range(0, len(values), _VALUES_AT_A_TIME):
            self._add(values[first : first + _VALUES_AT_A_TIME])

    def _add(self, values: np.ndarray) -> None:
        missing = is_missing(values, self._fill)
        if missing is None or not missing.any():
            valid, count = np.ones((), bool), np.full(values.shape[1], len(values), float)
        else:
            valid = ~missing
            count = valid.sum(0).astype(float)
        self._missing += len(values) - count
        if not count.any():
            return
        values = values.astype(np.float64)
        mean = np.where(valid, values, 0.0).sum(0) / np.maximum(count, 1)
        squares = np.square(np.where(valid, values - mean, 0.0)).sum(0)
        delta, total = mean - self._mean, np.maximum(self._count + count, 1)
        self._squares += squares + np.square(delta) * self._count * count / total
        self._mean += delta * count / total
        self._count += count
        self._lowest = np.minimum(self._lowest, np.where(valid, values, np.inf).min(0))
        self._highest = np.maximum(self._highest, np.where(valid, values, -np.inf).max(0))

    def as_json(self) -> dict[str, Any]:
        """Returns {"min", "max", "mean", "std", "missing"}: a value per channel, None if the channel has no values."""

        def known(values: np.ndarray) -> list[float | None]:
            return [float(value) if count else None for value, count in zip(values, self._count, strict=True)]

        return {
            "min": known(self._lowest),
            "max": known(self._highest),
            "mean": known(self._mean),
            "std": known(np.sqrt(self._squares / np.maximum(self._count, 1))),
            "missing": (self._missing / np.maximum(self._count + self._missing, 1)).tolist(),
        }
