"""The metrics of frames against scikit-image, OpenSTL's golden values, and sums that are exact for any batches."""

import jax
import numpy as np
import pytest
from skimage.metrics import peak_signal_noise_ratio, structural_similarity

from stlight_jax.metrics.metric_sums import MetricSums, SequenceErrors, frame_metrics
from tests.metrics import golden


def sums_of(pred, true, mask=None):
    mask = np.ones(len(pred), bool) if mask is None else mask
    return MetricSums.from_batch(jax.jit(frame_metrics)(pred, true), mask)


def test_openstls_golden_values():
    overall = sums_of(*(np.moveaxis(frames, 2, -1) for frames in golden.frames())).overall()
    assert overall.keys() == golden.METRICS.keys()
    for name, value in golden.METRICS.items():
        assert overall[name] == pytest.approx(value, rel=1e-6), name


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


def test_errors_of_sequences_find_their_places_whatever_the_batches_and_processes():
    random = np.random.default_rng(3)
    squares, values = random.random((11, 2)), np.full((11, 2), 9.0)
    values[4], values[7, 0] = 0, 0  # sequence 4 has no valid value, the first frame of sequence 7 neither
    expected = squares.mean(1)
    expected[4], expected[7] = np.nan, squares[7, 1]
    processes = [SequenceErrors(11), SequenceErrors(11)]
    for first in range(0, 16, 2):  # batches of four, two of each on either process; the last one is filled up
        indices = np.minimum([first, first + 1], 10)
        scores = {"mse": squares[indices], "values": values[indices]}
        processes[first // 2 % 2].add(first, scores, np.array([first, first + 1]) < 11)
    shared = []
    for process in processes:
        process.over_processes(lambda own: shared.append(own) or own)
    processes[0].over_processes(lambda own: sum(shared))
    np.testing.assert_allclose(processes[0].mse(), expected, rtol=1e-12)
    np.testing.assert_allclose(processes[0].per_value(), expected / 9, rtol=1e-12)


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


@pytest.mark.parametrize("size", [(6, 8), (3, 40), (1, 1)])
def test_frames_smaller_than_the_window_have_no_ssim_and_all_other_metrics(size):
    a, b = np.random.default_rng(0).random((2, 2, 3, *size, 2)).astype(np.float32)
    scores = frame_metrics(a, b)
    np.testing.assert_allclose(scores["mse"], ((a - b).astype(np.float64) ** 2).sum((2, 3, 4)), rtol=1e-5)
    np.testing.assert_allclose(scores["mae"], np.abs(a - b).sum((2, 3, 4)), rtol=1e-5)
    overall = MetricSums.from_batch(scores, np.ones(2, bool)).overall()
    assert np.isnan(overall["ssim"])
    assert np.isnan(overall["ssim_unit_range"])
    assert all(np.isfinite(overall[key]) for key in ("mse", "mae", "rmse", "psnr"))
