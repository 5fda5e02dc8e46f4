"""Runs on crops that are less than the receptive field: validation, evaluation and forecasts are made in tiles."""

import numpy as np
import pytest

from stlight_jax import Forecaster
from stlight_jax.data.load import check_config, open_test, open_training
from stlight_jax.runs.metrics_log import read_metrics
from stlight_jax.scoring.evaluate import evaluate_workdir
from stlight_jax.training import crop_choice
from stlight_jax.training.loop import train
from stlight_jax.training.setup import TrainingSetup
from tests.data.window_arrays import load

pytestmark = pytest.mark.compiled_fast


@pytest.fixture
def config(tmp_path):
    """A run on crops of 8 pixels, 3 -> 2 frames of 20 x 26, by a network that sees 25 pixels."""
    (tmp_path / "raw").mkdir()
    np.save(tmp_path / "raw" / "a.npy", np.random.default_rng(0).integers(0, 256, (60, 20, 26), dtype=np.uint8))
    config = load("frames", tmp_path / "raw", prepared=str(tmp_path / "kept"), crop=8)
    config.model.update(
        hidden_dim=16, depth=2, patch_size=2, overlap=0, near_kernel=3, far_kernel=3, dilation=2, shortcut="none"
    )
    config.train.update(batch_size=8, epochs=1, tensorboard=False)
    config.evaluation.update(batch_size=8, pictures=2, baselines="inputs")
    return config


def mse(forecaster, sequences):
    """The error of forecasts, summed over pixels, in NumPy."""
    frames = sequences.frames(np.arange(len(sequences)))
    forecast = forecaster(frames[:, :3], horizon=frames.shape[1] - 3, dtype=np.float64)
    return np.square((forecast - frames[:, 3:]) / 255).sum((2, 3, 4)).mean()


@pytest.mark.long
def test_validation_evaluation_and_forecasts_are_in_tiles_unless_whole_frames_are_asked_for(config, tmp_path, capsys):
    train(config, tmp_path / "run")
    warning = "data.crop is 8, less than the receptive field of 25 pixels; validation, evaluate and predict compute frames of "
    assert warning + "20 x 26 in tiles of 8 x 8" in capsys.readouterr().err
    checked = check_config(config)
    validation, test_set = open_training(checked)[1], open_test(checked)
    forecaster = Forecaster.load(tmp_path / "run", checkpoint="last")
    measured = read_metrics(tmp_path / "run", "validation")[-1]["mse"]
    assert measured == pytest.approx(mse(forecaster, validation), rel=1e-4)
    assert measured != pytest.approx(mse(Forecaster.load(tmp_path / "run", checkpoint="last", tile=0), validation), rel=1e-4)
    for given, shown in ((None, 8), (0, 0)):
        results = evaluate_workdir(tmp_path / "run", "last", tile=given)
        forecaster = Forecaster.load(tmp_path / "run", checkpoint="last", tile=given)
        assert results["overall"]["stlight"]["mse"] == pytest.approx(mse(forecaster, test_set), rel=1e-4)
        assert results["tile"] == shown


def film(path, height, width):
    """60 frames of uint8."""
    path.mkdir()
    np.save(path / "a.npy", np.random.default_rng(1).integers(0, 256, (60, height, width), dtype=np.uint8))


@pytest.mark.parametrize(
    ("height", "shortcut", "sees", "crop"),
    [
        (96, "linear", "frames", 32),
        (96, "linear", "changes", 0),
        (96, "flow", "frames", 0),
        (96, "none", "frames", 0),
        (94, "linear", "frames", 0),
    ],
    ids=["fit", "changes", "flow", "no shortcut", "small"],
)
def test_own_frames_are_cropped_if_they_are_large_and_a_network_without_a_flow_sees_them(
    tmp_path, height, shortcut, sees, crop
):
    film(tmp_path / "raw", height, 128)
    config = load("frames", tmp_path / "raw", prepared=str(tmp_path / "kept"), clip="none", periods="")
    config.model.update(hidden_dim=8, depth=6, patch_size=2, shortcut=shortcut, input=sees)
    config.train.batch_size = 8
    setup = TrainingSetup(config)
    assert setup.config.data.crop == crop
    assert setup.training.shape[1:3] == ((crop, crop) if crop else (height, 128))


def test_a_given_crop_and_many_windows_are_left_alone(tmp_path, monkeypatch):
    film(tmp_path / "raw", 96, 96)
    config = load("frames", tmp_path / "raw", prepared=str(tmp_path / "kept"), clip="none", periods="", crop=0)
    config.model.update(hidden_dim=8, depth=2, patch_size=2, shortcut="linear", input="frames")
    config.train.batch_size = 8
    assert TrainingSetup(config).config.data.crop == 0
    config.data.crop = -1
    monkeypatch.setattr(crop_choice, "_FEW_WINDOWS", 38)  # windows of 5 in the 42 frames of training
    assert TrainingSetup(config).config.data.crop == 0
