"""Clocks that jump: nothing changes."""

import pathlib
import time

import pytest

from stlight_jax.runs import checkpoint, checkpoint_writer
from stlight_jax.runs.metrics_log import read_metrics
from stlight_jax.training import loop
from stlight_jax.training.saved_state import to_trees
from tests.runs.checkpoints import make_state
from tests.training.faults import Started, assert_checkpoints_are_sound, run_config
from tests.training.runs import alone, assert_same_state, losses, raw_trees

pytestmark = pytest.mark.compiled_fast


@pytest.mark.parametrize("jump", [86_400, -365 * 86_400])
def test_saves_do_not_mind_the_clock(tmp_path, monkeypatch, jump):
    """Put forward or back at any of the hundreds of moments at which Orbax looks at it."""
    real = time.time
    looks = 0

    def clock():
        nonlocal looks
        looks += 1
        return real() + (jump if looks >= at else 0)

    at = float("inf")
    monkeypatch.setattr(time, "time", clock)
    with checkpoint_writer.CheckpointWriter(tmp_path, 2) as writer:
        for step in range(1, 13):
            at = looks + 10 * step
            writer.save(step, to_trees(make_state(step)), {}, {"mse": float(step)})
            writer.wait()
            assert looks > at
            at = float("inf")
    assert checkpoint.steps(tmp_path) == [1, 11, 12]  # the best and the last two
    assert [checkpoint.find_damage(tmp_path / str(step)) for step in (1, 11, 12)] == [None, None, None]


@pytest.mark.long
def test_training_does_not_mind_the_clock(small_run, tmp_path, monkeypatch):
    """It jumps to and fro all the while."""
    small_run.train.update(epochs=10, checkpoint_every=1, keep_checkpoints=40)
    loop.train(small_run, tmp_path / "whole")
    real, looks = time.time, 0

    def clock():
        nonlocal looks
        looks += 1
        return real() + (0, 86_400, -86_400, 365 * 86_400, -365 * 86_400)[looks // 40 % 5]

    monkeypatch.setattr(time, "time", clock)
    state = loop.train(small_run, tmp_path / "jumping")
    assert looks > 1000
    assert losses(tmp_path / "jumping") == losses(tmp_path / "whole")
    assert checkpoint.steps(tmp_path / "jumping" / "checkpoints") == list(range(1, 31))
    assert_checkpoints_are_sound(tmp_path / "jumping")
    assert_same_state(loop.train(small_run, tmp_path / "jumping"), state)


@pytest.mark.long
def test_a_whole_process_does_not_mind_the_clock(whole, tmp_path):
    """All of it, also what is written in C++, sees the clock of libfaketime."""
    library = next(pathlib.Path("/usr/lib").glob("*/faketime/libfaketimeMT.so.1"), None)
    if library is None:
        pytest.skip("libfaketime is not installed")
    setting = tmp_path / "setting"
    setting.write_text("+0")
    environment = {
        **alone(),
        "LD_PRELOAD": str(library),
        "FAKETIME_TIMESTAMP_FILE": str(setting),
        "FAKETIME_NO_CACHE": "1",
        "FAKETIME_DONT_FAKE_MONOTONIC": "1",
    }
    started = Started(run_config(), tmp_path / "run", environment)
    for step, jump in ((4, "+1d"), (9, "-1d"), (14, "+365d"), (19, "-365d")):
        started.until_step(step)
        setting.write_text(jump)
    assert started.end() == 0
    stamps = [line["time"] for line in read_metrics(tmp_path / "run", "train")]
    assert max(stamps) - min(stamps) > 600 * 86_400  # it did jump
    assert_same_state(raw_trees(tmp_path / "run", 30), raw_trees(whole, 30))
    assert losses(tmp_path / "run") == losses(whole)
