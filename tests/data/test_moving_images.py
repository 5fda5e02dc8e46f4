"""The law of motion against OpenSTL's golden tracks and a plain per-digit loop; identity of sequences."""

import math
import random

import numpy as np
import pytest

from stlight_jax import InputError
from stlight_jax.data.digits import Digits
from stlight_jax.data.moving_images import GeneratedSequences, render, tracks


def openstl_track(x, y, theta, frames, free):
    """One digit, as `openstl.datasets.dataloader_moving_mnist` is described: scalars, y before x."""
    velocity_y, velocity_x = math.sin(theta), math.cos(theta)
    corners = []
    for _ in range(frames):
        y += velocity_y * 0.1
        x += velocity_x * 0.1
        if y <= 0:
            y, velocity_y = 0.0, -velocity_y
        if y >= 1:
            y, velocity_y = 1.0, -velocity_y
        if x <= 0:
            x, velocity_x = 0.0, -velocity_x
        if x >= 1:
            x, velocity_x = 1.0, -velocity_x
        corners.append((int(free * y), int(free * x)))
    return corners


# Recorded from OpenSTL with `random.seed(s)`: (top, left) of the first six frames.
GOLDEN = {
    0: [(29, 27), (30, 24), (32, 20), (34, 17), (35, 14), (36, 11)],
    123: [(5, 0), (7, 3), (9, 6), (11, 9), (13, 12), (15, 15)],
}


@pytest.mark.parametrize("seed", GOLDEN)
def test_golden_tracks(seed):
    generator = random.Random(seed)
    x, y, theta = generator.random(), generator.random(), generator.random() * 2 * math.pi
    assert openstl_track(x, y, theta, 6, 36) == GOLDEN[seed]
    np.testing.assert_array_equal(tracks(np.array([x, y]), np.array(theta), 6, 36), GOLDEN[seed])


@pytest.mark.parametrize("free", [36, 18, 1])
def test_tracks_equal_the_scalar_law(free):
    generator = np.random.default_rng(0)
    start, theta = generator.random((50, 2, 2)), generator.random((50, 2)) * 2 * math.pi
    corners = tracks(start, theta, 40, free)
    for sequence in range(50):
        for digit in range(2):
            expected = openstl_track(*start[sequence, digit], theta[sequence, digit], 40, free)
            np.testing.assert_array_equal(corners[sequence, digit], expected)
    assert corners.min() == 0
    assert corners.max() == free


def test_render_takes_the_brighter_pixel():
    images = np.array([[[[10, 20], [30, 40]], [[15, 15], [15, 15]]]], np.uint8)
    corners = np.array([[[[0, 0], [1, 2]], [[0, 0], [2, 1]]]])
    frames = render(corners, images, 4)[0, ..., 0]
    np.testing.assert_array_equal(frames[0], [[15, 20, 0, 0], [30, 40, 0, 0], [0] * 4, [0] * 4])
    np.testing.assert_array_equal(frames[1], [[0] * 4, [0, 0, 10, 20], [0, 15, 30, 40], [0, 15, 15, 0]])


@pytest.fixture
def digits():
    return Digits(np.random.default_rng(0).integers(1, 256, (30, 28, 28), dtype=np.uint8), "noise")


def test_a_sequence_is_the_same_alone_and_among_others(digits):
    sequences = GeneratedSequences(digits, 1000, 7, "train")
    together = sequences.frames(np.arange(40), epoch=3)
    assert together.shape == (40, 20, 64, 64, 1)
    assert together.shape[1:] == sequences.shape
    assert together.dtype == np.uint8
    scattered = np.array([17, 3, 4, 5, 39, 0, 17])
    np.testing.assert_array_equal(sequences.frames(scattered, epoch=3), together[scattered])
    assert sequences.frames(np.array([], np.int64)).shape == (0, 20, 64, 64, 1)


def test_seed_epoch_index_and_split_all_make_a_difference(digits):
    base = GeneratedSequences(digits, 1000, 7, "train")
    variants = [
        base.frames(np.arange(1)),
        base.frames(np.arange(1, 2)),
        base.frames(np.arange(1), epoch=1),
        GeneratedSequences(digits, 1000, 8, "train").frames(np.arange(1)),
        GeneratedSequences(digits, 1000, 7, "validation").frames(np.arange(1)),
        GeneratedSequences(digits, 1000, 7, "test").frames(np.arange(1)),
    ]
    assert len({frames.tobytes() for frames in variants}) == len(variants)


def test_draws_are_uniform_and_every_digit_appears(digits):
    draws = GeneratedSequences(digits, 1000, 7, "train")._uniform(np.arange(20_000), 0)
    for which in range(4):
        for digit in range(2):
            values = draws[:, digit, which]
            # The mean of n uniform numbers is 1/2 within 5 standard errors, 1 / sqrt(12 n) each.
            assert abs(values.mean() - 0.5) < 5 / math.sqrt(12 * len(values))
            assert np.histogram(values, 10, (0, 1))[0].min() > 1800
    correlations = np.corrcoef(draws.reshape(len(draws), -1).T)
    assert np.abs(correlations - np.eye(8)).max() < 5 / math.sqrt(len(draws))
    assert len(np.unique((draws[..., 3] * 30).astype(int))) == 30


def test_every_frame_shows_two_digits_where_the_track_says(digits):
    sequences = GeneratedSequences(digits, 10, 7, "train")
    draws = sequences._uniform(np.arange(10), 0)
    frames = sequences.frames(np.arange(10))[..., 0]
    for index in range(10):
        places = [openstl_track(*d[:2], 2 * math.pi * d[2], 20, 36) for d in draws[index]]
        images = [digits.images[int(d[3] * 30)] for d in draws[index]]
        for time in range(20):
            canvas = np.zeros((64, 64), np.uint8)
            for (top, left), image in zip((place[time] for place in places), images, strict=True):
                view = canvas[top : top + 28, left : left + 28]
                np.maximum(view, image, out=view)
            np.testing.assert_array_equal(frames[index, time], canvas)


def test_a_canvas_without_room_is_refused(digits):
    with pytest.raises(InputError, match="data.image_size is 28"):
        GeneratedSequences(digits, 10, 0, "train", side=28)
