"""Forecasters' scores of events, values of at least a threshold such as 1 mm/h: CSI, POD, FAR, frequency bias and FSS.

Definitions are those of pysteps (`verification/detcatscores.py` and `spatialscores.py`), from sums over all frames. A missing
value is no event, neither a predicted nor a true one.
"""

from __future__ import annotations

import dataclasses
import functools
import math
from collections.abc import Callable, Mapping
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from stlight_jax.errors import InputError
from stlight_jax.metrics.metric import FrameCount, FramePair, PooledMetric


def parse_thresholds(text: str, key: str = "evaluation.thresholds") -> tuple[float, ...]:
    """Reads the key `evaluation.thresholds`.

    Args:
      text: numbers, separated by commas; "" for none.
      key: the key or flag, for messages.

    Returns:
      The numbers in ascending order.

    Raises:
      InputError: a part of the text is no finite number.
    """
    try:
        values = sorted({float(part) for part in text.split(",")}) if text.strip() else []
    except ValueError:
        values = [math.nan]
    if not all(map(math.isfinite, values)):
        raise InputError(f"{key} is {text!r}; expected numbers in the data's units, such as 0.1,1,5")
    return tuple(values)


class _Events(NamedTuple):
    """The events of a frame, bool `[h, w, c]` each, and the fraction of each window that they cover, float32 `[h, w, c]`."""

    predicted: jax.Array
    true: jax.Array
    predicted_fraction: jax.Array
    true_fraction: jax.Array


# What is summed over frames, by name.
_SUMS: dict[str, Callable[[_Events], jax.Array]] = {
    "hits": lambda events: jnp.sum(events.predicted & events.true, dtype=jnp.float32),
    "misses": lambda events: jnp.sum(~events.predicted & events.true, dtype=jnp.float32),
    "false_alarms": lambda events: jnp.sum(events.predicted & ~events.true, dtype=jnp.float32),
    "predicted_squares": lambda events: jnp.sum(jnp.square(events.predicted_fraction)),
    "true_squares": lambda events: jnp.sum(jnp.square(events.true_fraction)),
    "products": lambda events: jnp.sum(events.predicted_fraction * events.true_fraction),
}


@dataclasses.dataclass(frozen=True)
class ThresholdScores:
    """The scores of one threshold.

    Attributes:
      threshold: in the data's units.
      levels: the threshold in the network's range, one value or one per channel.
      window: side of the FSS's square windows, in pixels.
    """

    threshold: float
    levels: tuple[float, ...]
    window: int

    @functools.cached_property
    def parts(self) -> tuple[FrameCount, ...]:
        """The sums that the scores need; their keys have the threshold in them."""
        return tuple(FrameCount(self._key(name), functools.partial(self._part, name)) for name in _SUMS)

    def _key(self, name: str) -> str:
        return f"{name}_{self.threshold!r}"

    def _part(self, name: str, frame: FramePair) -> jax.Array:
        return _SUMS[name](frame.once(self._events))

    def _events(self, frame: FramePair) -> _Events:
        levels = jnp.asarray(self.levels, frame.target.dtype)[: frame.target.shape[-1]]
        predicted, true = frame.prediction >= levels, frame.target >= levels
        if frame.valid is not None:
            predicted, true = predicted & frame.valid, true & frame.valid
        return _Events(predicted, true, *(_fractions(events, self.window) for events in (predicted, true)))

    def values(self, sums: Mapping[str, np.ndarray]) -> dict[str, list[float]]:
        """Computes the scores.

        Args:
          sums: key of a part -> its sums, float64 `[n]`.

        Returns:
          Key of a score -> `[n]` values, NaN where it is undefined.
        """
        of = {name: sums[self._key(name)] for name in _SUMS}
        with np.errstate(divide="ignore", invalid="ignore"):
            return {metric.key: metric.derive(of).tolist() for metric in SCORES}


def _fractions(events: jax.Array, window: int) -> jax.Array:
    """Computes the fraction of the window around each pixel that events cover; there are none beyond the edges.

    Args:
      events: bool `[h, w, c]`.
      window: side of the windows, which lie like those of `scipy.ndimage.uniform_filter`.

    Returns:
      float32 `[h, w, c]`.
    """
    counts = events.astype(jnp.int32)
    for axis in (0, 1):
        size = counts.shape[axis]
        padding = [(window // 2 + 1, window - 1 - window // 2) if each == axis else (0, 0) for each in range(3)]
        sums = jnp.cumsum(jnp.pad(counts, padding), axis)
        upper, lower = (jax.lax.slice_in_dim(sums, first, first + size, axis=axis) for first in (window, 0))
        counts = upper - lower  # [h, w, c]
    return counts.astype(jnp.float32) / window**2


SCORES: tuple[PooledMetric, ...] = (
    PooledMetric(
        "csi",
        "CSI",
        direction="higher",
        definition="hits over hits, misses and false alarms",
        derive=lambda sums: sums["hits"] / (sums["hits"] + sums["misses"] + sums["false_alarms"]),
    ),
    PooledMetric(
        "pod",
        "POD",
        direction="higher",
        definition="hits over all true events",
        derive=lambda sums: sums["hits"] / (sums["hits"] + sums["misses"]),
    ),
    PooledMetric(
        "far",
        "FAR",
        direction="lower",
        definition="false alarms over all predicted events",
        derive=lambda sums: sums["false_alarms"] / (sums["hits"] + sums["false_alarms"]),
    ),
    PooledMetric(
        "frequency_bias",
        "bias",
        direction="reference",
        reference=(1.0, "as many events as true"),
        definition="predicted events over true events",
        derive=lambda sums: (sums["hits"] + sums["false_alarms"]) / (sums["hits"] + sums["misses"]),
    ),
    PooledMetric(
        "fss",
        "FSS",
        direction="higher",
        definition="the fractions skill score, of the fraction of events in the window around each pixel",
        derive=lambda sums: 2 * sums["products"] / (sums["predicted_squares"] + sums["true_squares"]),
    ),
)
