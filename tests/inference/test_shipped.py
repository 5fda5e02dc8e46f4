"""The trained networks that come with the package."""

import dataclasses
import importlib.util
import os
import shlex

import chex
import ml_collections
import numpy as np
import pytest

from stlight_jax import Forecaster, InputError
from stlight_jax.commands.train import COMMAND
from stlight_jax.data.load import check_config, open_test
from stlight_jax.inference import shipped_networks, trained
from stlight_jax.metrics.sharpness import Sharpness
from tests.conftest import ROOT

NAMES = ("moving_mnist", "tiny")
each_network = pytest.mark.parametrize("name", NAMES)

spec = importlib.util.spec_from_file_location("shipped_pictures", ROOT / "benchmarks" / "shipped_pictures.py")
shipped_pictures = importlib.util.module_from_spec(spec)
spec.loader.exec_module(shipped_pictures)


def test_the_shipped_networks_are_small():
    assert trained.shipped() == [*NAMES]
    assert all(path.stat().st_size <= 12e6 for path in shipped_networks.FOLDER.iterdir())


@each_network
def test_the_recipe_is_the_command_that_makes_the_stored_config(name, monkeypatch):
    monkeypatch.chdir(ROOT)
    description = trained.load(name).description
    python, script, *flags = shlex.split(description["recipe"])
    assert (python, script) == ("python", "train.py")
    command = dataclasses.replace(COMMAND, check=lambda values: None)
    config = command.parse(["stlight train", *flags, "--workdir=run"]).config
    assert config.data.root == "FOLDER_WITH_MNIST"
    config.data.root, config.model.dtype = "", "float32"  # a network may train in bfloat16, and ships in float32
    assert check_config(config).to_dict() == check_config(description["config"]).to_dict()
    assert config.train.seed == description["seed"]


def test_the_network_for_whole_frames_is_better_than_half_of_the_best_constant_image():
    """And as sharp as half of the truth at the first lead time."""
    measured = trained.load("moving_mnist").description["measured"]
    assert measured["test_set"]["sequences"] == 10_000
    assert measured["overall"]["stlight"]["mse"] < 0.5 * measured["overall"]["best_constant_image"]["mse"]
    assert measured["sharpness"]["per_lead_time"][0] >= 0.5


@pytest.fixture(scope="module")
def forecasts():
    """Forecasts of each network for 200 sequences of digits that it has never seen."""
    return {name: shipped_pictures.forecasts(name) for name in NAMES}


def mse(prediction, truth):
    """NumPy's squared error of each sequence, of grey levels as numbers in 0 to 1, summed over the pixels of a frame."""
    return np.square((prediction - truth) / 255.0).sum((2, 3, 4)).mean(1)


@each_network
def test_unseen_digits_are_as_hard_as_the_recorded_ones(name, forecasts):
    """On the digits of the package, relative to forecasts that need no network, since these digits are thinner than others."""
    frames, prediction = forecasts[name]
    inputs, truth = frames[:, :10], frames[:, 10:].astype(float)
    overall = trained.load(name).description["measured"]["overall"]
    for baseline, forecast in (("best_constant_image", truth.mean((0, 1))), ("copy_last_frame", inputs[:, -1:])):
        ratio = mse(prediction, truth).mean() / mse(forecast, truth).mean()
        assert ratio == pytest.approx(overall["stlight"]["mse"] / overall[baseline]["mse"], rel=0.1)


@each_network
def test_recorded_errors_are_those_of_the_recorded_test_set(name, test_data):
    """The first 300 sequences, within four standard errors of their mean; the sharpness has few enough for all of them."""
    forecaster = Forecaster.load(name)
    config = ml_collections.ConfigDict(forecaster.description["config"])
    config.data.root = str(test_data / "mnist")
    test_set, measured = open_test(config), forecaster.description["measured"]
    assert test_set.description == measured["test_set"]
    frames = test_set.frames(np.arange(300))
    errors = mse(forecaster(frames[:, :10], dtype="float64"), frames[:, 10:].astype(float))
    standard_error = errors.std(ddof=1) / np.sqrt(len(errors))
    assert abs(errors.mean() - measured["overall"]["stlight"]["mse"]) < 4 * standard_error
    assert standard_error < 0.05 * errors.mean()
    if "sharpness" not in measured:
        assert name == "tiny"  # of version 0.1, which did not measure it
        return
    frames = test_set.frames(np.linspace(0, len(test_set) - 1, measured["sharpness"]["sequences"]).astype(int))
    sharpness = Sharpness()
    sharpness.add(frames[:, 10:] / 255, forecaster(frames[:, :10], dtype="float64") / 255)
    np.testing.assert_allclose(sharpness.per_lead_time(), measured["sharpness"]["per_lead_time"], rtol=1e-3)


@each_network
def test_the_example_is_the_sequence_with_the_median_error(name, forecasts):
    of_network = forecasts[name]
    path = ROOT / "examples" / "data" / shipped_pictures.EXAMPLES[name]
    example = shipped_pictures.read_gif(path)
    (index,) = np.flatnonzero((of_network.frames == example).all((1, 2, 3, 4)))
    truth = of_network.frames[:, 10:].astype(float)
    errors = mse(of_network.prediction, truth)
    assert (errors < errors[index]).sum() == len(errors) // 2


@each_network
def test_a_network_that_is_written_again_predicts_the_same_bits(name, tmp_path, forecasts):
    model = trained.load(name)
    trained.write(tmp_path / "again.stlight", model)
    again = trained.load(tmp_path / "again.stlight")
    assert (again.config, again.description) == (model.config, model.description)
    chex.assert_trees_all_equal(again.variables, model.variables)
    seen = forecasts[name].frames[:2, :10]
    first, second = (Forecaster(each)(seen, dtype="float32") for each in (model, again))
    np.testing.assert_array_equal(first, second)


def test_by_name_from_any_folder_and_other_names_are_listed(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert {name: Forecaster.load(name).description["frame_size"] for name in NAMES} == {
        "moving_mnist": [64, 64], "tiny": [32, 32],
    }  # fmt: skip
    with pytest.raises(InputError, match=r"moving_mnst: .* or the name of a shipped network \(moving_mnist, tiny\)"):
        Forecaster.load("moving_mnst")


def test_a_folder_of_the_same_name_is_mentioned(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    trained.load("tiny")
    assert capsys.readouterr().err == ""
    os.mkdir("tiny")
    trained.load("tiny")
    assert capsys.readouterr().err == "tiny is the shipped network; for the folder of this name, write ./tiny\n"
