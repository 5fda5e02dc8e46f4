"""The metrics of single frames against scikit-image."""

import numpy as np
import pytest
from skimage.metrics import peak_signal_noise_ratio, structural_similarity

from stlight_jax import InputError
from stlight_jax.metrics.metric_sums import frame_metrics


@pytest.mark.parametrize("shape", [(7, 7, 1), (32, 20, 1), (16, 31, 3)])
def test_equals_scikit_image(shape):
    random = np.random.default_rng(1)
    true = random.random((3, 2, *shape)).astype(np.float32)
    pred = (true + 0.2 * random.standard_normal(true.shape)).astype(np.float32)
    ours = frame_metrics(pred, true)
    for index in np.ndindex(3, 2):
        clipped = np.clip(pred[index], 0, 1).astype(np.float64)
        target = true[index].astype(np.float64)
        for name, data_range in (("ssim", 2.0), ("ssim_unit_range", 1.0)):
            expected = structural_similarity(target, clipped, channel_axis=-1, data_range=data_range)
            assert ours[name][index] == pytest.approx(expected, abs=2e-6)
        assert ours["psnr"][index] == pytest.approx(peak_signal_noise_ratio(target, clipped, data_range=1.0), rel=1e-5)


def test_frames_keep_their_places_when_they_are_many():
    random = np.random.default_rng(2)
    true = random.random((7, 13, 9, 8, 1)).astype(np.float32)  # 91 frames: one chunk, and a part of one
    pred = (true + random.random((7, 13, 1, 1, 1))).astype(np.float32)
    ours = frame_metrics(pred, true)
    np.testing.assert_allclose(ours["mse"], np.square(pred - true).sum((2, 3, 4)), rtol=1e-5)
    expected = structural_similarity(true[6, 12, ..., 0], pred[6, 12, ..., 0].clip(0, 1), data_range=2.0)
    assert float(ours["ssim"][6, 12]) == pytest.approx(expected, abs=2e-6)


def test_ssim_of_smooth_dark_frames_does_not_suffer_from_float32():
    # Nearly constant windows are where E[x^2] - E[x]^2 cancels.
    y, x = np.mgrid[:64, :64] / 64
    a = (0.7 + 0.001 * x)[None, ..., None].astype(np.float32)
    b = (0.7 + 0.001 * y)[None, ..., None].astype(np.float32)
    expected = structural_similarity(a[0].astype(np.float64), b[0].astype(np.float64), channel_axis=-1, data_range=1.0)
    assert float(frame_metrics(a[None], b[None])["ssim_unit_range"][0, 0]) == pytest.approx(expected, abs=1e-5)


def test_frames_smaller_than_the_window_are_refused():
    with pytest.raises(InputError, match="frames are 6 x 8; SSIM needs at least 7 x 7"):
        frame_metrics(np.zeros((1, 1, 6, 8, 1), np.float32), np.zeros((1, 1, 6, 8, 1), np.float32))
