"""Choice of checkpoints: the best or the last valid one, never a damaged one."""

import signal

import jax.numpy as jnp
import pytest

from stlight_jax import InputError
from stlight_jax.console.signals import raise_termination
from stlight_jax.errors import TerminationInterrupt
from stlight_jax.runs import checkpoint
from stlight_jax.training.saved_state import load_state
from tests.runs.checkpoints import damage, make_state, write

pytestmark = pytest.mark.compiled_fast


def test_sigterm_waits_for_orbax_to_be_done_and_the_second_does_not(tmp_path, monkeypatch):
    write(tmp_path, {1: 1.0})
    read = checkpoint.ocp.checkpointables_metadata

    done = []

    def reading(path):
        for _ in range(signals):
            signal.raise_signal(signal.SIGTERM)
        found = read(path)
        done.append(path)
        return found

    monkeypatch.setattr(checkpoint.ocp, "checkpointables_metadata", reading)
    before = signal.signal(signal.SIGTERM, raise_termination)
    try:
        for load, like in ((checkpoint.load_variables, make_state(0).variables), (load_state, make_state(0))):
            for signals in (1, 2):
                done.clear()
                with pytest.raises(TerminationInterrupt):
                    load(tmp_path, 1, like)
                assert bool(done) == (signals == 1)
    finally:
        signal.signal(signal.SIGTERM, before)


def test_a_damaged_newest_checkpoint_is_reported_and_the_one_before_used(tmp_path, caplog):
    write(tmp_path / "c", {1: 2.0, 2: 1.0, 3: 0.5})
    damage(tmp_path / "c" / "3")
    assert checkpoint.choose_step(tmp_path / "c", "last") == 2
    assert checkpoint.choose_step(tmp_path / "c", "best") == 2
    assert "checkpoint 3 is not used" in caplog.text
    assert "damaged (its checksum differs)" in caplog.text
    with pytest.raises(InputError, match="checkpoint 3 .* cannot be used: .* damaged"):
        checkpoint.choose_step(tmp_path / "c", "3")
    assert checkpoint.latest_valid_step(tmp_path / "c", move_damaged_to=tmp_path / "rejected") == 2
    assert checkpoint.steps(tmp_path / "c") == [1, 2]
    assert len(list((tmp_path / "rejected").iterdir())) == 1
    write(tmp_path / "c", {3: 0.4})  # its step can be written anew
    assert checkpoint.choose_step(tmp_path / "c", "best") == 3


def test_an_unsealed_checkpoint_is_incomplete(tmp_path, caplog):
    write(tmp_path, {1: 1.0, 2: 1.0})
    (tmp_path / "2" / "checksums.json").unlink()
    assert checkpoint.latest_valid_step(tmp_path) == 1
    assert "checkpoint 2 is not used: it is incomplete" in caplog.text
    (tmp_path / "1" / "checksums.json").unlink()
    with pytest.raises(InputError, match="no valid checkpoint is left"):  # no interruption leaves two
        checkpoint.latest_valid_step(tmp_path)


def test_an_interrupted_first_save_means_starting_from_scratch(tmp_path):
    write(tmp_path / "c", {1: 1.0})
    (tmp_path / "c" / "1" / "checksums.json").unlink()
    assert checkpoint.latest_valid_step(tmp_path / "c", tmp_path / "rejected") is None
    assert checkpoint.steps(tmp_path / "c") == []


def test_training_does_not_silently_start_over_when_all_are_damaged(tmp_path):
    write(tmp_path, {1: 1.0, 2: 1.0})
    damage(tmp_path / "1")
    damage(tmp_path / "2")
    with pytest.raises(InputError, match=r"no valid checkpoint is left \(damaged: 2, 1\)"):
        checkpoint.latest_valid_step(tmp_path)


def test_other_shapes_are_refused(tmp_path):
    write(tmp_path, {1: 1.0})
    other = make_state(0).replace(params={"a": {"kernel": jnp.zeros((3, 5))}, "b": jnp.zeros(5)})
    with pytest.raises(InputError, match=r"does not fit .*: model/params/a/kernel should be \[3, 5\], it is \[\d+, \d+\]"):
        checkpoint.load_variables(tmp_path, 1, other.variables)
    renamed = make_state(0).replace(params={"c": jnp.zeros(5)})
    with pytest.raises(InputError, match="does not fit .*: model/params/c should be .*, it is missing"):
        checkpoint.load_variables(tmp_path, 1, renamed.variables)


@pytest.mark.parametrize("which", ["first", "-1", "3", "1.0", "01", "²"])
def test_unknown_choices_name_the_steps_there_are(tmp_path, which):
    write(tmp_path, {1: 1.0, 2: 1.0})
    with pytest.raises(InputError, match="expected best, last or one of 1, 2"):
        checkpoint.choose_step(tmp_path, which)


def test_no_checkpoint_at_all(tmp_path):
    for which in ("best", "last", "1"):
        with pytest.raises(InputError, match="no checkpoint here"):
            checkpoint.choose_step(tmp_path / "nowhere", which)


def test_locate_takes_a_workdir_or_a_checkpoint(tmp_path):
    write(tmp_path / "checkpoints", {1: 1.0, 2: 1.0})
    assert checkpoint.locate(tmp_path) == (tmp_path / "checkpoints", 2)
    assert checkpoint.locate(tmp_path / "checkpoints" / "1") == (tmp_path / "checkpoints", 1)
    with pytest.raises(InputError, match="no checkpoint here"):
        checkpoint.locate(tmp_path / "elsewhere")
    write(tmp_path / "20241122" / "checkpoints", {5: 1.0})  # a workdir whose name is a number
    assert checkpoint.locate(tmp_path / "20241122") == (tmp_path / "20241122" / "checkpoints", 5)
