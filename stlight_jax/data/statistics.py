"""Range, mean and spread of every channel, in one pass over blocks of frames, leaving out what is missing."""

from __future__ import annotations

from typing import Any

import numpy as np


def is_missing(frames: np.ndarray, fill: float | None) -> np.ndarray | None:
    """Where values are missing: NaN in floats, `fill` in integers. None where none can be."""
    if frames.dtype.kind == "f":
        return np.isnan(frames)
    return None if fill is None else frames == fill


_VALUES_AT_A_TIME = 2**17  # per channel; in float64, with what is computed from them, 24 times as large as bytes


class ChannelStatistics:
    """Per channel, float64 throughout; blocks are merged by Chan's formula, so that large means cost no digits.

    Args:
      channels: c.
      fill: integers of this value are missing; in floats NaN are.
    """

    def __init__(self, channels: int, fill: float | None = None):
        self._fill = fill
        self._count = np.zeros(channels)
        self._missing = np.zeros(channels)
        self._mean = np.zeros(channels)
        self._squares = np.zeros(channels)  # of deviations from the mean
        self._lowest = np.full(channels, np.inf)
        self._highest = np.full(channels, -np.inf)

    def add(self, block: np.ndarray) -> None:
        """Args: block `[..., c]`."""
        values = block.reshape(-1, block.shape[-1])  # [n, c]
        for first in range(0, len(values), _VALUES_AT_A_TIME):
            self._add(values[first : first + _VALUES_AT_A_TIME])

    def _add(self, values: np.ndarray) -> None:
        missing = is_missing(values, self._fill)
        if missing is None or not missing.any():
            missing = None
        here = np.ones((), bool) if missing is None else ~missing
        count = np.full(values.shape[1], len(values), float) if missing is None else here.sum(0).astype(float)
        self._missing += len(values) - count
        if not count.any():
            return
        values = values.astype(np.float64)
        safe = np.maximum(count, 1)
        mean = np.where(here, values, 0.0).sum(0) / safe
        squares = np.square(np.where(here, values - mean, 0.0)).sum(0)
        delta, total = mean - self._mean, np.maximum(self._count + count, 1)
        self._squares += squares + np.square(delta) * self._count * count / total
        self._mean += delta * count / total
        self._count += count
        self._lowest = np.minimum(self._lowest, np.where(here, values, np.inf).min(0))
        self._highest = np.maximum(self._highest, np.where(here, values, -np.inf).max(0))

    def as_json(self) -> dict[str, Any]:
        """{"min", "max", "mean", "std", "missing"}, a value per channel; None where a channel has no values."""
        total = np.maximum(self._count + self._missing, 1)
        there = self._count > 0

        def listed(values: np.ndarray) -> list[float | None]:
            return [float(value) if here else None for value, here in zip(values, there, strict=True)]

        return {
            "min": listed(self._lowest),
            "max": listed(self._highest),
            "mean": listed(self._mean),
            "std": listed(np.sqrt(self._squares / np.maximum(self._count, 1))),
            "missing": (self._missing / total).tolist(),
        }
