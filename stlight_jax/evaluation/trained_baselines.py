"""Baselines from training data: climatologies and linear regressions."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from stlight_jax.console.messages import print_message
from stlight_jax.data.sequences import EvenlySpaced, Sequences
from stlight_jax.evaluation.baselines import Baseline, EvaluatedFrames
from stlight_jax.evaluation.ridge import LinearFit, fit_linear_and_pixels, known_frames
from stlight_jax.model.context import first_pass
from stlight_jax.model.time_folding import fold_time, unfold_time

_VALUES_AT_A_TIME = 2**21
_LEAST_VALUES, _MOST_VALUES = 40_000_000, 160_000_000  # of the training sequences that are read
_MOST_PHASE_VALUES = 2**24  # of a climatology with an image for each phase


class RegressionInputs(NamedTuple):
    """The frames of a sequence that a linear regression sees.

    Attributes:
      frames: indices of earlier frames and of the T input frames, in the order in which the network sees them.
      periods: of the earlier frames, which fill each other's missing values.
      seen: the part of `frames` that the fit uses, as indices in `frames`.
    """

    frames: list[int]
    periods: tuple[int, ...]
    seen: list[int]

    @classmethod
    def of(cls, training: Sequences, data: EvaluatedFrames) -> RegressionInputs:
        """Returns the frames that the linear shortcut of a network sees, if one pass of it gives the forecast.

        Args:
          training: sequences as long as those of `data`.
          data: the sequences to predict.
        """
        network, context = data.network, data.history
        frames, periods = list(range(data.history + data.in_frames)), tuple[int, ...]()
        if network is not None and data.horizon <= network.out_frames:
            frames = first_pass(network, training.shape[0], data.horizon)[: network.seen_frames]
            context, periods = network.context_frames, network.context_periods
        known = known_frames(EvenlySpaced(training, len(training), frames[:context]), context)
        return cls(frames, periods, [*known, *range(context, context + data.in_frames)])


class LinearBaseline:
    """A linear regression on the input frames, and on earlier frames of the history.

    Args:
      names: key, label and name, see `Baseline`.
      data: the sequences to predict.
      fit: the weights.
      inputs: the frames that the fit uses.
    """

    def __init__(self, names: tuple[str, str, str], data: EvaluatedFrames, fit: LinearFit, inputs: RegressionInputs) -> None:
        self.key, self.label, self.name = names
        among, periods, seen = np.array(inputs.frames), inputs.periods, np.array(inputs.seen)
        kernel, bias = (jnp.asarray(array, jnp.float32) for array in (fit.kernel, fit.bias))
        product = "bhwn,nm->bhwm" if kernel.ndim == 2 else "bhwn,hwnm->bhwm"

        @jax.jit
        def predict(frames: jax.Array) -> jax.Array:
            inputs = fold_time(data.filled(frames[:, among], periods)[:, seen])  # [b, h, w, t*c]
            outputs = jnp.einsum(product, inputs, kernel, precision=jax.lax.Precision.HIGHEST) + bias  # [b, h, w, t'*c']
            return data.scaling.with_constants(unfold_time(outputs, data.horizon))  # [b, t', h, w, c']

        self._predict: Callable[[np.ndarray], jax.Array] = predict

    def predict(self, indices: np.ndarray, frames: np.ndarray) -> tuple[np.ndarray, None]:
        """Predicts all sequences; see `Baseline`."""
        del indices
        return np.asarray(self._predict(frames)), None


class ClimatologyBaseline:
    """The mean of the training frames, or of those of the same phase of a period.

    Args:
      data: the sequences to predict.
      images: float32 `[phases, h, w, c']` in the network's range.
      anomaly: whether the last input frame's difference from the image of its phase is added.
    """

    def __init__(self, data: EvaluatedFrames, images: np.ndarray, anomaly: bool = False) -> None:
        phases = len(images)
        self.key, self.label, self.name = "climatology", "climatology", "the climatology"
        if phases > 1:
            self.key, self.label = f"climatology_{phases}", f"climatology, {phases} steps"
            self.name = f"the climatology of {phases} steps"
        if anomaly:
            self.key, self.label = f"{self.key}_anomaly", f"{self.label} + anomaly"
            self.name = f"{self.name} with the last anomaly"
        self._data, self._images, self._anomaly = data, images, anomaly

    def predict(self, indices: np.ndarray, frames: np.ndarray) -> tuple[np.ndarray, None]:
        """Predicts all sequences; see `Baseline`."""
        data, count = self._data, len(self._images)
        if count == 1:
            prediction, last = np.broadcast_to(self._images, (len(indices), *self._images.shape)), self._images
        else:
            ticks = data.source.ticks(indices)
            assert ticks is not None  # or there were no phases
            phases = ticks % count  # [b, T + horizon]
            prediction, last = self._images[phases[:, data.in_frames :]], self._images[phases[:, data.in_frames - 1]]
        if self._anomaly:
            prediction = prediction + (data.last_frame(frames) - last)[:, None]
        return prediction, None


def trained_baselines(
    training: Sequences, validation: Sequences, data: EvaluatedFrames, periods: Sequence[int]
) -> list[Baseline]:
    """Makes the baselines that training data give.

    Args:
      training: whole frames, as long as the sequences of `data`, with their history.
      validation: as long as the sequences of `data`, with their history.
      data: the sequences to predict.
      periods: in sampling steps, for climatologies.

    Returns:
      The baselines. They read no more values than the sequences to predict have, within limits.
    """
    most_values = int(np.clip(len(data.source) * math.prod(data.source.shape), _LEAST_VALUES, _MOST_VALUES))
    made: list[Baseline] = []
    for images in _climatologies(training, data, periods, most_values):
        made.append(ClimatologyBaseline(data, images))
        if len(images) > 1:
            made.append(ClimatologyBaseline(data, images, anomaly=True))
    inputs = RegressionInputs.of(training, data)
    chosen = [*(inputs.frames[index] for index in inputs.seen), *range(data.history + data.in_frames, training.shape[0])]
    for_weights, for_strength = (EvenlySpaced(sequences, len(sequences), chosen) for sequences in (training, validation))
    fits = fit_linear_and_pixels(for_weights, for_strength, len(inputs.seen), data.horizon, data.out_channels, most_values)
    names = ("linear_fit", "linear fit", "the linear fit"), ("pixel_ridge", "ridge per pixel", "the ridge regression per pixel")
    return [*made, *(LinearBaseline(each, data, fit, inputs) for each, fit in zip(names, fits, strict=True))]


def _climatologies(
    training: Sequences, data: EvaluatedFrames, periods: Sequence[int], most_values: int
) -> Iterator[np.ndarray]:
    """Yields the mean of the training frames, and the means of each phase for every period.

    Args:
      training: the sequences.
      data: the sequences to predict, which have as many channels to predict and as long a history.
      periods: in sampling steps.
      most_values: the number of values to read.

    Returns:
      float32 `[phases, h, w, c']` in the network's range. A phase without a valid value has the mean of all phases.
    """
    _, *frame, _ = training.shape
    out_channels = data.out_channels
    shape = (*frame, out_channels)
    large = [period for period in periods if period * math.prod(shape) > _MOST_PHASE_VALUES]
    for period in large:
        print_message(f"no climatology of {period} steps: {period} images of {frame[0]} x {frame[1]} take too much memory")
    counts = [1, *(period for period in periods if period not in large and training.ticks(np.zeros(1, int)) is not None)]
    totals = {count: np.zeros((count, *shape)) for count in counts}
    numbers = {count: np.zeros((count, *shape)) for count in counts}  # of valid values
    at_a_time = max(1, _VALUES_AT_A_TIME // math.prod(training.shape))
    indices = _spread(training, max(1, most_values // math.prod(training.shape)))
    for first in range(0, len(indices), at_a_time):
        chosen = indices[first : first + at_a_time]
        values, valid = training.scaling.to_network_float64(training.frames(chosen)[:, data.history :])
        values = values[..., :out_channels].reshape(-1, *shape)  # [n*t, h, w, c']
        valid = np.ones(values.shape, bool) if valid is None else valid[..., :out_channels].reshape(values.shape)
        ticks = training.ticks(chosen)
        moments = np.zeros(len(values), int) if ticks is None else ticks.ravel()
        for moment, frame_values, frame_valid in zip(moments, values, valid, strict=True):
            for count in counts:
                totals[count][moment % count] += np.where(frame_valid, frame_values, 0)
                numbers[count][moment % count] += frame_valid
    filling = np.broadcast_to(np.asarray(training.scaling.for_channels(out_channels).filling, np.float32), shape)
    mean = filling[None]
    for count in counts:
        images = _mean(totals[count], numbers[count], mean)
        mean = images if count == 1 else mean
        yield images


def _mean(total: np.ndarray, number: np.ndarray, otherwise: np.ndarray) -> np.ndarray:
    return np.where(number > 0, total / np.maximum(number, 1), otherwise).astype(np.float32)


def _spread(training: Sequences, limit: int) -> np.ndarray:
    """Returns at most `limit` indices of evenly spaced sequences, of sequences that hardly overlap where times are known."""
    indices = np.arange(len(training))
    ticks = training.ticks(indices)
    if ticks is not None:
        apart = np.flatnonzero(ticks[:, 0] % ticks.shape[1] == 0)
        indices = apart if len(apart) else indices
    return indices[np.linspace(0, len(indices) - 1, min(limit, len(indices))).astype(int)]
