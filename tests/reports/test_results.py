"""The results as JSON and as tables."""

import numpy as np

from stlight_jax.data.scaling import Scaling
from stlight_jax.evaluation.evaluator import Cycle, Evaluation
from stlight_jax.metrics.metric_sums import MetricSums
from stlight_jax.reports.results import as_json, evaluation_text

TEST_SET = {"name": "generated frames", "published": False, "sequences": 10_000, "digits": "1,000 digits"}


def sums(values):
    """Two sequences with frames of 50 values; all metrics of a lead time are equal."""
    metrics = np.broadcast_to(np.asarray(values, np.float32), (2, len(values)))
    scores = dict.fromkeys(("mse", "mae", "psnr", "ssim", "ssim_unit_range", "windows"), metrics)
    return MetricSums.from_batch({**scores, "values": np.full(metrics.shape, 50.0)}, np.ones(2, bool))


def evaluation(**further):
    baselines = {"copy_last_frame": sums([10.0, np.inf]), "mean_of_inputs": sums([5.0, 5.5])}
    return Evaluation(
        {"best": sums([1.0, 3.0]), "last": sums([2.0, 4.0])},
        baselines,
        [7.0, 9.0],
        np.array([3.0, 1.0]),
        np.array([0.1, 0.2]),
        **further,
    )


def test_results_carry_both_checkpoints_baselines_and_lead_times():
    results = as_json(evaluation(), {"best": 5, "last": 8}, TEST_SET, Scaling(), None)
    assert results["checkpoint_step"] == 5
    assert results["overall"]["stlight"]["mse"] == 2.0
    assert results["overall"]["stlight_last"]["mse"] == 3.0
    assert results["overall"]["best_constant_image"] == {"mse": 8.0}
    assert results["overall"]["paper"] is None
    assert results["per_lead_time"]["stlight"]["mse"] == [1.0, 3.0]
    np.testing.assert_allclose(results["rmse_per_value"]["stlight"], 255 * np.sqrt(2 / 50))
    assert results["sequence_mse"]["quantiles"]["0.25"] == 1.5
    # The first one has the lower error per value; the other one has fewer values.
    assert results["sequence_mse"]["best"] == [{"index": 0, "mse": 3.0, "mse_per_value": 0.1}]
    assert results["sequence_mse"]["worst"] == [{"index": 1, "mse": 1.0, "mse_per_value": 0.2}]
    text = evaluation_text(results)
    for expected in (
        "STLight, best, step 5",
        "STLight, last, step 8",
        "copy last frame",
        "mean of the inputs",
        "5.250",
        "8.000",
    ):
        assert expected in text
    assert "It is NOT the published test set" in text


def test_the_cycle_stands_beside_the_network_on_the_same_sequences():
    known = Evaluation(**{**vars(evaluation()), "cycle": Cycle(168, sums([0.5, 0.25]), sums([1.5, 1.5]))})
    results = as_json(known, {"best": 5, "last": 8}, TEST_SET, Scaling("float32", (0.0, 1.0), (1.0, 5.0)), None)
    assert results["cycle"]["overall"]["mse"] == 0.375
    assert "rmse_per_value" not in results  # channels differ in range: there is no common unit
    text = evaluation_text(results)
    for expected in ("168 steps before", "STLight, on those", "0.375", "known for 2 sequences"):
        assert expected in text
