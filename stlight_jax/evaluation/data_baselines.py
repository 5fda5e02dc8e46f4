"""Baselines that need more than the input frames: all target frames, or frames from before the input."""

import operator
from collections.abc import Callable
from typing import Any

import numpy as np

from stlight_jax.data.sequences import Sequences
from stlight_jax.errors import InputError


class BestConstantImage:
    """MSE of the one image with the lowest MSE if it is predicted for every frame: the mean of all target frames.

    In closed form, from float64 sums, without a second pass over the data.
    """

    def __init__(self) -> None:
        # Numbers, sums and squares of the valid values, [t, h, w, c] each, and frames with any, [t].
        self._sums: tuple[Any, ...] = (0.0, 0.0, 0.0, 0.0)

    def add(self, targets: np.ndarray, valid: np.ndarray | None = None) -> None:
        """Takes in target frames.

        Args:
          targets: `[b, t, h, w, c]` in the network's range.
          valid: bool `[b, t, h, w, c]`, False where values are missing; None if no value is missing.
        """
        targets = targets.astype(np.float64)
        valid = np.ones(targets.shape, bool) if valid is None else valid
        totals, squares = (values.sum(0, where=valid) for values in (targets, np.square(targets)))
        batch = (valid.sum(0), totals, squares, valid.any(axis=(2, 3, 4)).sum(0))
        self._sums = tuple(map(operator.add, self._sums, batch))

    def over_processes(self, add: Callable[[Any], Any]) -> None:
        """Adds the frames of all processes, see `MetricSums.over_processes`."""
        self._sums = add(self._sums)

    def mse_per_lead_time(self) -> list[float]:
        """Computes the MSE, summed over pixels and channels, in the network's units squared."""
        counts, totals, squares, frames = self._sums
        image = totals.sum(0) / np.maximum(counts.sum(0), 1)
        errors = squares - 2 * image * totals + image**2 * counts
        return (errors.sum((1, 2, 3)) / np.maximum(frames, 1)).tolist()


class CycleBaseline:
    """The frames of the same phase of the last day, week or other cycle as a prediction.

    Args:
      source: the sequences to predict.
      steps: length of the cycle, in sampling steps.
      horizon: frames to predict.
      frame_step: sampling steps between two frames of a sequence.

    Raises:
      InputError: the cycle is shorter than the horizon.
    """

    def __init__(self, source: Sequences, steps: int, horizon: int, frame_step: int) -> None:
        self.steps = steps
        self._source, self._horizon = source, horizon
        ahead = horizon * frame_step
        if steps < ahead:
            raise InputError(
                f"evaluation.cycle is {steps}, less than the {ahead} sampling steps to predict: it would look ahead"
            )

    def frames(self, indices: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Reads the stored frames one cycle before the targets of some sequences.

        Args:
          indices: of the sequences, `[b]`.

        Returns:
          Frames `[b, horizon, h, w, c]`, and bool `[b]`: whether they are known.

        Raises:
          InputError: the data set keeps no frames from before its sequences.
        """
        past = self._source.frames_before(indices, self.steps, self._horizon)
        if past is None:
            name = self._source.description["name"]
            raise InputError(f"evaluation.cycle is {self.steps}, but {name} has no past; set it to 0")
        return past
