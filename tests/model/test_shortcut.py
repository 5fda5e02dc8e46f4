"""The path beside the network: where a forecast starts, what missing values become, and what it has to do with training."""

import dataclasses

import jax
import numpy as np
import pytest

from stlight_jax.config.sections import OptimizerSection
from stlight_jax.data.load import check_config, network_config
from stlight_jax.errors import InputError
from stlight_jax.model.count import count
from stlight_jax.model.ops.smoothing import smoothed
from stlight_jax.model.shortcut import fill_from_neighbours, flow_forecast
from stlight_jax.model.stlight import STLight, STLightConfig, init_variables
from stlight_jax.model.tiling import receptive_radius
from stlight_jax.training.state import make_optimizer
from tests.conftest import load_config

CONFIG = STLightConfig(
    in_frames=4, out_frames=3, in_channels=2, out_channels=1, hidden_dim=16, depth=2, patch_size=2, shortcut="linear"
)


def frames(missing: float = 0.0) -> tuple[np.ndarray, np.ndarray]:
    """Returns frames `[2, 4, 8, 8, 2]` and where they are valid."""
    generator = np.random.default_rng(0)
    return generator.random((2, 4, 8, 8, 2), np.float32), generator.random((2, 4, 8, 8, 2)) >= missing


def variables(config: STLightConfig = CONFIG) -> dict:
    return init_variables(STLight(config), 0, (8, 8, config.in_channels))


@pytest.mark.parametrize("shortcut", ["last", "linear"])
def test_a_new_network_with_a_shortcut_repeats_the_last_frame(shortcut):
    config = dataclasses.replace(CONFIG, shortcut=shortcut)
    seen, _ = frames()
    prediction = STLight(config).apply(variables(config), seen)
    np.testing.assert_array_equal(prediction, np.broadcast_to(seen[:, -1:, ..., :1], (2, 3, 8, 8, 1)))


def test_the_pixels_of_a_patch_start_with_equal_features():
    """So a new last convolution adds the same to all pixels of a patch, and no mesh."""
    tree = variables()
    added = np.random.default_rng(0).normal(size=np.shape(tree["params"]["patch_reassembly"]["conv"]["kernel"]))
    tree["params"]["patch_reassembly"]["conv"]["kernel"] = added.astype(np.float32)
    seen, _ = frames()
    network = np.asarray(STLight(CONFIG).apply(tree, seen) - seen[:, -1:, ..., :1])
    patches = network.reshape(2, 3, 4, 2, 4, 2)  # [b, t', h/p, p, w/p, p]
    assert network.std() > 0.1
    np.testing.assert_allclose(patches, np.broadcast_to(patches[:, :, :, :1, :, :1], patches.shape), atol=1e-5)
    plain = init_variables(STLight(dataclasses.replace(CONFIG, shortcut="none")), 0, (8, 8, 2))  # as in the paper
    kernel = np.asarray(plain["params"]["mixers_after_skip"]["pointwise"]["kernel"])[-1]
    assert len(np.unique(kernel)) == kernel.size


@pytest.mark.parametrize("shortcut", ["last", "linear"])
def test_a_missing_value_is_the_last_valid_one_whatever_stands_in_its_place(shortcut):
    config = dataclasses.replace(CONFIG, shortcut=shortcut)
    seen, valid = frames(missing=0.4)
    expected = np.full((2, 8, 8, 2), 0.25, np.float32)  # the filling, where no value is valid
    for time in range(4):
        expected = np.where(valid[:, time], seen[:, time], expected)
    assert not valid.any(axis=1).all()
    prediction = STLight(config).apply(variables(config), np.where(valid, seen, np.float32(0.25)), valid=valid)
    np.testing.assert_array_equal(prediction, np.broadcast_to(expected[:, None, ..., :1], (2, 3, 8, 8, 1)))


def test_values_are_filled_forward_then_backward_and_the_context_by_the_last_frame():
    seen = np.arange(1.0, 7.0, dtype=np.float32).reshape(1, 6, 1, 1, 1)
    valid = np.array([False, True, False, True, False, False]).reshape(seen.shape)
    filled = fill_from_neighbours(seen, valid, in_frames=4)
    np.testing.assert_array_equal(np.ravel(filled), [4, 2, 4, 4, 4, 4])


def test_a_missing_frame_of_a_period_is_that_of_another_period_with_its_phase():
    # Periods 2, 4, 12 and 5, two lead times each (10 p + lead), then two input frames.
    context = np.array([20, 21, 40, 41, 120, 121, 50, 51, 1, 2], np.float32).reshape(1, 10, 1, 1, 1)
    cases = {
        (0,): {0: 40},  # the next multiple
        (0, 2): {0: 120, 2: 120},
        (4,): {4: 40},  # the largest divisor
        (3, 5): {3: 21, 5: 21},
        (6, 1, 3, 5): {6: 2, 1: 2, 3: 2, 5: 2},  # no phase in common, or all missing: the last input frame
    }
    for missing, replaced in cases.items():
        valid, expected = np.ones(10, bool), np.ravel(context).copy()
        valid[list(missing)] = False
        expected[list(replaced)] = list(replaced.values())
        filled = fill_from_neighbours(context, valid.reshape(context.shape), in_frames=2, periods=(2, 4, 12, 5))
        np.testing.assert_array_equal(np.ravel(filled), expected)


def test_a_mean_and_a_frame_of_the_same_period_replace_each_other():
    # Periods 4, 8 and the mean of 4, one lead time each, then two input frames.
    context, valid = np.array([4, 8, 44, 1, 2], np.float32).reshape(1, 5, 1, 1, 1), np.ones(5, bool)
    for missing, expected in {(0,): [44, 8, 44], (2,): [4, 8, 4], (0, 2): [8, 8, 8], (0, 1): [44, 44, 44]}.items():
        valid[:] = True
        valid[list(missing)] = False
        filled = fill_from_neighbours(context, valid.reshape(context.shape), in_frames=2, periods=(4, 8, 4))
        np.testing.assert_array_equal(np.ravel(filled)[:3], expected)


def test_the_linear_shortcut_is_one_matrix_for_all_pixels():
    tree = variables()
    generator = np.random.default_rng(1)
    kernel, bias = generator.random((8, 3), np.float32), generator.random(3, np.float32)
    tree["params"]["shortcut"]["linear"] = {"kernel": kernel, "bias": bias}
    seen, _ = frames()
    expected = np.einsum("bthwc,tcp->bphw", seen.astype(np.float64), kernel.reshape(4, 2, 3)) + bias[:, None, None]
    np.testing.assert_allclose(STLight(CONFIG).apply(tree, seen)[..., 0], expected, rtol=1e-6)


def test_weight_decay_leaves_the_shortcut_alone():
    tree = variables()["params"]
    optimizer = make_optimizer(OptimizerSection(weight_decay=0.1), learning_rate=1.0)
    zeros = jax.tree.map(np.zeros_like, tree)
    updates, _ = optimizer.update(zeros, optimizer.init(tree), tree)
    np.testing.assert_array_equal(updates["shortcut"]["linear"]["kernel"], 0)
    encoder = tree["patch_encoder"]["conv"]["kernel"]
    np.testing.assert_allclose(updates["patch_encoder"]["conv"]["kernel"], -0.1 * encoder, rtol=1e-6)


def moving_spot() -> np.ndarray:
    """Returns a smooth spot that moves with a constant speed, `[7, 32, 32]`."""
    rows, columns = np.mgrid[0:32, 0:32]
    time = np.arange(7)[:, None, None]
    return np.exp(-((rows - 10 - time) ** 2 + (columns - 22 + 0.5 * time) ** 2) / 30).astype(np.float32)


def test_the_linear_map_of_frames_and_flow_starts_at_the_flow_and_is_one_matrix_for_all_pixels():
    flow, both = (dataclasses.replace(CONFIG, in_channels=1, shortcut=kind) for kind in ("flow", "flow_linear"))
    tree, seen = variables(both), moving_spot()[None, :4, ..., None]
    carried = np.asarray(STLight(flow).apply(variables(flow), seen))
    np.testing.assert_array_equal(STLight(both).apply(tree, seen), carried)
    generator = np.random.default_rng(1)
    kernel, bias = generator.random((7, 3), np.float32), generator.random(3, np.float32)
    tree["params"]["shortcut"]["linear"] = {"kernel": kernel, "bias": bias}
    inputs = np.concatenate([seen, carried], axis=1)[..., 0].astype(np.float64)
    expected = np.einsum("bthw,tp->bphw", inputs, kernel) + bias[:, None, None]
    np.testing.assert_allclose(STLight(both).apply(tree, seen)[..., 0], expected, rtol=1e-5)


@pytest.mark.parametrize("missing", [0.0, 0.6])
def test_smoothed_copies_of_frames_and_flow_come_after_them(missing):
    config = dataclasses.replace(CONFIG, shortcut="flow_linear", shortcut_scales=2)
    tree, (seen, valid) = variables(config), frames(missing)
    repeated = np.asarray(STLight(config).apply(tree, seen, valid=valid))
    filled = fill_from_neighbours(seen, valid, 4)
    flow = np.asarray(flow_forecast(config, filled, valid))
    np.testing.assert_array_equal(repeated, flow)
    known, inputs = valid.any(1, keepdims=True), [filled, flow]
    copies = [smoothed(part, known[..., : part.shape[-1]], 2) for part in inputs]
    ordered = [*inputs, copies[0][0], copies[1][0], copies[0][1], copies[1][1]]
    inputs = np.concatenate([np.moveaxis(part, 1, 3).reshape(2, 8, 8, -1) for part in ordered], -1)
    assert inputs.shape[-1] == config.shortcut_inputs == 3 * (4 * 2 + 3)
    generator = np.random.default_rng(1)
    kernel, bias = generator.random((33, 3), np.float32), generator.random(3, np.float32)
    tree["params"]["shortcut"]["linear"] = {"kernel": kernel, "bias": bias}
    expected = (inputs.astype(np.float64) @ kernel + bias).transpose(0, 3, 1, 2)  # [b, t', h, w]
    np.testing.assert_allclose(STLight(config).apply(tree, seen, valid=valid)[..., 0], expected, rtol=1e-5)


@pytest.mark.parametrize(
    ("pixels", "scales"), [(16 * 8, 3), (31 * 33, 4), (32 * 32, 4), (37 * 49, 5), (2000 * 2000, 5), (None, 5), (1, 0)]
)
def test_an_open_number_of_scales_fits_into_the_frame(pixels, scales):
    config = load_config("tiny", "frames").model
    section = check_config(load_config("tiny", "frames")).model
    assert (config.shortcut_scales, section.for_data(1, pixels).shortcut_scales) == (-1, scales)
    assert dataclasses.replace(section, shortcut_scales=2).for_data(1, pixels).shortcut_scales == 2


@pytest.mark.parametrize(
    ("channels", "covariates", "out_frames", "scales"),
    [(2, 0, 10, 5), (3, 0, 10, 4), (3, 0, 20, 2), (5, 2, 10, 4), (16, 0, 10, 0), (20, 0, 10, 0)],
)
def test_many_channels_have_fewer_smoothed_copies(channels, covariates, out_frames, scales):
    section = dataclasses.replace(check_config(load_config("tiny", "frames")).model, out_frames=out_frames)
    chosen = section.for_data(channels, 64 * 64, covariates)
    assert chosen.shortcut_scales == scales
    config = STLightConfig.from_section(dataclasses.replace(chosen, shortcut="flow_linear", input="frames"))
    inputs = dataclasses.replace(config, covariates=covariates).shortcut_inputs - 10 * covariates
    assert inputs <= 320 or not scales


def test_the_flow_shortcut_carries_the_last_frame_along():
    moving = moving_spot()
    config = dataclasses.replace(CONFIG, in_channels=1, shortcut="flow")
    tree = init_variables(STLight(config), 0, (32, 32, 1))
    prediction = STLight(config).apply(tree, moving[None, :4, ..., None])[0, ..., 0]
    error, copied = (np.abs(forecast - moving[4:]).max(axis=(1, 2)) for forecast in (prediction, moving[3]))
    assert (error < 0.15 * copied).all()
    missing = np.zeros((1, 4, 32, 32, 1), bool)
    missing[..., :4, :] = True  # the first columns, at all times
    masked = STLight(config).apply(tree, np.where(missing, 9.0, moving[None, :4, ..., None]), valid=~missing)[0, ..., 0]
    np.testing.assert_allclose(masked[:, :, 12:], prediction[:, :, 12:], atol=0.02)


def test_a_network_that_sees_frames_and_flow_has_the_flow_after_the_frames():
    """Without the weights for the flow it is a network of frames; without those for frames, one of the flow's frames."""
    config = dataclasses.replace(CONFIG, in_channels=1, shortcut="flow", input="frames_and_flow")
    tree, seen = variables(config), moving_spot()[None, :4, ..., None]
    carried = np.asarray(STLight(config).apply(tree, seen))
    last = tree["params"]["patch_reassembly"]["conv"]
    last["kernel"] = np.random.default_rng(0).normal(size=np.shape(last["kernel"])).astype(np.float32)
    kernel = np.asarray(tree["params"]["patch_encoder"]["conv"]["kernel"])  # [p, p, t*c + t'*c', d]
    assert kernel.shape[2] == 4 + 3
    of_flow = dataclasses.replace(config, in_frames=3, shortcut="none", input="frames")
    for part, without in ((slice(4), dataclasses.replace(config, input="frames")), (slice(4, None), of_flow)):
        zeroed = np.zeros_like(kernel)
        zeroed[:, :, part] = kernel[:, :, part]
        tree["params"]["patch_encoder"]["conv"]["kernel"] = zeroed
        found = STLight(config).apply(tree, seen)
        tree["params"]["patch_encoder"]["conv"]["kernel"] = kernel[:, :, part]
        alone = STLight(without).apply(tree, carried if without is of_flow else seen)
        np.testing.assert_allclose(found, alone + carried if without is of_flow else alone, atol=1e-5)
        assert np.abs(found - carried).max() > 0.1


def test_the_flow_that_a_network_sees_is_counted():
    frames, both = (
        count(dataclasses.replace(CONFIG, shortcut="flow", input=name), 8, 8).total for name in ("frames", "frames_and_flow")
    )
    assert both.parameters - frames.parameters == 3 * 2**2 * 16
    assert both.true - frames.true == both.paper - frames.paper == 4 * 4 * 3 * 2**2 * 16


@pytest.mark.parametrize(
    ("keys", "shortcut", "seen"),
    [
        ({}, "linear", "frames"),
        ({"shortcut": "flow"}, "flow", "frames_and_flow"),
        ({"shortcut": "flow", "input": "frames"}, "flow", "frames"),
        ({"input": "frames_and_flow"}, "flow_linear", "frames_and_flow"),
    ],
)
def test_a_shape_is_assumed_where_the_config_leaves_it_to_the_data(keys, shortcut, seen):
    config = load_config("tiny", "frames")
    config.model.update(keys)
    found = network_config(check_config(config))
    assert (found.shortcut, found.input) == (shortcut, seen)


@pytest.mark.parametrize("shortcut", ["none", "last", "linear"])
def test_a_network_without_a_flow_cannot_see_it(shortcut):
    with pytest.raises(InputError, match=f"frames_and_flow and model.shortcut {shortcut}.*set model.shortcut to flow"):
        dataclasses.replace(CONFIG, shortcut=shortcut, input="frames_and_flow")


def test_the_linear_shortcut_is_counted():
    with_shortcut, without = (count(dataclasses.replace(CONFIG, shortcut=kind), 8, 8).total for kind in ("linear", "none"))
    assert with_shortcut.parameters - without.parameters == 8 * 3 + 3
    assert with_shortcut.true - without.true == 64 * 8 * 3
    with_flow = count(dataclasses.replace(CONFIG, shortcut="flow_linear"), 8, 8).total
    assert with_flow.parameters - without.parameters == 11 * 3 + 3
    assert with_flow.true - without.true == 64 * 11 * 3
    copies = count(dataclasses.replace(CONFIG, shortcut="flow_linear", shortcut_scales=2), 8, 8).total
    assert copies.parameters - without.parameters == 3 * 11 * 3 + 3
    assert copies.true - without.true == 64 * 3 * 11 * 3
    assert count(dataclasses.replace(CONFIG, shortcut="last"), 8, 8).total == without


@pytest.mark.parametrize("kind", ["none", "last", "flow"])
def test_a_shortcut_without_a_linear_map_has_no_smoothed_copies(kind):
    config = dataclasses.replace(CONFIG, shortcut=kind)
    scales = dataclasses.replace(config, shortcut_scales=5)
    assert scales.shortcut_inputs == config.shortcut_inputs
    assert receptive_radius(scales) == receptive_radius(config)


def test_a_network_that_sees_changes_follows_a_constant_added_to_each_pixel():
    config = dataclasses.replace(CONFIG, shortcut="last", input="changes")
    tree = variables(config)
    shape = np.shape(tree["params"]["patch_reassembly"]["conv"]["kernel"])
    tree["params"]["patch_reassembly"]["conv"]["kernel"] = np.random.default_rng(0).normal(size=shape).astype(np.float32)
    seen, _ = frames()
    added = np.random.default_rng(1).random((2, 1, 8, 8, 2), np.float32)
    before, after = (STLight(config).apply(tree, each) for each in (seen, seen + added))
    assert np.abs(before - seen[:, -1:, ..., :1]).max() > 0.1
    np.testing.assert_allclose(after, before + added[..., :1], atol=1e-5)
    absolute = dataclasses.replace(config, input="frames")
    moved = STLight(absolute).apply(tree, seen + added) - STLight(absolute).apply(tree, seen)
    assert np.abs(moved - added[..., :1]).max() > 0.01


def test_impossible_shortcuts_are_refused():
    with pytest.raises(InputError, match="model.input is auto, which training replaces"):
        dataclasses.replace(CONFIG, input="auto")
    with pytest.raises(InputError, match="model.input is changes, model.shortcut none and"):
        dataclasses.replace(CONFIG, shortcut="none", input="changes")
    with pytest.raises(InputError, match="model.shortcut is auto, which training replaces"):
        dataclasses.replace(CONFIG, shortcut="auto")
    with pytest.raises(InputError, match="model.out_channels 3, more than the 2 channels of the input"):
        dataclasses.replace(CONFIG, out_channels=3)


def test_a_network_that_sees_changes_sees_covariates_as_they_are():
    config = dataclasses.replace(CONFIG, shortcut="last", input="changes", covariates=1)
    tree = variables(config)
    shape = np.shape(tree["params"]["patch_reassembly"]["conv"]["kernel"])
    tree["params"]["patch_reassembly"]["conv"]["kernel"] = np.random.default_rng(0).normal(size=shape).astype(np.float32)
    seen, _ = frames()
    added = np.stack([np.full((2, 1, 8, 8), 0.5), np.zeros((2, 1, 8, 8))], axis=-1).astype(np.float32)
    before, data, static = (STLight(config).apply(tree, each) for each in (seen, seen + added, seen + added[..., ::-1]))
    np.testing.assert_allclose(data, before + 0.5, atol=1e-5)
    assert np.abs(static - before).max() > 0.01
