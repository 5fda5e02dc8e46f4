"""Line charts of a page: what `page.js` draws, and the same numbers as tables for those who cannot see it."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Any

import numpy as np

from stlight_jax.evaluation.samples import evenly_spaced
from stlight_jax.reports.pictures import smoothed

_MOST_POINTS = 400  # of a line; a chart is not wider in pixels
_MOST_ROWS = 50  # of a table of steps
# Key of a metric -> its name, and whether its axis begins at zero.
_METRICS = {"mse": ("MSE", True), "mae": ("MAE", True), "ssim": ("SSIM", False), "psnr": ("PSNR (dB)", False)}


@dataclasses.dataclass(frozen=True)
class View:
    """One of a chart's views, of which one at a time is shown.

    Attributes:
      name: of what is on the vertical axis.
      lines: name -> (x, y), of equal length; y that are not finite are left out.
      log: whether the vertical axis is logarithmic.
      from_zero: whether it begins at zero.
      reference: a value to mark, and what it means.
    """

    name: str
    lines: dict[str, tuple[Sequence[float], Sequence[float | None]]]
    log: bool = False
    from_zero: bool = True
    reference: tuple[float, str] | None = None

    def table(self, x_label: str) -> tuple[list[str], list[list[str]]]:
        """Headings and rows: a column per line; of many steps some, evenly spaced."""
        steps = sorted({step for xs, _ in self.lines.values() for step in xs})
        if len(steps) > _MOST_ROWS and len({len(xs) for xs, _ in self.lines.values()}) == 1:
            steps = _thinned(steps, _MOST_ROWS)
        columns = [dict(zip(xs, ys, strict=True)) for xs, ys in self.lines.values()]
        rows = [[f"{step:,}", *(_cell(column.get(step)) for column in columns)] for step in steps]
        return [x_label, *self.lines], rows


@dataclasses.dataclass(frozen=True)
class Chart:
    """A line chart. Attributes: title; x_label, of the horizontal axis; views, at least one."""

    title: str
    x_label: str
    views: list[View]

    def as_json(self) -> dict[str, Any]:
        """What `page.js` draws."""
        views = [
            {
                **dataclasses.asdict(view),
                "lines": [{"name": name, "x": list(xs), "y": list(ys)} for name, (xs, ys) in view.lines.items()],
            }
            for view in self.views
        ]
        return {"title": self.title, "x_label": self.x_label, "views": views}


def lead_time_chart(lead_times: dict[str, dict[str, list[float]]]) -> Chart:
    """Metrics against lead time. Args: lead_times, name of a line -> metric -> a value per lead time."""
    views = []
    for metric, (name, from_zero) in _METRICS.items():
        lines = {line: _per_lead_time(values[metric]) for line, values in lead_times.items() if metric in values}
        if lines:
            views.append(View(name, lines, from_zero=from_zero))
    return Chart("Error against lead time", "lead time", views)


def sharpness_chart(sharpness: dict[str, Any]) -> Chart:
    """Args: sharpness, "per_lead_time" of `Sharpness`."""
    lines = {"STLight": _per_lead_time(sharpness["per_lead_time"])}
    view = View("sharpness", lines, reference=(1.0, "as sharp as the truth"))
    return Chart("Sharpness against lead time", "lead time", [view])


def training_charts(train: Sequence[dict[str, Any]], validation: Sequence[dict[str, Any]]) -> list[Chart]:
    """The loss and the validation MSE against the step, if there are any. Args: lines of the metrics log (`read_metrics`)."""
    charts = []
    logged = [line for line in train if line.get("loss") is not None]
    if logged:
        steps, losses = [line["step"] for line in logged], [line["loss"] for line in logged]
        lines = {"smoothed": smoothed(losses).tolist(), "logged steps": losses}
        thin = {name: (_thinned(steps, _MOST_POINTS), _thinned(ys, _MOST_POINTS)) for name, ys in lines.items()}
        charts.append(Chart("Training loss", "step", [View("loss (MSE per value)", thin, log=True)]))
    scored = [line for line in validation if line.get("mse") is not None]
    if scored:
        lines = {"validation": ([line["step"] for line in scored], [line["mse"] for line in scored])}
        charts.append(Chart("Validation MSE", "step", [View("MSE (summed over pixels)", lines)]))
    return charts


def _per_lead_time(values: Sequence[float]) -> tuple[list[int], list[float]]:
    return list(range(1, len(values) + 1)), list(values)


def _thinned(values: Sequence[Any], most: int) -> list[Any]:
    return [values[index] for index in evenly_spaced(len(values), most)]


def _cell(value: float | None) -> str:
    return "-" if value is None or not np.isfinite(value) else f"{value:.5g}"
