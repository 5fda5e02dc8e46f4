"""The length of a run from the wall time that it may take."""

import json
import time

import pytest

from stlight_jax.errors import InputError
from stlight_jax.training import loop, time_limit
from stlight_jax.training.setup import TrainingSetup


@pytest.fixture
def measured(monkeypatch):
    """Makes a step take 10 ms and a validation 1 s, checkpoint included."""
    monkeypatch.setattr(time_limit, "_seconds_per_step", lambda *_: 0.01)
    monkeypatch.setattr(time_limit, "_seconds_per_validation", lambda *_: 0.8)
    monkeypatch.setattr(time_limit.time, "monotonic", lambda: 1000.0)
    monkeypatch.setattr(time_limit, "_MOST_PASSES", 10**6)


def length(setup, seconds):
    return time_limit.length_within(setup, 1000.0 + seconds)


def test_steps_and_validations_fill_the_time(small_run, measured):
    small_run.train.checkpoint_every = 0
    setup = TrainingSetup(small_run)
    # 100 s less 4 % and 21 validations leave 75 s.
    assert length(setup, 100) == (7500, 375)
    # A quarter of 9.648 s is enough for 2 validations, besides the one before the first step.
    assert length(setup, 10.05) == (664, 332)


def test_a_given_interval_of_validations_is_kept(small_run, measured):
    small_run.train.checkpoint_every = 100
    # 96 s less the first validation, at 2 s for 100 steps and a validation.
    assert length(TrainingSetup(small_run), 100) == (4750, 100)


@pytest.mark.parametrize(("given", "every"), [(0, 45), (100, 100)])
def test_a_run_on_few_data_ends_earlier(small_run, measured, monkeypatch, given, every):
    monkeypatch.setattr(time_limit, "_MOST_PASSES", 300)
    small_run.train.checkpoint_every = given
    setup = TrainingSetup(small_run)
    assert length(setup, 10_000) == (300 * len(setup.training) // small_run.train.batch_size, every)


def test_too_little_time_is_refused(small_run, measured):
    with pytest.raises(
        InputError,
        match="leaves 1 s for training, but a step takes 0.01 s and a validation 1.0 s; give at least 0.1 minutes more",
    ):
        length(TrainingSetup(small_run), 1)


@pytest.mark.compiled_fast
def test_a_run_keeps_its_length_when_it_is_resumed(small_run, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(loop, "length_within", lambda setup, deadline: time_limit.Length(4, 3))
    loop.train(small_run, tmp_path, deadline=0.0)
    content = json.loads((tmp_path / "config.json").read_text())
    assert (content["train"]["steps"], content["train"]["checkpoint_every"]) == (4, 3)
    monkeypatch.undo()
    capsys.readouterr()
    loop.train(small_run, tmp_path, deadline=0.0)
    assert "is complete: 4 of 4 steps are done" in capsys.readouterr().err
    with pytest.raises(InputError, match=r"train\.steps: 4 -> 0"):
        loop.train(small_run, tmp_path)


@pytest.mark.compiled_fast
def test_steps_and_validations_are_measured_without_their_compilation(small_run):
    setup = TrainingSetup(small_run)
    begun = time.monotonic()
    trial = setup.launcher.replicate(setup.fresh_state())
    per_validation = time_limit._seconds_per_validation(setup, trial.variables)
    per_step = time_limit._seconds_per_step(setup, trial)
    assert 0 < 20 * per_step + per_validation < time.monotonic() - begun
