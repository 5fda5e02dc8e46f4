"""Writing of checkpoints: which are kept, and what a failure leaves."""

import errno
import shutil

import pytest

from stlight_jax import InputError
from stlight_jax.runs import checkpoint, checkpoint_writer
from stlight_jax.training.saved_state import load_state, to_trees
from tests.runs.checkpoints import assert_equal, make_state, write

pytestmark = pytest.mark.compiled_fast


def test_the_newest_and_the_best_are_kept(tmp_path):
    write(tmp_path, {10: 3.0, 20: 1.0, 30: 2.0, 40: None, 50: 2.5, 60: 2.6}, keep=2)
    assert checkpoint.steps(tmp_path) == [20, 50, 60]
    assert checkpoint.choose_step(tmp_path, "best") == 20
    assert checkpoint.choose_step(tmp_path, "last") == 60
    assert checkpoint.choose_step(tmp_path, "50") == 50


def test_an_old_checkpoint_that_cannot_be_deleted_ends_nothing(tmp_path, monkeypatch, caplog):
    def refuse(path, *_, **__):
        raise OSError(errno.ENOTEMPTY, "Directory not empty", str(path))  # as NFS does while somebody reads there

    with monkeypatch.context() as patched, caplog.at_level("WARNING"):
        patched.setattr(shutil, "rmtree", refuse)
        write(tmp_path, {10: 3.0, 20: 1.0, 30: 2.0, 40: 2.0}, keep=2)
    assert "checkpoint 10 in" in caplog.text
    assert "could not be deleted: [Errno 39] Directory not empty" in caplog.text
    assert checkpoint.choose_step(tmp_path, "last") == 40
    assert checkpoint.latest_valid_step(tmp_path) == 40
    write(tmp_path, {50: 2.0}, keep=2)
    assert checkpoint.steps(tmp_path) == [20, 40, 50]


def test_keeping_goes_on_after_a_restart(tmp_path):
    write(tmp_path, {10: 1.0, 20: 2.0, 30: 3.0}, keep=2)
    write(tmp_path, {40: 4.0, 50: 5.0}, keep=2)
    assert checkpoint.steps(tmp_path) == [10, 40, 50]


def test_weights_alone_can_be_evaluated_but_not_gone_on_with(tmp_path, caplog):
    variables = make_state(3).variables
    checkpoint_writer.save_variables(tmp_path, 3, variables, {"name": "brought in"})
    assert checkpoint.choose_step(tmp_path, "best") == 3
    assert "no checkpoint in" in caplog.text
    assert_equal(checkpoint.load_variables(tmp_path, 3, make_state(0).variables), variables)
    assert checkpoint.load_description(tmp_path, 3) == {"name": "brought in"}
    with pytest.raises(InputError, match="holds weights only, .* --config.train.init_from="):
        load_state(tmp_path, 3, make_state(0))


def test_a_score_that_is_no_number_is_no_score(tmp_path):
    write(tmp_path, {1: 1.0, 2: float("nan")})
    assert checkpoint.choose_step(tmp_path, "best") == 1


def test_a_vanished_folder_is_an_error_at_once(tmp_path):
    with checkpoint_writer.CheckpointWriter(tmp_path / "c", 2) as writer:
        writer.save(1, to_trees(make_state(1)), {})
        writer.wait()
        shutil.rmtree(tmp_path / "c")
        with pytest.raises(InputError, match="c is gone; .* training stops at step 2"):
            writer.save(2, to_trees(make_state(2)), {})
