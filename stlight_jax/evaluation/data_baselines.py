"""Baselines that need the target frames of a whole data set."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np


class BestConstantImage:
    """MSE of the one image that, predicted for every frame, has the lowest: the mean of all target frames.

    Closed form, from float64 sums: no second pass over the data.
    """

    def __init__(self) -> None:
        self._count: np.ndarray | float = 0.0
        self._sum: np.ndarray | float = 0.0
        self._squares: np.ndarray | float = 0.0
        self._frames: np.ndarray | float = 0.0

    def add(self, targets: np.ndarray, here: np.ndarray | None = None) -> None:
        """Args: targets `[b, t, h, w, c]` in the network's range; here as in `frame_metrics`."""
        targets = targets.astype(np.float64)
        here = np.ones(targets.shape, bool) if here is None else here
        self._count = self._count + here.sum(0)  # [t, h, w, c]
        self._sum = self._sum + targets.sum(0, where=here)
        self._squares = self._squares + np.square(targets).sum(0, where=here)
        self._frames = self._frames + here.any(axis=(2, 3, 4)).sum(0)  # [t]

    def over_processes(self, add: Callable[[Any], Any]) -> None:
        """Takes in what all processes have seen, see `MetricSums.over_processes`."""
        self._count, self._sum, self._squares, self._frames = add((self._count, self._sum, self._squares, self._frames))

    def mse_per_lead_time(self) -> list[float]:
        """Summed over pixels and channels, in the network's units squared."""
        image = self._sum.sum(0) / np.maximum(self._count.sum(0), 1)
        errors = self._squares - 2 * image * self._sum + image**2 * self._count
        return (errors.sum((1, 2, 3)) / np.maximum(self._frames, 1)).tolist()
