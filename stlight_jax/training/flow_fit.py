"""The fit of the shortcut `flow_linear`: a linear map of the input frames and of the flow's forecast.

The map minimises the error that the run trains on, by iteratively reweighted least squares. With absolute errors, the many
pixels that do not change keep the forecast of the flow, and only what moves is drawn to the mean. On a video of moving discs,
the test MSE and MAE of the flow alone were 155 and 285, of the map with the least squared error 133 and 389, and of this one
138 and 330; on a night of radar 6.33 and 105.7, 5.83 and 108.4, and 5.81 and 101.2.
"""

import math
from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np

from stlight_jax.data.scaling import Scaling
from stlight_jax.data.sequences import EvenlySpaced, Sequences
from stlight_jax.model.shortcut import fill_from_neighbours, flow_forecast, smoothed_inputs
from stlight_jax.model.stlight_config import STLightConfig
from stlight_jax.model.time_folding import fold_time

_BATCH_SIZE, _MOST_VALUES = 8, 2**24  # windows to compute at a time, if they have no more values
_PIXELS, _FEWEST, _MOST = 4_000_000, 20, 2_000  # pixels of the windows to read, and windows
_MOST_PRODUCTS, _MOST_ROWS = 2**33, 100_000  # of the sums of one iteration, and pixels of windows
_LEAST_ROWS = 20  # for each input
_MOST_EXCESS = 4  # of the products for the fewest rows, before squared errors replace the others
_ITERATIONS = 6
_LEAST_ERROR = 0.02  # of the root mean square; smaller errors have no larger weight
_STRENGTH = 1e-3  # of the regularisation, relative to the mean diagonal of the inputs' covariance matrix
_LEAST_VARIANCE = 1e-14  # in the network's range, above the rounding errors of a variance
# Weight of a squared error, half of whose gradient is that of a loss, by the absolute errors and their root mean square.
_WEIGHTS: dict[str, Callable[[np.ndarray, float], np.ndarray]] = {
    "absolute": lambda errors, _: 1 / errors,
    "both": lambda errors, root: 2 / root + 1 / errors,
}


def fit_flow_linear(
    training: Sequences, model: STLightConfig, seen: int, out_frames: int, loss: str
) -> tuple[np.ndarray, np.ndarray]:
    """Fits the map, in the network's range. Pixels with a missing value are left out.

    Args:
      training: Sequences `[input frames | targets]`, of which evenly spaced ones are read.
      model: The network.
      seen: Number of input frames, of which the last ones are the network's T.
      out_frames: Number of targets, at most the network's T'.
      loss: `train.loss`. The squared error takes the place of "huber", and of every loss if there are very many channels.

    Returns:
      The kernel, float64 `[inputs, t'*c']`, and the bias, `[t'*c']`. The inputs are `seen*C` of the frames, t'*c' of the flow's
      forecast, and `smoothed_inputs`. They copy the flow's forecast if no pixel has all its values.
    """
    of_frames, outputs = seen * model.in_channels, out_frames * model.out_channels
    size = model.fitted_inputs(seen, out_frames)
    least, rows = _LEAST_ROWS * size, _MOST_PRODUCTS // (size**2 * outputs)
    if loss not in _WEIGHTS or _MOST_EXCESS * rows < least:
        loss, rows = "squared", _MOST_PRODUCTS // size**2  # all outputs have the same sums
    inputs, targets = _rows(training, model, seen, out_frames, max(least, min(rows, _MOST_ROWS)))
    kernel, flow = np.eye(size, outputs, -of_frames), slice(of_frames, of_frames + outputs)
    if not len(inputs):
        return kernel, np.zeros(outputs)
    weights, bias = reweighted_fit(inputs, targets - inputs[:, flow], loss)
    return kernel + weights, bias


def reweighted_fit(inputs: np.ndarray, changes: np.ndarray, loss: str) -> tuple[np.ndarray, np.ndarray]:
    """Fits changes by a linear map of inputs.

    Args:
      inputs: `[rows, inputs]`.
      changes: `[rows, outputs]`.
      loss: As for `fit_flow_linear`.

    Returns:
      Weights, `[inputs, outputs]`, and bias, `[outputs]`.
    """
    weights, bias = _least_squares(inputs, changes, np.ones(len(inputs)))
    for _ in range(_ITERATIONS if loss in _WEIGHTS else 0):
        errors = np.abs(changes - inputs @ weights - bias)
        root = math.sqrt(np.square(errors).mean()) or 1.0
        row_weights = _WEIGHTS[loss](np.maximum(errors, _LEAST_ERROR * root), root)  # [rows, outputs]
        fits = [_least_squares(inputs, *columns) for columns in zip(changes.T, row_weights.T, strict=True)]
        weights, bias = (np.stack(parts, axis=-1) for parts in zip(*fits, strict=True))
    return weights, bias


def _least_squares(inputs: np.ndarray, changes: np.ndarray, row_weights: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Returns weights, `[inputs, ...]`, and bias, `[...]`, of changes `[rows, ...]`."""
    normalised = row_weights / row_weights.sum()
    mean, mean_change = normalised @ inputs, normalised @ changes
    centred = inputs - mean
    weighted = (centred * normalised[:, None]).T
    covariance = weighted @ centred
    diagonal = np.trace(covariance) / len(covariance)
    ridge = _STRENGTH * (diagonal if diagonal > _LEAST_VARIANCE else 1.0) * np.eye(len(covariance))
    weights = np.linalg.solve(covariance + ridge, weighted @ (changes - mean_change))
    return weights, mean_change - mean @ weights


def _rows(training: Sequences, model: STLightConfig, seen: int, out_frames: int, most: int) -> tuple[np.ndarray, np.ndarray]:
    """Reads pixels of windows without a missing value, at most `most`, drawn at random.

    Returns:
      Inputs, float64 `[rows, inputs]`, and targets, `[rows, outputs]`.
    """
    _, height, width, _ = training.shape
    windows = EvenlySpaced(training, min(max(_PIXELS // (height * width), _FEWEST), _MOST))
    size, outputs = model.fitted_inputs(seen, out_frames), out_frames * model.out_channels
    batch_size = max(1, min(_BATCH_SIZE, _MOST_VALUES // (height * width * (size + outputs))))
    random = np.random.default_rng(0)
    with_flow = jax.jit(_with_flow(training.scaling, model, seen, out_frames))
    drawn, order = np.empty((0, size + outputs), np.float32), np.empty(0)
    for first in range(0, len(windows), batch_size):
        indices = np.arange(first, first + batch_size)
        stored = windows.frames(np.minimum(indices, len(windows) - 1))  # one size is compiled
        values = np.asarray(with_flow(stored))[indices < len(windows)].reshape(-1, size + outputs)
        complete = np.isfinite(values).all(1)
        drawn = np.concatenate([drawn, values[complete]])
        order = np.concatenate([order, random.random(len(values))[complete]])
        if len(order) > most:  # the first ones in a random order of all pixels
            kept = np.sort(np.argpartition(order, most)[:most])
            drawn, order = drawn[kept], order[kept]
    inputs, targets = np.split(drawn.astype(np.float64), [size], axis=1)
    return inputs, targets


def _with_flow(scaling: Scaling, model: STLightConfig, seen: int, out_frames: int) -> Callable[[jax.Array], jax.Array]:
    """Makes a function of stored frames `[b, t, h, w, c]` that returns a pixel's inputs and targets, `[b, h, w, n]`.

    Values are in the network's range, NaN where they are missing.
    """

    def with_flow(stored: jax.Array) -> jax.Array:
        values, valid = scaling.to_network(stored)
        recent = slice(seen - model.in_frames, seen)
        inputs, known = values[:, recent], None
        if valid is not None:
            known = valid[:, recent]
            inputs = fill_from_neighbours(inputs, known, model.in_frames)
            values = jnp.where(valid, values, jnp.nan)
        forecast = flow_forecast(model, inputs, known)
        assert forecast is not None  # "flow_linear" has one
        forecast, targets = forecast[:, :out_frames], values[:, seen:, ..., : model.out_channels]
        frames_and_flow = map(fold_time, (values[:, :seen], forecast))  # [b, h, w, t*c] each
        copies = smoothed_inputs(model, inputs, forecast, known)
        return jnp.concatenate([*frames_and_flow, *copies, fold_time(targets)], axis=-1)  # [b, h, w, n]

    return with_flow
