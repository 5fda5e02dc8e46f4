"""The results of an evaluation as named rows with remarks, for tables and pages."""

from __future__ import annotations

import dataclasses
from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from stlight_jax.metrics import input_baselines, metric_list
from stlight_jax.metrics.metric import Metric, SampledMetric
from stlight_jax.metrics.pixel_errors import MAE, MSE, RMSE
from stlight_jax.metrics.threshold_scores import SCORES
from stlight_jax.reports.results import network_keys
from stlight_jax.reports.skill import DEFINITION


@dataclasses.dataclass(frozen=True)
class Summary:
    """Results under the names that people read.

    Attributes:
      overall: the table of all metrics.
      networks: names of the network's rows.
      lead_times: name -> key of a metric -> a value per lead time; the first name is the network's.
      remarks: sentences.
      names: key of a row in the results -> its name.
      tables: further tables.
    """

    overall: NamedTable
    networks: list[str]
    lead_times: dict[str, dict[str, list[float]]]
    remarks: list[str]
    names: dict[str, str]
    tables: list[NamedTable]


class NamedTable(NamedTuple):
    """A table of text.

    Attributes:
      title: above the table.
      headings: of the columns.
      rows: cells, the first of which is the name of the row.
      best: row and column of the best value of each column, among forecasts.
    """

    title: str
    headings: list[str]
    rows: list[list[str]]
    best: frozenset[tuple[int, int]] = frozenset()

    @classmethod
    def of(cls, title: str, names: Iterable[str], columns: Iterable[Column]) -> NamedTable:
        """Makes a table with a row for each name, without the columns that have no value."""
        rows, shown = list(names), [column for column in columns if any(column.cells.get(name, "-") != "-" for name in names)]
        return cls(
            title,
            ["", *(column.heading for column in shown)],
            [[name, *(column.cells.get(name, "-") for column in shown)] for name in rows],
            frozenset((row, at) for at, column in enumerate(shown, 1) for row, name in enumerate(rows) if name in column.best),
        )


class Column(NamedTuple):
    """A column of a table.

    Attributes:
      heading: above the cells.
      cells: name of a row -> text; a row may lack a cell.
      best: names of the rows with the best value.
    """

    heading: str
    cells: dict[str, str]
    best: frozenset[str] = frozenset()

    @classmethod
    def of(
        cls,
        metric: Metric,
        values: Mapping[str, float | None],
        forecasts: Collection[str],
        heading: str = "",
    ) -> Column:
        """Makes the column of a metric.

        Args:
          metric: formats and ranks the values.
          values: name of a row -> value.
          forecasts: names of the rows that are compared; of values that are equal as text, each is the best.
          heading: above the cells; "" for the metric's label.
        """
        cells = {name: metric.format(value) for name, value in values.items()}
        known = {name: value for name in forecasts if (value := values.get(name)) is not None and np.isfinite(value)}
        first = min(known, key=lambda name: metric.rank(known[name]), default=None)
        best = frozenset(name for name in known if first is not None and len(known) > 1 and cells[name] == cells[first])
        return cls(heading or metric.label, cells, best)


def summary(results: Mapping[str, Any], brief: bool = False) -> Summary:
    """Summarises results.

    Args:
      results: of `as_json` or a part of them: "overall" and "per_lead_time" with "stlight" are enough.
      brief: whether the table of all metrics leaves out functions and variants of others.
    """
    overall, leads = results["overall"], results["per_lead_time"]
    names = _row_names(results)
    rows = {name: overall[key] for key, name in names.items() if overall.get(key) is not None}
    lead_times = {name: leads[key] for key, name in names.items() if key in leads}
    remarks = [*_on_test_set(results.get("test_set")), *results.get("division", ()), *definitions()]
    if "best_constant_image" in overall:
        remarks.append("Best constant image: the mean of the test frames themselves, which no forecast knows.")
    remarks += _on_part_of_the_sequences(results)
    forecasts = [name for key, name in names.items() if key not in _NO_FORECASTS]
    columns = metric_columns(rows, forecasts, brief)
    if "skill" in results:
        against = results["skill"]["against"]
        columns.append(Column("skill", {names[key]: _as_percent(values["overall"]) for key, values in against.items()}))
        remarks.append(DEFINITION)
    in_units = {names[key]: values for key, values in results.get("in_units", {}).get("overall", {}).items()}
    for metric in (MAE, RMSE):
        values = {name: row[metric.key] for name, row in in_units.items()}
        column = Column.of(metric, values, forecasts, f"{metric.label}, units")
        columns.append(column._replace(cells={name: f"{value:.4g}" for name, value in values.items() if not np.isnan(value)}))
    remarks += [f"{score.label}: {score.definition}." for score in SCORES if "thresholds" in results]
    if in_units:
        remarks.append("MAE, units and RMSE, units: of a single value, in the data's units.")
    remarks += _errors_in_units(results, names)
    tables = [*_tables_per_lead_time(results, lead_times, forecasts), *_tables_of_thresholds(results, names, forecasts)]
    networks = [name for key, name in names.items() if key.startswith("stlight")]
    return Summary(NamedTable.of(_title(results), rows, columns), networks, lead_times, remarks, names, tables)


def metric_columns(
    rows: Mapping[str, Mapping[str, float]], forecasts: Collection[str] = (), brief: bool = False
) -> list[Column]:
    """Makes the columns of the averaged metrics.

    Args:
      rows: name -> key of a metric -> value; a row may lack metrics.
      forecasts: as for `Column.of`.
      brief: as for `summary`.
    """
    return [
        Column.of(metric, {name: values.get(metric.key) for name, values in rows.items()}, forecasts)
        for metric in metric_list.averaged_metrics()
        if metric.charted or not brief
    ]


def _on_part_of_the_sequences(results: Mapping[str, Any]) -> list[str]:
    return [
        f"{baseline['label']}: known for {baseline['sequences']:,} sequences, on which STLight has "
        f"MSE {MSE.format(baseline['stlight_on_those']['mse'])}, MAE {MAE.format(baseline['stlight_on_those']['mae'])}."
        for baseline in results.get("baselines", {}).values()
        if "stlight_on_those" in baseline
    ]


def _as_percent(value: float) -> str:
    return "-" if not np.isfinite(value) else f"{round(100 * value, 1) + 0:.1f} %"  # + 0: -0 is 0


def _tables_per_lead_time(
    results: Mapping[str, Any], lead_times: Mapping[str, Mapping[str, Sequence[float]]], forecasts: Collection[str]
) -> list[NamedTable]:
    """Tables of the metrics in the page's charts, of the network and all baselines that have them."""
    metrics: list[tuple[Metric, dict[str, Sequence[float]]]] = [
        (metric, {name: values[metric.key] for name, values in lead_times.items() if metric.key in values})
        for metric in metric_list.averaged_metrics()
    ]
    network = next(iter(lead_times))
    sampled = (metric for metric in metric_list.metrics_of(SampledMetric) if metric.key in results)
    metrics += [(metric, {network: results[metric.key]["per_lead_time"]}) for metric in sampled]
    tables = []
    for metric, rows in metrics:
        if not metric.charted or not rows:
            continue
        columns = [
            Column.of(metric, {name: values[lead] for name, values in rows.items()}, forecasts, str(lead + 1))
            for lead in range(max(map(len, rows.values())))
        ]
        names = list(rows)
        if metric is MSE and "skill" in results:
            names.append(_SKILL)
            for column, value in zip(columns, results["skill"]["best"]["per_lead_time"], strict=True):
                column.cells[_SKILL] = _as_percent(value)
        tables.append(NamedTable.of(f"{metric.label} per lead time", names, columns))
    return tables


def _tables_of_thresholds(results: Mapping[str, Any], names: Mapping[str, str], forecasts: Collection[str]) -> list[NamedTable]:
    """A table of the overall scores for each threshold."""
    tables = []
    for threshold, scores in results.get("thresholds", {}).items():
        columns = [
            Column.of(score, {names[key]: values[score.key] for key, values in scores["overall"].items()}, forecasts)
            for score in SCORES
        ]
        columns[-1] = columns[-1]._replace(heading=f"{columns[-1].heading} ({results['fss_window']} pixels)")
        tables.append(NamedTable.of(f"events of at least {threshold}", [names[key] for key in scores["overall"]], columns))
    return tables


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


_SKILL = "skill against the best"
_NO_FORECASTS = ("best_constant_image", "paper")


def _row_names(results: Mapping[str, Any]) -> dict[str, str]:
    """Keys of the results -> the names that people read, in the order of the table."""
    checkpoints = results.get("checkpoints", {})
    network = {key: f"STLight, {name}, step {checkpoints[name]:,}" for name, key in network_keys(checkpoints).items()}
    return {
        **(network or {"stlight": "STLight"}),
        **{baseline.key: baseline.label for baseline in input_baselines.INPUT_BASELINES},
        **{key: baseline["label"] for key, baseline in results.get("baselines", {}).items()},
        "best_constant_image": "best constant image",
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
