"""OpenSTL's golden values, scikit-image, closed forms, and exactness under any batching."""

import jax
import numpy as np
import pytest
from skimage.metrics import peak_signal_noise_ratio, structural_similarity

from stlight_jax import InputError
from stlight_jax.evaluation.data_baselines import BestConstantImage
from stlight_jax.metrics.frame_metrics import MetricSums, frame_metrics, ssim
from tests.metrics import golden


def sums_of(pred, true, mask=None):
    mask = np.ones(len(pred), bool) if mask is None else mask
    return MetricSums.of(jax.jit(frame_metrics)(pred, true), mask)


def test_openstls_golden_values():
    overall = sums_of(*(np.moveaxis(frames, 2, -1) for frames in golden.frames())).overall()
    assert overall.keys() == golden.METRICS.keys()
    for name, value in golden.METRICS.items():
        assert overall[name] == pytest.approx(value, rel=1e-6), name


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
            assert getattr(ours, name)[index] == pytest.approx(expected, abs=2e-6)
        assert ours.psnr[index] == pytest.approx(peak_signal_noise_ratio(target, clipped, data_range=1.0), rel=1e-5)


def test_frames_keep_their_places_when_they_are_many():
    random = np.random.default_rng(2)
    true = random.random((7, 13, 9, 8, 1)).astype(np.float32)  # 91 frames: one chunk, and a part of one
    pred = (true + random.random((7, 13, 1, 1, 1))).astype(np.float32)
    ours = frame_metrics(pred, true)
    np.testing.assert_allclose(ours.squared_error, np.square(pred - true).sum((2, 3, 4)), rtol=1e-5)
    expected = structural_similarity(true[6, 12, ..., 0], pred[6, 12, ..., 0].clip(0, 1), data_range=2.0)
    assert float(ours.ssim[6, 12]) == pytest.approx(expected, abs=2e-6)


def test_ssim_of_smooth_dark_frames_does_not_suffer_from_float32():
    # Nearly constant windows are where E[x^2] - E[x]^2 cancels.
    y, x = np.mgrid[:64, :64] / 64
    a = (0.7 + 0.001 * x)[None, ..., None].astype(np.float32)
    b = (0.7 + 0.001 * y)[None, ..., None].astype(np.float32)
    expected = structural_similarity(a[0].astype(np.float64), b[0].astype(np.float64), channel_axis=-1, data_range=1.0)
    assert float(ssim(a, b, (1.0,))[0][0]) == pytest.approx(expected, abs=1e-5)


def test_lead_times_are_kept_apart():
    true = np.zeros((4, 3, 8, 8, 1), np.float32)
    pred = true + np.array([0.1, 0.2, 0.4], np.float32)[None, :, None, None, None]
    by_lead = sums_of(pred, true).per_lead_time()
    np.testing.assert_allclose(by_lead["mse"], [64 * 0.01, 64 * 0.04, 64 * 0.16], rtol=1e-5)
    np.testing.assert_allclose(by_lead["mae"], [6.4, 12.8, 25.6], rtol=1e-5)
    np.testing.assert_allclose(by_lead["rmse"], [0.8, 1.6, 3.2], rtol=1e-5)
    np.testing.assert_allclose(by_lead["psnr"], [20, 20 - 20 * np.log10(2), 20 - 20 * np.log10(4)], rtol=1e-5)


def test_overall_rmse_is_the_root_of_the_mse_and_errors_are_not_clipped():
    true = np.zeros((1, 2, 8, 8, 1), np.float32)
    pred = true.copy()
    pred[:, 0] = 2.0
    overall = sums_of(pred, true).overall()
    assert overall["mse"] == pytest.approx(64 * 4 / 2)
    assert overall["rmse"] == pytest.approx((64 * 4 / 2) ** 0.5)
    # For PSNR the prediction is clipped to 1, so that frame has 0 dB; the other one is exact.
    assert sums_of(pred, true).per_lead_time()["psnr"] == [pytest.approx(0.0, abs=1e-6), np.inf]


@pytest.mark.parametrize("batch", [1, 2, 3, 4, 10])
def test_sums_do_not_depend_on_the_batches(batch):
    random = np.random.default_rng(2)
    true = random.random((10, 2, 9, 9, 1)).astype(np.float32)
    pred = random.random(true.shape).astype(np.float32)
    parts = []
    for first in range(0, 10, batch):
        indices = np.arange(first, first + batch)
        mask = indices < 10
        parts.append(sums_of(pred[np.minimum(indices, 9)], true[np.minimum(indices, 9)], mask))
    total = parts[0]
    for part in parts[1:]:
        total = total + part
    assert total.count == 10
    for name, value in sums_of(pred, true).overall().items():
        assert total.overall()[name] == pytest.approx(value, rel=1e-6)


def test_best_constant_image_equals_the_direct_search():
    targets = np.random.default_rng(3).integers(0, 256, (6, 4, 5, 5, 2), dtype=np.uint8)
    constant = BestConstantImage()
    scaled = targets / 255.0
    constant.add(scaled[:4])
    constant.add(scaled[4:])
    image = scaled.mean((0, 1))
    expected = np.square(scaled - image).sum((2, 3, 4)).mean(0)
    np.testing.assert_allclose(constant.mse_per_lead_time(), expected, rtol=1e-12)


def test_frames_smaller_than_the_window_are_refused():
    with pytest.raises(InputError, match="frames are 6 x 8; SSIM needs at least 7 x 7"):
        frame_metrics(np.zeros((1, 1, 6, 8, 1), np.float32), np.zeros((1, 1, 6, 8, 1), np.float32))
