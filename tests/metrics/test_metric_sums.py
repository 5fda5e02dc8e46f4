"""OpenSTL's golden values, closed forms, and sums that are exact for any batches and processes."""

import jax
import numpy as np
import pytest

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
