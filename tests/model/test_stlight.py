"""The network against a plain NumPy reading of the paper."""

import dataclasses
import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from stlight_jax import Predictor, STLight
from stlight_jax.model.stlight import pixel_shuffle
from stlight_jax.model.time_folding import fold_time, unfold_time
from tests.model import reference


def random_variables(config, frames, seed=0):
    """Kernels that keep activations about one, and every bias, scale and statistic off its starting value."""
    random = np.random.default_rng(seed)

    def value(path, leaf):
        if path[-1].key != "kernel":
            return random.uniform(0.5, 1.5, leaf.shape).astype(np.float32)
        fan_in = np.prod(leaf.shape[-4:-1])  # of stacked blocks each
        return (random.standard_normal(leaf.shape) / fan_in**0.5).astype(np.float32)

    return jax.tree_util.tree_map_with_path(value, jax.eval_shape(STLight(config).init, jax.random.key(0), frames))


def random_frames(config, height, width, batch=2, seed=1):
    random = np.random.default_rng(seed)
    return random.random((batch, config.in_frames, height, width, config.in_channels), np.float32)


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"overlap": 0, "depth": 2},
        {"overlap": 3, "patch_size": 1, "depth": 4, "out_frames": 1},
        {"overlap": 4, "in_frames": 1, "depthwise": "native"},
        {"depth": 7, "scan_unroll": 3, "near_kernel": 1, "far_kernel": 5, "dilation": 3, "depthwise": "taps"},
        {"patch_size": 4, "hidden_dim": 16, "out_channels": 3},
    ],
)
def test_forward_equals_numpy(small_model, changes):
    config = dataclasses.replace(small_model, **changes)
    frames = random_frames(config, 8, 12)
    variables = random_variables(config, frames)
    prediction = jax.jit(STLight(config).apply)(variables, frames)
    expected = reference.stlight(config, variables["params"], variables["batch_stats"], frames.astype(np.float64))
    assert prediction.shape == (2, config.out_frames, 8, 12, config.out_channels)
    np.testing.assert_allclose(prediction, expected, rtol=2e-5, atol=2e-5 * np.abs(expected).max())


def test_time_is_folded_time_major():
    frames = jnp.arange(2 * 3 * 4 * 5 * 2).reshape(2, 3, 4, 5, 2)
    folded = fold_time(frames)
    for t in range(3):
        for c in range(2):
            np.testing.assert_array_equal(folded[..., t * 2 + c], frames[:, t, :, :, c])
    np.testing.assert_array_equal(unfold_time(folded, 3), frames)


def test_pixel_shuffle_has_torchs_channel_order():
    x = np.random.default_rng(0).random((2, 3, 4, 18))
    np.testing.assert_array_equal(pixel_shuffle(jnp.asarray(x), 3), reference.pixel_shuffle(x, 3).astype(np.float32))


def test_training_normalises_by_the_batch_and_moves_the_running_statistics(small_model):
    frames = random_frames(small_model, 8, 8)
    variables = random_variables(small_model, frames)
    model = STLight(small_model)
    _, updates = jax.jit(lambda *given: model.apply(*given, train=True, mutable=["batch_stats"]))(variables, frames)
    encoder = variables["params"]["patch_encoder"]
    folded = np.concatenate([frames[:, t] for t in range(small_model.in_frames)], -1).astype(np.float64)
    x = reference.convolution(folded, np.asarray(encoder["conv"]["kernel"], np.float64), 2, 1)
    x = x + np.asarray(encoder["bias"])
    before, after = variables["batch_stats"]["patch_encoder"]["norm"], updates["batch_stats"]["patch_encoder"]["norm"]
    np.testing.assert_allclose(after["mean"], 0.9 * before["mean"] + 0.1 * x.mean((0, 1, 2)), rtol=1e-5)
    np.testing.assert_allclose(after["var"], 0.9 * before["var"] + 0.1 * x.var((0, 1, 2)), rtol=1e-5)


def test_rematerialisation_changes_no_gradient(small_model):
    frames = np.random.default_rng(0).random((2, 3, 8, 8, 2), np.float32)
    deep = dataclasses.replace(small_model, depth=12)
    variables = random_variables(deep, frames)

    def gradients(what):
        model = STLight(dataclasses.replace(deep, rematerialise=what))

        def loss(params):
            prediction, _ = model.apply({**variables, "params": params}, frames, train=True, mutable=["batch_stats"])
            return jnp.sum(jnp.square(prediction))

        compiled = jax.jit(jax.grad(loss)).lower(variables["params"]).compile()
        return compiled(variables["params"]), compiled.memory_analysis().temp_size_in_bytes

    plain, memory = gradients("nothing")
    for what in ("elementwise", "blocks"):
        again, less = gradients(what)
        jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=2e-4, atol=1e-4), again, plain)
        assert less < memory


def test_encoder_bias_has_no_gradient_in_training_only(small_model):
    frames = random_frames(small_model, 8, 8)
    variables = random_variables(small_model, frames)
    model = STLight(small_model)

    def loss(params, train):
        out = model.apply({**variables, "params": params}, frames, train=train, mutable=["batch_stats"])[0]
        return jnp.sum(jnp.square(out))

    gradients = jax.jit(jax.grad(loss), static_argnums=1)
    assert not np.any(gradients(variables["params"], True)["patch_encoder"]["bias"])
    assert np.all(gradients(variables["params"], False)["patch_encoder"]["bias"])


def test_bfloat16_activations_keep_float32_parameters_and_output(small_model):
    frames = random_frames(small_model, 8, 8)
    variables = random_variables(small_model, frames)
    exact = jax.jit(STLight(small_model).apply)(variables, frames)
    half = STLight(dataclasses.replace(small_model, dtype="bfloat16"))
    assert all(leaf.dtype == jnp.float32 for leaf in jax.tree.leaves(jax.jit(half.init)(jax.random.key(0), frames)))
    rounded = jax.jit(half.apply)(variables, frames)
    assert rounded.dtype == jnp.float32
    error = np.abs(rounded - exact).max() / np.abs(exact).max()
    assert 1e-5 < error < 0.05


def test_integer_frames_are_refused(small_model):
    with pytest.raises(TypeError, match="divide by 255"):
        STLight(small_model).init(jax.random.key(0), jnp.zeros((1, 3, 8, 8, 2), jnp.uint8))


@pytest.mark.compiled_fast
@pytest.mark.parametrize(
    ("patch_size", "overlap", "height", "width", "shortcut"),
    [(2, 0, 9, 11, "none"), (2, 3, 7, 12, "linear"), (3, 0, 8, 7, "linear"), (3, 3, 10, 13, "none")],
)
def test_training_evaluation_and_prediction_pad_frames_alike(small_model, patch_size, overlap, height, width, shortcut):
    """To whole patches, by their last row and column; the prediction has the frames' own size."""
    sizes = {"patch_size": patch_size, "overlap": overlap, "hidden_dim": 36, "depth": 2}
    config = dataclasses.replace(small_model, shortcut=shortcut, depthwise="native", **sizes)
    frames = random_frames(config, height, width)
    variables = random_variables(config, frames)
    padding = ((0, 0), (0, 0), (0, -height % patch_size), (0, -width % patch_size), (0, 0))
    padded = np.pad(frames, padding, mode="edge")
    evaluate = jax.jit(functools.partial(STLight(config).apply, variables))
    train = jax.jit(functools.partial(STLight(config).apply, variables, train=True, mutable=["batch_stats"]))
    for predict in (evaluate, Predictor(config, variables), lambda given: train(given)[0]):
        found, whole = np.asarray(predict(frames)), np.asarray(predict(padded))
        assert found.shape[2:4] == (height, width)
        np.testing.assert_allclose(found, whole[:, :, :height, :width], atol=1e-5)
    np.testing.assert_allclose(Predictor(config, variables)(frames), evaluate(frames), rtol=1e-4, atol=1e-4)
