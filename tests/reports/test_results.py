"""The results as JSON and as tables."""

import dataclasses

import jax
import numpy as np

from stlight_jax.data.scaling import Scaling
from stlight_jax.evaluation.evaluator import BaselineResult, Evaluation
from stlight_jax.metrics.metric_sums import MetricSums
from stlight_jax.metrics.pixel_errors import MAE, MSE, PSNR
from stlight_jax.metrics.sharpness import SHARPNESS
from stlight_jax.metrics.ssim import SSIM
from stlight_jax.reports.charts import lead_time_charts
from stlight_jax.reports.results import as_json
from stlight_jax.reports.results_summary import summary
from stlight_jax.reports.results_text import results_text

TEST_SET = {"name": "generated frames", "published": False, "sequences": 10_000, "digits": "1,000 digits"}


def sums(values):
    """Two sequences with frames of 50 values; all metrics of a lead time are equal."""
    metrics = np.broadcast_to(np.asarray(values, np.float32), (2, len(values)))
    scores = dict.fromkeys(("mse", "mae", "psnr", "ssim", "ssim_unit_range", "windows"), metrics)
    return MetricSums.from_batch({**scores, "values": np.full(metrics.shape, 50.0)}, np.ones(2, bool))


def evaluation(**further):
    """Of two checkpoints, beside the baselines of every evaluation and `further` ones."""
    best = sums([1.0, 3.0])
    baselines = {
        "copy_last_frame": BaselineResult(sums([10.0, np.inf]), best, "copy last frame", "the last frame"),
        "mean_of_inputs": BaselineResult(sums([5.0, 5.5]), best, "mean of the inputs", "the mean of the inputs"),
        **further,
    }
    models = {"best": best, "last": sums([2.0, 4.0])}
    return Evaluation(models, baselines, [7.0, 9.0], np.array([3.0, 1.0]), np.array([0.1, 0.2]))


def test_results_carry_both_checkpoints_baselines_and_lead_times():
    results = as_json(evaluation(), {"best": 5, "last": 8}, TEST_SET, Scaling(), None)
    assert results["checkpoint_step"] == 5
    assert results["overall"]["stlight"]["mse"] == 2.0
    assert results["overall"]["stlight_last"]["mse"] == 3.0
    assert results["overall"]["best_constant_image"] == {"mse": 8.0}
    assert results["overall"]["paper"] is None
    assert results["per_lead_time"]["stlight"]["mse"] == [1.0, 3.0]
    np.testing.assert_allclose(results["rmse_per_value"]["stlight"], 255 * np.sqrt(2 / 50))
    np.testing.assert_allclose(results["in_units"]["overall"]["stlight"]["mae"], 255 * 2 / 50)
    np.testing.assert_allclose(results["in_units"]["per_lead_time"]["stlight"]["mae"], [255 / 50, 255 * 3 / 50])
    np.testing.assert_allclose(results["in_units"]["per_lead_time"]["stlight"]["rmse"], 255 * np.sqrt([1 / 50, 3 / 50]))
    assert results["skill"]["best"]["baseline"] == "mean_of_inputs"
    np.testing.assert_allclose(results["skill"]["best"]["per_lead_time"], [1 - 1 / 5, 1 - 3 / 5.5])
    np.testing.assert_allclose(results["skill"]["best"]["overall"], 1 - 2 / 5.25)
    assert results["verdict"] == (  # 2 instead of 5.25
        "Overall, STLight is 62 % below the best baseline, the mean of the inputs, in MSE and 62 % below it in MAE. By MSE and "
        "MAE, STLight is better than every baseline at every lead time."
    )
    few = as_json(evaluation(), {"best": 5, "last": 8}, {**TEST_SET, "sequences": 9, "separate": 2}, Scaling(), None)
    remark = "The scores are of 9 test windows, of which 2 without overlap: on so few, a difference may be chance."
    assert few["verdict"] == f"{results['verdict']} {remark}"
    assert results["sequence_mse"]["quantiles"]["0.25"] == 1.5
    # The first one has the lower error per value; the other one has fewer values.
    assert results["sequence_mse"]["best"] == [{"index": 0, "mse": 3.0, "mse_per_value": 0.1}]
    assert results["sequence_mse"]["worst"] == [{"index": 1, "mse": 1.0, "mse_per_value": 0.2}]
    text = results_text(results)
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


def test_the_tables_have_every_line_of_the_charts_per_lead_time():
    climatology = BaselineResult(sums([6.0, 6.5]), sums([1.0, 3.0]), "climatology", "the mean of the training frames")
    results = as_json(evaluation(climatology=climatology), {"best": 5, "last": 8}, TEST_SET, Scaling(), None)
    results["sharpness"] = {"per_lead_time": [0.875, 0.5], "sequences": 4}
    shown = summary(results)
    tables = {table.title: {row[0]: row[1:] for row in table.rows} for table in shown.tables}
    views = {view.name: view for chart in lead_time_charts(shown.lead_times, results, shown.names) for view in chart.views}
    assert len(views) == 5
    for metric in (MSE, MAE, PSNR, SSIM, SHARPNESS):
        table = tables[f"{metric.label} per lead time"]
        for name, (leads, values) in views[metric.axis_label].lines.items():
            assert leads == [1, 2]
            assert table[name] == [metric.format(value) for value in values]
    assert tables["MAE per lead time"]["climatology"] == ["6.000", "6.500"]
    assert tables["MAE per lead time"]["mean of the inputs"] == ["5.000", "5.500"]
    text = results_text(results)
    assert all(table.title in text for table in shown.tables)


def some(values):
    """One sequence with frames of 50 values."""
    both = sums(values)
    return dataclasses.replace(jax.tree.map(lambda each: each / 2, both), count=1)


def test_a_baseline_of_some_sequences_is_compared_on_those():
    before = BaselineResult(some([0.5, 0.25]), some([1.5, 1.5]), "168 steps before", "the frame 168 steps before")
    scaling = Scaling("float32", (0.0, 1.0), (1.0, 5.0))
    results = as_json(evaluation(period_168=before), {"best": 5, "last": 8}, TEST_SET, scaling, None)
    assert results["overall"]["period_168"]["mse"] == 0.375
    assert results["baselines"]["period_168"]["sequences"] == 1
    assert results["baselines"]["period_168"]["stlight_on_those"]["mse"] == 1.5
    assert results["skill"]["against"]["period_168"] == {"overall": -3.0, "per_lead_time": [-2.0, -5.0]}
    assert results["skill"]["best"] == {"baseline": "period_168", "overall": -3.0, "per_lead_time": [-2.0, -5.0]}
    assert "rmse_per_value" not in results  # channels differ in range: there is no common unit
    assert "in_units" not in results
    text = results_text(results)
    assert text.endswith(
        "\nOverall, STLight is 300 % above the best baseline, the frame 168 steps before, in MSE and 300 % above it in MAE. By "
        "MSE and MAE, STLight is worse than the frame 168 steps before at every lead time.\n"
    )
    assert "168 steps before: known for 1 sequences, on which STLight has MSE 1.500, MAE 1.500." in text
    for expected in ("0.375", "-300.0 %"):
        assert expected in text


def test_the_best_forecast_of_each_column_is_marked():
    results = as_json(evaluation(climatology=_climatology()), {"best": 5, "last": 8}, TEST_SET, Scaling(), None)
    shown = summary(results)
    table = shown.overall
    rows = [row[0] for row in table.rows]
    best = {table.headings[column]: {rows[row] for row, at in table.best if at == column} for _, column in table.best}
    ours, worst = "STLight, best, step 5", "copy last frame"
    # All metrics of a row are its MSE: 2 for the best checkpoint. Infinity is no best value, and best images are no forecasts.
    assert best == {
        "MSE": {ours}, "MAE": {ours}, "RMSE": {ours}, "MAE, units": {ours}, "RMSE, units": {ours},
        "PSNR": {"climatology"}, "SSIM": {"climatology"}, "SSIM, range 1": {"climatology"},
    }  # fmt: skip
    assert worst in rows
    per_lead_time = next(table for table in shown.tables if table.title == "MSE per lead time")
    assert per_lead_time.best == {(0, 1), (0, 2)}


def _climatology():
    return BaselineResult(sums([6.0, 6.5]), sums([1.0, 3.0]), "climatology", "the mean of the training frames")


def test_columns_without_a_value_are_left_out():
    """As of forecasts whose truth ends early, of frames too small for SSIM."""
    row = {"mse": [1.0, 2.0, float("nan")], "mae": [1.0, 2.0, float("nan")], "ssim": [float("nan")] * 3}
    overall = {"mse": 1.5, "mae": 1.5, "ssim": float("nan")}
    results = {
        "overall": {"stlight": overall, "copy_last_frame": overall},
        "per_lead_time": {"stlight": row, "copy_last_frame": row},
    }
    shown = summary(results)
    assert shown.overall.headings == ["", "MSE", "MAE"]
    assert shown.overall.best == {(row, column) for row in (0, 1) for column in (1, 2)}  # equal ones are all the best
    assert [table.headings for table in shown.tables if table.title == "MSE per lead time"] == [["", "1", "2"]]
    assert "SSIM" not in results_text(results).partition("per lead time")[0]


def test_lines_fit_a_narrow_terminal(monkeypatch):
    monkeypatch.setenv("COLUMNS", "80")
    results = as_json(evaluation(climatology=_climatology()), {"best": 5, "last": 8}, TEST_SET, Scaling(), None)
    results["verdict"] = "word " * 100
    for text in (results_text(results, more_in="table.txt"), results_text(results).partition("Test set:")[0]):
        assert max(map(len, text.splitlines())) <= 80
        for heading in ("MSE", "MAE", "PSNR", "SSIM", "skill", "MAE, units"):
            assert heading in text
