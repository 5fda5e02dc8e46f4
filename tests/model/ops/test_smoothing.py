"""Smoothed copies of frames, beside SciPy's convolution."""

import jax
import numpy as np
import pytest
import scipy.ndimage

from stlight_jax.model.ops import smoothing

pytestmark = pytest.mark.compiled_fast
TAPS = np.array([1, 4, 6, 4, 1]) / 16


def by_scipy(frames, scales):
    """The copies of `[b, t, h, w, c]` by one kernel each, the edge value beyond an edge, in float64."""
    copies, kernel = [], np.ones(1)
    for scale in range(scales):
        with_holes = np.zeros(4 * 2**scale + 1)
        with_holes[:: 2**scale] = TAPS
        kernel, copy = np.convolve(kernel, with_holes), frames.astype(np.float64)
        for axis in (2, 3):
            copy = scipy.ndimage.convolve1d(copy, kernel, axis, mode="nearest")
        copies.append(copy)
    return copies


@pytest.mark.parametrize("size", [(24, 17), (5, 40), (1, 1), (20, 140), (150, 8)])
def test_the_copies_are_those_of_one_kernel_each(size):
    frames = np.random.default_rng(0).random((2, 3, *size, 2), np.float32)
    found = jax.jit(smoothing.smoothed, static_argnums=2)(frames, None, 4)
    for copy, expected in zip(found, by_scipy(frames, 4), strict=True):
        np.testing.assert_allclose(copy, expected, atol=1e-6)


def test_the_standard_deviations_are_those_of_the_documentation():
    point = np.zeros((1, 257, 257, 1), np.float32)
    point[0, 128, 128] = 1
    distance = np.square(np.arange(257) - 128)
    for copy, expected in zip(smoothing.smoothed(point, None, 5), (1, 2.2, 4.6, 9.2, 18.5), strict=True):
        assert np.sqrt(np.asarray(copy).sum((0, 2, 3)) @ distance) == pytest.approx(expected, abs=0.05)


@pytest.mark.parametrize("width", [9, 133])
def test_values_that_are_missing_do_not_count_whatever_they_are(width):
    generator = np.random.default_rng(0)
    frames, valid = generator.random((2, 3, 12, width, 2)), generator.random((2, 1, 12, width, 2)) < 0.6
    valid[1, :, :, :, 1] = False  # a channel without a value keeps what it has
    given = np.where(valid, frames, np.float64(7)).astype(np.float32)
    found = jax.jit(smoothing.smoothed, static_argnums=2)(given, valid, 3)
    totals, weights = by_scipy(frames * valid, 3), by_scipy(valid, 3)
    for copy, total, weight in zip(found, totals, weights, strict=True):
        with np.errstate(invalid="ignore"):
            expected = np.where(weight > 1e-3, total / weight, given)
        np.testing.assert_allclose(copy, expected, atol=2e-6)
    assert all((np.asarray(copy)[1, ..., 1] == 7).all() for copy in found)


def test_frames_without_change_stay_as_they_are():
    frames = np.full((1, 2, 8, 8, 1), 0.3, np.float32)
    for copy in smoothing.smoothed(frames, None, 5):
        np.testing.assert_allclose(copy, frames, rtol=1e-6)


@pytest.mark.parametrize("width", [13, 141])
def test_rows_that_fill_up_a_patch_change_no_copy(width):
    frames = np.random.default_rng(0).random((1, 2, 11, width, 1), np.float32)
    filled = np.pad(frames, [(0, 0), (0, 0), (0, 3), (0, 5), (0, 0)], mode="edge")
    for copy, of_filled in zip(*(smoothing.smoothed(each, None, 4) for each in (frames, filled)), strict=True):
        np.testing.assert_allclose(of_filled[:, :, :11, :width], copy, atol=1e-6)


def test_the_radius_is_that_of_the_kernel():
    point = np.zeros((1, 1, 301, 1), np.float32)
    point[:, :, 150] = 1
    for scales in (0, 1, 4, 5):
        copies = smoothing.smoothed(point, None, scales)
        reached = np.flatnonzero(np.asarray(copies[-1] if scales else point))
        assert (reached.min(), reached.max()) == (150 - smoothing.radius(scales), 150 + smoothing.radius(scales))
