"""Ridge regression against `numpy.linalg.lstsq` on the rows written out one by one."""

import numpy as np
import pytest

from stlight_jax.data.scaling import Scaling
from stlight_jax.evaluation import ridge
from stlight_jax.evaluation.ridge import STRENGTHS, fit_linear, fit_linear_and_pixels

SEEN, AHEAD, HEIGHT, WIDTH, CHANNELS, PREDICTED = 3, 2, 4, 5, 2, 1
RANGE = {"low": (-2.0,), "high": (3.0,)}


class Windows:
    """All windows of an array `[t, h, w, c]`."""

    def __init__(self, array, length=SEEN + AHEAD, missing=False):
        self.array, self.shape = array, (length, *array.shape[1:])
        self.scaling = Scaling(array.dtype.name, missing=missing, **RANGE)

    def __len__(self):
        return len(self.array) - self.shape[0] + 1

    def frames(self, indices, epoch=0):
        return np.stack([self.array[i : i + self.shape[0]] for i in indices])


def waves(frames, seed):
    """Frames of waves and noise."""
    random = np.random.default_rng(seed)
    t, y, x, c = np.ogrid[:frames, :HEIGHT, :WIDTH, :CHANNELS]
    return np.sin(0.4 * t + y + 0.3 * x * (c + 1)) + 0.1 * random.normal(size=(frames, HEIGHT, WIDTH, CHANNELS))


def rows(windows, pixel=None):
    """Inputs and changes of every window and pixel, one row after the other, in the network's range."""
    inputs, changes = [], []
    for index in range(len(windows)):
        values = (windows.array[index : index + SEEN + AHEAD] + 2) / 5
        for y, x in np.ndindex(HEIGHT, WIDTH) if pixel is None else [pixel]:
            own = values[:, y, x]
            if not np.isnan(own[:SEEN]).any() and not np.isnan(own[SEEN:, :PREDICTED]).any():
                inputs.append(own[:SEEN].ravel())
                changes.append((own[SEEN:, :PREDICTED] - own[SEEN - 1, :PREDICTED]).ravel())
    return np.array(inputs), np.array(changes)


def least_squares(inputs, changes, strength):
    """The kernel and the bias by `lstsq`, with the regularisation as further rows."""
    mean, mean_change = inputs.mean(0), changes.mean(0)
    size = inputs.shape[1]
    penalty = np.sqrt(len(inputs) * strength * inputs.var(0).mean()) * np.eye(size)
    system = np.concatenate([inputs - mean, penalty])
    weights = np.linalg.lstsq(system, np.concatenate([changes - mean_change, np.zeros((size, changes.shape[1]))]))[0]
    kernel = weights.copy()
    for lead in range(AHEAD):
        for channel in range(PREDICTED):
            kernel[(SEEN - 1) * CHANNELS + channel, lead * PREDICTED + channel] += 1
    return kernel, mean_change - mean @ weights


def errors(windows, kernel, bias, pixel=None):
    inputs, changes = rows(windows, pixel)
    last = np.tile(inputs[:, (SEEN - 1) * CHANNELS :][:, :PREDICTED], AHEAD)
    return inputs @ kernel + bias - (changes + last)


@pytest.mark.parametrize("missing", [False, True])
def test_one_set_of_weights_is_that_of_least_squares_with_the_best_strength(missing, monkeypatch):
    monkeypatch.setattr(ridge, "_VALUES_AT_A_TIME", 1000)
    training, validation = waves(40, seed=1), waves(20, seed=2)
    if missing:
        for array in (training, validation):
            array[np.random.default_rng(3).random(array.shape) < 0.05] = np.nan
    training, validation = Windows(training, missing=missing), Windows(validation, missing=missing)
    fit = fit_linear(training, validation, SEEN, AHEAD, PREDICTED)
    candidates = {strength: least_squares(*rows(training), strength) for strength in STRENGTHS}
    squared = {strength: np.square(errors(validation, *own)).mean() for strength, own in candidates.items()}
    assert fit.strength == min(squared, key=squared.get)
    np.testing.assert_allclose(fit.kernel, candidates[fit.strength][0], rtol=0, atol=1e-9)
    np.testing.assert_allclose(fit.bias, candidates[fit.strength][1], rtol=0, atol=1e-9)
    np.testing.assert_allclose(fit.validation_mse, squared[fit.strength], rtol=1e-9)
    assert fit.kernel.dtype == fit.bias.dtype == np.float64


@pytest.mark.parametrize("passes", [1, 3])
def test_each_pixel_has_the_weights_of_its_own_least_squares(passes, monkeypatch):
    training, validation = Windows(waves(40, seed=1)), Windows(waves(20, seed=2))
    inputs = SEEN * CHANNELS
    monkeypatch.setattr(ridge, "_MOST_SUMS", HEIGHT * WIDTH * (inputs + 1) * (inputs + 1 + AHEAD * PREDICTED) / passes)
    monkeypatch.setattr(ridge, "STRENGTHS", (1e-2,))
    linear, fit = fit_linear_and_pixels(training, validation, SEEN, AHEAD, PREDICTED, most_values=10**6)
    alone = fit_linear(training, validation, SEEN, AHEAD, PREDICTED)
    np.testing.assert_allclose(linear.kernel, alone.kernel, rtol=0, atol=1e-9)
    squared = []
    for y, x in np.ndindex(HEIGHT, WIDTH):
        kernel, bias = least_squares(*rows(training, (y, x)), 1e-2)
        np.testing.assert_allclose(fit.kernel[y, x], kernel, rtol=0, atol=1e-9)
        np.testing.assert_allclose(fit.bias[y, x], bias, rtol=0, atol=1e-9)
        squared.append(np.square(errors(validation, kernel, bias, (y, x))).mean())
    np.testing.assert_allclose(fit.validation_mse, np.mean(squared), rtol=1e-9)


def test_large_frames_give_a_part_of_their_pixels_of_all_columns(monkeypatch):
    training, validation = Windows(waves(40, seed=1)), Windows(waves(20, seed=2))
    inputs = SEEN * CHANNELS + 1
    monkeypatch.setattr(ridge, "_MOST_INPUTS", HEIGHT * WIDTH * inputs / (WIDTH - 0.5))  # a step of WIDTH would take one column
    monkeypatch.setattr(ridge, "STRENGTHS", (1e-2,))
    fit = fit_linear(training, validation, SEEN, AHEAD, PREDICTED)
    taken = np.arange(0, HEIGHT * WIDTH, WIDTH + 1)
    assert len(set(taken % WIDTH)) > 1
    pairs = [rows(training, (pixel // WIDTH, pixel % WIDTH)) for pixel in taken]
    kernel, bias = least_squares(*(np.concatenate(parts) for parts in zip(*pairs, strict=True)), 1e-2)
    np.testing.assert_allclose(fit.kernel, kernel, rtol=0, atol=1e-9)
    np.testing.assert_allclose(fit.bias, bias, rtol=0, atol=1e-9)


def test_without_a_whole_pixel_the_fit_copies_the_last_frame():
    nothing = np.full((12, HEIGHT, WIDTH, CHANNELS), np.nan, np.float32)
    fit = fit_linear(Windows(nothing, missing=True), Windows(nothing, missing=True), SEEN, AHEAD, PREDICTED)
    frames = np.random.default_rng(0).random((SEEN, CHANNELS))
    np.testing.assert_array_equal(frames.ravel() @ fit.kernel + fit.bias, np.repeat(frames[-1, :PREDICTED], AHEAD))


def test_integers_with_a_fill_value_are_read_in_the_networks_range_without_it():
    frames = np.arange(12, dtype=np.int16)[:, None, None, None] * np.ones((1, 2, 2, 1), np.int16)
    frames[:, 0, 0] = -999
    windows = Windows(frames, length=3)
    windows.scaling = Scaling("int16", low=(0.0,), high=(10.0,), missing=True, fill=-999)
    fit = fit_linear(windows, windows, in_frames=2, out_frames=1, out_channels=1)
    np.testing.assert_allclose(np.array([0.3, 0.4]) @ fit.kernel + fit.bias, [0.5], atol=1e-9)  # a ramp of 0.1


def test_few_windows_of_large_frames_are_read(monkeypatch):
    read = []

    class Counted(Windows):
        def frames(self, indices, epoch=0):
            read.extend(indices)
            return super().frames(indices, epoch)

    windows = Counted(waves(44, seed=1))
    monkeypatch.setattr(ridge, "_MOST_VALUES", 4 * 5 * (SEEN + AHEAD) * HEIGHT * WIDTH * CHANNELS)
    fit_linear(windows, windows, SEEN, AHEAD, PREDICTED)
    assert read == [*np.linspace(0, 39, 20).astype(int), *np.linspace(0, 39, 5).astype(int)]
