"""A run on frames that repeat every 24 hours: its evaluation, the fit of its shortcut, and the choice of its periods."""

import dataclasses
import json

import jax
import numpy as np
import pytest

from stlight_jax import Forecaster
from stlight_jax.data.load import check_config
from stlight_jax.data.sequences import Sequences
from stlight_jax.evaluation.baselines import EvaluatedFrames
from stlight_jax.evaluation.evaluator import evaluate
from stlight_jax.evaluation.trained_baselines import trained_baselines
from stlight_jax.forecasting.predict import Request, predict
from stlight_jax.model.context import first_pass, first_target
from stlight_jax.model.shortcut import Shortcut, fill_from_neighbours
from stlight_jax.model.stlight import STLight, init_variables
from stlight_jax.runs.workdir import Workdir
from stlight_jax.scoring.evaluate import evaluate_workdir
from stlight_jax.training import shortcut_choice
from stlight_jax.training.loop import train
from stlight_jax.training.setup import TrainingSetup
from stlight_jax.training.shortcut_fit import fitted_linear
from stlight_jax.training.starting_state import starting_state
from tests.data.window_arrays import load
from tests.periodic import frames_at

pytestmark = pytest.mark.compiled_fast

HOURS = np.array([*range(90), *range(93, 240)])


def hourly(tmp_path, dtype=np.uint8, noise=0.0, **keys):
    """A run of a few steps on 16 x 12 frames, 3 -> 2 hours; three hours are missing."""
    frames = np.tile(frames_at(HOURS), (1, 2, 2, 1))[..., 0].astype(dtype)
    frames += np.random.default_rng(5).normal(0, noise, frames.shape).astype(dtype) if noise else 0
    (tmp_path / "raw").mkdir()
    np.savez(tmp_path / "raw" / "a.npz", data=frames, time=np.datetime64("2020-01-01T00", "h") + HOURS)
    config = load("frames", tmp_path / "raw", prepared=str(tmp_path / "kept"), split="time", **keys)
    config.model.update(
        hidden_dim=16, depth=2, patch_size=2, overlap=0, near_kernel=3, far_kernel=3, dilation=2, shortcut="linear",
        shortcut_scales=0,
    )  # fmt: skip
    config.train.update(batch_size=8, epochs=1, ema_decay=0.0, tensorboard=False)
    config.evaluation.update(batch_size=8, pictures=2, baselines="inputs")
    return config


def copying(setup):
    """Initial weights, of which the network adds nothing and the shortcut copies the frames of one period earlier."""
    variables = jax.device_get(init_variables(STLight(setup.model.config), 0, setup.training.shape[1:]))
    linear = variables["params"]["shortcut"]["linear"]
    variables["params"]["shortcut"]["linear"] = {
        "kernel": np.eye(*linear["kernel"].shape, k=-1, dtype=np.float32),  # not the frame of the lead time 0
        "bias": linear["bias"],
    }
    return variables


@pytest.mark.parametrize(("frame_step", "horizon"), [(1, 0), (1, 27), (2, 3)])
def test_the_evaluation_step_sees_the_frames_of_one_period_earlier(tmp_path, frame_step, horizon):
    config = hourly(tmp_path, periods="24", frame_step=frame_step, validation_fraction=0.3)
    config.evaluation.horizon = horizon
    setup = TrainingSetup(config)
    assert setup.training.scaling.dtype == "int16"
    state = dataclasses.replace(setup.fresh_state(), params=copying(setup)["params"])
    variables = setup.launcher.replicate(state).variables
    result = evaluate(setup.eval_step, setup.launcher, variables, setup.validation, 8, "").overall()
    assert result["mse"] < 1e-9


def test_a_new_run_starts_from_a_fit_that_knows_the_period(tmp_path):
    setup = TrainingSetup(hourly(tmp_path, np.float32, noise=1.0, periods="[24]"))
    state = starting_state(setup, Workdir(tmp_path / "run"), allow_changes=False)
    result = evaluate(setup.eval_step, setup.launcher, state.variables, setup.validation, 8, "").overall()
    # A mean of 9 days would have an error of 1.1 / 255**2 for each of the 192 pixels, yesterday's frame one of 2.
    assert result["mse"] < 2.3 * 192 / 255**2


@pytest.mark.parametrize("periods", ["24,48", "24,mean:24"])
def test_the_linear_fit_of_an_evaluation_is_the_shortcut_before_the_first_step(tmp_path, periods):
    """Also where a frame of one period is missing, whose place that of another period takes."""
    setup = TrainingSetup(hourly(tmp_path, np.float32, noise=9.0, periods=periods, validation_fraction=0.3))
    model, validation, scaling = setup.model.config, setup.validation, setup.training.scaling
    indices = np.arange(len(validation))
    frames = validation.frames(indices)
    history = first_target(model, frames.shape[1]) - 3
    frames[:, [0, history - 1]] = np.nan  # the first frame of the longer period, the last of the shorter
    data = EvaluatedFrames(validation, scaling, 3, 1, history=history, network=model)
    found = {baseline.key: baseline for baseline in trained_baselines(setup.training, validation, data, [])}
    inputs, valid = scaling.to_network(frames[:, first_pass(model, frames.shape[1], 2)[: model.seen_frames]])
    filled = fill_from_neighbours(inputs, valid, 3, model.context_periods)
    expected = Shortcut(model).apply({"params": {"linear": setup.linear_fit}}, filled, valid=valid)
    np.testing.assert_allclose(found["linear_fit"].predict(indices, frames)[0], expected, atol=1e-5)


def test_a_period_that_no_training_window_knows_has_no_weight_in_the_fit(tmp_path):
    setup = TrainingSetup(hourly(tmp_path, periods="168,24"))  # the training frames are of 166 hours
    kernel = fitted_linear(setup.model.config, setup.training, setup.validation)["kernel"]
    assert kernel.shape == (2 * 3 + 3, 2)
    np.testing.assert_array_equal(kernel[:3], 0)
    np.testing.assert_allclose(kernel[4:6], np.eye(2), atol=0.05)  # of yesterday's frames


@pytest.mark.long
def test_auto_takes_the_day_and_a_resumed_run_keeps_it(tmp_path, capsys):
    config = hourly(tmp_path, np.float32, noise=1.0, periods="auto")
    train(config, tmp_path / "run")
    shown = " ".join(capsys.readouterr().err.split())
    assert "data.periods=24,mean:24 (by the errors of forecasts without a network)" in shown
    chosen = json.loads((tmp_path / "run" / "config.json").read_text())["data"]["periods"]
    assert chosen == "24,mean:24"  # the mean of several days has less noise than one
    config.train.epochs = 2
    train(config, tmp_path / "run", allow_changes=True)
    assert "without a network" not in capsys.readouterr().err


@pytest.mark.long
def test_a_trained_network_is_evaluated_and_predicts_with_its_periods(tmp_path):
    config = hourly(tmp_path, periods="24,168,mean:24")
    config.optimizer.learning_rate = 1e-6
    train(config, tmp_path / "run")
    results = evaluate_workdir(tmp_path / "run", "last", cycle=24)
    overall = results["overall"]
    assert overall["stlight"]["mse"] < 0.01 * overall["copy_last_frame"]["mse"]
    assert overall["period_24"]["mse"] < 1e-9
    forecaster = Forecaster.load(tmp_path / "run")
    predict(Request(str(tmp_path / "raw" / "a.npz"), out=str(tmp_path / "b.npz"), report="none"), forecaster)
    expected = np.tile(frames_at([240, 241]), (1, 2, 2, 1))[..., 0].astype(float)
    assert np.abs(np.load(tmp_path / "b.npz")["data"] - expected).mean() < 10


class MonthlyWindows(Sequences):
    """The times of windows of monthly frames, without the frames."""

    def __init__(self, months, windows):
        self._months, self._windows = months, windows
        self.description = {"step": "1 month"}

    def __len__(self):
        return self._windows

    def frames(self, indices, epoch=0):
        raise NotImplementedError

    def ticks(self, indices, epoch=0):
        return np.linspace(0, self._months, len(indices)).astype(int)[:, None]


@pytest.mark.parametrize(
    ("months", "tried"),
    [(20, [""]), (30, ["", "12"]), (50, ["", "12", "12,mean:12"]), (80, ["", "12", "12,24,36", "12,mean:12"])],
)
def test_more_years_are_tried_where_the_frames_cover_them(tmp_path, months, tried):
    config = check_config(hourly(tmp_path, periods="auto"))
    training = MonthlyWindows(months, months - 5)
    assert [*shortcut_choice._periods_to_try(config, "linear", training)] == tried
    assert shortcut_choice._periods_to_try(config, "flow", training) == ("",)
