"""What bfloat16 is for: activations of half the size, and the same training."""

import dataclasses
import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from stlight_jax import Forecaster, STLight
from stlight_jax.data.load import check_config, network_config, open_test, open_training
from stlight_jax.data.pipeline import steps_per_epoch, training_batches
from stlight_jax.model.stlight import init_variables
from stlight_jax.parallel.launchers import AXIS, make_launcher
from stlight_jax.scoring.evaluate import evaluate_workdir
from stlight_jax.training.loop import train
from stlight_jax.training.schedule import Hyperparameters, make_schedule
from stlight_jax.training.state import create_state, make_optimizer
from stlight_jax.training.step import make_train_step
from tests.conftest import load_config


def losses(config, dtype):
    """Of each step of a whole run on one device, with its own weights, batches, rates: all but `dtype` are the config's."""
    config.model.dtype = dtype
    launcher = make_launcher(config.parallel.launcher, jax.devices()[:1])
    source, _ = open_training(config)
    batch_size, epochs = config.train.batch_size, config.train.epochs
    per_epoch = steps_per_epoch(len(source), batch_size)
    schedule = make_schedule(config.optimizer, epochs * per_epoch, per_epoch, batch_size)
    model = STLight(network_config(check_config(config)), AXIS)
    optimizer = functools.partial(make_optimizer, config.optimizer)
    state = launcher.replicate(create_state(model, optimizer(), config.train.seed, source.shape[1:]))
    step = launcher.compile_train_step(make_train_step(model, optimizer, AXIS, source.scaling))
    found = []
    batches = training_batches(source, batch_size, 0, epochs * per_epoch)
    for index, batch in enumerate(launcher.prefetch(batches)):
        rates = Hyperparameters(*(np.float32(value) for value in schedule(index)))
        state, metrics = step(state, batch, rates)
        found.append(float(metrics["loss"]))
    return np.array(found)


def assert_trains_as_well(config, last):
    exact, half = losses(config, "float32"), losses(config, "bfloat16")
    assert (exact[1:] != half[1:]).all()  # it was another computation; the first loss is that of a shortcut, if there is one
    assert exact[-last:].mean() < 0.8 * exact[:5].mean()  # and it learned
    assert half[-last:].mean() == pytest.approx(exact[-last:].mean(), rel=0.03)


def test_bfloat16_trains_a_small_network_as_well_as_float32(small_run):
    small_run.data.sequences_per_epoch = 800
    small_run.optimizer.learning_rate = 3e-3
    assert_trains_as_well(small_run, last=50)


@pytest.mark.long
def test_bfloat16_trains_the_tiny_network_as_well_as_float32():
    config = load_config("tiny")
    config.train.epochs = 3
    assert_trains_as_well(config, last=50)


def test_a_training_in_bfloat16_is_evaluated_in_the_type_asked_for(small_run, tmp_path):
    small_run.model.dtype = "bfloat16"
    train(small_run, tmp_path)
    frames = open_test(small_run).frames(np.arange(5))
    truth = frames[:, 3:].astype(np.float64)
    found = {}
    for dtype in (None, "float32"):
        forecast = Forecaster.load(tmp_path, checkpoint="last", compute_dtype=dtype)(frames[:, :3], dtype="float64")
        results = evaluate_workdir(tmp_path, "last", dtype=dtype)
        assert results["dtype"] == (dtype or "bfloat16")
        found[dtype] = results["overall"]["stlight"]["mse"]
        assert found[dtype] == pytest.approx(np.square((forecast - truth) / 255).sum((2, 3, 4)).mean(), rel=1e-5)
    assert found[None] != pytest.approx(found["float32"], rel=3e-5)


@pytest.mark.parametrize("depthwise", ["auto", "portable"])
def test_gradients_of_the_output_are_summed_over_all_pixels_in_float32(depthwise):
    """A sum in bfloat16 stops growing after some hundreds of terms of one sign."""
    config = dataclasses.replace(network_config(check_config(load_config("tiny"))), dtype="bfloat16", depthwise=depthwise)
    model = STLight(config)
    rng = np.random.default_rng(0)
    frames = rng.random((4, config.in_frames, 64, 64, 1), np.float32)
    weights = rng.uniform(0.5, 1.5, (4, config.out_frames, 64, 64, 1)).astype(np.float32)
    variables = init_variables(model, 0, (64, 64, 1))

    def weighted(params):
        return jnp.sum(weights * model.apply({**variables, "params": params}, frames))

    gradient = jax.jit(jax.grad(weighted))(variables["params"])["patch_reassembly"]["conv"]["bias"]
    np.testing.assert_allclose(gradient, weights.sum((0, 2, 3, 4), np.float64), rtol=1e-5)
