"""Single sequences of a test set to look at: which ones, and what the network predicts for them."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, NamedTuple

import numpy as np

from stlight_jax.data.batches import split_frames
from stlight_jax.data.scaling import Scaling
from stlight_jax.data.sequences import Sequences
from stlight_jax.inference.predictor import Predictor
from stlight_jax.model.rollout import rollout
from stlight_jax.model.stlight import STLight

_EACH = 2  # of the best, of the median and of the worst
_AT_A_TIME = 8


class Sample(NamedTuple):
    """Sequences in the network's range, NaN where values are missing; float32.

    The prediction is NaN, too, where the truth is missing: nobody knows whether it is right there.
    """

    inputs: np.ndarray  # [n, T, h, w, c]
    truth: np.ndarray  # [n, horizon, h, w, c']
    prediction: np.ndarray  # [n, horizon, h, w, c']


class Samples:
    """Predicts whichever sequences are asked for, on one device of this process.

    Args:
      source: the sequences; `scaling` is from their values to the network's.
      variables: {"params", "batch_stats"}.
    """

    def __init__(self, source: Sequences, model: STLight, variables: Any, scaling: Scaling):
        self._source, self._model, self._scaling = source, model, scaling
        self._predictor = Predictor(model.config, variables)

    def batches(self, indices: np.ndarray) -> Iterator[Sample]:
        """The sequences of `indices`, in that order, a few at a time."""
        for first in range(0, len(indices), _AT_A_TIME):
            wanted = np.asarray(indices[first : first + _AT_A_TIME])
            # Filled up, so that one compiled program does for all.
            sample = self._predicted(np.pad(wanted, (0, _AT_A_TIME - len(wanted)), mode="edge"))
            yield Sample(*(part[: len(wanted)] for part in sample))

    def of(self, indices: np.ndarray) -> Sample:
        """The same, all at once."""
        return Sample(*(np.concatenate(parts) for parts in zip(*self.batches(indices), strict=True)))

    def _predicted(self, indices: np.ndarray) -> Sample:
        stored = self._source.frames(indices)
        inputs, truth, here = split_frames(stored, self._model, self._scaling)
        prediction = rollout(self._predictor, inputs, truth.shape[1])
        if here is not None:
            seen = self._scaling.to_network(stored)[1][:, : self._model.config.in_frames]
            inputs = np.where(seen, inputs, np.nan)
            truth, prediction = (np.where(here, part, np.nan) for part in (truth, prediction))
        return Sample(*(np.asarray(part) for part in (inputs, truth, prediction)))


def evenly_spaced(count: int, at_most: int) -> np.ndarray:
    """Indices from the first to the last of `count`."""
    return np.linspace(0, count - 1, min(at_most, count)).astype(int)


def best_median_worst(errors: np.ndarray, each: int = _EACH) -> dict[str, list[int]]:
    """Which sequences have the lowest, a middling and the highest error; of equal ones, the earlier is the better.

    Args:
      errors: of each sequence; those of NaN are never chosen.
      each: how many of each kind, fewer where that would be more than all sequences.

    Returns:
      {"best", "median", "worst": indices}; "best" begins with the best, "worst" with the worst one.
    """
    order = [int(index) for index in np.argsort(errors, kind="stable") if not np.isnan(errors[index])]
    each = min(each, max(1, len(order) // 3))
    middle = (len(order) - each) // 2
    return {"best": order[:each], "median": order[middle : middle + each], "worst": order[::-1][:each]}
