"""Remarks on a run name what may have kept it from improving on its start."""

import types

import numpy as np
import pytest

from stlight_jax.runs import checkpoint
from stlight_jax.training import run_remarks
from stlight_jax.training.setup import TrainingSetup
from tests.conftest import load_config


@pytest.mark.parametrize(
    ("chosen", "gain", "is_small_gain_chance"),
    [
        (True, 0.2, True),
        (True, 0.1, True),
        (True, 0.04, False),  # of five long clips
        (False, 0.2, False),  # of any data: the user asked for it
    ],
)
def test_a_smaller_gain_may_be_chance_only_on_few_data(
    small_run, tmp_path, monkeypatch, capsys, chosen, gain, is_small_gain_chance
):
    small_run.model.shortcut = "last"
    small_run.train.least_gain = gain
    setup = TrainingSetup(small_run)
    monkeypatch.setattr(checkpoint, "scores", lambda _: {0: 1.0})
    monkeypatch.setattr(run_remarks, "read_metrics", lambda *_: [{"step": 0, "mse": 1.0}])
    run_remarks.report_best(setup, types.SimpleNamespace(path=tmp_path, checkpoints=tmp_path), chosen, trained=True)
    shown = " ".join(capsys.readouterr().err.split())
    assert f"has not improved on it by the fraction train.least_gain={gain:g}" in shown
    assert ("on so few data, a smaller gain may be chance" in shown) == is_small_gain_chance


@pytest.mark.parametrize(("periods", "named"), [("24,mean:12", ""), ("24,500,mean:400", "500 or 400"), ("", "")])
def test_periods_that_no_training_window_knows_are_named(tmp_path, capsys, periods, named):
    np.save(tmp_path / "a.npy", np.random.default_rng(0).normal(size=(200, 8, 8)).astype(np.float32))
    config = load_config("tiny", "frames")
    config.data.update(root=str(tmp_path / "a.npy"), prepared=str(tmp_path / "kept"), periods=periods)
    config.model.update(shortcut="none", input="frames", in_frames=3, out_frames=2)
    run_remarks.remark_on_periods(TrainingSetup(config))
    shown = " ".join(capsys.readouterr().err.split())
    assert (f"data.periods={periods}: hardly any training window has a frame {named} steps earlier" in shown) == bool(named)
    assert ("hardly any" in shown) == bool(named)
