"""A run that begins at its shortcut: fitted, kept on resuming, left alone with given weights, and improved on."""

import numpy as np
import pytest

from stlight_jax.data.sequences import EvenlySpaced
from stlight_jax.evaluation.evaluator import evaluate
from stlight_jax.evaluation.ridge import fit_linear
from stlight_jax.runs import checkpoint
from stlight_jax.runs.metrics_log import read_metrics
from stlight_jax.runs.workdir import Workdir
from stlight_jax.training import shortcut_choice
from stlight_jax.training.loop import train
from stlight_jax.training.setup import TrainingSetup
from stlight_jax.training.shortcut_fit import fitted_linear
from stlight_jax.training.starting_state import starting_state

pytestmark = pytest.mark.compiled_fast


def recurrence():
    """Weights `[3 inputs, 2 outputs]` and biases of the waves' next two frames, which do not use the first input."""
    factor = 2 * np.cos(0.7)
    one, two = np.array([0, -1, factor]), np.array([0, -factor, factor**2 - 1])
    return np.stack([one, two], 1), 0.5 * (1 - np.array([one.sum(), two.sum()]))


def error_of_the_first_two_frames(setup, linear):
    """The largest difference of a fit's forecasts from the recurrence; three inputs of two degrees of freedom leave the weights
    open, the forecasts not."""
    kernel, bias = recurrence()
    inputs = setup.validation.frames(np.arange(40))[:, :3].reshape(40, 3, -1).transpose(0, 2, 1)  # [b, pixels, t]
    found = inputs @ np.asarray(linear["kernel"])[:, :2] + np.asarray(linear["bias"])[:2]
    return np.abs(found - (inputs @ kernel + bias)).max()


def test_a_new_run_begins_at_the_ridge_regression(waves, tmp_path):
    waves.model.shortcut = "linear"
    setup = TrainingSetup(waves)
    state = starting_state(setup, Workdir(tmp_path), allow_changes=False)
    fit = fit_linear(setup.training, setup.validation, 3, 2, 1)
    linear = setup.launcher.to_checkpoint(state).params["shortcut"]["linear"]
    np.testing.assert_allclose(linear["kernel"], fit.kernel, atol=1e-6)
    assert error_of_the_first_two_frames(setup, linear) < 1e-3
    result = evaluate(setup.eval_step, setup.launcher, state.variables, setup.validation, 8, "").overall()
    assert result["mse"] < 1e-3  # summed over 256 pixels; the waves' variance is 0.08 each


def test_a_run_reports_that_it_leaves_the_copies_out(waves, capsys, monkeypatch):
    def errors(model, *_):  # the more inputs a map has, the worse
        return {"values": 256.0, "mae": 1.0, "mse": model.shortcut_inputs if model.shortcut == "linear" else 99.0}

    monkeypatch.setattr(shortcut_choice, "KINDS", ("last", "linear"))
    monkeypatch.setattr(shortcut_choice, "shortcut_errors", errors)
    waves.model.update(shortcut="auto", shortcut_scales=-1)
    setup = TrainingSetup(waves)
    shown = " ".join(capsys.readouterr().err.split())
    assert "model.shortcut_scales=3 (frames of 16 x 16)" in shown
    assert "model.shortcut=linear, model.shortcut_scales=0 (by the errors of forecasts without a network)" in shown
    assert setup.config.model.shortcut_scales == 0
    assert TrainingSetup(waves, setup.config.to_dict()).config.model.shortcut_scales == 0


def test_a_run_on_few_data_starts_with_the_half_of_a_fit_and_keeps_its_share(waves, tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(shortcut_choice, "KINDS", ("last", "linear"))
    waves.model.shortcut = "auto"
    waves.train.update(least_gain=1 - 1e-15, shortcut_share=-1.0)  # more than the fit of the waves gains
    setup = TrainingSetup(waves)
    shown = " ".join(capsys.readouterr().err.split())
    assert "model.shortcut=linear, train.shortcut_share=0.5 (by the errors of forecasts without a network)" in shown
    fit = fit_linear(setup.training, setup.validation, 3, 2, 1)
    last_frame = np.array([[0, 0], [0, 0], [1, 1]])
    resumed = TrainingSetup(waves, setup.config.to_dict())
    for each in (setup, resumed):
        assert each.config.train.shortcut_share == 0.5
        state = starting_state(each, Workdir(tmp_path), allow_changes=False)
        linear = each.launcher.to_checkpoint(state).params["shortcut"]["linear"]
        np.testing.assert_allclose(linear["kernel"], (fit.kernel + last_frame) / 2, atol=1e-6)
        np.testing.assert_allclose(linear["bias"], fit.bias / 2, atol=1e-6)


def test_a_run_that_does_not_improve_on_its_shortcut_ends_with_a_message(waves, tmp_path, capsys):
    waves.model.shortcut = "linear"
    waves.optimizer.learning_rate = 1.0  # too high
    train(waves, tmp_path / "run")
    assert min(checkpoint.scores(tmp_path / "run" / "checkpoints").items(), key=lambda item: item[1])[0] == 0
    assert "the network has not improved on it" in " ".join(capsys.readouterr().err.split())


@pytest.mark.parametrize("gain", [0.0, 0.9])
def test_a_network_is_the_best_checkpoint_if_it_gains_as_much_as_is_asked(waves, tmp_path, capsys, gain):
    waves.model.shortcut = "last"
    waves.train.update(epochs=3, least_gain=gain)
    train(waves, tmp_path / "run")
    measured = {line["step"]: line["mse"] for line in read_metrics(tmp_path / "run", "validation")}
    lowest = min(measured, key=measured.get)
    assert lowest > 0
    assert measured[lowest] > 0.1 * measured[0]
    assert checkpoint.choose_step(tmp_path / "run" / "checkpoints", "best") == (0 if gain else lowest)
    shown = " ".join(capsys.readouterr().err.split())
    assert ("by the fraction train.least_gain=0.9" in shown) == bool(gain)


def test_a_run_resumes_from_the_checkpoint_before_its_first_step(waves, tmp_path, monkeypatch):
    waves.model.shortcut = "last"

    def fails(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr("stlight_jax.training.loop.Trainer._step", fails)
    for _ in range(2):
        with pytest.raises(KeyboardInterrupt):
            train(waves, tmp_path / "run")
        assert checkpoint.steps(tmp_path / "run" / "checkpoints") == [0]


def test_given_weights_are_not_replaced_by_a_fit(waves, tmp_path):
    waves.model.shortcut = "linear"
    train(waves, tmp_path / "first")
    waves.train.init_from = str(tmp_path / "first")
    setup = TrainingSetup(waves)
    begun = setup.launcher.to_checkpoint(starting_state(setup, Workdir(tmp_path / "second"), False))
    trained = setup.launcher.to_checkpoint(starting_state(setup, Workdir(tmp_path / "first"), False))
    found, expected = (state.params["shortcut"]["linear"]["kernel"] for state in (begun, trained))
    np.testing.assert_array_equal(found, expected)


def test_lead_times_that_no_training_window_has_repeat_the_last_frame(waves):
    waves.model.update(shortcut="linear", out_frames=4)
    waves.train.horizon = waves.evaluation.horizon = 2
    setup = TrainingSetup(waves)
    fitted = fitted_linear(setup.model.config, setup.training, setup.validation)
    assert fitted["kernel"].shape == (3, 4)
    np.testing.assert_array_equal(fitted["kernel"][:, 2:], [[0, 0], [0, 0], [1, 1]])
    assert error_of_the_first_two_frames(setup, fitted) < 1e-3


def test_evenly_spaced_sequences_run_from_the_first_to_the_last(waves):
    source = TrainingSetup(waves).training
    sample = EvenlySpaced(source, 4, range(3))
    assert (len(sample), sample.shape) == (4, (3, 16, 16, 1))
    np.testing.assert_array_equal(sample.frames(np.array([3, 0])), source.frames(np.array([39, 0]))[:, :3])
    assert len(EvenlySpaced(source, 99)) == 40
