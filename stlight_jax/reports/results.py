"""The results of an evaluation as plain data, and as named rows with remarks for tables and pages."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from stlight_jax.console.text_table import text_table
from stlight_jax.data.scaling import Scaling
from stlight_jax.evaluation.evaluator import BaselineResult, Evaluation
from stlight_jax.evaluation.samples import best_median_worst
from stlight_jax.metrics import input_baselines, metric_list
from stlight_jax.metrics.metric import SampledMetric
from stlight_jax.metrics.metric_sums import MetricSums
from stlight_jax.metrics.pixel_errors import MAE, MSE, RMSE
from stlight_jax.metrics.threshold_scores import SCORES, ThresholdScores
from stlight_jax.reports import comparison
from stlight_jax.reports.comparison import paper_result
from stlight_jax.reports.skill import DEFINITION, skill, verdict

_WIDTH, _MOST_COLUMNS = 140, 8  # of a table on the screen
_QUANTILES = (0, 0.05, 0.25, 0.5, 0.75, 0.95, 1)


def as_json(
    evaluation: Evaluation,
    checkpoints: dict[str, int],
    test_set: dict[str, Any],
    scaling: Scaling,
    comparison: dict[str, Any] | None,
    thresholds: Sequence[ThresholdScores] = (),
) -> dict[str, Any]:
    """Returns the content of `metrics.json`, except for the sampled metrics.

    Args:
      evaluation: the results.
      checkpoints: "best", "last" or a number's text -> the step; the first one is the "stlight" of the results, others are
        "stlight_last" and so on.
      test_set: description of the sequences.
      scaling: from stored values to the network's range.
      comparison: of `comparison.compare`.
      thresholds: scores of events, whose parts were summed.
    """
    constant = evaluation.best_constant_image_mse
    keys = _network_keys(checkpoints)
    sums = {keys[name]: evaluation.models[name] for name in checkpoints}
    sums |= {key: result.sums for key, result in evaluation.baselines.items()}
    errors = errors_as_json(sums, scaling, thresholds)
    errors["overall"] |= {
        "best_constant_image": {"mse": sum(constant) / len(constant)},
        "paper": paper_result(comparison),
    }
    errors["per_lead_time"]["best_constant_image"] = {"mse": constant}
    return {
        "checkpoint_step": next(iter(checkpoints.values())),
        "checkpoints": checkpoints,
        "test_set": test_set,
        **errors,
        **comparison_as_json(evaluation.baselines),
        "sequence_mse": _of_sequences(evaluation.sequence_mse, evaluation.sequence_error),
        "published": comparison,
    }


def errors_as_json(
    sums: Mapping[str, MetricSums], scaling: Scaling, thresholds: Sequence[ThresholdScores] = ()
) -> dict[str, Any]:
    """Returns the errors of the network and of baselines as plain data.

    Args:
      sums: key of a row -> its sums.
      scaling: from stored values to the network's range.
      thresholds: as for `as_json`.

    Returns:
      "overall" and "per_lead_time": key of a row -> key of a metric -> values; "in_units", MAE and RMSE of a single value in
      the data's units, and "rmse_per_value", if all channels have one range; and "thresholds", if there are any: text of a
      threshold -> scores.
    """
    totals = {key: row.total() for key, row in sums.items()}
    results: dict[str, Any] = {
        "overall": {key: row.overall() for key, row in sums.items()},
        "per_lead_time": {key: row.per_lead_time() for key, row in sums.items()},
    }
    span = scaling.common_span
    if span is not None:
        results["in_units"] = {
            "overall": {key: {name: values[0] for name, values in _in_units(row, span).items()} for key, row in totals.items()},
            "per_lead_time": {key: _in_units(row, span) for key, row in sums.items()},
        }
        results["rmse_per_value"] = {key: values["rmse"] for key, values in results["in_units"]["overall"].items()}
    if thresholds:
        results["fss_window"] = thresholds[0].window
        results["thresholds"] = {
            f"{scores.threshold:g}": {
                "overall": {
                    key: {name: values[0] for name, values in scores.values(row.parts).items()} for key, row in totals.items()
                },
                "per_lead_time": {key: scores.values(row.parts) for key, row in sums.items()},
            }
            for scores in thresholds
        }
    return results


def _in_units(sums: MetricSums, span: float) -> dict[str, list[float]]:
    return {name: (span * np.asarray(values)).tolist() for name, values in sums.errors_per_value().items()}


def comparison_as_json(baselines: Mapping[str, BaselineResult]) -> dict[str, Any]:
    """Returns the comparison with baselines as plain data.

    Args:
      baselines: key -> result.

    Returns:
      "baselines": key -> label and number of sequences, and the network's errors on those if they are not all; "skill" and
      "verdict".
    """
    most = max(result.sums.count for result in baselines.values())
    return {
        "baselines": {
            key: {
                "label": result.label,
                "sequences": result.sums.count,
                **({"stlight_on_those": result.network.overall()} if result.sums.count < most else {}),
            }
            for key, result in baselines.items()
        },
        "skill": skill(baselines),
        "verdict": verdict(baselines),
    }


def _of_sequences(mse: np.ndarray, per_value: np.ndarray) -> dict[str, Any]:
    """Quantiles of the sequences' MSE, and the best, median and worst sequences.

    The choice is by the error per valid value: by the MSE, sequences with hardly a valid value would be the best.
    """
    known = mse[~np.isnan(mse)]
    quantiles = {f"{q:g}": float(np.quantile(known, q)) for q in _QUANTILES} if known.size else {}
    chosen = {
        kind: [{"index": index, "mse": float(mse[index]), "mse_per_value": float(per_value[index])} for index in indices]
        for kind, indices in best_median_worst(per_value).items()
    }
    return {"quantiles": quantiles, **chosen}


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
    return {names[key]: results["overall"][key] for key in _network_keys(results["checkpoints"]).values()}


_NO_FORECASTS = ("best_constant_image", "paper")


def _network_keys(checkpoints: Mapping[str, int]) -> dict[str, str]:
    """Name of a checkpoint -> its key in the results."""
    return {name: f"stlight_{name}" if number else "stlight" for number, name in enumerate(checkpoints)}


def _row_names(results: Mapping[str, Any]) -> dict[str, str]:
    """Keys of the results -> the names that people read, in the order of the table."""
    checkpoints = results.get("checkpoints", {})
    network = {key: f"STLight, {name}, step {checkpoints[name]:,}" for name, key in _network_keys(checkpoints).items()}
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


def results_text(results: Mapping[str, Any], more_in: str = "") -> str:
    """Formats the results of an evaluation, or of forecasts with truth: tables, published results, and last the verdict.

    Args:
      results: as from `as_json`.
      more_in: name of the file with all tables, so that a screen of the results is enough; "" returns all.
    """
    shown = summary(results)
    if more_in:
        return _on_one_screen(results, shown) + f"all tables, and their definitions: {more_in}\n"
    text = metric_tables(shown.title, shown.rows, next(iter(shown.lead_times.values())), [], shown.further)
    text += "".join(_table_in_parts(table) for table in shown.tables) + "\n".join(shown.remarks) + "\n"
    if results.get("published") is not None:
        text += "\n" + comparison.as_text(results["published"], network_rows(results))
    return text + (f"\n{results['verdict']}\n" if results.get("verdict") else "")


def _on_one_screen(results: Mapping[str, Any], shown: Summary) -> str:
    """Formats the overall metrics; published results, or the MSE for each of a few lead times; and the verdict."""
    headings, overall = cells(shown.rows, shown.further)
    text = text_table(["", *headings], overall, shown.title, _WIDTH)
    per_lead_time = [table for table in shown.tables if table.title.startswith(f"{MSE.label} ")]
    if results.get("published") is not None:
        text += "\n" + comparison.as_text(results["published"], network_rows(results))
    elif per_lead_time and len(per_lead_time[0].headings) <= 2 * _MOST_COLUMNS:
        text += _table_in_parts(per_lead_time[0])
    return text + (f"\n{results['verdict']}\n" if results.get("verdict") else "")


def _table_in_parts(table: NamedTable) -> str:
    """Formats a table; one of many columns as several below each other."""
    title, headings, rows = table
    parts = [slice(first, first + _MOST_COLUMNS) for first in range(1, len(headings), _MOST_COLUMNS)]
    return "".join(
        text_table([headings[0], *headings[part]], [[row[0], *row[part]] for row in rows], title, _WIDTH) for part in parts
    )


def metric_tables(
    title: str,
    rows: Mapping[str, Mapping[str, float]],
    per_lead_time: Mapping[str, Sequence[float]],
    remarks: Sequence[str],
    further: Mapping[str, Mapping[str, str]] | None = None,
) -> str:
    """Formats a table of overall metrics, one with a row per lead time, and remarks below.

    Args:
      title: of the first table.
      rows: name -> key of a metric -> value; cells of metrics that a row lacks have a dash.
      per_lead_time: key of a metric -> a value per lead time, of the network.
      remarks: lines of text.
      further: further columns of the first table, see `Summary`.

    Returns:
      The lines, each ending in a newline.
    """
    headings, overall = cells(rows, further or {})
    metrics = metric_list.averaged_metrics()
    by_lead = [
        [str(lead + 1), *(metric.format(per_lead_time[metric.key][lead]) for metric in metrics)]
        for lead in range(max(map(len, per_lead_time.values())))
    ]
    first = text_table(["", *headings], overall, title, _WIDTH)
    second = text_table(["lead time", *(metric.label for metric in metrics)], by_lead, "per lead time", _WIDTH)
    return first + second + "".join(f"{remark}\n" for remark in remarks)


def cells(
    rows: Mapping[str, Mapping[str, float]], further: Mapping[str, Mapping[str, str]]
) -> tuple[list[str], list[list[str]]]:
    """Returns the headings of a `Summary`'s columns, and for each of its rows the name and the values as text."""
    metrics = metric_list.averaged_metrics()
    return [*(metric.label for metric in metrics), *further], [
        [
            name,
            *(metric.format(values.get(metric.key)) for metric in metrics),
            *(own.get(name, "-") for own in further.values()),
        ]
        for name, values in rows.items()
    ]
