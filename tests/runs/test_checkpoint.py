"""Checkpoints: what is kept, what comes back, and that nothing damaged is ever used."""

import errno
import json
import pathlib
import shutil
import signal

import jax
import jax.numpy as jnp
import ml_collections
import numpy as np
import pytest

from stlight_jax import InputError
from stlight_jax.console.signals import raise_termination
from stlight_jax.errors import TerminationInterrupt
from stlight_jax.runs import checkpoint
from stlight_jax.training.state import TrainState, make_optimizer

pytestmark = pytest.mark.compiled_fast

OPTIMIZER = ml_collections.ConfigDict({"beta2": 0.999, "eps": 1e-8, "clip_norm": 1.0, "weight_decay": 0.1})


def make_state(step, averaged=False):
    random = np.random.default_rng(step)
    params = {"a": {"kernel": jnp.asarray(random.standard_normal((3, 4)), jnp.float32)}, "b": jnp.arange(5.0)}
    state = make_optimizer(OPTIMIZER).init(params)
    return TrainState(
        step=jnp.asarray(step, jnp.int32),
        params=params,
        batch_stats={"norm": {"mean": jnp.full(4, float(step))}},
        opt_state=jax.tree.map(lambda x: x + 1, state),
        ema={"params": jax.tree.map(lambda x: x + 2, params), "batch_stats": {"norm": {"mean": jnp.full(4, 0.5)}}}
        if averaged
        else None,
    )


def write(directory, scores, keep=3):
    with checkpoint.CheckpointWriter(directory, keep) as writer:
        for step, mse in scores.items():
            writer.save(make_state(step), {"name": f"step {step}"}, None if mse is None else {"mse": mse})


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
        for load, like in ((checkpoint.load_variables, make_state(0).variables), (checkpoint.load_state, make_state(0))):
            for signals in (1, 2):
                done.clear()
                with pytest.raises(TerminationInterrupt):
                    load(tmp_path, 1, like)
                assert bool(done) == (signals == 1)
    finally:
        signal.signal(signal.SIGTERM, before)


def assert_equal(a, b):
    assert jax.tree.structure(a) == jax.tree.structure(b)
    for x, y in zip(jax.tree.leaves(a), jax.tree.leaves(b), strict=True):
        np.testing.assert_array_equal(x, y)
        assert x.dtype == y.dtype


def test_a_state_comes_back_bit_for_bit_with_its_description(tmp_path):
    write(tmp_path, {7: 1.0})
    assert_equal(checkpoint.load_state(tmp_path, 7, make_state(0)), make_state(7))
    assert_equal(checkpoint.load_variables(tmp_path, 7, make_state(0).variables), make_state(7).variables)
    assert checkpoint.load_description(tmp_path, 7) == {"name": "step 7"}


def stored(directory, step):
    from orbax.checkpoint import v1 as ocp

    return ocp.load_checkpointables(directory / str(step))


def test_predictors_find_the_moving_average_and_a_resumed_run_its_raw_weights(tmp_path):
    state = make_state(7, averaged=True)
    with checkpoint.CheckpointWriter(tmp_path, 2) as writer:
        writer.save(state, {})
    assert_equal(checkpoint.load_variables(tmp_path, 7, make_state(0).variables), state.ema)
    assert_equal(checkpoint.load_state(tmp_path, 7, make_state(0, averaged=True)), make_state(7, averaged=True))
    trees = stored(tmp_path, 7)
    assert_equal(trees["model"], state.ema)
    assert_equal({name: trees["optimizer"][name] for name in ("params", "batch_stats")}, state.raw_variables)


def test_without_a_moving_average_a_checkpoint_is_laid_out_as_ever(tmp_path):
    write(tmp_path, {7: 1.0})
    trees = stored(tmp_path, 7)
    assert_equal(trees["model"], make_state(7).raw_variables)
    assert trees["optimizer"].keys() == {"step", "opt_state"}


def test_a_moving_average_begins_with_the_weights_and_can_be_dropped(tmp_path):
    write(tmp_path, {7: 1.0})
    begun = checkpoint.load_state(tmp_path, 7, make_state(0, averaged=True))
    assert_equal(begun.ema, make_state(7).raw_variables)
    assert_equal(begun.replace(ema=None), make_state(7))
    buffers = [leaf.unsafe_buffer_pointer() for leaf in jax.tree.leaves(begun)]
    assert len(set(buffers)) == len(buffers)  # a step is given all of them, each once
    with checkpoint.CheckpointWriter(tmp_path / "averaged", 2) as writer:
        writer.save(make_state(8, averaged=True), {})
    assert_equal(checkpoint.load_state(tmp_path / "averaged", 8, make_state(0)), make_state(8))


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


def files_of(directory):
    return sorted(path for path in pathlib.Path(directory).rglob("*") if path.is_file() and path.stat().st_size)


def test_one_flipped_bit_in_any_file_is_found(tmp_path):
    write(tmp_path, {1: 1.0})
    files = files_of(tmp_path / "1")
    assert len(files) > 8
    random = np.random.default_rng(0)
    for path in files:
        content = path.read_bytes()
        flipped = bytearray(content)
        flipped[random.integers(len(content))] ^= 1 << random.integers(8)
        path.write_bytes(flipped)
        assert checkpoint.find_damage(tmp_path / "1") is not None, path
        path.write_bytes(content)
        assert checkpoint.find_damage(tmp_path / "1") is None


def test_a_missing_and_a_foreign_file_are_found(tmp_path):
    write(tmp_path, {1: 1.0})
    (tmp_path / "1" / "model" / "stray").write_text("x")
    assert checkpoint.find_damage(tmp_path / "1") == "model/stray does not belong to it"
    (tmp_path / "1" / "model" / "stray").unlink()
    files_of(tmp_path / "1" / "model")[0].unlink()
    assert checkpoint.find_damage(tmp_path / "1").endswith("is missing")


def damage(directory):
    path = max(files_of(directory), key=lambda path: path.stat().st_size)
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 4
    path.write_bytes(content)


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
    with pytest.raises(InputError, match="no sound checkpoint is left"):  # no interruption leaves two
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
    with pytest.raises(InputError, match=r"no sound checkpoint is left \(faulty: 2, 1\)"):
        checkpoint.latest_valid_step(tmp_path)


def test_other_shapes_are_refused(tmp_path):
    write(tmp_path, {1: 1.0})
    other = make_state(0).replace(params={"a": {"kernel": jnp.zeros((3, 5))}, "b": jnp.zeros(5)})
    with pytest.raises(InputError, match=r"does not fit .*: model/params/a/kernel should be \[3, 5\], it is \[\d+, \d+\]"):
        checkpoint.load_variables(tmp_path, 1, other.variables)
    renamed = make_state(0).replace(params={"c": jnp.zeros(5)})
    with pytest.raises(InputError, match="does not fit .*: model/params/c should be .*, it is not there"):
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


def test_weights_alone_can_be_evaluated_but_not_gone_on_with(tmp_path, caplog):
    variables = make_state(3).variables
    checkpoint.save_variables(tmp_path, 3, variables, {"name": "brought in"})
    assert checkpoint.choose_step(tmp_path, "best") == 3
    assert "no checkpoint in" in caplog.text
    assert_equal(checkpoint.load_variables(tmp_path, 3, make_state(0).variables), variables)
    assert checkpoint.load_description(tmp_path, 3) == {"name": "brought in"}
    with pytest.raises(InputError, match="holds weights only, .* --config.train.init_from="):
        checkpoint.load_state(tmp_path, 3, make_state(0))


def test_a_score_that_is_no_number_is_no_score(tmp_path):
    write(tmp_path, {1: 1.0, 2: float("nan")})
    assert checkpoint.choose_step(tmp_path, "best") == 1


def test_a_vanished_folder_is_an_error_at_once(tmp_path):
    with checkpoint.CheckpointWriter(tmp_path / "c", 2) as writer:
        writer.save(make_state(1), {})
        writer.wait()
        shutil.rmtree(tmp_path / "c")
        with pytest.raises(InputError, match="c is gone; .* training stops at step 2"):
            writer.save(make_state(2), {})


def test_checksums_are_readable_json(tmp_path):
    write(tmp_path, {1: 1.0})
    sums = json.loads((tmp_path / "1" / "checksums.json").read_text())
    assert all(len(value) == 64 for value in sums.values())
    assert "_CHECKPOINT_METADATA" in sums
