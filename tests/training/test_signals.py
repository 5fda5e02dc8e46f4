"""Signals at bad moments: a right status, nothing lost."""

import re
import shutil
import signal
import time

import pytest

from stlight_jax.runs import checkpoint
from stlight_jax.runs.metrics_log import read_metrics
from tests.training.faults import Started, assert_checkpoints_are_sound, assert_goes_on_to_the_end, being_saved, run_config
from tests.training.runs import alone, command, losses, newest_step, run_to_end

pytestmark = pytest.mark.compiled_fast


def test_sigterm_before_the_first_step_ends_the_run_with_its_status(small_run, tmp_path):
    started = Started(small_run, tmp_path / "run")
    started.until_said("loading libraries")
    started.signal(signal.SIGTERM)
    assert started.end() == 75
    assert "stopped before the first step, so nothing had to be saved; run the same command" in started.said
    assert newest_step(tmp_path / "run") == 0


@pytest.mark.long
def test_sigterm_during_a_save(whole, tmp_path):
    workdir, before = tmp_path / "run", 0
    for _ in range(5):
        started = Started(run_config(), workdir)
        started.until(lambda before=before: newest_step(workdir) > before and being_saved(workdir))
        started.signal(signal.SIGTERM)
        assert started.end() == 75, started.said
        before = assert_checkpoints_are_sound(workdir)
        assert f"stopped on request at step {before}, saved; run the same command to continue" in started.said
        assert not being_saved(workdir)
    assert_goes_on_to_the_end(workdir, whole, before)


@pytest.mark.long
def test_a_second_sigterm_ends_the_run_at_once(whole, tmp_path):
    workdir = tmp_path / "run"
    started = Started(run_config(), workdir)
    started.until_step(5)
    started.signal(signal.SIGTERM)
    started.until_said("stop requested")
    started.signal(signal.SIGTERM)
    assert started.end() in (-signal.SIGTERM, 75)  # the save may have been quicker
    assert_goes_on_to_the_end(workdir, whole, checkpoint.latest_valid_step(workdir / "checkpoints"))


@pytest.mark.long
@pytest.mark.parametrize("line", ["compiling the training step", "first step"])
def test_sigterm_during_compilation_and_after_the_first_step(whole, tmp_path, line):
    environment = {**alone(), "JAX_ENABLE_COMPILATION_CACHE": "false"}
    started = Started(run_config(), tmp_path / "run", environment)
    started.until_said(line)
    started.signal(signal.SIGTERM)
    assert started.end() == 75, started.said
    saved = assert_checkpoints_are_sound(tmp_path / "run")
    assert f"stopped on request at step {saved}, saved" in started.said
    if line.startswith("compiling"):
        assert saved == 1
    assert_goes_on_to_the_end(tmp_path / "run", whole, saved)


@pytest.mark.long
def test_sigterm_at_random_moments_of_the_start(whole, tmp_path):
    """75 each time, and what is there can be gone on with."""
    workdir = tmp_path / "run"
    run_to_end(command(workdir, run_config()))  # in the caches from now on
    shutil.rmtree(workdir)
    for tenths in range(2, 60, 7):
        started = Started(run_config(), workdir)
        started.until_said("loading libraries")
        time.sleep(tenths / 10)
        started.signal(signal.SIGTERM)
        assert started.end() == 75, (tenths, started.said)
        assert re.search("stopped (before the first step|on request)", started.said)
        if newest_step(workdir) == 30:
            break
    assert_goes_on_to_the_end(workdir, whole, newest_step(workdir))


@pytest.mark.long
def test_sigterm_during_validation(tmp_path):
    config = run_config()
    config.data.validation_sequences = 20_000
    started = Started(config, tmp_path / "run")
    started.until(lambda: losses(tmp_path / "run"))
    time.sleep(0.5)
    begun = time.monotonic()
    started.signal(signal.SIGTERM)
    assert started.end() == 75, started.said
    assert time.monotonic() - begun < 20
    assert "stopped on request at step 1, saved" in started.said
    assert read_metrics(tmp_path / "run", "validation") == []
    assert assert_checkpoints_are_sound(tmp_path / "run") == 1
