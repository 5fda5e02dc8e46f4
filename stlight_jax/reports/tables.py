"""Results as tables of text, for a screen or a file."""

from collections.abc import Mapping, Sequence
from typing import Any

from stlight_jax.console.text_table import text_table
from stlight_jax.metrics import metric_list
from stlight_jax.metrics.pixel_errors import MSE
from stlight_jax.reports import comparison
from stlight_jax.reports.results import network_rows, summary


def evaluation_text(results: Mapping[str, Any]) -> str:
    """Formats the results of an evaluation, see `results.as_json`, and the published results below them."""
    leads = results["per_lead_time"]
    mse = {"MSE, copy": leads["copy_last_frame"]["mse"], "MSE, constant": leads["best_constant_image"]["mse"]}
    shown = summary(results)
    text = metric_tables(shown.title, shown.rows, leads["stlight"], shown.remarks, mse)
    if results["published"] is None:
        return text
    return text + "\n" + comparison.as_text(results["published"], network_rows(results))


def metric_tables(
    title: str,
    rows: Mapping[str, Mapping[str, float]],
    per_lead_time: Mapping[str, Sequence[float]],
    remarks: Sequence[str],
    further: Mapping[str, Sequence[float]] | None = None,
) -> str:
    """Formats a table of overall metrics, one with a row per lead time, and remarks below.

    Args:
      title: of the first table.
      rows: name -> key of a metric -> value; cells of metrics that a row lacks have a dash.
      per_lead_time: key of a metric -> a value per lead time.
      remarks: lines of text.
      further: heading -> MSE or RMSE per lead time, for columns of the second table.

    Returns:
      The lines, each ending in a newline.
    """
    further = further or {}
    headings, overall = cells(rows)
    by_lead = []
    for lead in range(max(map(len, per_lead_time.values()))):
        own = [metric.format(per_lead_time[metric.key][lead]) for metric in metric_list.averaged_metrics()]
        by_lead.append([str(lead + 1), *own, *(MSE.format(values[lead]) for values in further.values())])
    lead_title = f"per lead time{' (MSE also of the baselines)' if further else ''}"
    first = text_table(["", *headings], overall, title)
    second = text_table(["lead time", *headings, *further], by_lead, lead_title)
    return first + second + "\n".join(remarks) + "\n"


def cells(rows: Mapping[str, Mapping[str, float]]) -> tuple[list[str], list[list[str]]]:
    """Returns the headings of the metrics, and for each of a `Summary`'s rows its name and its values as text."""
    metrics = metric_list.averaged_metrics()
    return [metric.label for metric in metrics], [
        [name, *(metric.format(values.get(metric.key)) for metric in metrics)] for name, values in rows.items()
    ]
