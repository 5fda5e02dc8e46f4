"""Ridge regression of future frames on earlier frames in closed form, with one set of weights or one for each pixel.

The change from the last input frame is regressed on centred inputs, so that strong regularisation predicts the last frame plus
the mean change. The sums are float64, on the host. A pixel of a window with a missing value, input or target, is left out.
"""

from __future__ import annotations

import dataclasses
import functools
import math
import operator
from collections.abc import Callable

import numpy as np

from stlight_jax.data.sequences import EvenlySpaced, Sequences
from stlight_jax.data.statistics import is_missing

STRENGTHS = (1e0, 1e-1, 1e-2, 1e-3, 1e-4)
_MOST_WINDOWS, _MOST_VALUES = 2000, 160_000_000  # of the training sequences; a quarter of both for validation
_VALUES_AT_A_TIME = 2**21
_MOST_INPUTS = 2**24  # input values of a window, 128 MiB; larger frames give every second or third pixel, and so on
_LEAST_SHARE, _PROBED_WINDOWS = 0.1, 200  # of the training windows; see `known_frames`
_LEAST_VARIANCE = 1e-14  # in the network's range, above the rounding errors of a variance
_MOST_SUMS = 2**25  # numbers in the sums of one pass, 256 MiB


@dataclasses.dataclass(frozen=True)
class FurtherInputs:
    """Further inputs of a regression.

    Attributes:
      count: number of further inputs of a pixel, n.
      compute: makes them, `[b, h, w, n]`, from the input frames in the network's range, `[b, in_frames, h, w, c]`, and from
        their mask, bool of the same shape, or None if no value is missing.
    """

    count: int
    compute: Callable[[np.ndarray, np.ndarray | None], np.ndarray]


@dataclasses.dataclass(frozen=True)
class LinearFit:
    """Weights from the input values of a pixel to its future values, in the network's range.

    Attributes:
      kernel: float64 `[inputs, outputs]`, or `[h, w, inputs, outputs]` for one set of weights for each pixel. An input is
        numbered t*C + c, an output t'*C' + c', as by `fold_time`; further inputs come last.
      bias: float64 `[outputs]` or `[h, w, outputs]`.
      strength: of the regularisation, relative to the mean diagonal of the inputs' covariance matrix.
      validation_mse: mean squared error of a single value on the validation sequences; infinite if no pixel
        has all its values.
    """

    kernel: np.ndarray
    bias: np.ndarray
    strength: float
    validation_mse: float


@dataclasses.dataclass(frozen=True)
class _Shape:
    """The inputs and outputs of a regression: frames and channels, and further inputs."""

    in_frames: int
    in_channels: int
    out_frames: int
    out_channels: int
    further: FurtherInputs | None = None

    @property
    def inputs(self) -> int:
        return self.in_frames * self.in_channels + (self.further.count if self.further else 0)

    @property
    def outputs(self) -> int:
        return self.out_frames * self.out_channels

    def last_frame(self) -> np.ndarray:
        """The kernel that copies the last input frame, `[inputs, outputs]`."""
        kernel = np.zeros((self.in_frames, self.in_channels, self.out_frames, self.out_channels))
        kernel[-1] = np.eye(self.in_channels, self.out_channels)[:, None]
        of_frames = kernel.reshape(-1, self.outputs)
        return np.pad(of_frames, [(0, self.inputs - len(of_frames)), (0, 0)])


def known_frames(training: Sequences, count: int) -> list[int]:
    """Finds the history frames that a fit can use, so that frames from before most windows do not leave it without rows.

    Args:
      training: training sequences.
      count: frames of the history, the first of a sequence.

    Returns:
      The indices of the frames that hold any value in at least a tenth of the sequences.
    """
    windows, known = EvenlySpaced(training, _PROBED_WINDOWS, range(count)), np.zeros(count)
    for row in range(len(windows) if count else 0):
        missing = is_missing(windows.frames(np.array([row]))[0], windows.scaling.fill)
        known += 1 if missing is None else ~missing.all((1, 2, 3))
    return np.flatnonzero(known >= _LEAST_SHARE * len(windows)).tolist()


def fit_linear(
    training: Sequences,
    validation: Sequences,
    in_frames: int,
    out_frames: int,
    out_channels: int,
    further: FurtherInputs | None = None,
) -> LinearFit:
    """Fits one set of weights for all pixels.

    Args:
      training: sequences of at least `in_frames + out_frames` frames, of which evenly spaced ones are read, at most 2,000.
      validation: sequences of at least `in_frames + out_frames` frames, which choose the strength.
      in_frames: input frames, the first of a sequence. Changes are counted from the last of them.
      out_frames: frames to predict.
      out_channels: channels to predict, the first of a frame.
      further: further inputs; None if the input frames are all.

    Returns:
      The fit. It copies the last frame if no training sequence has a pixel with all its values.
    """
    shape = _Shape(in_frames, training.shape[3], out_frames, out_channels, further)
    sums, other = (_sums(sequences, shape, None, limit) for sequences, limit in _limits(training, validation, _MOST_VALUES))
    fit = _fit(sums, other, shape)
    return dataclasses.replace(fit, kernel=fit.kernel[0], bias=fit.bias[0])


def fit_linear_and_pixels(
    training: Sequences, validation: Sequences, in_frames: int, out_frames: int, out_channels: int, most_values: int
) -> tuple[LinearFit, LinearFit]:
    """Fits one set of weights for all pixels, and one set for each pixel, from the same sums.

    Args:
      training: as for `fit_linear`.
      validation: as for `fit_linear`; frames have the size of the training frames.
      in_frames: as for `fit_linear`.
      out_frames: as for `fit_linear`.
      out_channels: as for `fit_linear`.
      most_values: the number of values to read from the training sequences; a quarter of them from the validation sequences.

    Returns:
      The fit for all pixels, and the fits of the pixels, which have one strength. Frames too large for one pass have a strength
      for each part of their pixels, and `strength` is the largest.
    """
    height, width, channels = training.shape[1:]
    shape, pixels = _Shape(in_frames, channels, out_frames, out_channels), height * width
    passes = math.ceil(pixels * (shape.inputs + 1) * (shape.inputs + 1 + shape.outputs) / _MOST_SUMS)
    parts = np.array_split(np.arange(pixels), passes)
    limits, fits, totals = _limits(training, validation, min(most_values, _MOST_VALUES)), [], []
    for part in parts:
        chosen = slice(part[0], part[-1] + 1)
        sums, other = (_sums(sequences, shape, chosen, limit) for sequences, limit in limits)
        fits.append(_fit(sums, other, shape))
        totals.append((sums.total(), other.total()))
    total, total_other = (functools.reduce(operator.add, parts_of) for parts_of in zip(*totals, strict=True))
    linear = _fit(total, total_other, shape)
    return dataclasses.replace(linear, kernel=linear.kernel[0], bias=linear.bias[0]), LinearFit(
        np.concatenate([fit.kernel for fit in fits]).reshape(height, width, shape.inputs, shape.outputs),
        np.concatenate([fit.bias for fit in fits]).reshape(height, width, shape.outputs),
        strength=max(fit.strength for fit in fits),
        validation_mse=float(np.average([fit.validation_mse for fit in fits], weights=list(map(len, parts)))),
    )


def _limits(training: Sequences, validation: Sequences, most_values: int) -> list[tuple[Sequences, int]]:
    """Returns both sets with the number of their sequences to read."""

    def limit(sequences: Sequences, share: int) -> int:
        return min(_MOST_WINDOWS // share, max(1, most_values // share // math.prod(sequences.shape)))

    return [(training, limit(training, 1)), (validation, limit(validation, 4))]


def _fit(sums: _Sums, validation: _Sums, shape: _Shape) -> LinearFit:
    """Fits the weights of each group, `[groups, inputs, outputs]`, with the strength of the lowest validation error."""
    best = LinearFit(np.empty(0), np.empty(0), 0.0, math.inf)
    for strength in STRENGTHS:
        weights = sums.solve(strength)
        error = validation.mean_squared_error(weights)
        if error < best.validation_mse or not best.strength:  # of equal errors, the strongest regularisation
            best = LinearFit(shape.last_frame() + weights[:, 1:], weights[:, 0], strength, error)
    return best


@dataclasses.dataclass(frozen=True)
class _Sums:
    """Sums of products over the rows of each group; a row is a pixel of a window.

    Attributes:
      inputs: of pairs of inputs, float64 `[groups, 1 + inputs, 1 + inputs]`; the first input is the constant 1.
      changes: of an input and a change, float64 `[groups, 1 + inputs, outputs]`.
      squares: of all changes.
    """

    inputs: np.ndarray
    changes: np.ndarray
    squares: float

    def __add__(self, other: _Sums) -> _Sums:
        return _Sums(self.inputs + other.inputs, self.changes + other.changes, self.squares + other.squares)

    def total(self) -> _Sums:
        """Returns the sums over all groups, as one group."""
        return _Sums(self.inputs.sum(0, keepdims=True), self.changes.sum(0, keepdims=True), self.squares)

    def solve(self, strength: float) -> np.ndarray:
        """Returns the weights for a strength, `[groups, 1 + inputs, outputs]`; the first of them are the bias."""
        rows = np.maximum(self.inputs[:, :1, :1], 1)
        mean, mean_change = self.inputs[:, :1, 1:] / rows, self.changes[:, :1] / rows  # [groups, 1, inputs or outputs]
        covariance = self.inputs[:, 1:, 1:] / rows - mean.transpose(0, 2, 1) @ mean
        with_change = self.changes[:, 1:] / rows - mean.transpose(0, 2, 1) @ mean_change
        size = covariance.shape[-1]
        diagonal = np.trace(covariance, axis1=1, axis2=2)[:, None, None] / size
        diagonal = np.where(diagonal > _LEAST_VARIANCE, diagonal, 1.0)  # of constant inputs
        weights = np.linalg.solve(covariance + strength * diagonal * np.eye(size), with_change)
        return np.concatenate([mean_change - mean @ weights, weights], 1)

    def mean_squared_error(self, weights: np.ndarray) -> float:
        """Computes the mean squared error of a change by weights of `solve`; infinite without rows."""
        values = self.inputs[:, 0, 0].sum() * weights.shape[-1]
        errors = self.squares + np.sum(weights * (self.inputs @ weights - 2 * self.changes))
        return float(errors / values) if values else math.inf


def _sums(sequences: Sequences, shape: _Shape, pixels: slice | None, limit: int) -> _Sums:
    """Sums over at most `limit` evenly spaced windows; each of `pixels` is a group, or all pixels are one for None."""
    groups = 1 if pixels is None else pixels.stop - pixels.start
    inputs, changes = (np.zeros((groups, shape.inputs + 1, size)) for size in (shape.inputs + 1, shape.outputs))
    squares, indices = 0.0, np.linspace(0, len(sequences) - 1, min(len(sequences), limit)).astype(int)
    at_a_time = max(1, _VALUES_AT_A_TIME // math.prod(sequences.shape))
    taken = _taken(sequences.shape, shape) if pixels is None else pixels
    for chosen in np.array_split(indices, math.ceil(len(indices) / at_a_time)):
        values, valid = sequences.scaling.to_network_float64(sequences.frames(chosen))
        rows = _rows(values, valid, shape, taken)
        x, y = (part.reshape(-1, groups, part.shape[-1]) for part in rows)  # [rows, groups, 1 + inputs or outputs]
        x, y = (np.ascontiguousarray(part.swapaxes(0, 1)) for part in (x, y))  # [groups, rows, 1 + inputs or outputs]
        inputs += x.swapaxes(1, 2) @ x
        changes += x.swapaxes(1, 2) @ y
        squares += float(np.square(y).sum())
    return _Sums(inputs, changes, squares)


def _taken(sequence: tuple[int, ...], shape: _Shape) -> slice:
    """Returns the pixels that a fit for all pixels takes: evenly spaced, and of all columns."""
    height, width = sequence[1:3]
    step = math.ceil(height * width * (shape.inputs + 1) / _MOST_INPUTS)
    while math.gcd(step, width) > 1:
        step += 1
    return slice(None, None, step)


def _rows(values: np.ndarray, valid: np.ndarray | None, shape: _Shape, pixels: slice) -> tuple[np.ndarray, np.ndarray]:
    """Returns the inputs and the changes of windows, with zeros for a pixel that lacks a value.

    Args:
      values: `[b, t, h, w, c]` in the network's range.
      valid: bool of the same shape, False where values are missing; None if none is.
      shape: of the regression.
      pixels: the pixels to take, numbered row by row.

    Returns:
      `[b, pixels, 1 + inputs]`, the first of them 1, and `[b, pixels, outputs]`.
    """

    def parts(frames: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        frames = frames.reshape(*frames.shape[:2], -1, frames.shape[-1])[:, :, pixels]  # [b, t, pixels, c]
        last = shape.in_frames + shape.out_frames
        return frames[:, : shape.in_frames], frames[:, shape.in_frames : last, :, : shape.out_channels]

    inputs, targets = parts(values)
    changes = targets - inputs[:, -1:, :, : shape.out_channels]
    x, y = (part.transpose(0, 2, 1, 3).reshape(len(part), part.shape[2], -1) for part in (inputs, changes))
    further = []
    if shape.further is not None:
        seen = slice(shape.in_frames)
        of_all = shape.further.compute(values[:, seen], None if valid is None else valid[:, seen])  # [b, h, w, n]
        further = [of_all.reshape(len(x), -1, of_all.shape[-1])[:, pixels]]  # [b, pixels, n]
    x = np.concatenate([np.ones((*x.shape[:2], 1)), x, *further], -1)  # [b, pixels, 1 + inputs]
    if valid is None:
        return x, y
    known_inputs, known_targets = (part.all((1, 3)) for part in parts(valid))
    whole = np.expand_dims(known_inputs & known_targets, -1)  # [b, pixels, 1]
    return np.where(whole, x, 0.0), np.where(whole, y, 0.0)
