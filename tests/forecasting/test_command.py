"""`stlight predict`: the command itself, with real networks."""

import dataclasses
import json
import os
import signal
import subprocess
import sys
import time

import numpy as np
import pytest

from stlight_jax import Forecaster
from stlight_jax.data.load import open_test
from stlight_jax.inference import trained
from tests import commands
from tests.conftest import ROOT, load_config
from tests.forecasting.line import run, saved

pytestmark = pytest.mark.compiled_fast


def command(*arguments, folder):
    """As a shell has it."""
    return subprocess.Popen(
        [sys.executable, "-m", "stlight_jax", "predict", *map(str, arguments)],
        cwd=folder,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
    )


def test_bad_flags_are_status_2_and_one_line(tmp_path):
    wanted = {
        ("a.npy", "--workdir=runs/a", "--model=tiny"): "error: give either --workdir=RUN, a network you have trained, or",
        ("gs://bucket/a.npy", "--model=tiny"): "error: gs://bucket/a.npy: frames are read from local folders; copy them",
        ("a.npy", "--model=tiny", "--fill_value=-inf"): "error: --fill_value=-inf: give a number, or none",
    }
    (tmp_path / "a.npy").touch()
    for arguments, message in wanted.items():
        result = commands.run("-m", "stlight_jax", "predict", *arguments, folder=tmp_path)
        assert result.returncode == 2
        assert result.stderr.startswith(message)
        assert (result.stdout, result.stderr.count("\n")) == ("", 1)


@pytest.fixture(scope="module")
def digits():
    """Two sequences of Moving MNIST that the shipped network has not seen, uint8 [2, 20, 32, 32, 1]."""
    return open_test(load_config("tiny")).frames(np.arange(2))


def test_the_shipped_network_by_the_command(tmp_path, digits):
    np.save(tmp_path / "a.npy", digits)
    flags = ("--model=tiny", "--start=10", "--out=b.npy", "--json=b.json", "--report=none", "--show")
    started = command("a.npy", *flags, folder=tmp_path)
    out, err = started.communicate()
    assert started.returncode == 0, err
    prediction = Forecaster.load("tiny")(digits[:, :10], dtype="float32")
    np.testing.assert_allclose(np.load(tmp_path / "b.npy"), np.clip(prediction, 0, 255), atol=0.51)
    results = json.loads((tmp_path / "b.json").read_text())
    squares = np.square(prediction / 255 - digits[:, 10:] / 255).sum((2, 3, 4))
    np.testing.assert_allclose(results["per_lead_time"]["stlight"]["mse"], squares.mean(0), rtol=1e-3)
    assert results["overall"]["stlight"]["mse"] < results["overall"]["copy_last_frame"]["mse"] / 2
    assert "2 forecasts" in out
    drawn = [line.split()[0] for line in out.splitlines() if " 1  " in line and line[:1].isalpha()]
    assert drawn == ["input", "truth", "prediction"]
    assert "copied" not in err


def test_the_flags_of_a_forecaster_reach_it(tmp_path, grey):
    """And in other units the training's fill value, by the file's description 0.25, is a number like others."""
    config = {"dataset": "frames", "data": {"fill_value": 0.25}}
    model = dataclasses.replace(grey, description={**grey.description, "config": config})
    trained.write(tmp_path / "m.stlight", model)
    frames = np.random.default_rng(2).random((3, 30, 40), np.float32)
    frames[:, 5, 5] = 0.25
    np.save(tmp_path / "a.npy", frames)
    flags = ("--rollout=frames", "--tile=24", "--overlap=6", "--value_range=0,1", "--horizon=3")
    started = command("a.npy", "--workdir=m.stlight", *flags, "--out=b.npy", "--report=none", folder=tmp_path)
    _, err = started.communicate()
    assert started.returncode == 0, err
    assert "cut into 4 tiles of at most 24 x 24, with an overlap of 6 pixels" in err
    settings = {"rollout": "frames", "tile": 24, "overlap": 6, "value_range": (0, 1)}
    forecaster = Forecaster.load(tmp_path / "m.stlight", **settings)
    expected = forecaster(frames, horizon=3)
    np.testing.assert_array_equal(np.load(tmp_path / "b.npy"), expected)
    for name in settings:  # each of them matters
        other = Forecaster(model, **{key: value for key, value in settings.items() if key != name})
        other._pass._programs = forecaster._programs  # many of which are compiled
        assert np.abs(other(frames, horizon=3) - expected).max() > 1e-3


def test_integers_that_are_no_fill_value_are_not_taken_for_one(tmp_path, grey):
    """--fill_value=none: what stood for missing values in training is a number like others in this file."""
    filled = dataclasses.replace(
        grey, description={"scaling": dataclasses.asdict(grey.scaling) | {"fill": 0.0, "missing": True}}
    )
    frames = np.random.default_rng(3).integers(1, 256, (3, 8, 12)).astype(np.uint8)
    frames[:, 4, 5] = 0
    forecaster = Forecaster(filled)
    run(saved(tmp_path / "a.npy", frames[..., None]), forecaster, out="b.npy", dtype="float32", reading={"fill_value": None})
    found = np.load("b.npy")
    assert np.isfinite(found).all()
    np.testing.assert_array_equal(found, forecaster(frames.astype(np.float32)))
    assert np.isnan(forecaster(frames, dtype="float32")[:, 4, 5]).all()


@pytest.mark.skipif(sys.platform == "win32", reason="has no such signals")
@pytest.mark.parametrize(("number", "status", "said"), [("SIGINT", 130, "interrupted\n"), ("SIGTERM", 143, "terminated\n")])
def test_ctrl_c_and_sigterm_leave_nothing(tmp_path, digits, number, status, said):
    np.save(tmp_path / "a.npy", np.tile(digits[0], (5_000, 1, 1, 1)))
    started = command("a.npy", "--model=tiny", "--rolling", folder=tmp_path)
    while not list(tmp_path.glob(".a_predicted.unfinished*")):
        assert started.poll() is None, started.communicate()
        time.sleep(0.1)
    started.send_signal(getattr(signal, number))
    out, err = started.communicate()
    assert started.returncode == status
    assert err.endswith(said)
    assert "Traceback" not in err
    assert out == ""
    assert {item.name for item in tmp_path.iterdir()} == {"a.npy", "here"}
