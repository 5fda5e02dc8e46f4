"""The results of an evaluation as plain data, and as named rows with remarks for tables and pages."""

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from stlight_jax.console.text_table import text_table
from stlight_jax.data.scaling import Scaling
from stlight_jax.evaluation.evaluator import Evaluation
from stlight_jax.evaluation.samples import best_median_worst
from stlight_jax.metrics import input_baselines, metric_list
from stlight_jax.metrics.pixel_errors import MSE
from stlight_jax.reports import comparison
from stlight_jax.reports.comparison import paper_result

_QUANTILES = (0, 0.05, 0.25, 0.5, 0.75, 0.95, 1)


def as_json(
    evaluation: Evaluation,
    checkpoints: dict[str, int],
    test_set: dict[str, Any],
    scaling: Scaling,
    comparison: dict[str, Any] | None,
) -> dict[str, Any]:
    """Returns the content of `metrics.json`, except for the sampled metrics.

    Args:
      evaluation: the results.
      checkpoints: "best", "last" or a number's text -> the step; the first one is the "stlight" of the results, others are
        "stlight_last" and so on.
      test_set: description of the sequences.
      scaling: from stored values to the network's range.
      comparison: of `comparison.compare`.
    """
    constant = evaluation.best_constant_image_mse
    keys = _network_keys(checkpoints)
    sums = {**{keys[name]: evaluation.models[name] for name in checkpoints}, **evaluation.baselines}
    results = {
        "checkpoint_step": next(iter(checkpoints.values())),
        "checkpoints": checkpoints,
        "test_set": test_set,
        "overall": {
            **{key: row.overall() for key, row in sums.items()},
            "best_constant_image": {"mse": sum(constant) / len(constant)},
            "paper": paper_result(comparison),
        },
        "per_lead_time": {
            **{key: row.per_lead_time() for key, row in sums.items()},
            "best_constant_image": {"mse": constant},
        },
        "sequence_mse": _of_sequences(evaluation.sequence_mse, evaluation.sequence_error),
        "published": comparison,
    }
    if scaling.common_span is not None:
        results["rmse_per_value"] = {key: row.rmse_per_value() * scaling.common_span for key, row in sums.items()}
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
    """

    title: str
    rows: dict[str, dict[str, float]]
    lead_times: dict[str, dict[str, list[float]]]
    remarks: list[str]


def summary(results: Mapping[str, Any]) -> Summary:
    """Summarises the results of `as_json` or a part of them: "overall" and "per_lead_time" with "stlight" are enough."""
    overall, leads = results["overall"], results["per_lead_time"]
    names = _row_names(results.get("checkpoints", {}))
    rows = {name: overall[key] for key, name in names.items() if overall.get(key) is not None}
    lead_times = {name: leads[key] for key, name in names.items() if key in leads}
    remarks = [*_on_test_set(results.get("test_set")), *definitions()]
    if "best_constant_image" in overall:
        remarks.append("Best constant image: the mean of the test frames themselves, which no forecast knows.")
    if "cycle" in results:
        cycle = results["cycle"]
        before = f"{cycle['steps']} steps before"
        rows[before], lead_times[before] = cycle["overall"], cycle["per_lead_time"]
        if cycle["sequences"] < results["test_set"]["sequences"]:
            rows["STLight, on those"] = cycle["stlight_on_those"]
            remarks.append(f"The frames {before} are known for {cycle['sequences']:,} sequences.")
    remarks += _errors_in_units(results, names)
    return Summary(_title(results), rows, lead_times, remarks)


def definitions() -> list[str]:
    """Returns a sentence for each definition of the averaged metrics, with the labels of the metrics that share it."""
    labels: dict[str, list[str]] = {}
    for metric in metric_list.averaged_metrics():
        if metric.definition:
            labels.setdefault(metric.definition, []).append(metric.label)
    return [f"{', '.join(shared)}: {definition}." for definition, shared in labels.items()]


def network_rows(results: Mapping[str, Any]) -> dict[str, dict[str, float]]:
    """Selects the rows of the network from `as_json`'s results: name -> key of a metric -> value."""
    names = _row_names(results["checkpoints"])
    return {names[key]: results["overall"][key] for key in _network_keys(results["checkpoints"]).values()}


def _network_keys(checkpoints: Mapping[str, int]) -> dict[str, str]:
    """Name of a checkpoint -> its key in the results."""
    return {name: f"stlight_{name}" if number else "stlight" for number, name in enumerate(checkpoints)}


def _row_names(checkpoints: Mapping[str, int]) -> dict[str, str]:
    """Keys of the results -> the names that people read, in the order of the table."""
    network = {key: f"STLight, {name}, step {checkpoints[name]:,}" for name, key in _network_keys(checkpoints).items()}
    return {
        **(network or {"stlight": "STLight"}),
        **{baseline.key: baseline.label for baseline in input_baselines.INPUT_BASELINES},
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
    if "rmse_per_value" in results:
        listed = ", ".join(f"{names[key]} {value:.4g}" for key, value in results["rmse_per_value"].items())
        return [f"RMSE of a single value in the data's units: {listed}."]
    if "rmse_in_units" in results:  # channels have units of their own
        channels: dict[str, Sequence[float]] = {names[key]: row["per_channel"] for key, row in results["rmse_in_units"].items()}
        listed = "; ".join(f"{name} {', '.join(f'{value:.4g}' for value in values)}" for name, values in channels.items())
        return [f"RMSE of a single value in each channel's units: {listed}."]
    return []


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
