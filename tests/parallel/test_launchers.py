"""Both launchers on 1, 2, 4 and 8 devices: one course of training, one reduction of gradients, nothing gathered."""

import dataclasses
import functools
import re

import jax
import numpy as np
import pytest

from stlight_jax import InputError, STLight, STLightConfig
from stlight_jax.data.scaling import Scaling
from stlight_jax.evaluation.eval_steps import make_eval_step
from stlight_jax.model.ops import batch_norm, cpu_kernels, cpu_training
from stlight_jax.parallel.launchers import AXIS, LAUNCHERS, make_launcher
from stlight_jax.training.schedule import Hyperparameters
from stlight_jax.training.state import create_state, make_optimizer
from stlight_jax.training.step import make_train_step
from tests.model import compiled_kernels
from tests.networks import trained_variables
from tests.training.test_step import optimizer_config

CONFIG = STLightConfig(
    in_frames=3, out_frames=2, in_channels=1, out_channels=1, hidden_dim=16, depth=3, patch_size=2, far_kernel=3
)
RATES = Hyperparameters(np.float32(1e-3), np.float32(0.9))
OPTIMIZER = functools.partial(make_optimizer, optimizer_config())


def frames(number):
    return np.random.default_rng(number).integers(0, 256, (8, 5, 16, 16, 1), dtype=np.uint8)


@functools.cache
def trained(name, devices):
    """Losses, parameters, moving average and evaluation of the parameters after twenty steps."""
    launcher = make_launcher(name, jax.devices()[:devices])
    model = STLight(CONFIG, AXIS)
    state = launcher.replicate(create_state(model, OPTIMIZER(), 0, (16, 16, 1), averaged=True))
    step = launcher.compile_train_step(make_train_step(model, OPTIMIZER, AXIS, ema_decay=0.9))
    losses = []
    for batch in launcher.prefetch([frames(number) for number in range(20)]):
        state, metrics = step(state, batch, RATES)
        losses.append(float(metrics["loss"]))
    evaluation = launcher.join(
        launcher.compile_eval_step(make_eval_step(model, Scaling()))(state.raw_variables, launcher.split(frames(9)))
    )
    return losses, jax.device_get(state.params), jax.device_get(state.ema), evaluation


@pytest.mark.parametrize(
    ("name", "devices"),
    [
        ("pmap", 2),
        ("shard_map", 8),
        *(
            pytest.param(*case, marks=pytest.mark.long)
            for case in (("shard_map", 1), ("shard_map", 2), ("pmap", 4), ("shard_map", 4), ("pmap", 8))
        ),
    ],
)
def test_losses_parameters_and_evaluation_do_not_depend_on_the_launcher_or_the_devices(name, devices):
    losses, *trees, evaluation = trained(name, devices)
    expected_losses, *expected_trees, expected_evaluation = trained("pmap", 1)
    np.testing.assert_allclose(losses, expected_losses, rtol=1e-5)
    # As one vector: Adam scales up the rounding noise of single entries whose gradient is hardly anything else.
    for pair in zip(trees, expected_trees, strict=True):
        ours, expected = (np.concatenate([leaf.ravel() for leaf in jax.tree.leaves(tree)]) for tree in pair)
        assert np.linalg.norm(ours - expected) <= 1e-5 * np.linalg.norm(expected)
    assert evaluation.keys() == expected_evaluation.keys()
    for metric, expected in expected_evaluation.items():
        assert evaluation[metric].shape == (8, 2)
        np.testing.assert_allclose(evaluation[metric], expected, rtol=1e-5, atol=1e-5 * np.abs(expected).max())


@pytest.mark.parametrize(
    ("name", "ema_decay"),
    [
        # Each launcher once, each kind of state once; the others are among the long ones.
        pytest.param(name, decay, marks=[pytest.mark.long] if (name == "pmap") == (decay > 0) else [])
        for name in LAUNCHERS
        for decay in (0.0, 0.9)
    ],
)
def test_the_compiled_step_reduces_gradients_once_and_gathers_nothing(name, ema_decay):
    launcher = make_launcher(name, jax.devices()[:4])
    model = STLight(CONFIG, AXIS)
    state = launcher.replicate(create_state(model, OPTIMIZER(), 0, (16, 16, 1), averaged=ema_decay > 0))
    step = launcher.compile_train_step(make_train_step(model, OPTIMIZER, AXIS, ema_decay=ema_decay))
    program = step.lower(state, launcher.split(frames(0)), RATES).compile().as_text()
    for collective in ("all-gather", "all-to-all", "collective-permute", "reduce-scatter"):
        assert collective not in program
    reductions = [line for line in program.splitlines() if re.search(r"= .* all-reduce(-start)?\(", line)]
    of_statistics = [line for line in reductions if re.search(r"= f32\[2,16\]\S* all-reduce", line)]
    # Two sums for each norm and direction: of the encoder, and in three loops over blocks with two norms each.
    assert len(of_statistics) == 2 * (1 + 3 * 2)
    (of_gradients,) = [line for line in reductions if line not in of_statistics]
    entries = sum(leaf.size for leaf in jax.tree.leaves(state.params))
    assert f"= f32[{entries + 1}]" in of_gradients  # and the loss


@pytest.mark.parametrize("name", LAUNCHERS)
def test_devices_with_the_kernel_of_all_blocks_predict_what_the_layers_predict(name):
    compiled_kernels.require(cpu_kernels)
    config = dataclasses.replace(CONFIG, hidden_dim=32)  # the least width of the kernel
    variables, model = trained_variables(config), STLight(config)
    inputs = np.random.default_rng(0).random((8, 3, 16, 16, 1), np.float32)
    launcher = make_launcher(name, jax.devices()[:4])
    step = launcher.compile_eval_step(
        lambda variables, frames: model.clone(folded=True).apply(batch_norm.fold(variables), frames)
    )
    given = launcher.replicate(variables), launcher.split(inputs)
    assert "stlight_mixers_float32" in step.lower(*given).compile().as_text()
    by_layers = np.asarray(model.apply(variables, inputs))
    np.testing.assert_allclose(launcher.join(step(*given)), by_layers, rtol=0, atol=1e-5 * np.ptp(by_layers))


@pytest.mark.parametrize(
    ("name", "axis", "devices", "uses_kernels"),
    [
        ("pmap", AXIS, 2, False),
        pytest.param("pmap", None, 2, True, marks=pytest.mark.long),
    ],
)
def test_kernels_of_training_serve_batch_norms_of_one_device_only(name, axis, devices, uses_kernels):
    """Without an axis, each device normalises by its own sequences; a fifth of the values is missing."""
    compiled_kernels.require(cpu_training)
    model = STLight(dataclasses.replace(CONFIG, hidden_dim=32), axis)
    scaling = Scaling("float32", (0.0,), (255.0,), missing=True, filling=(0.5,))
    batch = frames(0).astype(np.float32)
    batch[np.random.default_rng(1).random(batch.shape) < 0.2] = np.nan

    def trained_once(model, launcher):
        state = launcher.replicate(create_state(model, OPTIMIZER(), 0, (16, 16, 1), averaged=False))
        step = launcher.compile_train_step(make_train_step(model, OPTIMIZER, AXIS, scaling))
        text = step.lower(state, launcher.split(batch), RATES).compile().as_text()
        state, metrics = step(state, launcher.split(batch), RATES)
        return text, float(metrics["loss"]), *jax.device_get((state.params, state.batch_stats))

    text, loss, *trees = trained_once(model, make_launcher(name, jax.devices()[:devices]))
    assert ("stlight_training_forward" in text) == ("stlight_training_backward" in text) == uses_kernels
    by_layers = STLight(dataclasses.replace(model.config, depthwise="taps"), axis)
    # Statistics of all devices are those of one device that has the whole batch.
    launcher = make_launcher("pmap", jax.devices()[: 1 if axis else devices])
    text, expected_loss, *expected_trees = trained_once(by_layers, launcher)
    assert "stlight_training" not in text
    assert loss == pytest.approx(expected_loss, rel=1e-5)
    for pair in zip(trees, expected_trees, strict=True):
        ours, expected = (np.concatenate([leaf.ravel() for leaf in jax.tree.leaves(tree)]) for tree in pair)
        assert np.linalg.norm(ours - expected) <= 1e-4 * np.linalg.norm(expected)


@pytest.mark.parametrize("name", [pytest.param("pmap", marks=pytest.mark.long), "shard_map"])
def test_kernels_of_training_on_two_devices_train_as_on_one(name):
    """Both devices have the same sequences, so that the statistics of each are those of the whole batch."""
    compiled_kernels.require(cpu_training)
    model = STLight(dataclasses.replace(CONFIG, hidden_dim=32))
    batches = [np.concatenate([frames(number)[:4]] * 2) for number in range(3)]

    def trained_on(devices):
        launcher = make_launcher(name, jax.devices()[:devices])
        state = launcher.replicate(create_state(model, OPTIMIZER(), 0, (16, 16, 1), averaged=False))
        step = launcher.compile_train_step(make_train_step(model, OPTIMIZER, AXIS))
        text = step.lower(state, launcher.split(batches[0]), RATES).compile().as_text()
        assert "stlight_training_forward" in text
        assert "stlight_training_backward" in text
        losses = []
        for batch in launcher.prefetch(batches):
            state, metrics = step(state, batch, RATES)
            losses.append(float(metrics["loss"]))
        return losses, *jax.device_get((state.params, state.batch_stats))

    losses, *trees = trained_on(2)
    expected_losses, *expected_trees = trained_on(1)
    np.testing.assert_allclose(losses, expected_losses, rtol=1e-5)
    for pair in zip(trees, expected_trees, strict=True):
        ours, expected = (np.concatenate([leaf.ravel() for leaf in jax.tree.leaves(tree)]) for tree in pair)
        assert np.linalg.norm(ours - expected) <= 1e-5 * np.linalg.norm(expected)


def test_an_unknown_launcher_is_refused():
    with pytest.raises(InputError, match="parallel.launcher is 'xmap'; choose one of pmap, shard_map"):
        make_launcher("xmap")
