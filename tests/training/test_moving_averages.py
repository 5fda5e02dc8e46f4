"""Moving averages of weights: resumed bit for bit, given to new runs, evaluated, and switched on and off."""

import shutil
import signal

import jax
import numpy as np
import pytest

from stlight_jax import InputError, STLight
from stlight_jax.data.load import check_config, network_config, open_test
from stlight_jax.errors import PreemptedError
from stlight_jax.scoring.evaluate import evaluate_workdir
from stlight_jax.training import loop
from stlight_jax.training.loop import train
from tests.conftest import small_config
from tests.training.runs import (
    assert_same_state,
    raw_trees,
    starts,
)

pytestmark = pytest.mark.compiled_fast


def averaging():
    """The config of a run with a moving average."""
    config = small_config()
    config.model.depth = 3  # blocks before, across and after the skip
    config.train.ema_decay = 0.9
    return config


@pytest.fixture(scope="module")
def averaged(tmp_path_factory):
    """Its workdir, not to be changed, and its last state."""
    workdir = tmp_path_factory.mktemp("averaged")
    return workdir, train(averaging(), workdir)


def test_init_from_starts_a_new_run_from_the_moving_average_and_so_does_the_new_one(averaged, tmp_path):
    workdir, first = averaged
    config = averaging()
    config.train.init_from = str(workdir)
    config.train.seed = 1
    config.optimizer.learning_rate = 1e-12
    second = train(config, tmp_path)
    assert int(second.step) == 6
    for tree in (second.params, second.ema["params"]):
        for x, y in zip(jax.tree.leaves(tree), jax.tree.leaves(first.ema["params"]), strict=True):
            np.testing.assert_allclose(x, y, atol=1e-7)


def test_a_moving_average_resumes_bit_for_bit_and_is_what_is_evaluated(averaged, tmp_path):
    workdir, state = averaged
    config = averaging()
    shutil.copytree(workdir, tmp_path, dirs_exist_ok=True)
    shutil.rmtree(tmp_path / "checkpoints" / "6")
    resumed = train(config, tmp_path)
    assert starts(tmp_path) == [0, 4]
    assert jax.tree.structure(resumed) == jax.tree.structure(state)
    assert_same_state(resumed, state)

    evaluated = evaluate_workdir(tmp_path, "last")["overall"]["stlight"]["mse"]
    frames = open_test(config).frames(np.arange(5)).astype(np.float32) / 255
    model = STLight(network_config(check_config(config)))
    by_hand = {}
    for name, variables in (("ema", state.ema), ("raw", state.raw_variables)):
        errors = np.asarray(model.apply(jax.device_get(variables), frames[:, :3]), np.float64) - frames[:, 3:]
        by_hand[name] = np.square(errors).sum((2, 3, 4)).mean()
    assert evaluated == pytest.approx(by_hand["ema"], rel=1e-5)
    assert abs(by_hand["raw"] / by_hand["ema"] - 1) > 1e-3


@pytest.mark.long
def test_a_stop_at_a_planned_checkpoint_changes_no_moving_average(averaged, tmp_path, monkeypatch):
    workdir, state = averaged
    step = loop.Trainer._step

    def interrupted(trainer, state, number, batch):
        if number == 4:  # a multiple of train.checkpoint_every
            signal.raise_signal(signal.SIGTERM)
        return step(trainer, state, number, batch)

    with monkeypatch.context() as patched:
        patched.setattr(loop.Trainer, "_step", interrupted)
        with pytest.raises(PreemptedError, match="stopped on request at step 4, saved"):
            train(averaging(), tmp_path)
    found, expected = (raw_trees(folder, 4)["model"] for folder in (tmp_path, workdir))
    jax.tree.map(np.testing.assert_array_equal, found, expected)
    assert_same_state(train(averaging(), tmp_path), state)


@pytest.mark.long
@pytest.mark.parametrize("launcher", ["pmap", "shard_map"])
def test_a_moving_average_can_be_switched_on_and_off_on_the_way(small_run, tmp_path, launcher):
    small_run.parallel.launcher = launcher
    small_run.train.epochs = 1
    plain = train(small_run, tmp_path)
    small_run.train.update(epochs=2, ema_decay=0.5)
    with pytest.raises(InputError, match=r"train.ema_decay: 0.0 -> 0.5.* --allow_changes"):
        train(small_run, tmp_path)
    # At a rate of nothing parameters stand still, and statistics do not.
    small_run.optimizer.learning_rate = 1e-12
    averaged = train(small_run, tmp_path, allow_changes=True)
    for before, *after in zip(
        *(jax.tree.leaves(tree) for tree in (plain.params, averaged.params, averaged.ema["params"])), strict=True
    ):
        for leaf in after:
            np.testing.assert_allclose(leaf, before, atol=1e-7)
    assert any(
        np.abs(of_average - raw).max() > 1e-5
        for of_average, raw in zip(
            jax.tree.leaves(averaged.ema["batch_stats"]), jax.tree.leaves(averaged.batch_stats), strict=True
        )
    )
    small_run.train.update(epochs=3, ema_decay=0.0)
    with pytest.raises(InputError, match=r"train.ema_decay: 0.5 -> 0.0"):
        train(small_run, tmp_path)
    off = train(small_run, tmp_path, allow_changes=True)
    assert off.ema is None
    assert int(off.step) == 9
