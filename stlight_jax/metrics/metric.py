"""The kinds of metrics: how each is computed, accumulated and shown."""

from __future__ import annotations

import dataclasses
import functools
import math
from collections.abc import Callable, Mapping
from typing import Any, Literal, Protocol

import jax
import jax.numpy as jnp
import numpy as np


class FramePair:
    """A predicted frame and the true one; quantities that several metrics share are computed once.

    Args:
      prediction: float `[h, w, c]`, in [0, 1] except for overshoots; equal to `target` where values are missing.
      target: float `[h, w, c]`, in [0, 1].
      valid: bool `[h, w, c]`, False where values are missing; None if no value is missing.
    """

    def __init__(self, prediction: jax.Array, target: jax.Array, valid: jax.Array | None = None) -> None:
        self.prediction, self.target, self.valid = prediction, target, valid
        self._computed: dict[Callable[[FramePair], Any], Any] = {}

    @functools.cached_property
    def error(self) -> jax.Array:
        """Prediction minus target, `[h, w, c]`."""
        return self.prediction - self.target

    @functools.cached_property
    def clipped(self) -> jax.Array:
        """The prediction clipped to [0, 1], `[h, w, c]`."""
        return jnp.clip(self.prediction, 0.0, 1.0)

    def once(self, compute: Callable[[FramePair], Any]) -> Any:
        """Returns `compute(self)`, computed at the first call only."""
        if compute not in self._computed:
            self._computed[compute] = compute(self)
        return self._computed[compute]


def mean_where(values: jax.Array, valid: jax.Array | None) -> jax.Array:
    """Returns the mean of the valid values, of all values for None; 0 if no value is valid."""
    if valid is None:
        return jnp.mean(values)
    return jnp.sum(jnp.where(valid, values, 0.0)) / jnp.maximum(jnp.sum(valid, dtype=values.dtype), 1.0)


@dataclasses.dataclass(frozen=True)
class FrameCount:
    """An amount of a frame: of what a metric can judge (its mean leaves out a frame with none), or of what one sums.

    Attributes:
      key: name in the results of a batch.
      compute: pair of frames -> float32 scalar.
    """

    key: str
    compute: Callable[[FramePair], jax.Array]


def _count_values(frame: FramePair) -> jax.Array:
    return jnp.float32(frame.target.size) if frame.valid is None else jnp.sum(frame.valid, dtype=jnp.float32)


VALUES = FrameCount("values", _count_values)


@dataclasses.dataclass(frozen=True)
class Metric:
    """The facts of a metric that reports need, however it is computed.

    Attributes:
      key: name in JSON.
      label: name in tables and charts.
      unit: of its values; "" for none.
      decimals: digits after the decimal point.
      significant_digits: digits of values below 1, instead of `decimals`, for errors of small frames or of traffic, which
        are far below 1.
      direction: whether lower, higher or values nearer to `reference` are better.
      reference: a value to mark in charts, and its meaning.
      charted: whether it is drawn against the lead time.
      definition: for the remarks below tables, beginning in lower case; "" for none.
    """

    key: str
    label: str
    _: dataclasses.KW_ONLY
    unit: str = ""
    decimals: int = 3
    significant_digits: int | None = None
    direction: Literal["lower", "higher", "reference"]
    reference: tuple[float, str] | None = None
    charted: bool = True
    definition: str = ""

    @property
    def axis_label(self) -> str:
        """The label with the unit."""
        return f"{self.label} ({self.unit})" if self.unit else self.label

    def rank(self, value: float) -> float:
        """Returns a number that is lower for a better value."""
        if self.direction == "reference" and self.reference is not None:
            return abs(value - self.reference[0])
        return -value if self.direction == "higher" else value

    def format(self, value: float | None) -> str:
        """Formats a value as a cell of a table: "-" if it is None or NaN."""
        if value is None or math.isnan(value):
            return "-"
        if self.significant_digits is not None and 0 < abs(value) < 1:
            return f"{value:.{self.significant_digits}g}"
        return f"{value:.{self.decimals}f}"


@dataclasses.dataclass(frozen=True, kw_only=True)
class FrameMetric(Metric):
    """A metric of single frames, computed on the devices, averaged over sequences and frames.

    Attributes:
      compute: pair of frames -> float32 scalar.
      counted_by: the frames that the mean is taken over.
    """

    compute: Callable[[FramePair], jax.Array]
    counted_by: FrameCount = VALUES


@dataclasses.dataclass(frozen=True, kw_only=True)
class DerivedMetric(Metric):
    """A function of another metric's mean.

    Attributes:
      base: the other metric.
      derive: its means, float64 `[n]`, -> the values of this metric, `[n]`.
    """

    base: FrameMetric
    derive: Callable[[np.ndarray], np.ndarray]


@dataclasses.dataclass(frozen=True, kw_only=True)
class PooledMetric(Metric):
    """A metric of all frames at once, from sums over them, such as the numbers of hits and of misses.

    Attributes:
      derive: name of a sum -> its values, float64 `[n]`, -> the values of this metric, `[n]`, NaN where it is undefined.
    """

    derive: Callable[[Mapping[str, np.ndarray]], np.ndarray]


class SampleAccumulator(Protocol):
    """The sums of a `SampledMetric`."""

    def add(self, truth: np.ndarray, prediction: np.ndarray) -> None:
        """Takes in floats `[n, t, h, w, c]` in the network's range, NaN where values are missing."""

    def per_lead_time(self) -> list[float]:
        """Returns a value per lead time, NaN where none can be computed."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class SampledMetric(Metric):
    """A metric of the network's predictions on a sample of the sequences, accumulated on the host.

    Attributes:
      accumulator: makes empty sums.
    """

    accumulator: Callable[[], SampleAccumulator]
