"""Remarks on a run name what may have kept it from improving on its start."""

import types

import pytest

from stlight_jax.runs import checkpoint
from stlight_jax.training import run_remarks
from stlight_jax.training.setup import TrainingSetup


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
