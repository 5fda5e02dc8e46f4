"""The trained networks that come with the package."""

import ml_collections
import numpy as np
import pytest

from stlight_jax import Forecaster
from stlight_jax.data.load import open_test
from stlight_jax.inference import shipped_networks, trained


def test_tiny_is_small_and_says_where_it_comes_from():
    assert trained.shipped() == ["tiny"]
    assert sum(path.stat().st_size for path in shipped_networks.FOLDER.iterdir()) < 5e6
    description = trained.load("tiny").description
    assert description["recipe"].startswith("python train.py --config=configs/moving_mnist.py:tiny")
    assert description["config"]["train"]["seed"] == description["seed"]
    assert description["config"]["data"]["root"] == ""


def test_tiny_predicts_digits_that_it_has_never_seen(tmp_path, monkeypatch):
    """On the digits of the package, by name and by nothing else: NumPy's MSE, beside what was measured on all of MNIST."""
    monkeypatch.chdir(tmp_path)
    forecaster = Forecaster.load("tiny")
    frames = open_test(ml_collections.ConfigDict(forecaster.description["config"])).frames(np.arange(200))
    inputs, truth = frames[:, :10], frames[:, 10:] / 255
    prediction = forecaster(inputs, dtype="float64") / 255
    assert forecaster.compilations == 2

    def mse(of):
        return np.square(of - truth).sum((2, 3, 4)).mean()

    overall = forecaster.description["measured"]["overall"]
    # These digits are thinner; relative to what needs no network they should be as hard.
    for name, baseline in (("best_constant_image", truth.mean((0, 1))), ("copy_last_frame", inputs[:, -1:] / 255)):
        assert mse(prediction) / mse(baseline) == pytest.approx(overall["stlight"]["mse"] / overall[name]["mse"], rel=0.1)
