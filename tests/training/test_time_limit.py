"""The length of a run from the wall time that it may take."""

import json
import shutil
import time

import numpy as np
import pytest

from stlight_jax.errors import InputError
from stlight_jax.inference.trained import load
from stlight_jax.runs import checkpoint
from stlight_jax.runs.metrics_log import read_metrics
from stlight_jax.training import loop, time_limit
from stlight_jax.training.setup import TrainingSetup
from stlight_jax.training.state import TrainState
from tests.training.runs import assert_same_state


@pytest.fixture
def measured(monkeypatch):
    """Makes a step take 10 ms and a validation 1 s, checkpoint included, of a state that is made at once."""
    monkeypatch.setattr(TrainingSetup, "fresh_state", lambda _: TrainState(np.int32(0), {}, {}, ()))
    monkeypatch.setattr(time_limit, "_seconds_per_step", lambda *_: 0.01)
    monkeypatch.setattr(time_limit, "_seconds_per_validation", lambda *_: 0.8)
    monkeypatch.setattr(time_limit.time, "monotonic", lambda: 1000.0)
    monkeypatch.setattr(time_limit, "_MOST_PASSES", 10**6)


def length(setup, seconds):
    return time_limit.length_within(setup, 1000.0 + seconds)


def test_steps_and_validations_fill_the_time(small_run, measured):
    small_run.train.checkpoint_every = 0
    setup = TrainingSetup(small_run)
    # 12 % of 960 s are enough for all 21 validations, which leave 939 s.
    assert length(setup, 1000) == (93_900, 4695)
    # 12 % of 96 s are enough for 11 validations, with the one before the first step; 85 s are left.
    assert length(setup, 100) == (8500, 850)
    # 12 % of 48 s are enough for 5 of them, but less than 5 after the first step are few; 42 s are left.
    assert length(setup, 50) == (4200, 840)
    # Two fifths of 9.648 s are enough for 3.
    assert length(setup, 10.05) == (664, 332)


@pytest.mark.parametrize("steps", [4, 60, 400, 3000, 100_000])
def test_validations_of_a_run_of_given_length_take_at_most_an_eighth_of_it_or_are_few(small_run, steps):
    """By sequences in forward passes; a step takes as long as three."""
    setup = TrainingSetup(small_run)
    setup.set_length(steps, 0)
    validations = -(-steps // setup.checkpoint_every)
    assert validations <= 20
    assert validations >= min(steps, 4)  # 5, rounded down where an interval of whole steps is rounded up
    share = validations * len(setup.validation) / (3 * steps * small_run.train.batch_size)
    assert validations <= 5 or share <= 1 / 8


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
        match="leaves 1 s for training, but a step takes 0.01 s and a validation 1 s; give at least 0.2 minutes more",
    ):
        length(
            TrainingSetup(small_run), 1
        )  # 100 steps and 6 validations take 7 s, 6.04 s more than 96 % of 1 s: 0.1007 minutes


def test_too_little_time_leaves_the_shortcut_alone(small_run, measured, capsys):
    small_run.model.shortcut = "last"
    setup = TrainingSetup(small_run)
    assert length(setup, 1).steps == 0
    assert "nothing is trained, and the shortcut alone is saved; give at least 0.2 minutes more" in capsys.readouterr().err
    assert length(setup, -60).steps == 0  # nothing is compiled or measured
    assert "--minutes leaves no time for training: nothing" in capsys.readouterr().err


@pytest.mark.parametrize("shortcut", ["none", "last"])
def test_too_little_time_leaves_given_weights(small_run, measured, capsys, shortcut):
    small_run.model.shortcut = shortcut
    small_run.train.init_from = "runs/old"
    assert length(TrainingSetup(small_run), 1).steps == 0
    assert "nothing is trained, and the weights of train.init_from are saved; give at least" in capsys.readouterr().err


@pytest.mark.compiled_fast
def test_a_run_without_time_for_a_step_saves_the_weights_that_it_is_given(small_run, tmp_path, monkeypatch, capsys):
    loop.train(small_run, tmp_path / "old")
    monkeypatch.setattr(loop, "length_within", lambda *_: time_limit.Length(0, 0))
    small_run.train.init_from = str(tmp_path / "old")
    loop.train(small_run, tmp_path / "new", deadline=time.monotonic())
    # train.init_from takes the newest checkpoint of a workdir, not the best one.
    given, saved = (load(tmp_path / name, "last").variables for name in ("old", "new"))
    assert_same_state(given, saved)
    assert "the weights of train.init_from: nothing is trained" in " ".join(capsys.readouterr().err.split())


def test_a_run_without_time_for_a_step_saves_step_0_and_goes_on_when_it_is_given_more(small_run, tmp_path, monkeypatch, capsys):
    small_run.model.shortcut = "last"
    monkeypatch.setattr(loop, "length_within", lambda *_: time_limit.Length(0, 0))
    state = loop.train(small_run, tmp_path, deadline=time.monotonic())
    assert int(state.step) == 0
    assert checkpoint.choose_step(tmp_path / "checkpoints", "best") == 0
    shown = " ".join(capsys.readouterr().err.split())
    (line,) = read_metrics(tmp_path, "validation")
    assert f"best checkpoint: step 0, validation MSE {line['mse']:.3f}, the shortcut last alone: nothing is trained" in shown
    monkeypatch.setattr(loop, "length_within", lambda *_: time_limit.Length(4, 4))
    assert int(loop.train(small_run, tmp_path, deadline=time.monotonic()).step) == 4
    shown = " ".join(capsys.readouterr().err.split())
    assert shown.count("4 step(s) are few for a network to learn in") == 2  # at the start and at the end
    assert json.loads((tmp_path / "config.json").read_text())["train"]["steps"] == 4
    first, last = read_metrics(tmp_path, "validation")
    gain = 100 * (1 - last["mse"] / first["mse"])
    assert 0 < gain < 10
    assert f"best checkpoint: step 4, validation MSE {last['mse']:.3f}, {gain:.1f} % below the shortcut last alone" in shown


@pytest.mark.parametrize(("seconds", "steps"), [(100, 200), (20, 60), (1, 5)])
def test_more_steps_are_measured_where_time_permits(monkeypatch, seconds, steps):
    """3 % of the time at 10 ms a step; five steps in any case, 200 at most."""
    measured = []

    def timed(setup, state, count):
        measured.append(count)
        return state, 0.01 * count

    monkeypatch.setattr(time_limit, "_timed_steps", timed)
    assert time_limit._seconds_per_step(None, None, seconds) == pytest.approx(0.01)
    assert measured == ([5, steps] if steps > 5 else [5])


@pytest.mark.parametrize(("left", "late"), [(110, False), (130, True), (None, False)])
def test_a_run_that_ends_more_than_a_fifth_later_names_its_end_once(monkeypatch, capsys, left, late):
    now = 1000.0
    monkeypatch.setattr(time_limit.time, "monotonic", lambda: now)
    watch = time_limit.LateEnd(now + 300 if left else None)
    now = 1240.0
    watch.check(left or 1e6)
    watch.check(left or 1e6)
    message = "the run will end in 2.2 minutes, 1.2 later than --minutes asks for"
    assert " ".join(capsys.readouterr().err.split()).count(message) == late


@pytest.mark.compiled_fast
def test_a_run_that_is_resumed_near_its_end_checks_that_end(small_run, tmp_path, monkeypatch):
    small_run.train.update(epochs=10, checkpoint_every=28)  # 30 steps
    loop.train(small_run, tmp_path)
    shutil.rmtree(tmp_path / "checkpoints" / "30")
    checked = []
    monkeypatch.setattr(time_limit.LateEnd, "check", lambda _, seconds_left: checked.append(seconds_left))
    loop.train(small_run, tmp_path)
    assert checked == [0.0]  # after its second step; the first one is compiled


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
    per_step = time_limit._seconds_per_step(setup, trial, left=1)
    assert 0 < 5 * per_step + per_validation < time.monotonic() - begun
