"""The batch statistics of averaged weights are those of the network with these weights."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from stlight_jax.config.sections import OptimizerSection
from stlight_jax.data.scaling import Scaling
from stlight_jax.model.stlight import STLight
from stlight_jax.parallel.launchers import AXIS, make_launcher
from stlight_jax.training.averaged_statistics import make_statistics_step
from stlight_jax.training.state import create_state, make_optimizer

pytestmark = pytest.mark.compiled_fast


@pytest.fixture
def video_model(small_model):
    return dataclasses.replace(small_model, in_channels=1, out_frames=3, depth=2)


def first_norm(model, params, frames):
    """Mean and biased variance of what the first batch norm sees in a pass, by NumPy."""
    seen = jnp.asarray(frames[:, : model.config.in_frames], jnp.float32) / 255
    _, found = model.apply(
        {"params": params, "batch_stats": zeros(model)}, seen, train=True, mutable=["batch_stats", "intermediates"],
        capture_intermediates=lambda module, _: module.name == "conv",
    )  # fmt: skip
    x = np.asarray(found["intermediates"]["patch_encoder"]["conv"]["__call__"][0], np.float64)
    x = x + np.asarray(params["patch_encoder"]["bias"], np.float64)
    return x.mean((0, 1, 2)), x.var((0, 1, 2))


def zeros(model):
    return jax.tree.map(jnp.zeros_like, create_state(model, make_optimizer(OptimizerSection()), 0, (16, 16, 1)).batch_stats)


@pytest.mark.parametrize("launcher_name", ["pmap", "shard_map"])
def test_the_statistics_are_the_mean_over_batches_of_the_averaged_weights(video_model, launcher_name):
    launcher = make_launcher(launcher_name, jax.devices()[:2])
    model = STLight(video_model, AXIS)
    state = create_state(model, make_optimizer(OptimizerSection()), 0, (16, 16, 1))
    other = create_state(model, make_optimizer(OptimizerSection()), 1, (16, 16, 1))
    state = dataclasses.replace(state, ema=jax.tree.map(np.array, other.raw_variables))
    generator = np.random.default_rng(0)
    frames = generator.integers(256, size=(2, 8, 6, 16, 16, 1), dtype=np.uint8)
    single = STLight(video_model)
    expected = [first_norm(single, other.params, batch) for batch in frames]
    step = launcher.compile_train_step(make_statistics_step(model, AXIS, Scaling()))
    params, on_devices = jax.tree.map(np.array, state.params), launcher.replicate(state)
    for number, batch in enumerate(frames, 1):
        on_devices, _ = step(on_devices, launcher.split(batch), np.float32(number))
    found = launcher.to_checkpoint(on_devices)
    norm = found.ema["batch_stats"]["patch_encoder"]["norm"]
    for name, of_batches in zip(("mean", "var"), zip(*expected, strict=True), strict=True):
        np.testing.assert_allclose(norm[name], np.mean(of_batches, 0), rtol=1e-4, atol=1e-6)
    jax.tree.map(np.testing.assert_array_equal, found.params, params)  # nothing else has changed
    jax.tree.map(np.testing.assert_array_equal, found.ema["params"], jax.tree.map(np.array, other.params))


def test_a_rollout_counts_all_its_passes(video_model):
    """A horizon of two passes, the second of which sees what the first one has predicted."""
    model = STLight(video_model)
    launcher = make_launcher("pmap", jax.devices()[:1])
    state = create_state(model, make_optimizer(OptimizerSection()), 0, (16, 16, 1), averaged=True)
    in_frames, out_frames = video_model.in_frames, video_model.out_frames
    frames = np.random.default_rng(0).integers(256, size=(4, in_frames + 2 * out_frames, 16, 16, 1), dtype=np.uint8)
    variables = jax.tree.map(jnp.array, state.raw_variables)
    seen = jnp.asarray(frames[:, :in_frames], jnp.float32) / 255
    prediction, _ = model.apply(variables, seen, train=True, mutable=["batch_stats"])
    second = jnp.concatenate([seen, prediction], 1)[:, -in_frames:]
    passes = [first_norm(model, variables["params"], np.asarray(part) * 255) for part in (seen, second)]
    step = launcher.compile_train_step(make_statistics_step(model, AXIS, Scaling()))
    result, _ = step(launcher.replicate(state), launcher.split(frames), np.float32(1))
    mean = launcher.to_checkpoint(result).ema["batch_stats"]["patch_encoder"]["norm"]["mean"]
    expected = (0.9 * passes[0][0] + passes[1][0]) / 1.9  # running averages forget with 0.9
    np.testing.assert_allclose(mean, expected, rtol=1e-4, atol=1e-6)
