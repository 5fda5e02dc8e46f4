"""The step: Adam by hand, gradients against finite differences of the loss, accumulation, averages, horizons."""

import dataclasses
import functools

import flax.linen as nn
import jax
import jax.numpy as jnp
import ml_collections
import numpy as np
import pytest

from stlight_jax import STLight
from stlight_jax.data.scaling import Scaling
from stlight_jax.parallel.launchers import AXIS, PmapLauncher
from stlight_jax.training.schedule import Hyperparameters
from stlight_jax.training.state import create_state, make_optimizer
from stlight_jax.training.step import LOSSES, make_train_step


def optimizer_config(**changes):
    return ml_collections.ConfigDict({"beta2": 0.999, "eps": 1e-8, "clip_norm": 0.0, "weight_decay": 0.0, **changes})


def test_adam_with_a_cycled_beta1_equals_the_formula():
    random = np.random.default_rng(0)
    value = {"kernel": jnp.asarray(random.standard_normal(5), jnp.float32)}
    expected = np.asarray(value["kernel"], np.float64)
    state = make_optimizer(optimizer_config()).init(value)
    mean = variance = np.zeros(5)
    for step, (rate, beta1) in enumerate([(0.1, 0.95), (0.2, 0.9), (0.3, 0.85), (0.1, 0.95)], 1):
        gradient = random.standard_normal(5).astype(np.float32)
        updates, state = make_optimizer(optimizer_config(), rate, beta1).update({"kernel": jnp.asarray(gradient)}, state, value)
        value = jax.tree.map(jnp.add, value, updates)
        # As PyTorch's Adam: both corrections use the coefficients of this step.
        mean = beta1 * mean + (1 - beta1) * gradient
        variance = 0.999 * variance + 0.001 * gradient.astype(np.float64) ** 2
        update = -rate * mean / (1 - beta1**step) / (np.sqrt(variance / (1 - 0.999**step)) + 1e-8)
        expected += update
        # 1 - 0.999**t loses 6e-8 / 1e-3 in float32 at the first step, and the root halves that.
        np.testing.assert_allclose(updates["kernel"], update, rtol=5e-5)
        np.testing.assert_allclose(value["kernel"], expected, atol=5e-5 * 0.3)


def test_clipping_and_weight_decay():
    params = {"kernel": jnp.array([3.0]), "bias": jnp.array([3.0])}
    gradients = {"kernel": jnp.array([30.0]), "bias": jnp.array([40.0])}

    def update(config):
        optimizer = make_optimizer(config, 0.1, 0.9)
        return optimizer.update(gradients, optimizer.init(params), params)

    clipped_state = update(optimizer_config(clip_norm=5.0))[1]
    moments = [leaf for leaf in jax.tree.leaves(clipped_state) if leaf.shape == (1,)]
    # Gradients of norm 50 are scaled to norm 5; first moments are a tenth of that, second ones a thousandth of its square.
    np.testing.assert_allclose(sorted(float(m[0]) for m in moments), [0.009, 0.016, 0.3, 0.4], rtol=1e-5)
    plain, decayed = update(optimizer_config())[0], update(optimizer_config(weight_decay=0.5))[0]
    np.testing.assert_allclose(decayed["kernel"] - plain["kernel"], [-0.1 * 0.5 * 3.0], rtol=1e-5)
    np.testing.assert_array_equal(decayed["bias"], plain["bias"])


def make_run(config, devices, ema_decay=0.0):
    launcher = PmapLauncher(jax.devices()[:devices])
    model = STLight(config, AXIS)
    optimizer = functools.partial(make_optimizer, optimizer_config())
    state = create_state(model, optimizer(), 0, (16, 16, config.in_channels), averaged=ema_decay > 0)
    step = launcher.compile_train_step(make_train_step(model, optimizer, AXIS, ema_decay=ema_decay))
    return launcher, launcher.replicate(state), step, model


def batches(config, count, batch=8):
    random = np.random.default_rng(0)
    shape = (batch, config.in_frames + config.out_frames, 16, 16, config.in_channels)
    return [random.integers(0, 256, shape, dtype=np.uint8) for _ in range(count)]


@pytest.fixture
def video_model(small_model):
    return dataclasses.replace(small_model, in_channels=1, overlap=0, hidden_dim=16, depth=2)


def test_loss_and_gradient_norm_are_those_of_the_whole_batch(video_model):
    video_model = dataclasses.replace(video_model, depth=3)  # blocks before, across and after the skip
    launcher, state, step, _ = make_run(video_model, 4)
    frames = batches(video_model, 1)[0]
    plain = STLight(video_model)
    inputs, targets = frames[:, :3].astype(np.float32) / 255, frames[:, 3:].astype(np.float32) / 255

    @jax.jit
    def loss(params):
        out, _ = plain.apply({**state.variables, "params": params}, inputs, train=True, mutable=["batch_stats"])
        return jnp.mean(jnp.square(out - targets))

    params = jax.tree.map(np.asarray, state.params)
    direction = jax.tree.map(lambda x: np.random.default_rng(1).standard_normal(x.shape).astype(np.float32), params)
    gradients = jax.jit(jax.grad(loss))(params)
    slope = sum(np.vdot(g, d) for g, d in zip(jax.tree.leaves(gradients), jax.tree.leaves(direction), strict=True))
    ahead, behind = (
        float(loss(jax.tree.map(lambda p, d, sign=sign: p + sign * 1e-3 * d, params, direction))) for sign in (1, -1)
    )
    assert (ahead - behind) / 2e-3 == pytest.approx(slope, rel=2e-2)
    norm = np.sqrt(sum(np.sum(np.square(g)) for g in jax.tree.leaves(gradients)))
    expected = float(loss(params))
    _, metrics = step(state, launcher.split(frames), Hyperparameters(np.float32(1e-3), np.float32(0.9)))
    assert float(metrics["loss"]) == pytest.approx(expected, rel=1e-5)
    assert float(metrics["gradient_norm"]) == pytest.approx(norm, rel=1e-4)


@pytest.mark.compiled_fast
def test_the_moving_average_is_the_formulas(video_model):
    launcher, state, step, _ = make_run(video_model, 2, ema_decay=0.28)
    average = jax.tree.map(np.float64, state.raw_variables)
    for number, frames in enumerate(batches(video_model, 6)):
        old = state
        state, _ = step(state, launcher.split(frames), Hyperparameters(np.float32(1e-2), np.float32(0.9)))
        if number == 0:  # donated to the new one; of the later ones NumPy has views
            assert all(leaf.is_deleted() for leaf in jax.tree.leaves((old.params, old.ema)))
        decay = min(0.28, (1 + number) / (10 + number))  # 0.1, 0.18, 0.25, then 0.28
        new = jax.device_get(state.raw_variables)
        average = jax.tree.map(lambda old, new, decay=decay: decay * old + (1 - decay) * new, average, new)
        ours, expected = jax.tree.leaves(state.ema), jax.tree.leaves(average)
        assert len(ours) == len(jax.tree.leaves(new))  # parameters and running statistics
        for leaf, wanted in zip(ours, expected, strict=True):
            assert leaf.dtype == np.float32
            np.testing.assert_allclose(leaf, wanted, rtol=1e-6, atol=1e-6 * np.abs(wanted).max())
    for path in (("params", "mixers_across_skip", "near", "kernel"), ("batch_stats", "patch_encoder", "norm", "mean")):
        kept, raw = (functools.reduce(lambda tree, name: tree[name], path, tree) for tree in (state.ema, state.raw_variables))
        assert np.abs(kept - raw).max() > 1e-4
    assert state.variables is state.ema


def in_training(model_config):
    """Variables and inputs -> prediction and new statistics."""
    return jax.jit(functools.partial(STLight(model_config).apply, train=True, mutable=["batch_stats"]))


def trained_once(model_config, frames, scaling, devices=4):
    launcher = PmapLauncher(jax.devices()[:devices])
    model = STLight(model_config, AXIS)
    optimizer = functools.partial(make_optimizer, optimizer_config())
    state = launcher.replicate(create_state(model, optimizer(), 0, (16, 16, model_config.in_channels)))
    before = jax.tree.map(np.asarray, state.variables)
    step = launcher.compile_train_step(make_train_step(model, optimizer, AXIS, scaling))
    _, metrics = step(state, launcher.split(frames), Hyperparameters(np.float32(1e-3), np.float32(0.9)))
    return before, {name: float(value) for name, value in metrics.items()}


@pytest.mark.compiled_fast
def test_missing_values_stay_out_of_the_loss_however_they_are_spread(video_model):
    numbers = np.random.default_rng(2).integers(0, 401, (8, 7, 16, 16, 1)).astype(np.uint16)
    numbers[0, 3:] = 65535  # a sequence without any target, and one with half of its pixels: devices hold unequal shares
    numbers[5, :, :8] = 65535
    frames = (numbers.astype(np.float32) / 100 - 1).astype(np.float32)
    frames[numbers == 65535] = np.nan
    variables, as_floats = trained_once(video_model, frames, Scaling("float32", (-1.0,), (3.0,), missing=True, filling=(0.25,)))
    scaled = np.where(np.isnan(frames), 0.25, (frames + 1) / 4)
    prediction, _ = in_training(video_model)(variables, scaled[:, :3])
    errors = np.square(np.asarray(prediction, np.float64) - scaled[:, 3:])
    assert as_floats["loss"] == pytest.approx(errors[~np.isnan(frames[:, 3:])].mean(), rel=1e-5)
    # What stands where values are missing makes no difference: a number for "missing" instead of NaN is the same batch.
    whole = Scaling("uint16", (0.0,), (400.0,), missing=True, fill=65535, filling=(0.25,))
    _, as_numbers = trained_once(video_model, numbers, whole)
    assert as_numbers["loss"] == pytest.approx(as_floats["loss"], rel=1e-5)
    assert as_numbers["gradient_norm"] == pytest.approx(as_floats["gradient_norm"], rel=1e-4)


@pytest.mark.compiled_fast
def test_batches_without_values_and_constant_channels_give_finite_steps(video_model):
    config = dataclasses.replace(video_model, in_channels=2, out_channels=2)
    scaling = Scaling("float32", (-1.0, 4.0), (3.0, 4.0), missing=True, filling=(0.25, 0.0))
    launcher, model = PmapLauncher(jax.devices()[:1]), STLight(config, AXIS)
    optimizer = functools.partial(make_optimizer, optimizer_config(clip_norm=1.0))
    state = launcher.replicate(create_state(model, optimizer(), 0, (16, 16, 2)))
    step = launcher.compile_train_step(make_train_step(model, optimizer, AXIS, scaling))
    frames = np.full((4, 7, 16, 16, 2), np.nan, np.float32)
    state, metrics = step(state, launcher.split(frames), Hyperparameters(np.float32(1e-3), np.float32(0.9)))
    assert (float(metrics["loss"]), float(metrics["gradient_norm"])) == (0, 0)
    variables = jax.tree.map(np.asarray, state.variables)
    assert all(np.isfinite(leaf).all() for leaf in jax.tree.leaves(variables))

    frames[..., 0] = np.random.default_rng(2).uniform(-1, 3, frames.shape[:-1])
    frames[..., 1] = 4
    frames[0, :3] = frames[1, 3:] = frames[2] = np.nan  # without inputs, without targets, without both
    scaled = np.where(np.isnan(frames), (0.25, 0), (frames - (-1, 4)) / (4, 1)).astype(np.float32)
    prediction, _ = in_training(config)(variables, scaled[:, :3])
    errors = np.square(np.asarray(prediction, np.float64) - scaled[:, 3:]) * [1, 0]  # the constant is predicted as it is
    _, metrics = step(state, launcher.split(frames), Hyperparameters(np.float32(1e-3), np.float32(0.9)))
    assert float(metrics["loss"]) == pytest.approx(errors[~np.isnan(frames[:, 3:])].mean(), rel=1e-5)
    assert np.isfinite(float(metrics["gradient_norm"]))


@pytest.mark.compiled_fast
def test_training_on_a_longer_horizon_goes_through_all_passes(video_model):
    frames = np.random.default_rng(3).integers(0, 256, (8, 3 + 9, 16, 16, 1), dtype=np.uint8)  # T' is 4: three passes
    variables, metrics = trained_once(video_model, frames, None, devices=1)
    plain, scaled = in_training(video_model), frames.astype(np.float32) / 255

    def loss(params):
        stats, seen, blocks = variables["batch_stats"], scaled[:, :3], []
        for _ in range(3):
            of_pass = {"params": params, "batch_stats": stats}
            block, updates = plain(of_pass, seen)
            stats = updates["batch_stats"]
            blocks.append(block)
            seen = jnp.concatenate([seen, block], 1)[:, -3:]
        return jnp.mean(jnp.square(jnp.concatenate(blocks, 1)[:, :9] - scaled[:, 3:]))

    expected, gradients = jax.jit(jax.value_and_grad(loss))(variables["params"])
    norm = np.sqrt(sum(np.sum(np.square(leaf)) for leaf in jax.tree.leaves(gradients)))
    assert metrics["loss"] == pytest.approx(float(expected), rel=1e-5)
    assert metrics["gradient_norm"] == pytest.approx(float(norm), rel=1e-4)


def one_step(model_config, frames, accumulate=1, axis=AXIS, devices=2, network=STLight, scaling=None, **settings):
    """Metrics, and the state, of a step."""
    launcher = PmapLauncher(jax.devices()[:devices])
    model = network(model_config, axis)
    optimizer = functools.partial(make_optimizer, optimizer_config())
    state = launcher.replicate(create_state(model, optimizer(), 0, (16, 16, model_config.in_channels)))
    step = launcher.compile_train_step(make_train_step(model, optimizer, AXIS, scaling, accumulate, **settings))
    state, metrics = step(state, launcher.split(frames), Hyperparameters(np.float32(1e-3), np.float32(0.9)))
    return {name: float(value) for name, value in metrics.items()}, jax.device_get(state)


class WithNormsAtRest(STLight):
    """STLight with the running statistics in training, too: sequences of a batch do not know of each other."""

    @nn.compact
    def __call__(self, frames, train=False, valid=None):
        return super().__call__(frames, valid=valid)


@pytest.mark.parametrize(("accumulate", "missing"), [pytest.param(2, False, marks=pytest.mark.long), (4, True)])
def test_accumulation_is_the_large_batch_where_sequences_do_not_know_of_each_other(video_model, accumulate, missing):
    frames, scaling = batches(video_model, 1)[0], None
    if missing:  # unequal shares, of the parts as of the devices
        frames[0, 3:] = 255
        frames[5, :, :8] = 255
        scaling = Scaling("uint8", (0.0,), (254.0,), missing=True, fill=255, filling=(0.5,))
    whole, whole_state = one_step(video_model, frames, network=WithNormsAtRest, scaling=scaling)
    parts, parts_state = one_step(video_model, frames, accumulate, network=WithNormsAtRest, scaling=scaling)
    for name, value in whole.items():
        assert parts[name] == pytest.approx(value, rel=1e-6)
    # After one step, Adam's first moment is a tenth of the gradient.
    parts_trees, whole_trees = ((state.opt_state[1].mu, state.params) for state in (parts_state, whole_state))
    for ours, expected in zip(jax.tree.leaves(parts_trees), jax.tree.leaves(whole_trees), strict=True):
        assert np.linalg.norm(ours - expected) <= 1e-6 * np.linalg.norm(expected)


@pytest.mark.compiled_fast
def test_accumulation_normalises_each_part_by_itself_whatever_the_number_of_devices(video_model):
    frames = batches(video_model, 1)[0]
    (alone, alone_state), (many, many_state) = (one_step(video_model, frames, 4, devices=number) for number in (1, 2))
    plain = in_training(video_model)
    variables = create_state(STLight(video_model), make_optimizer(optimizer_config()), 0, (16, 16, 1)).variables
    losses = []
    for part in (frames[first::4].astype(np.float32) / 255 for first in range(4)):
        prediction, updates = plain(variables, part[:, :3])
        variables = {**variables, **updates}
        losses.append(jnp.mean(jnp.square(prediction - part[:, 3:])))
    assert alone["loss"] == pytest.approx(float(np.mean(losses)), rel=1e-5)
    for ours, expected in zip(jax.tree.leaves(alone_state.batch_stats), jax.tree.leaves(variables["batch_stats"]), strict=True):
        np.testing.assert_allclose(ours, expected, rtol=1e-4, atol=1e-6)
    assert many["loss"] == pytest.approx(alone["loss"], rel=1e-5)
    assert many["gradient_norm"] == pytest.approx(alone["gradient_norm"], rel=1e-5)
    for ours, expected in zip(jax.tree.leaves(many_state.batch_stats), jax.tree.leaves(alone_state.batch_stats), strict=True):
        np.testing.assert_allclose(ours, expected, rtol=1e-5, atol=1e-6)


@pytest.mark.compiled_fast
def test_local_batch_norms_see_their_devices_share_and_average_what_they_keep(video_model):
    frames = batches(video_model, 1)[0]
    metrics, state = one_step(video_model, frames, axis=None)
    plain = in_training(video_model)
    variables = create_state(STLight(video_model), make_optimizer(optimizer_config()), 0, (16, 16, 1)).variables
    losses, statistics = [], []
    for share in frames.reshape(2, 4, *frames.shape[1:]).astype(np.float32) / 255:
        prediction, updates = plain(variables, share[:, :3])
        losses.append(jnp.mean(jnp.square(prediction - share[:, 3:])))
        statistics.append(updates["batch_stats"])
    assert metrics["loss"] == pytest.approx(float(np.mean(losses)), rel=1e-5)
    expected = jax.tree.map(lambda *of_devices: np.mean(of_devices, 0), *statistics)
    for ours, mean in zip(jax.tree.leaves(state.batch_stats), jax.tree.leaves(expected), strict=True):
        np.testing.assert_allclose(ours, mean, rtol=1e-4, atol=1e-6)
    scaled = frames.astype(np.float32) / 255
    synchronised = jnp.mean(jnp.square(plain(variables, scaled[:, :3])[0] - scaled[:, 3:]))
    assert metrics["loss"] != pytest.approx(float(synchronised), rel=1e-5)


@pytest.mark.parametrize(
    ("error", "expected"),
    [
        ("squared", 0.0052),
        ("absolute", 0.06),
        ("both", 0.0052**0.5 + 0.06),  # root mean square and mean
        ("huber", (0.0002 + 0.05 * (0.1 - 0.025)) / 2),  # half the square, then 0.05 |e| - 0.05**2 / 2
    ],
)
def test_losses_are_those_of_their_formulas(error, expected):
    loss = LOSSES[error](jnp.array([-0.02, 0.1]), jnp.mean, lambda of_device: of_device)
    np.testing.assert_allclose(loss, expected, rtol=1e-6)


def test_the_gradient_of_both_weighs_each_error_against_the_root_mean_square():
    errors = jnp.array([-0.02, 0.1])
    gradient = jax.grad(lambda error: LOSSES["both"](error, jnp.mean, lambda of_device: of_device))(errors)
    np.testing.assert_allclose(gradient, (2 * errors / 0.0052**0.5 + jnp.sign(errors)) / 2, rtol=1e-6)
    zero = jax.grad(lambda error: LOSSES["both"](error, jnp.mean, lambda of_device: of_device))(jnp.zeros(2))
    assert np.isfinite(zero).all()


def test_the_loss_of_a_step_is_that_of_its_config(video_model):
    frames = batches(video_model, 1)[0]
    prediction, _ = in_training(video_model)(
        create_state(STLight(video_model), make_optimizer(optimizer_config()), 0, (16, 16, 1)).variables,
        frames[:, :3].astype(np.float32) / 255,
    )
    errors = prediction - frames[:, 3:] / 255
    metrics, _ = one_step(video_model, frames, error="absolute")
    assert metrics["loss"] == pytest.approx(float(np.mean(np.abs(errors))), rel=1e-5)
    metrics, _ = one_step(video_model, frames, error="both")  # the root of all devices' errors, not of each share's
    expected = np.mean(np.square(errors)) ** 0.5 + np.mean(np.abs(errors))
    assert metrics["loss"] == pytest.approx(float(expected), rel=1e-5)
