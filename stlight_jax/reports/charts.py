"""Line charts of a page: the data that `page.js` draws, and the same numbers as tables."""

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from stlight_jax.evaluation.samples import evenly_spaced
from stlight_jax.metrics import metric_list
from stlight_jax.metrics.metric import Metric, SampledMetric
from stlight_jax.metrics.threshold_scores import SCORES
from stlight_jax.reports.figures import FEW_POINTS, smoothed

_MAX_POINTS = 400  # of a line; a chart is not wider in pixels
_MAX_ROWS = 50  # of a table of steps

# (x, y) of a line, of equal length; a y that is not finite leaves a gap
Line = tuple[Sequence[float], Sequence[float | None]]


@dataclasses.dataclass(frozen=True)
class ChartView:
    """One of a chart's views, of which one at a time is shown.

    Attributes:
      name: label of the vertical axis.
      lines: name -> points.
      log: whether the vertical axis is logarithmic.
      from_zero: whether the vertical axis begins at zero.
      reference: a value to mark, and its meaning.
    """

    name: str
    lines: dict[str, Line]
    log: bool = False
    from_zero: bool = True
    reference: tuple[float, str] | None = None

    def table(self, x_label: str) -> tuple[list[str], list[list[str]]]:
        """Returns headings and rows, a column per line; of many steps an evenly spaced part."""
        steps = sorted({step for xs, _ in self.lines.values() for step in xs})
        if len(steps) > _MAX_ROWS and len({len(xs) for xs, _ in self.lines.values()}) == 1:
            steps = _thinned(steps, _MAX_ROWS)
        columns = [dict(zip(xs, ys, strict=True)) for xs, ys in self.lines.values()]
        rows = [[f"{step:,}", *(_cell(column.get(step)) for column in columns)] for step in steps]
        return [x_label, *self.lines], rows


@dataclasses.dataclass(frozen=True)
class Chart:
    """A line chart.

    Attributes:
      title: its heading.
      x_label: label of the horizontal axis.
      views: at least one.
    """

    title: str
    x_label: str
    views: list[ChartView]

    def as_json(self) -> dict[str, Any]:
        """Returns the data that `page.js` draws."""
        views = [
            {
                **dataclasses.asdict(view),
                "lines": [{"name": name, "x": list(xs), "y": list(ys)} for name, (xs, ys) in view.lines.items()],
            }
            for view in self.views
        ]
        return {"title": self.title, "x_label": self.x_label, "views": views}


def lead_time_charts(
    lead_times: Mapping[str, Mapping[str, Sequence[float]]], results: Mapping[str, Any], names: Mapping[str, str]
) -> list[Chart]:
    """Charts the averaged metrics in one chart, and the scores of each threshold and each sampled metric in their own.

    Args:
      lead_times: name of a line -> key of a metric -> a value per lead time.
      results: with key of a sampled metric -> values "per_lead_time", and "thresholds" of `results.errors_as_json`.
      names: key of a row of the results -> name of its line.
    """
    views = []
    for metric in metric_list.averaged_metrics():
        lines = {name: _per_lead_time(row[metric.key]) for name, row in lead_times.items() if metric.key in row}
        if metric.charted and lines:
            views.append(_view(metric, lines))
    charts = [Chart("Error against lead time", "lead time", views)]
    for threshold, scores in results.get("thresholds", {}).items():
        rows = scores["per_lead_time"].items()
        views = [_view(score, {names[key]: _per_lead_time(row[score.key]) for key, row in rows}) for score in SCORES]
        charts.append(Chart(f"Events of at least {threshold} against lead time", "lead time", views))
    for sampled in metric_list.metrics_of(SampledMetric):
        if sampled.charted and sampled.key in results:
            lines = {next(iter(lead_times)): _per_lead_time(results[sampled.key]["per_lead_time"])}
            charts.append(Chart(f"{sampled.label} against lead time", "lead time", [_view(sampled, lines)]))
    return charts


def training_charts(
    train: Sequence[dict[str, Any]], validation: Sequence[dict[str, Any]], start: str = "before the training (step 0)"
) -> list[Chart]:
    """Charts the loss and the validation MSE against the step, as far as they are known.

    Args:
      train: lines of the metrics log (`read_metrics`).
      validation: lines of the metrics log.
      start: label of the validation before the first step.
    """
    charts = []
    logged = [line for line in train if line.get("loss") is not None]
    if logged:
        steps, losses = [line["step"] for line in logged], [line["loss"] for line in logged]
        lines = {"logged steps": losses}
        if len(steps) >= FEW_POINTS:
            lines = {"smoothed": smoothed(losses).tolist(), **lines}
        thin: dict[str, Line] = {name: (_thinned(steps, _MAX_POINTS), _thinned(ys, _MAX_POINTS)) for name, ys in lines.items()}
        charts.append(Chart("Training loss", "step", [ChartView("loss (in the network's range)", thin, log=True)]))
    scored = [line for line in validation if line.get("mse") is not None]
    if scored:
        points: Line = ([line["step"] for line in scored], [line["mse"] for line in scored])
        reference = next(((line["mse"], start) for line in scored if line["step"] == 0), None)
        view = ChartView("MSE (summed over pixels)", {"validation": points}, from_zero=False, reference=reference)
        charts.append(Chart("Validation MSE", "step", [view]))
    return charts


def _view(metric: Metric, lines: dict[str, Line]) -> ChartView:
    return ChartView(metric.axis_label, lines, from_zero=metric.direction != "higher", reference=metric.reference)


def _per_lead_time(values: Sequence[float]) -> Line:
    return list(range(1, len(values) + 1)), list(values)


def _thinned(values: Sequence[Any], most: int) -> list[Any]:
    return [values[index] for index in evenly_spaced(len(values), most)]


def _cell(value: float | None) -> str:
    return "-" if value is None or not np.isfinite(value) else f"{value:.5g}"
