"""The network that ships: its recipe, its type, and the minutes that it took."""

import dataclasses
import json

import pytest
import ship_network

from stlight_jax import InputError
from stlight_jax.inference import trained
from tests.conftest import load_config


def test_pauses_between_processes_are_no_minutes_of_training(tmp_path):
    times = [("started", 0), ("train", 60), ("checkpoint", 120), ("started", 9000), ("train", 9090)]
    lines = [json.dumps({"step": step, "kind": kind, "time": time}) for step, (kind, time) in enumerate(times)]
    (tmp_path / "metrics.jsonl").write_text("\n".join(lines) + '\n{"step": 5, "ki')  # cut short by the end of the process
    assert ship_network.minutes(tmp_path) == 3.5


def test_a_recipe_lists_what_differs_from_the_config():
    config = load_config("plus")
    config.data.root = "/data/mnist"
    command = "python train.py --config=configs/moving_mnist.py:plus --config.data.root=FOLDER_WITH_MNIST"
    assert ship_network.recipe("moving_mnist", config.to_dict()) == command
    config.train.seed, config.model.hidden_dim = 7, 64
    recipe = ship_network.recipe("moving_mnist", config.to_dict())
    assert recipe == f"{command} --config.train.seed=7 --config.model.hidden_dim=64"


def test_a_network_that_was_trained_in_bfloat16_ships_in_float32_and_is_measured_so(monkeypatch, tmp_path):
    model = trained.load("tiny")
    config = model.description["config"]
    config["model"]["dtype"] = "bfloat16"
    monkeypatch.setattr(ship_network.trained, "load", lambda workdir, which: dataclasses.replace(model))
    measured = {key: {} for key in ("test_set", "overall", "per_lead_time", "sharpness")}
    results = {"checkpoint_step": model.description["step"], "dtype": "float32", **measured}
    shipped = ship_network.shipped_model("tiny", tmp_path, results).description
    assert shipped["config"]["model"]["dtype"] == "float32"
    assert "--config.model.dtype=bfloat16" in shipped["recipe"]
    with pytest.raises(InputError, match="was evaluated in bfloat16; run eval.py --dtype=float32"):
        ship_network.shipped_model("tiny", tmp_path, results | {"dtype": "bfloat16"})
    with pytest.raises(InputError, match="evaluated at another step"):
        ship_network.shipped_model("tiny", tmp_path, results | {"checkpoint_step": 1})
