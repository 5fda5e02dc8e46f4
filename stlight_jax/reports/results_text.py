"""The results of an evaluation as tables of text."""

from collections.abc import Mapping, Sequence
from typing import Any

from stlight_jax.console.text_table import text_table
from stlight_jax.metrics import metric_list
from stlight_jax.metrics.pixel_errors import MSE
from stlight_jax.reports import comparison
from stlight_jax.reports.results_summary import NamedTable, Summary, network_rows, summary

_WIDTH, _MOST_COLUMNS = 140, 8  # of a table on the screen


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
