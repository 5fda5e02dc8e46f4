"""Baselines from training data against NumPy."""

import numpy as np
import pytest

from stlight_jax.data.sequences import WithHistory
from stlight_jax.evaluation import trained_baselines as module
from stlight_jax.evaluation.baselines import EvaluatedFrames
from stlight_jax.evaluation.ridge import fit_linear_and_pixels
from stlight_jax.evaluation.trained_baselines import trained_baselines
from tests.evaluation.windows import AHEAD, LENGTH, SCALING, SEEN, SIDE, Windows, seasonal


@pytest.fixture
def made():
    """Training frames, their first tick being a multiple of 4, test windows two steps later, and the baselines by key."""
    training, test = seasonal(60, seed=1), Windows(seasonal(30, seed=2)[2:], begin=102)
    training[:, 1, 1] = np.nan
    training[np.random.default_rng(3).random(training.shape) < 0.05] = np.nan
    data = EvaluatedFrames(test, SCALING, SEEN, out_channels=1)
    found = trained_baselines(Windows(training), Windows(seasonal(20, seed=4)), data, [4])
    return training, test, {baseline.key: baseline for baseline in found}


def test_climatologies_are_means_of_the_training_frames(made):
    training, test, found = made
    assert list(found) == ["climatology", "climatology_4", "climatology_4_anomaly", "linear_fit", "pixel_ridge"]
    scaled = ((training[..., :1] + 1) / 4).astype(np.float64)  # 12 windows side by side have all 60 frames
    with pytest.warns(RuntimeWarning):
        mean, by_phase = np.nanmean(scaled, 0), np.stack([np.nanmean(scaled[phase::4], 0) for phase in range(4)])
    mean[1, 1] = by_phase[:, 1, 1] = 0.25  # never seen: the filling
    indices = np.array([0, 5])
    frames = test.frames(indices)
    frames[1, 2, 3, 3] = np.nan
    prediction, known = found["climatology"].predict(indices, frames)
    assert known is None
    np.testing.assert_allclose(
        np.broadcast_to(prediction, (2, AHEAD, SIDE, SIDE, 1)), np.stack([[mean] * AHEAD] * 2), rtol=1e-5
    )
    seasons, _ = found["climatology_4"].predict(indices, frames)
    phases = (102 + indices[:, None] + np.arange(LENGTH)) % 4
    np.testing.assert_allclose(seasons, by_phase[phases[:, SEEN:]], rtol=1e-5)
    anomalies, _ = found["climatology_4_anomaly"].predict(indices, frames)
    last = (frames[:, 2, ..., :1] + 1) / 4
    last[1, 3, 3] = (frames[1, 1, 3, 3, :1] + 1) / 4  # the last valid value
    expected = by_phase[phases[:, SEEN:]] + (last - by_phase[phases[:, SEEN - 1]])[:, None]
    np.testing.assert_allclose(anomalies, expected, rtol=1e-4, atol=1e-6)


def test_linear_fits_predict_as_their_weights_do(made):
    training, test, found = made
    fits = fit_linear_and_pixels(Windows(training), Windows(seasonal(20, seed=4)), SEEN, AHEAD, 1, 10**8)
    frames = test.frames(np.array([7]))
    inputs = np.moveaxis((frames[0, :SEEN].astype(np.float64) + 1) / 4, 0, 2).reshape(SIDE, SIDE, -1)  # [h, w, t*c]
    for key, fit in zip(("linear_fit", "pixel_ridge"), fits, strict=True):
        expected = np.einsum("hwn,nm->hwm" if fit.kernel.ndim == 2 else "hwn,hwnm->hwm", inputs, fit.kernel) + fit.bias
        prediction, known = found[key].predict(np.array([7]), frames)
        assert known is None
        np.testing.assert_allclose(prediction[0, ..., 0], np.moveaxis(expected, -1, 0), rtol=1e-4, atol=1e-5)


def test_linear_fits_see_the_history_that_training_windows_have():
    table = np.random.default_rng(5).uniform(-1, 3, (24, SIDE, SIDE, 1)).astype(np.float32)
    training, test = (WithHistory(Windows(np.tile(table, (copies, 1, 1, 1))), ([999], [25], [24])) for copies in (4, 3))
    data = EvaluatedFrames(test, SCALING, SEEN, out_channels=1, history=3)
    found = {baseline.key: baseline for baseline in trained_baselines(training, test, data, [24])}
    indices = np.array([40, 30])
    frames = test.frames(indices)
    assert np.isnan(frames[:, 0]).all()  # no window has a frame 999 steps before its last one
    expected = (frames[:, -AHEAD:] + 1) / 4
    for key, tolerance in (("linear_fit", 1e-3), ("climatology_24", 1e-5), ("climatology_24_anomaly", 1e-5)):
        np.testing.assert_allclose(found[key].predict(indices, frames)[0], expected, rtol=0, atol=tolerance)
    assert np.isfinite(found["pixel_ridge"].predict(np.array([0]), test.frames(np.array([0])))[0]).all()


def test_a_climatology_of_too_many_images_is_left_out_with_a_message(monkeypatch, capsys):
    monkeypatch.setattr(module, "_MOST_PHASE_VALUES", 4 * SIDE * SIDE - 1)
    windows = Windows(seasonal(30, seed=1))
    found = trained_baselines(windows, windows, EvaluatedFrames(windows, SCALING, SEEN, out_channels=1), [4])
    assert [baseline.key for baseline in found] == ["climatology", "linear_fit", "pixel_ridge"]
    assert "no climatology of 4 steps: 4 images of 8 x 8 take too much memory" in capsys.readouterr().err
