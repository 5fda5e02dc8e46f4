"""Tiles cover frames, and their weights leave out what a cut has changed."""

import dataclasses

import jax
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from stlight_jax import InputError, STLight, STLightConfig
from stlight_jax.model.tiling import Tiling, crop_tile, in_tiles, receptive_radius
from tests.networks import trained_variables


@pytest.mark.parametrize(
    "change",
    [
        {},
        {"overlap": 0, "depth": 2},
        {"overlap": 3, "depth": 2},
        {"patch_size": 1, "overlap": 1, "far_kernel": 5, "depth": 2},
        {"patch_size": 2, "overlap": 0, "near_kernel": 5, "depth": 4, "dilation": 1},
        {"overlap": 0, "depth": 2, "far_kernel": 3, "dilation": 1, "shortcut": "linear", "shortcut_scales": 3},
    ],
)
def test_the_receptive_radius_is_how_far_a_pixel_is_felt(small_model, change):
    """One pixel after the other is changed, and the prediction looked at."""
    config = dataclasses.replace(small_model, **change)
    radius, patch = receptive_radius(config), config.patch_size
    side = 2 * radius + 4 * patch
    model, variables = STLight(config), trained_variables(config)
    predict = jax.jit(lambda frames: model.apply(variables, frames))
    frames = np.random.default_rng(0).random((1, config.in_frames, side, side, config.in_channels), np.float32)
    before, reach = np.asarray(predict(frames)), 0
    for place in range(side // 2 - patch, side // 2 + patch):
        changed = frames.copy()
        changed[:, :, place, place] += 1000
        felt = np.flatnonzero((np.asarray(predict(changed)) != before).any(axis=(0, 1, 3, 4)))
        reach = max(reach, place - felt.min(), felt.max() - place)
    assert radius - patch < reach <= radius + patch - 1  # pixels of a patch lie up to p - 1 apart


@settings(deadline=None, max_examples=60)
@given(
    length=st.integers(1, 400),
    width=st.integers(1, 50),
    side=st.integers(2, 80),
    overlap=st.one_of(st.none(), st.integers(0, 79)),
)
def test_weights_add_up_to_one_wherever_tiles_lie(shallow, length, width, side, overlap):
    config = shallow
    if overlap is not None and overlap > side // 2 * 2 - 2:
        with pytest.raises(InputError, match="it must be 0 to"):
            Tiling.square(config, side, overlap)
        return
    tiling = Tiling.square(config, side, overlap)
    total, sizes = np.zeros((2 * length, 2 * width)), set()
    for tile in tiling.tiles(*total.shape):
        total[tile.rows, tile.columns] += tile.weights
        sizes.add(tile.weights.shape)
    np.testing.assert_allclose(total, 1, atol=1e-6)
    assert len(sizes) == 1


@pytest.fixture(scope="module")
def shallow():
    """One for all examples."""
    return STLightConfig(
        in_frames=3, out_frames=4, in_channels=1, out_channels=1, hidden_dim=8, depth=2, patch_size=2, near_kernel=3,
        far_kernel=3, dilation=1,
    )  # fmt: skip


def test_what_a_cut_changed_does_not_count(shallow):
    radius = receptive_radius(shallow)
    tiling = Tiling.square(shallow, 8 * radius, 2 * radius)
    first, *_, last = tiling.tiles(20 * radius, 8 * radius)
    assert not first.weights[-radius:].any()
    assert not last.weights[:radius].any()
    assert (first.weights[:radius] == 1).all()  # the frame's own edge is no cut


@pytest.mark.parametrize(("crop", "tile"), [(0, 0), (1, 2), (8, 8), (15, 16), (16, 16), (17, 0), (64, 0)])
def test_a_receptive_field_of_17_pixels_is_cut_where_the_training_has_cut_it(shallow, crop, tile):
    assert crop_tile(shallow, crop) == tile


@pytest.mark.parametrize(("height", "width"), [(71, 50), (40, 90)])
def test_a_program_in_tiles_that_overlap_by_two_radii_equals_that_of_whole_frames(shallow, height, width):
    model, variables = STLight(shallow), trained_variables(shallow)
    frames = np.random.default_rng(0).random((2, shallow.in_frames, height, width, 1), np.float32)

    def predict(frames):
        return model.apply(variables, frames)

    whole = jax.jit(predict)(frames)
    for tile in (40, 128):
        cut = jax.jit(in_tiles(predict, shallow, tile))(frames)
        np.testing.assert_allclose(cut, whole, rtol=1e-4, atol=1e-4 * np.abs(whole).max())


def test_a_program_blends_tiles_by_their_weights(shallow):
    frames = np.random.default_rng(0).random((1, 3, 20, 31, 1), np.float32)

    def predict(frames):
        return frames[:, :1] + frames.sum((1, 2, 3, 4), keepdims=True)  # of the whole tile

    padded = np.pad(frames, ((0, 0), (0, 0), (0, 0), (0, 1), (0, 0)), mode="edge")
    expected = np.zeros((1, 1, 20, 32, 1))
    for tile in Tiling.square(shallow, 12).tiles(20, 32):
        expected[:, :, tile.rows, tile.columns] += tile.weights[..., None] * predict(padded[:, :, tile.rows, tile.columns])
    np.testing.assert_allclose(in_tiles(predict, shallow, 12)(frames), expected[:, :, :, :31], rtol=1e-5)


@pytest.mark.parametrize(("side", "overlap"), [(64, 16), (32, 16), (28, 14), (27, 12), (2, 0)])
def test_tiles_overlap_by_two_radii_of_8_but_by_half_at_most(shallow, side, overlap):
    assert Tiling.square(shallow, side).overlap == overlap


@pytest.mark.parametrize(
    ("side", "overlap", "message"),
    [
        (1, None, "tile is 1; it must be 0, or at least model.patch_size, 2"),
        (64, -2, "overlap is -2"),
        ("64", None, "tile is '64'; it must be a whole number"),
        (64, 63, "overlap is 63 with a tile of 64; it must be 0 to 62"),
    ],
)
def test_impossible_tilings_are_refused(small_model, side, overlap, message):
    with pytest.raises(InputError, match=message):
        Tiling.square(small_model, side, overlap)
