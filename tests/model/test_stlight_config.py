"""The shape of a network: the config's section, and the errors a user can make."""

import dataclasses

import jax
import jax.numpy as jnp
import pytest

from stlight_jax import InputError, STLight, STLightConfig
from stlight_jax.config.sections import ModelSection
from stlight_jax.model import stlight
from stlight_jax.model.ops.depthwise import IMPLEMENTATIONS


def section(**keys):
    defaults = {name: key.default for name, key in ModelSection.keys().items()}
    return ModelSection(**{**defaults, **keys})


def test_a_network_has_the_keys_of_the_section_model():
    config = STLightConfig.from_section(section(in_frames=4, depth=3))
    of_data = {"periods": (), "frame_step": 1, "covariates": 0, "mean_periods": ()}
    assert dataclasses.asdict(config) == dataclasses.asdict(section(in_frames=4, depth=3)) | of_data


def test_channels_that_the_config_leaves_open_are_those_of_the_data():
    config = STLightConfig.from_section(section(in_channels=0, out_channels=2), channels=5)
    assert (config.in_channels, config.out_channels) == (5, 2)
    with pytest.raises(InputError, match="model.in_channels is 0; it must be at least 1"):
        STLightConfig.from_section(section(in_channels=0))


@pytest.mark.parametrize(("pixels", "patch_size"), [(None, 2), (512, 1), (513, 2), (512 * 512, 2), (512 * 513, 4)])
def test_a_patch_size_that_the_config_leaves_open_depends_on_the_frames(pixels, patch_size):
    assert section(patch_size=0, hidden_dim=96).for_data(1, pixels).patch_size == patch_size
    assert section(patch_size=0, hidden_dim=1000).for_data(1, pixels).patch_size == min(patch_size, 2)  # no multiple of 16
    assert section(patch_size=4).for_data(1, pixels).patch_size == 4
    assert STLightConfig.from_section(section(patch_size=0), channels=1).patch_size == 2


@pytest.mark.parametrize(
    ("frames", "channels", "patch_size", "width"),
    [
        (10, 1, 2, 96),
        (10, 3, 2, 128),
        (20, 1, 4, 320),
        (20, 3, 4, 512),
        (4, 2, 1, 96),
        (5, 1, 3, 99),
        (5, 3, 3, 135),
        (9, 3, 8, 512),
    ],
)
def test_an_open_size_has_as_many_channels_as_a_patch_has_predicted_values(frames, channels, patch_size, width):
    chosen = section(out_frames=frames, hidden_dim=0, depth=0, patch_size=patch_size, in_channels=0, out_channels=0)
    assert (chosen.for_data(channels).hidden_dim, chosen.for_data(channels).depth) == (width, 6)


def test_a_network_cannot_be_made_without_its_main_sizes():
    with pytest.raises(TypeError, match="patch_size"):
        STLightConfig(in_frames=4, out_frames=4, in_channels=1, out_channels=1, hidden_dim=8, depth=2)


def test_float64_needs_the_switch_of_jax():
    with pytest.raises(InputError, match="model.dtype is float64, which JAX offers only with JAX_ENABLE_X64=1"):
        STLightConfig.from_section(section(dtype="float64"))


def test_the_choices_of_the_config_are_those_of_the_network():
    keys = ModelSection.keys()
    assert keys["depthwise"].choices == IMPLEMENTATIONS
    assert keys["precision"].choices == tuple(stlight._PRECISIONS)
    assert keys["dtype"].choices == tuple(stlight._DTYPES)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"hidden_dim": 10}, r"model.hidden_dim is 10; .* patch_size\*\*2 = 4, such as 12"),
        ({"near_kernel": 4}, "model.near_kernel is 4; .* odd"),
        ({"far_kernel": 6}, "model.far_kernel is 6; .* odd"),
        ({"patch_size": 1, "overlap": 2}, "model.overlap is 2 with patch_size 1"),
        ({"depth": 1}, "model.depth is 1; it must be 0, or at least 2"),
        ({"depth": 2.0}, "model.depth is 2.0; it must be a whole number"),
        ({"overlap": -1}, "model.overlap is -1"),
        ({"in_frames": 0}, "model.in_frames is 0"),
        ({"depthwise": "fast"}, "model.depthwise is 'fast'; choose one of auto, native, phases, taps"),
        ({"dtype": "float8"}, "model.dtype is 'float8'"),
        ({"precision": 32}, "model.precision is 32"),
        ({"in_frames": 1, "shortcut": "last", "input": "changes"}, "changes, .* model.in_frames 1; .* more than one frame"),
        ({"in_channels": 0}, "model.in_channels is 0; it must be at least 1"),
        ({"out_channels": 0}, "model.out_channels is 0; it must be at least 1"),
        ({"hidden_dim": 0}, "model.hidden_dim is 0; it must be at least 1"),
        ({"depth": 0}, "model.depth is 0; it must be at least 2"),
        ({"shortcut_scales": -1}, "model.shortcut_scales is -1; it must be at least 0"),
    ],
)
def test_impossible_networks_are_refused(small_model, changes, message):
    with pytest.raises(InputError, match=message):
        dataclasses.replace(small_model, **changes)


@pytest.mark.parametrize(
    ("shape", "message"),
    [
        ((1, 4, 8, 8, 2), r"\[1, 4, 8, 8, 2\]; .* \[b, 3, h, w, 2\]"),
        ((1, 3, 8, 8, 1), r"\[b, 3, h, w, 2\]"),
        ((3, 8, 8, 2), r"\[b, 3, h, w, 2\]"),
        ((1, 3, 0, 8, 2), "which is empty; every axis must have at least 1 element"),
    ],
)
def test_frames_that_do_not_fit_are_refused(small_model, shape, message):
    with pytest.raises(InputError, match=message):
        STLight(small_model).init(jax.random.key(0), jnp.zeros(shape))
