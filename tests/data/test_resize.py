"""Scaling against a closed form, OpenCV and scikit-image."""

import numpy as np
import pytest

from stlight_jax.data.resize import bilinear, smooth_bilinear

SIZES = [(120, 160, 128, 128), (5, 7, 12, 3), (8, 8, 8, 8), (3, 3, 1, 1)]


def by_hand(frames, height, width):
    """Along each axis: pixel i of n' looks at (i + 1/2) n / n' - 1/2, held at the edges, and weighs its two neighbours."""
    result = frames.astype(np.float64)
    for axis, size in ((1, height), (2, width)):
        there = result.shape[axis]
        place = np.clip((np.arange(size) + 0.5) * there / size - 0.5, 0, there - 1)
        low = np.floor(place).astype(int)
        weight = (place - low).reshape([-1 if other == axis else 1 for other in range(4)])
        high = np.minimum(low + 1, there - 1)
        result = result.take(low, axis) * (1 - weight) + result.take(high, axis) * weight
    return result


@pytest.mark.parametrize(("h", "w", "height", "width"), SIZES)
def test_bilinear_is_the_closed_form(h, w, height, width):
    frames = np.random.default_rng(0).integers(0, 256, (2, h, w, 3)).astype(np.uint8)
    resized = bilinear(frames, height, width)
    assert resized.dtype == np.float32
    np.testing.assert_allclose(resized, by_hand(frames, height, width), atol=1e-3)


@pytest.mark.parametrize(("h", "w", "height", "width"), SIZES)
def test_bilinear_is_opencvs(h, w, height, width):
    cv2 = pytest.importorskip("cv2")
    frame = np.random.default_rng(1).uniform(0, 255, (h, w)).astype(np.float32)
    expected = cv2.resize(frame, (width, height), interpolation=cv2.INTER_LINEAR)
    np.testing.assert_allclose(bilinear(frame[None, :, :, None], height, width)[0, :, :, 0], expected, atol=1e-3)


def test_antialiasing_counts_every_pixel():
    frames = np.zeros((1, 8, 8, 1), np.float32)
    frames[0, 0, 0] = 64
    assert bilinear(frames, 2, 2).sum() == 0
    # A triangle of twice the shrinkage, 4, on each side: pixel 0 weighs 5/8 of the nearest one's 7/8 and so on.
    weights = 1 - np.abs(np.arange(8) + 0.5 - 2) / 4
    share = weights[0] / weights[weights > 0].sum()
    assert bilinear(frames, 2, 2, antialias=True)[0, 0, 0, 0] == pytest.approx(64 * share**2, rel=1e-5)


@pytest.mark.parametrize(("h", "w", "height", "width"), [(48, 64, 13, 17), (10, 12, 20, 6), (9, 9, 9, 9)])
def test_smooth_bilinear_is_scikit_images(h, w, height, width):
    transform = pytest.importorskip("skimage.transform")
    frame = np.random.default_rng(2).integers(0, 256, (h, w, 3)).astype(np.uint8)
    expected = transform.resize(frame, (height, width), preserve_range=True)
    np.testing.assert_array_equal(smooth_bilinear(frame, height, width), expected)
