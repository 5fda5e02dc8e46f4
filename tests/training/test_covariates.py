"""A run with the time of day, a static field and a period: evaluation, from stored channels, agrees with forecasts by times."""

import os

import numpy as np
import pytest

from stlight_jax import Forecaster, InputError
from stlight_jax.data.load import check_config, open_test
from stlight_jax.scoring.evaluate import evaluate_workdir
from stlight_jax.training.loop import train
from tests.data.window_arrays import load

pytestmark = pytest.mark.compiled_fast
HORIZON = 4  # beyond T'


@pytest.mark.long
@pytest.mark.parametrize("seen", ["frames", "changes"])
def test_an_evaluation_agrees_with_forecasts_from_times(tmp_path, seen):
    (tmp_path / "raw").mkdir()
    frames = np.random.default_rng(0).integers(0, 256, (150, 12, 14), dtype=np.uint8)
    times = np.datetime64("2020-01-01T00") + np.arange(150)
    np.savez(tmp_path / "raw" / "a.npz", data=frames, time=times)
    np.save(tmp_path / "field.npy", np.random.default_rng(1).random((12, 14, 2)))
    field = str(tmp_path / "field.npy")
    config = load("frames", tmp_path / "raw", prepared=str(tmp_path / "kept"), clock="day,year", static=field, periods="24")
    config.model.update(hidden_dim=16, depth=2, patch_size=2, far_kernel=3, shortcut="linear", input=seen)
    config.train.update(batch_size=8, epochs=1, tensorboard=False, horizon=3)
    config.evaluation.update(batch_size=8, pictures=2, horizon=HORIZON)
    train(config, tmp_path / "run")

    forecaster = Forecaster.load(tmp_path / "run", checkpoint="last")
    assert (forecaster.channels, forecaster.model.in_channels, forecaster.model.out_channels) == (1, 7, 1)
    test_set = open_test(check_config(config))
    count, first = forecaster.frames_needed(HORIZON), 150 - len(test_set) - HORIZON + 1  # index of the first target
    starts = first + np.arange(len(test_set))
    inputs, moments, truth = (
        np.stack([array[start + low : start + high] for start in starts])
        for array, low, high in ((frames, -count, 0), (times, -count, 0), (frames, 0, HORIZON))
    )
    forecast = forecaster(inputs[..., None], HORIZON, dtype=np.float64, times=moments)
    expected = np.square((forecast[..., 0] - truth) / 255.0).sum((2, 3)).mean()
    results = evaluate_workdir(tmp_path / "run", "last")
    assert results["overall"]["stlight"]["mse"] == pytest.approx(expected, rel=1e-3)

    os.remove(field)  # as on another machine: the run has a copy
    again = evaluate_workdir(tmp_path / "run", "last")
    assert again["overall"]["stlight"]["mse"] == results["overall"]["stlight"]["mse"]

    np.save(field, np.random.default_rng(2).random((12, 14, 2)))
    with pytest.raises(InputError, match="the data have changed since training"):
        evaluate_workdir(tmp_path / "run", "last")
