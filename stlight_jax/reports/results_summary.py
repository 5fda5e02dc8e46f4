"""The results of an evaluation as named rows with remarks, for tables and pages."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from stlight_jax.metrics import input_baselines, metric_list
from stlight_jax.metrics.metric import SampledMetric
from stlight_jax.metrics.pixel_errors import MAE, MSE, RMSE
from stlight_jax.metrics.threshold_scores import SCORES
from stlight_jax.reports.results import network_keys
from stlight_jax.reports.skill import DEFINITION


@dataclasses.dataclass(frozen=True)
class Summary:
    """Results under the names that people read.

    Attributes:
      title: of the table.
      rows: name -> key of a metric -> value; a row may lack metrics.
      lead_times: name -> key of a metric -> a value per lead time; the first name is the network's.
      remarks: sentences.
      further: heading of a further column -> name of a row -> cell.
      names: key of a row in the results -> its name.
      best: name of the row with the lowest MSE among the network's and those of forecasts.
      tables: further tables.
    """

    title: str
    rows: dict[str, dict[str, float]]
    lead_times: dict[str, dict[str, list[float]]]
    remarks: list[str]
    further: dict[str, dict[str, str]]
    names: dict[str, str]
    best: str
    tables: list[NamedTable]


class NamedTable(NamedTuple):
    """A table of text.

    Attributes:
      title: above the table.
      headings: of the columns.
      rows: cells, the first of which is the name of the row.
    """

    title: str
    headings: list[str]
    rows: list[list[str]]


def summary(results: Mapping[str, Any]) -> Summary:
    """Summarises the results of `as_json` or a part of them: "overall" and "per_lead_time" with "stlight" are enough."""
    overall, leads = results["overall"], results["per_lead_time"]
    names = _row_names(results)
    rows = {name: overall[key] for key, name in names.items() if overall.get(key) is not None}
    lead_times = {name: leads[key] for key, name in names.items() if key in leads}
    remarks = [*_on_test_set(results.get("test_set")), *definitions()]
    if "best_constant_image" in overall:
        remarks.append("Best constant image: the mean of the test frames themselves, which no forecast knows.")
    remarks += _on_part_of_the_sequences(results)
    further = {}
    if "skill" in results:
        against = results["skill"]["against"]
        further["skill"] = {names[key]: _as_percent(values["overall"]) for key, values in against.items()}
        remarks.append(DEFINITION)
    further |= _in_units_by_name(results, names)
    remarks += [f"{score.label}: {score.definition}." for score in SCORES if "thresholds" in results]
    if "in_units" in results:
        remarks.append("MAE, units and RMSE, units: of a single value, in the data's units.")
    remarks += _errors_in_units(results, names)
    forecasts = {name: overall[key].get(MSE.key) for key, name in names.items() if key not in _NO_FORECASTS and key in overall}
    best = min(forecasts, key=lambda name: np.nan_to_num(forecasts[name], nan=np.inf, posinf=np.inf))
    tables = [*_tables_per_lead_time(results, lead_times), *_tables_of_thresholds(results, names)]
    return Summary(_title(results), rows, lead_times, remarks, further, names, best, tables)


def _on_part_of_the_sequences(results: Mapping[str, Any]) -> list[str]:
    return [
        f"{baseline['label']}: known for {baseline['sequences']:,} sequences, on which STLight has "
        f"MSE {MSE.format(baseline['stlight_on_those']['mse'])}, MAE {MAE.format(baseline['stlight_on_those']['mae'])}."
        for baseline in results.get("baselines", {}).values()
        if "stlight_on_those" in baseline
    ]


def _in_units_by_name(results: Mapping[str, Any], names: Mapping[str, str]) -> dict[str, dict[str, str]]:
    """Columns with the MAE and the RMSE of a single value in the data's units."""
    overall = results.get("in_units", {}).get("overall", {})
    if not overall:
        return {}
    return {
        f"{metric.label}, units": {names[key]: f"{values[metric.key]:.4g}" for key, values in overall.items()}
        for metric in (MAE, RMSE)
    }


def _as_percent(value: float) -> str:
    return "-" if not np.isfinite(value) else f"{round(100 * value, 1) + 0:.1f} %"  # + 0: -0 is 0


def _tables_per_lead_time(
    results: Mapping[str, Any], lead_times: Mapping[str, Mapping[str, Sequence[float]]]
) -> list[NamedTable]:
    """Tables of the metrics in the page's chart, of the network and all baselines that have them."""
    tables = []
    for metric in (metric for metric in metric_list.averaged_metrics() if metric.charted):
        rows = [[name, *map(metric.format, values[metric.key])] for name, values in lead_times.items() if metric.key in values]
        if metric is MSE and "skill" in results:
            rows.append(["skill against the best", *map(_as_percent, results["skill"]["best"]["per_lead_time"])])
        if rows:
            tables.append(_per_lead_time(f"{metric.label} per lead time", rows))
    for sampled in metric_list.metrics_of(SampledMetric):
        if sampled.charted and sampled.key in results:
            values = results[sampled.key]["per_lead_time"]
            tables.append(_per_lead_time(f"{sampled.label} per lead time", [["STLight", *map(sampled.format, values)]]))
    return tables


def _tables_of_thresholds(results: Mapping[str, Any], names: Mapping[str, str]) -> list[NamedTable]:
    """A table of the overall scores for each threshold."""
    tables = []
    for threshold, scores in results.get("thresholds", {}).items():
        title = f"events of at least {threshold}"
        rows = [[names[key], *_scores_as_text(values)] for key, values in scores["overall"].items()]
        headings = [score.label for score in SCORES]
        headings[-1] += f" ({results['fss_window']} pixels)"
        tables.append(NamedTable(title, ["", *headings], rows))
    return tables


def _scores_as_text(values: Mapping[str, float]) -> list[str]:
    return [score.format(values[score.key]) for score in SCORES]


def _per_lead_time(title: str, rows: list[list[str]]) -> NamedTable:
    return NamedTable(title, ["", *map(str, range(1, max(map(len, rows))))], rows)


def definitions() -> list[str]:
    """Returns a sentence for each definition of the averaged metrics, with the labels of the metrics that share it."""
    labels: dict[str, list[str]] = {}
    for metric in metric_list.averaged_metrics():
        if metric.definition:
            labels.setdefault(metric.definition, []).append(metric.label)
    return [f"{', '.join(shared)}: {definition}." for definition, shared in labels.items()]


def network_rows(results: Mapping[str, Any]) -> dict[str, dict[str, float]]:
    """Selects the rows of the network from `as_json`'s results: name -> key of a metric -> value."""
    names = _row_names(results)
    return {names[key]: results["overall"][key] for key in network_keys(results["checkpoints"]).values()}


_NO_FORECASTS = ("best_constant_image", "paper")


def _row_names(results: Mapping[str, Any]) -> dict[str, str]:
    """Keys of the results -> the names that people read, in the order of the table."""
    checkpoints = results.get("checkpoints", {})
    network = {key: f"STLight, {name}, step {checkpoints[name]:,}" for name, key in network_keys(checkpoints).items()}
    return {
        **(network or {"stlight": "STLight"}),
        **{baseline.key: baseline.label for baseline in input_baselines.INPUT_BASELINES},
        **{key: baseline["label"] for key, baseline in results.get("baselines", {}).items()},
        "best_constant_image": "best constant image (no forecast)",
        "paper": "paper, this size",
    }


def _title(results: Mapping[str, Any]) -> str:
    if "test_set" in results:
        return f"{results['test_set']['sequences']:,} test sequences"
    if "windows_with_truth" in results:
        count = results["windows_with_truth"]
        return f"{count:,} forecast{'s' * (count > 1)}"
    return "metrics"


def _on_test_set(test_set: Mapping[str, Any] | None) -> list[str]:
    if test_set is None:
        return []
    origin = test_set.get("digits") or test_set["raw"]
    not_published = "" if test_set["published"] or "digits" not in test_set else " It is NOT the published test set."
    return [f"Test set: {test_set['name']} ({origin}).{not_published}", *([test_set["remark"]] if "remark" in test_set else [])]


def _errors_in_units(results: Mapping[str, Any], names: Mapping[str, str]) -> list[str]:
    if "rmse_in_units" in results and "in_units" not in results:  # channels have units of their own
        channels: dict[str, Sequence[float]] = {names[key]: row["per_channel"] for key, row in results["rmse_in_units"].items()}
        listed = "; ".join(f"{name} {', '.join(f'{value:.4g}' for value in values)}" for name, values in channels.items())
        return [f"RMSE of a single value in each channel's units: {listed}."]
    return []
