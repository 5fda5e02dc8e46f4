"""The results of an evaluation as tables of text."""

import textwrap
from collections.abc import Mapping, Sequence
from typing import Any

from stlight_jax.console.text_table import terminal_width, text_table
from stlight_jax.metrics import metric_list
from stlight_jax.metrics.pixel_errors import MSE
from stlight_jax.reports import comparison
from stlight_jax.reports.results_summary import NamedTable, Summary, metric_columns, network_rows, summary

_FILE_WIDTH = 80  # of tables in a file, as of the narrowest usual terminals
_MOST_LEAD_TIMES = 16  # on the screen


def results_text(results: Mapping[str, Any], more_in: str = "") -> str:
    """Formats the results of an evaluation, or of forecasts with truth: tables, published results, and last the verdict.

    Args:
      results: as from `as_json`.
      more_in: name of the file with all tables, so that a screen of the results is enough; "" returns all.
    """
    shown = summary(results, brief=bool(more_in))
    if more_in:
        return _on_one_screen(results, shown) + f"all tables, and their definitions: {more_in}\n"
    network = {name: values for name, values in shown.lead_times.items() if name in shown.networks}
    tables = [shown.overall, _of_network(next(iter(network.values()))), *shown.tables]
    text = "".join(_as_text(table, _FILE_WIDTH) for table in tables) + "\n".join(shown.remarks) + "\n"
    if results.get("published") is not None:
        text += "\n" + comparison.as_text(results["published"], network_rows(results), _FILE_WIDTH)
    return text + (f"\n{results['verdict']}\n" if results.get("verdict") else "")


def _on_one_screen(results: Mapping[str, Any], shown: Summary) -> str:
    """Formats the overall metrics; published results, or the MSE for each of a few lead times; and the verdict."""
    text = _as_text(shown.overall)
    per_lead_time = [table for table in shown.tables if table.title.startswith(f"{MSE.label} ")]
    if results.get("published") is not None:
        text += "\n" + comparison.as_text(results["published"], network_rows(results))
    elif per_lead_time and len(per_lead_time[0].headings) <= _MOST_LEAD_TIMES:
        text += _as_text(per_lead_time[0])
    return text + (f"\n{textwrap.fill(results['verdict'], terminal_width())}\n" if results.get("verdict") else "")


def metric_tables(
    title: str, row: str, overall: Mapping[str, float], per_lead_time: Mapping[str, Sequence[float]], remarks: Sequence[str]
) -> str:
    """Formats a table of overall metrics, one with a row per lead time, and remarks below.

    Args:
      title: of the first table.
      row: name of its only row.
      overall: key of a metric -> value.
      per_lead_time: key of a metric -> a value per lead time.
      remarks: lines of text.

    Returns:
      The lines, each ending in a newline.
    """
    first = NamedTable.of(title, [row], metric_columns({row: overall}))
    return _as_text(first) + _as_text(_of_network(per_lead_time)) + "".join(f"{remark}\n" for remark in remarks)


def _of_network(per_lead_time: Mapping[str, Sequence[float]]) -> NamedTable:
    """A table with a row per lead time and a column per metric."""
    metrics = [metric.key for metric in metric_list.averaged_metrics() if metric.key in per_lead_time]
    rows = {
        str(lead + 1): {key: per_lead_time[key][lead] for key in metrics}
        for lead in range(max(map(len, per_lead_time.values())))
    }
    table = NamedTable.of("per lead time", rows, metric_columns(rows))
    return table._replace(headings=["lead time", *table.headings[1:]])


def _as_text(table: NamedTable, width: int | None = None) -> str:
    return text_table(table.headings, table.rows, table.title, width)
