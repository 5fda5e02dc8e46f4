"""A forecaster's tiles and batches: the same predictions by few programs."""

import dataclasses

import numpy as np
import pytest

from stlight_jax import Forecaster, InputError
from stlight_jax.model.tiling import receptive_radius
from tests.inference.test_forecaster import random_frames

pytestmark = pytest.mark.compiled_fast


def test_tiles_equal_whole_frames_where_they_overlap_enough(grey):
    radius = receptive_radius(grey.config)
    frames = random_frames((2, 3, 71, 90, 1))
    whole = Forecaster(grey)(frames, dtype="float32")
    tiled = Forecaster(grey, tile=3 * radius + 10, overlap=2 * radius)
    np.testing.assert_allclose(tiled(frames, dtype="float32"), whole, rtol=1e-5, atol=1e-3)
    assert len([1 for _ in tiled._pass._tiling.tiles(72, 90)]) > 1


def test_seams_of_small_overlaps_stay_near_the_cuts(grey):
    """Where a tile alone counts, and no cut is within the receptive radius, nothing has changed."""
    radius = receptive_radius(grey.config)
    side = 4 * radius
    frames = random_frames((1, 3, side, 2 * side, 1))
    whole = Forecaster(grey)(frames, dtype="float32")
    difference = np.abs(Forecaster(grey, tile=side + 4, overlap=8)(frames, dtype="float32") - whole).max(axis=(0, 1, 2, 4))
    near = np.abs(np.arange(2 * side) - side) < radius + 8
    assert difference[~near].max() < 1e-3
    assert difference[near].max() > 0.1


def test_frames_that_are_cut_are_told_once_with_what_it_changes(grey, capsys, monkeypatch):
    """The network of these tests sees 20 pixels far."""

    def programs(frames):
        return np.zeros((len(frames), 2, *frames.shape[2:]), np.float32)

    wide, narrow = Forecaster(grey, tile=80), Forecaster(grey, tile=60)
    frames = random_frames((3, 80, 200))
    for forecaster in (wide, narrow, narrow):
        monkeypatch.setattr(forecaster._pass, "_programs", programs)
        forecaster(frames)
    exact, seams = capsys.readouterr().err.splitlines()
    cut = "frames of 80 x 200 are cut into {} tiles of at most {}, with an overlap of {} pixels; "
    assert exact == cut.format(4, "80 x 80", 40) + "enough for the prediction of whole frames"
    needs = "the prediction of whole frames needs 40, or one tile for all: expect seams"
    assert seams == cut.format(12, "60 x 60", 30) + needs
    other = Forecaster(grey, tile=80)
    monkeypatch.setattr(other._pass, "_programs", programs)
    other(frames[:, :, :80])
    assert capsys.readouterr().err == ""


def test_a_network_that_was_trained_on_crops_predicts_in_tiles_of_their_side(grey, capsys):
    """Its receptive field is 41 pixels wide."""

    def trained_on(crop):
        return dataclasses.replace(grey, description=grey.description | {"config": {"data": {"crop": crop}}})

    frames = random_frames((3, 30, 41))
    whole, tiled = Forecaster(grey)(frames, dtype="float32"), Forecaster(grey, tile=16)(frames, dtype="float32")
    assert np.abs(whole - tiled).max() > 1
    capsys.readouterr()
    np.testing.assert_array_equal(Forecaster(trained_on(16))(frames, dtype="float32"), tiled)
    cut = "frames of 30 x 41 are cut into 15 tiles of at most 16 x 16, with an overlap of 8 pixels; the network was trained on "
    assert capsys.readouterr().err == cut + "such crops (data.crop); tile=0 predicts whole frames\n"
    for crop, tile in ((16, 0), (41, None), (0, None)):
        np.testing.assert_array_equal(Forecaster(trained_on(crop), tile=tile)(frames, dtype="float32"), whole)
    np.testing.assert_array_equal(
        Forecaster(trained_on(16), tile=24)(frames, dtype="float32"), Forecaster(grey, tile=24)(frames, dtype="float32")
    )


def test_batches_of_any_size_share_a_few_programs(grey):
    forecaster = Forecaster(grey)
    one_by_one = np.concatenate([forecaster(random_frames((1, 3, 8, 12, 1), seed=n)) for n in range(20)])
    assert forecaster.compilations == 1
    for batch in range(1, 20):
        frames = np.concatenate([random_frames((1, 3, 8, 12, 1), seed=n) for n in range(batch)])
        np.testing.assert_allclose(forecaster(frames).astype(int), one_by_one[:batch], atol=1)
    assert forecaster.compilations == 6  # 1, 2, 4, 8, 16, 32
    forecaster(random_frames((200, 3, 8, 12, 1)))
    assert forecaster.compilations == 7  # 64, three times, and 8 again


def test_warming_up_leaves_nothing_to_compile(grey):
    forecaster = Forecaster(grey, tile=16, overlap=4)
    for shape in ((3, 8, 12), (5, 3, 9, 12, 1), (3, 3, 50, 70, 1)):
        forecaster.warmup(shape, horizon=5)
        before = forecaster.compilations
        forecaster(random_frames(shape), horizon=5)
        assert forecaster.compilations == before > 0
    with pytest.raises(InputError, match="2 frame"):
        forecaster.warmup((2, 8, 12))
    with pytest.raises(InputError, match="shape is 64; expected a shape of frames"):
        forecaster.warmup(64)
