"""A few sequences of a test set to look at: their choice, and the network's predictions for them."""

from collections.abc import Iterator
from typing import Any, NamedTuple

import jax.numpy as jnp
import numpy as np

from stlight_jax.data.batches import split_frames, target_covariates
from stlight_jax.data.scaling import Scaling
from stlight_jax.data.sequences import Sequences
from stlight_jax.inference.predictor import Predictor
from stlight_jax.model.rollout import rollout
from stlight_jax.model.stlight import STLight

_OF_EACH_KIND = 2  # best, median and worst sequences
_BATCH_SIZE = 8


class Sample(NamedTuple):
    """Sequences in the metrics' range, float32, NaN where values are missing.

    The prediction is NaN where the truth is missing, too, since it cannot be judged there.

    Attributes:
      inputs: `[n, T, h, w, c]`, without covariates.
      truth: `[n, horizon, h, w, c']`.
      prediction: `[n, horizon, h, w, c']`.
    """

    inputs: np.ndarray
    truth: np.ndarray
    prediction: np.ndarray


class Samples:
    """Predicts any sequences of a set, on one device of this process.

    Args:
      source: the sequences.
      model: the network.
      variables: {"params", "batch_stats"}.
      scaling: from stored values to the network's range.
      tile: as for `make_eval_step`.

    Attributes:
      scaling: as given.
    """

    def __init__(self, source: Sequences, model: STLight, variables: Any, scaling: Scaling, tile: int = 0) -> None:
        self._source, self._model, self.scaling = source, model, scaling
        self._predictor = Predictor(model.config, variables, filling=scaling.filling, tile=tile)

    def batches(self, indices: np.ndarray) -> Iterator[Sample]:
        """Yields the sequences of `indices`, in that order, a few at a time."""
        for first in range(0, len(indices), _BATCH_SIZE):
            chosen = np.asarray(indices[first : first + _BATCH_SIZE])
            # Filled up, so that one compiled program does for all.
            sample = self._predict(np.pad(chosen, (0, _BATCH_SIZE - len(chosen)), mode="edge"))
            yield Sample(*(part[: len(chosen)] for part in sample))

    def all(self, indices: np.ndarray) -> Sample:
        """Returns the sequences of `indices` at once."""
        return Sample(*(np.concatenate(parts) for parts in zip(*self.batches(indices), strict=True)))

    def _predict(self, indices: np.ndarray) -> Sample:
        stored = jnp.asarray(self._source.frames(indices))
        seen = split_frames(stored, self._model, self.scaling)[0]
        inputs, truth, valid = split_frames(stored, self._model, self.scaling.untransformed)
        config = self._model.config
        known = target_covariates(stored, self._model, self.scaling)
        prediction = rollout(
            lambda seen: self.scaling.with_constants(self._predictor(seen)), seen, truth.shape[1], config, known
        )
        recent = inputs[:, inputs.shape[1] - config.in_frames :, ..., : inputs.shape[-1] - self.scaling.covariates]
        parts = ((recent, None), (truth, valid), (self.scaling.output(prediction), valid))
        return Sample(*(np.asarray(part) if where is None else np.where(where, part, np.nan) for part, where in parts))


def evenly_spaced(count: int, at_most: int) -> np.ndarray:
    """Returns at most `at_most` of the indices below `count`, from the first to the last."""
    return np.linspace(0, count - 1, min(at_most, count)).astype(int)


def best_median_worst(errors: np.ndarray, each: int = _OF_EACH_KIND) -> dict[str, list[int]]:
    """Chooses the sequences with the lowest, a median and the highest error; of equal ones, the earlier is the better.

    Args:
      errors: one per sequence, NaN for sequences that are never chosen.
      each: the number of each kind; at most a third of all sequences.

    Returns:
      {"best", "median", "worst": indices}; "best" begins with the best one, "worst" with the worst one.
    """
    order = [int(index) for index in np.argsort(errors, kind="stable") if not np.isnan(errors[index])]
    each = min(each, max(1, len(order) // 3))
    middle = (len(order) - each) // 2
    return {"best": order[:each], "median": order[middle : middle + each], "worst": order[::-1][:each]}
