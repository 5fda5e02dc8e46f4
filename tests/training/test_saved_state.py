"""Training states come back from checkpoints to the bit, with and without a moving average."""

import jax
import pytest

from stlight_jax.runs import checkpoint, checkpoint_writer
from stlight_jax.training.saved_state import load_state, to_trees
from tests.runs.checkpoints import assert_equal, make_state, write

pytestmark = pytest.mark.compiled_fast


def test_a_state_comes_back_bit_for_bit_with_its_description(tmp_path):
    write(tmp_path, {7: 1.0})
    assert_equal(load_state(tmp_path, 7, make_state(0)), make_state(7))
    assert_equal(checkpoint.load_variables(tmp_path, 7, make_state(0).variables), make_state(7).variables)
    assert checkpoint.load_description(tmp_path, 7) == {"name": "step 7"}


def stored(directory, step):
    from orbax.checkpoint import v1 as ocp

    return ocp.load_checkpointables(directory / str(step))


def test_predictors_find_the_moving_average_and_a_resumed_run_its_raw_weights(tmp_path):
    state = make_state(7, averaged=True)
    with checkpoint_writer.CheckpointWriter(tmp_path, 2) as writer:
        writer.save(7, to_trees(state), {})
    assert_equal(checkpoint.load_variables(tmp_path, 7, make_state(0).variables), state.ema)
    assert_equal(load_state(tmp_path, 7, make_state(0, averaged=True)), make_state(7, averaged=True))
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
    begun = load_state(tmp_path, 7, make_state(0, averaged=True))
    assert_equal(begun.ema, make_state(7).raw_variables)
    assert_equal(begun.replace(ema=None), make_state(7))
    buffers = [leaf.unsafe_buffer_pointer() for leaf in jax.tree.leaves(begun)]
    assert len(set(buffers)) == len(buffers)  # a step is given all of them, each once
    with checkpoint_writer.CheckpointWriter(tmp_path / "averaged", 2) as writer:
        writer.save(8, to_trees(make_state(8, averaged=True)), {})
    assert_equal(load_state(tmp_path / "averaged", 8, make_state(0)), make_state(8))
