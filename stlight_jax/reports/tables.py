"""The results of an evaluation as a table, and as JSON."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from rich.console import Console, Group
from rich.table import Table

from stlight_jax.data.scaling import Scaling
from stlight_jax.evaluation.samples import best_median_worst
from stlight_jax.reports import comparison as comparisons

if TYPE_CHECKING:
    from stlight_jax.evaluation.evaluator import Evaluation

DEFINITIONS = [
    "MSE, MAE: summed over pixels and channels, averaged over frames. PSNR, SSIM: of predictions clipped to [0, 1].",
    "SSIM has data range 2, as OpenSTL's numbers have; 'range 1' is the one that fits the frames.",
]
_COLUMNS = {
    "mse": ("MSE", ".3f"),
    "mae": ("MAE", ".3f"),
    "rmse": ("RMSE", ".3f"),
    "psnr": ("PSNR", ".2f"),
    "ssim": ("SSIM", ".4f"),
    "ssim_unit_range": ("SSIM, range 1", ".4f"),
}
_QUANTILES = (0, 0.05, 0.25, 0.5, 0.75, 0.95, 1)


def as_json(
    evaluation: Evaluation,
    checkpoints: dict[str, int],
    test_set: dict[str, Any],
    scaling: Scaling,
    comparison: dict[str, Any] | None,
) -> dict[str, Any]:
    """Everything a program may want to know of an evaluation.

    Args:
      checkpoints: "best", "last" or a number's text -> the step; the first one is the "stlight" of the results, others are
        "stlight_last" and so on.
      comparison: of `stlight_jax.reports.comparison.compare`.
    """
    constant = evaluation.best_constant_image_mse
    names = {name: "stlight" if not i else f"stlight_{name}" for i, name in enumerate(checkpoints)}
    sums = {**{names[name]: evaluation.models[name] for name in checkpoints}, **evaluation.baselines}
    results = {
        "checkpoint_step": next(iter(checkpoints.values())),
        "checkpoints": checkpoints,
        "test_set": test_set,
        "overall": {
            **{name: of.overall() for name, of in sums.items()},
            "best_constant_image": {"mse": sum(constant) / len(constant)},
            "paper": comparisons.paper_result(comparison),
        },
        "per_lead_time": {
            **{name: of.per_lead_time() for name, of in sums.items()},
            "best_constant_image": {"mse": constant},
        },
        "sequence_mse": _of_sequences(evaluation.sequence_mse, evaluation.sequence_error),
        "published": comparison,
    }
    if scaling.common_span is not None:
        results["rmse_per_value"] = {name: of.rmse_per_value() * scaling.common_span for name, of in sums.items()}
    if evaluation.cycle is not None:
        cycle = evaluation.cycle
        results["cycle"] = {
            "steps": cycle.steps,
            "sequences": cycle.baseline.count,
            "overall": cycle.baseline.overall(),
            "per_lead_time": cycle.baseline.per_lead_time(),
            "stlight_on_those": cycle.model.overall(),
        }
    return results


class Summary(NamedTuple):
    """What is said of an evaluation, by the names that people read.

    Attributes:
      title: of the table.
      rows: name -> metric -> value; a metric that a row lacks is not there.
      lead_times: name -> metric -> a value per lead time; the first name is the network's.
      remarks: sentences.
    """

    title: str
    rows: dict[str, dict[str, float]]
    lead_times: dict[str, dict[str, list[float]]]
    remarks: list[str]


def summary(results: dict[str, Any]) -> Summary:
    """Of `as_json`'s results, or of a part of them: "overall" and "per_lead_time" with "stlight" are enough."""
    overall, leads = results["overall"], results["per_lead_time"]
    names = _names(results.get("checkpoints", {}))
    rows = {name: overall[key] for key, name in names.items() if overall.get(key) is not None}
    lead_times = {name: leads[key] for key, name in names.items() if key in leads}
    remarks, title = list(DEFINITIONS), "metrics"
    if "windows_with_truth" in results:
        count = results["windows_with_truth"]
        title = f"{count:,} forecast{'s' * (count > 1)}"
    if "test_set" in results:
        title = f"{results['test_set']['sequences']:,} test sequences"
        remarks = _remarks(results["test_set"])
    if "best_constant_image" in overall:
        remarks.append("Best constant image: the mean of the test frames themselves, which no forecast knows.")
    if "cycle" in results:
        cycle = results["cycle"]
        before = f"{cycle['steps']} steps before"
        rows[before], lead_times[before] = cycle["overall"], cycle["per_lead_time"]
        if cycle["sequences"] < results["test_set"]["sequences"]:
            rows["STLight, on those"] = cycle["stlight_on_those"]
            remarks.append(f"What was {before} is known for {cycle['sequences']:,} sequences.")
    if "rmse_per_value" in results:
        listed = ", ".join(f"{names[key]} {value:.4g}" for key, value in results["rmse_per_value"].items())
        remarks.append(f"RMSE of a single value in the data's units: {listed}.")
    elif "rmse_in_units" in results:  # channels have units of their own
        of_channels = {names[key]: of["per_channel"] for key, of in results["rmse_in_units"].items()}
        listed = "; ".join(f"{name} {', '.join(f'{value:.4g}' for value in values)}" for name, values in of_channels.items())
        remarks.append(f"RMSE of a single value in each channel's units: {listed}.")
    return Summary(title, rows, lead_times, remarks)


def as_text(results: dict[str, Any]) -> str:
    """The tables of `as_json`'s results, for a screen or a file."""
    leads = results["per_lead_time"]
    baselines = {"MSE, copy": leads["copy_last_frame"]["mse"], "MSE, constant": leads["best_constant_image"]["mse"]}
    said = summary(results)
    text = tables(said.title, said.rows, leads["stlight"], baselines, said.remarks)
    if results["published"] is None:
        return text
    return text + "\n" + comparisons.as_text(results["published"], ours(results))


def ours(results: dict[str, Any]) -> dict[str, dict[str, float]]:
    """Of `as_json`'s results, those of the network: name -> metric -> value."""
    named = _names(results["checkpoints"]).items()
    return {name: results["overall"][key] for key, name in named if key.startswith("stlight")}


def tables(
    title: str,
    overall: dict[str, dict[str, float]],
    per_lead_time: dict[str, list[float]],
    mse_of_baselines: dict[str, list[float]],
    remarks: list[str],
) -> str:
    """A table of rows with overall metrics, one with a row per lead time, and remarks below.

    Args:
      title: above all.
      overall: {row: {metric: value}}; a metric that a row lacks is left blank.
      per_lead_time: {metric: value per lead time}.
      mse_of_baselines: further columns beside it.
      remarks: lines of text.
    """
    headings, rows = cells(overall)
    whole = Table("", title=title)
    for heading in headings:
        whole.add_column(heading, justify="right")
    for row in rows:
        whole.add_row(*row)
    by_lead = Table("lead time", title=f"per lead time{' (MSE also of the baselines)' if mse_of_baselines else ''}")
    for heading in (*headings, *mse_of_baselines):
        by_lead.add_column(heading, justify="right")
    for lead in range(len(per_lead_time["mse"])):
        by_lead.add_row(
            str(lead + 1),
            *(_cell(per_lead_time[metric][lead], style) for metric, (_, style) in _COLUMNS.items()),
            *(_cell(values[lead], ".3f") for values in mse_of_baselines.values()),
        )
    console = Console(width=110, color_system=None)
    with console.capture() as capture:
        console.print(Group(whole, by_lead))
    return capture.get() + "\n".join(remarks) + "\n"


def cells(rows: dict[str, dict[str, float]]) -> tuple[list[str], list[list[str]]]:
    """Headings of the metrics, and of each of a `Summary`'s rows its name and its values as text."""
    headings = [heading for heading, _ in _COLUMNS.values()]
    return headings, [
        [name, *(_cell(values.get(metric), style) for metric, (_, style) in _COLUMNS.items())] for name, values in rows.items()
    ]


def _names(checkpoints: dict[str, int]) -> dict[str, str]:
    """The keys of results -> what people read, in the order of the table."""
    keys = [("stlight" if not i else f"stlight_{name}", name) for i, name in enumerate(checkpoints)]
    return {
        **({key: f"STLight, {name}, step {checkpoints[name]:,}" for key, name in keys} or {"stlight": "STLight"}),
        "copy_last_frame": "copy last frame",
        "mean_of_inputs": "mean of the inputs",
        "best_constant_image": "best constant image",
        "paper": "paper, this size",
    }


def _of_sequences(mse: np.ndarray, per_value: np.ndarray) -> dict[str, Any]:
    """Quantiles of the sequences' MSE, and which sequences stand for the best, the median and the worst.

    These are so by their error per value that is there: by the MSE, those of which hardly anything is there would be the best.
    """
    known = mse[~np.isnan(mse)]
    quantiles = {f"{q:g}": float(np.quantile(known, q)) for q in _QUANTILES} if known.size else {}
    chosen = {
        kind: [{"index": index, "mse": float(mse[index]), "mse_per_value": float(per_value[index])} for index in indices]
        for kind, indices in best_median_worst(per_value).items()
    }
    return {"quantiles": quantiles, **chosen}


def _remarks(test_set: dict[str, Any]) -> list[str]:
    origin = test_set.get("digits") or test_set["raw"]
    not_published = "" if test_set["published"] or "digits" not in test_set else " It is NOT the published test set."
    further = [test_set["remark"]] if "remark" in test_set else []
    return [f"Test set: {test_set['name']} ({origin}).{not_published}", *further, *DEFINITIONS]


def _cell(value: float | None, style: str) -> str:
    if value is None or math.isnan(value):
        return "-"
    # Frames of few pixels, or of traffic, have errors far below 1.
    return format(value, ".4g") if style == ".3f" and 0 < abs(value) < 1 else format(value, style)
