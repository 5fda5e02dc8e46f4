"""A forecast keeps the share of the network that has the lowest validation MSE; the training state does not depend on it."""

import dataclasses

import jax
import numpy as np
import pytest

from stlight_jax.evaluation.evaluator import evaluate
from stlight_jax.inference.trained import load
from stlight_jax.metrics.pixel_errors import MSE
from stlight_jax.model.stlight import STLight
from stlight_jax.runs import checkpoint
from stlight_jax.runs.metrics_log import read_metrics
from stlight_jax.runs.workdir import Workdir
from stlight_jax.training.loop import train
from stlight_jax.training.setup import TrainingSetup
from stlight_jax.training.shrinkage import SHARES, scaled_network
from stlight_jax.training.starting_state import starting_state
from tests.networks import trained_variables
from tests.runs.checkpoints import assert_equal

pytestmark = pytest.mark.compiled_fast


@pytest.mark.parametrize("shortcut", ["last", "linear"])
@pytest.mark.parametrize("share", SHARES)
def test_a_forecast_is_the_shortcut_plus_a_share_of_the_rest(grey_config, shortcut, share):
    network = STLight(dataclasses.replace(grey_config, shortcut=shortcut))
    variables = trained_variables(network.config)
    frames = np.random.default_rng(1).uniform(size=(2, 3, 8, 12, 1)).astype(np.float32)
    shortcut_alone, whole, shrunk = (
        np.asarray(network.apply(scaled_network(variables, factor), frames)) for factor in (0.0, 1.0, share)
    )
    if shortcut == "last":
        np.testing.assert_array_equal(shortcut_alone, np.repeat(frames[:, -1:], 2, axis=1))
    np.testing.assert_allclose(shrunk, shortcut_alone + share * (whole - shortcut_alone), atol=1e-6)


@pytest.mark.parametrize(("decay", "rate"), [(0.0, 0.03), (0.9, 0.1)])
def test_checkpoints_have_the_best_share_and_runs_resume_with_the_whole_network(small_run, tmp_path, decay, rate):
    """The learning rates are so high that the network's corrections are too large."""
    small_run.model.shortcut = "last"
    small_run.optimizer.learning_rate = rate
    small_run.train.update(shrinkage=True, ema_decay=decay)
    ended = train(small_run, tmp_path)
    setup = TrainingSetup(small_run)
    workdir, launcher = Workdir(tmp_path), setup.launcher
    resumed = starting_state(setup, workdir, allow_changes=False)
    assert_equal(launcher.to_checkpoint(resumed), launcher.to_checkpoint(ended))

    logged = {line["step"]: line for line in read_metrics(tmp_path, "validation")}
    newest = max(logged)
    share = logged[newest]["network_share"]
    assert share < 1
    assert checkpoint.load_description(workdir.checkpoints, newest)["network_share"] == share
    whole = scaled_network(load(tmp_path, "last").variables, 1 / share)
    assert_equal(jax.device_get(whole), jax.device_get(launcher.to_checkpoint(ended).variables))
    errors = {}
    for candidate in SHARES:
        variables = launcher.replicate(scaled_network(whole, candidate))
        errors[candidate] = evaluate(setup.eval_step, launcher, variables, setup.validation, 8, "").overall()[MSE.key]
    assert share == min(errors, key=errors.get)
    np.testing.assert_allclose(logged[newest]["mse"], errors[share], rtol=1e-6)
    assert checkpoint.scores(workdir.checkpoints)[newest] == logged[newest]["mse"]


def test_a_network_without_a_shortcut_is_kept_whole(small_run):
    small_run.train.shrinkage = True
    assert TrainingSetup(small_run).shares == (1.0,)
