"""The results of an evaluation as plain data."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from stlight_jax.data.scaling import Scaling
from stlight_jax.evaluation.evaluator import BaselineResult, Evaluation
from stlight_jax.evaluation.samples import best_median_worst
from stlight_jax.metrics.metric_sums import MetricSums
from stlight_jax.metrics.threshold_scores import ThresholdScores
from stlight_jax.reports.comparison import paper_result
from stlight_jax.reports.skill import few_windows, skill, verdict

_QUANTILES = (0, 0.05, 0.25, 0.5, 0.75, 0.95, 1)


def as_json(
    evaluation: Evaluation,
    checkpoints: dict[str, int],
    test_set: dict[str, Any],
    scaling: Scaling,
    comparison: dict[str, Any] | None,
    thresholds: Sequence[ThresholdScores] = (),
    shortcut: str = "",
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
      shortcut: of the first checkpoint, as from `skill.shortcut_alone`.
    """
    constant = evaluation.best_constant_image_mse
    keys = network_keys(checkpoints)
    sums = {keys[name]: evaluation.models[name] for name in checkpoints}
    sums |= {key: result.sums for key, result in evaluation.baselines.items()}
    errors = errors_as_json(sums, scaling, thresholds)
    errors["overall"] |= {
        "best_constant_image": {"mse": sum(constant) / len(constant)},
        "paper": paper_result(comparison),
    }
    errors["per_lead_time"]["best_constant_image"] = {"mse": constant}
    compared, few = comparison_as_json(evaluation.baselines, shortcut), few_windows(test_set)
    if few and compared["verdict"]:
        compared["verdict"] = f"{compared['verdict']} {few}"
    return {
        "checkpoint_step": next(iter(checkpoints.values())),
        "checkpoints": checkpoints,
        "test_set": test_set,
        **errors,
        **compared,
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


def comparison_as_json(baselines: Mapping[str, BaselineResult], shortcut: str = "") -> dict[str, Any]:
    """Returns the comparison with baselines as plain data.

    Args:
      baselines: key -> result.
      shortcut: as from `skill.shortcut_alone`.

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
        "verdict": verdict(baselines, shortcut),
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


def network_keys(checkpoints: Mapping[str, int]) -> dict[str, str]:
    """Returns the key in the results for each name of a checkpoint."""
    return {name: f"stlight_{name}" if number else "stlight" for number, name in enumerate(checkpoints)}
