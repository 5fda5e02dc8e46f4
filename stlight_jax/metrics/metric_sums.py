"""The metrics of every frame in one compiled pass, and their exact sums, for any batch size and number of devices.

Definitions are OpenSTL's (`openstl/core/metrics.py`), slips included. Missing values count nowhere: MSE and MAE are sums over
the valid values, PSNR is a mean over them, SSIM a mean over the windows without a missing value, and a frame without a valid
value is left out.
"""

from __future__ import annotations

import dataclasses
import math
import operator
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import chex
import jax
import jax.numpy as jnp
import numpy as np

from stlight_jax.metrics import metric_list
from stlight_jax.metrics.metric import VALUES, DerivedMetric, FrameCount, FrameMetric, FramePair, SampledMetric
from stlight_jax.metrics.pixel_errors import MAE, MSE

_FRAMES_AT_A_TIME = 80

# Key of a metric or a count -> float32 [b, t]: its value for each sequence and frame.
FrameScores = dict[str, jax.Array]


def frame_metrics(
    prediction: jax.Array,
    target: jax.Array,
    valid: jax.Array | None = None,
    metrics: Sequence[FrameMetric] | None = None,
    parts: Sequence[FrameCount] = (),
) -> FrameScores:
    """Computes metrics of frames, the counts they are averaged by, and parts of pooled metrics.

    Args:
      prediction: float `[b, t, h, w, c]`, in [0, 1] except for overshoots.
      target: float `[b, t, h, w, c]`, in [0, 1].
      valid: bool `[b, t, h, w, c]`, False where values are missing; None if no value is missing.
      metrics: the metrics; None for every `FrameMetric` of the list.
      parts: sums for pooled metrics, such as `ThresholdScores.parts`.

    Returns:
      Key of each metric, count and part -> float32 `[b, t]`.
    """
    chex.assert_rank(prediction, 5)
    arrays = (prediction, target) if valid is None else (prediction, target, valid)
    chex.assert_equal_shape(arrays)
    flat = tuple(array.reshape(-1, *array.shape[2:]) for array in arrays)  # [b*t, h, w, c]
    # As many frames at a time as caches hold with everything that is computed from them.
    metrics = metric_list.metrics_of(FrameMetric) if metrics is None else metrics
    amounts = (VALUES, *(metric.counted_by for metric in metrics), *parts)
    # A dict keeps the order, so that all processes compile the same program.
    computed = {metric.key: metric.compute for metric in metrics} | {amount.key: amount.compute for amount in amounts}
    scores = jax.lax.map(lambda frame: _score_frame(computed, *frame), flat, batch_size=_FRAMES_AT_A_TIME)
    return jax.tree.map(lambda values: values.reshape(prediction.shape[:2]), scores)


def _score_frame(
    computed: Mapping[str, Callable[[FramePair], jax.Array]],
    prediction: jax.Array,
    target: jax.Array,
    valid: jax.Array | None = None,
) -> FrameScores:
    if valid is not None:  # missing values are made equal, so that they add no error
        prediction = jnp.where(valid, prediction, target)
    frame = FramePair(prediction, target, valid)
    return {key: frame.once(compute) for key, compute in computed.items()}


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class MetricSums:
    """Sums over sequences, float64 per lead time; adding two gives the sums over both sets of sequences.

    Attributes:
      count: the number of sequences.
      sums: key of a metric -> float64 `[t]`, over the frames that it can judge.
      frames: key of a count -> float64 `[t]`, the number of frames with any.
      values: float64 `[t]`, the number of valid values.
      parts: key of a part of a pooled metric -> float64 `[t]`.
    """

    count: int
    sums: dict[str, np.ndarray]
    frames: dict[str, np.ndarray]
    values: np.ndarray
    parts: dict[str, np.ndarray]

    @classmethod
    def from_batch(cls, scores: Mapping[str, Any], mask: np.ndarray) -> MetricSums:
        """Sums the scores of a batch.

        Args:
          scores: of `frame_metrics`, `[b, t]` each.
          mask: bool `[b]`, False for fillers.
        """
        chosen = {key: np.asarray(value, np.float64)[mask] for key, value in scores.items()}
        metrics = [metric for metric in metric_list.metrics_of(FrameMetric) if metric.key in chosen]
        counted_by = {metric.key: metric.counted_by.key for metric in metrics}
        sums = {key: chosen[key].sum(0, where=chosen[count] > 0) for key, count in counted_by.items()}
        frames = {key: (chosen[key] > 0).sum(0).astype(np.float64) for key in (VALUES.key, *counted_by.values())}
        parts = {key: values.sum(0) for key, values in chosen.items() if key not in {**sums, **frames}}
        return cls(int(mask.sum()), sums, frames, chosen[VALUES.key].sum(0), parts)

    def __add__(self, other: MetricSums) -> MetricSums:
        return jax.tree.map(operator.add, self, other)

    def over_processes(self, add: Callable[[Any], Any]) -> MetricSums:
        """Returns the sums over the sequences of all processes.

        Args:
          add: adds the processes' trees of numbers and arrays: `Launcher.sum_over_processes`.
        """
        total = add(self)
        return dataclasses.replace(total, count=round(total.count))

    def per_lead_time(self) -> dict[str, list[float]]:
        """Computes the averaged metrics for each lead time; the first one follows the last input frame.

        Returns:
          Key of a metric -> a value per lead time, NaN where no frame could be judged.
        """
        return _values(self.sums, self.frames)

    def overall(self) -> dict[str, float]:
        """Computes the averaged metrics over all predicted frames.

        Returns:
          Key of a metric -> value, NaN if no frame could be judged.
        """
        return {key: values[0] for key, values in self.total().per_lead_time().items()}

    def rmse_per_value(self) -> float:
        """Computes the root of the mean squared error of a single valid value, over all predicted frames."""
        return math.sqrt(self.sums[MSE.key].sum() / max(float(self.values.sum()), 1.0))

    def errors_per_value(self) -> dict[str, list[float]]:
        """Computes the errors of a single valid value for each lead time.

        Returns:
          "mae" and "rmse" -> a value per lead time, NaN where no value is valid.
        """
        with np.errstate(invalid="ignore"):
            mae, mse = (self.sums[metric.key] / self.values for metric in (MAE, MSE))
        return {"mae": mae.tolist(), "rmse": np.sqrt(mse).tolist()}

    def total(self) -> MetricSums:
        """Returns the sums over all lead times as those of one lead time."""
        arrays = jax.tree.map(lambda values: np.sum(values, keepdims=True), dataclasses.replace(self, count=0))
        return dataclasses.replace(arrays, count=self.count)


def _values(sums: dict[str, np.ndarray], frames: dict[str, np.ndarray]) -> dict[str, list[float]]:
    def value(metric: FrameMetric | DerivedMetric) -> np.ndarray:
        if isinstance(metric, DerivedMetric):
            return metric.derive(value(metric.base))
        return sums[metric.key] / frames[metric.counted_by.key]

    def is_known(metric: FrameMetric | DerivedMetric) -> bool:
        return (metric.base if isinstance(metric, DerivedMetric) else metric).key in sums

    with np.errstate(invalid="ignore"):
        return {metric.key: value(metric).tolist() for metric in metric_list.averaged_metrics() if is_known(metric)}


def add_batch(sums: dict[str, MetricSums], scores: Mapping[str, Any], mask: np.ndarray) -> None:
    """Adds the scores of a batch to the sums of the same name.

    Args:
      sums: by name; a new name begins at zero.
      scores: name -> of `frame_metrics`, `[b, t]` each.
      mask: bool `[b]`, False for fillers.
    """
    for name, of_batch in scores.items():
        batch = MetricSums.from_batch(of_batch, mask)
        sums[name] = sums[name] + batch if name in sums else batch


class SampledSums:
    """The sums of every `SampledMetric` of the list."""

    def __init__(self) -> None:
        self._accumulators = {metric.key: metric.accumulator() for metric in metric_list.metrics_of(SampledMetric)}

    def add(self, truth: np.ndarray, prediction: np.ndarray) -> None:
        """Takes in floats `[n, t, h, w, c]` in the network's range, NaN where values are missing."""
        for accumulator in self._accumulators.values():
            accumulator.add(truth, prediction)

    def as_json(self, **sample: int) -> dict[str, dict[str, Any]]:
        """Returns the results as plain data.

        Args:
          **sample: the size of the sample, such as `sequences=64`.

        Returns:
          Key of a metric -> the sample, and its values "per_lead_time".
        """
        return {key: {**sample, "per_lead_time": sums.per_lead_time()} for key, sums in self._accumulators.items()}


class SequenceErrors:
    """The squared error of every single sequence, kept by its index in the whole set.

    Args:
      count: sequences of the whole set, over all processes.
    """

    def __init__(self, count: int) -> None:
        self._sums = np.zeros((3, count))  # squared errors, frames, values

    def add(self, first: int, scores: Mapping[str, Any], mask: np.ndarray) -> None:
        """Takes in a batch.

        Args:
          first: index of the batch's first sequence.
          scores: of `frame_metrics`, `[b, t]` each.
          mask: bool `[b]`, False for fillers.
        """
        indices = first + np.flatnonzero(mask)
        values = np.asarray(scores[VALUES.key], np.float64)[mask]
        judged = values > 0
        squares = np.asarray(scores[MSE.key], np.float64)[mask].sum(1, where=judged)
        self._sums[:, indices] = squares, judged.sum(1), values.sum(1)

    def over_processes(self, add: Callable[[Any], Any]) -> None:
        """Adds the sequences of all processes, see `MetricSums.over_processes`; each had zeros for those of the others."""
        self._sums = add(self._sums)

    def mse(self) -> np.ndarray:
        """Computes the MSE of each sequence, summed over pixels and channels, averaged over frames.

        Returns:
          float64 `[n]`, NaN where no value is valid.
        """
        squares, frames, _ = self._sums
        return np.where(frames > 0, squares / np.maximum(frames, 1), np.nan)

    def per_value(self) -> np.ndarray:
        """Computes the mean squared error per valid value, which does not fall where more values are missing, as `mse` does.

        Returns:
          float64 `[n]`, NaN where no value is valid.
        """
        squares, _, values = self._sums
        return np.where(values > 0, squares / np.maximum(values, 1), np.nan)
