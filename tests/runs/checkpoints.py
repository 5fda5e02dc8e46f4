"""Checkpoints for tests: small training states, and damage to files."""

import pathlib

import jax
import jax.numpy as jnp
import ml_collections
import numpy as np

from stlight_jax.runs.checkpoint_writer import CheckpointWriter
from stlight_jax.training.saved_state import to_trees
from stlight_jax.training.state import TrainState, make_optimizer

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
    with CheckpointWriter(directory, keep) as writer:
        for step, mse in scores.items():
            writer.save(step, to_trees(make_state(step)), {"name": f"step {step}"}, None if mse is None else {"mse": mse})


def assert_equal(a, b):
    assert jax.tree.structure(a) == jax.tree.structure(b)
    for x, y in zip(jax.tree.leaves(a), jax.tree.leaves(b), strict=True):
        np.testing.assert_array_equal(x, y)
        assert x.dtype == y.dtype


def files_of(directory):
    return sorted(path for path in pathlib.Path(directory).rglob("*") if path.is_file() and path.stat().st_size)


def damage(directory):
    path = max(files_of(directory), key=lambda path: path.stat().st_size)
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 4
    path.write_bytes(content)
