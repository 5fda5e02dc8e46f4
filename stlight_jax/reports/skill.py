"""The network's skill against baselines, and a verdict in words."""

import itertools
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from stlight_jax.evaluation.evaluator import BaselineResult
from stlight_jax.metrics.metric import FrameMetric
from stlight_jax.metrics.pixel_errors import MAE, MSE

DEFINITION = (
    "Skill: 1 - MSE / MSE of the baseline, on the sequences that both predict. 0 is as good as the baseline, 1 is perfect; the "
    "best baseline is the one with the least. Errors that differ by less than 1 % are called equal."
)

# Of two errors that count as different, relative: a smaller difference is no evidence that one forecast is better.
_LEAST_DIFFERENCE = 0.01
_FEW_WINDOWS = 3  # without overlap: one storm or one month more or less can reverse a finding


def skill(baselines: Mapping[str, BaselineResult]) -> dict[str, Any]:
    """Computes the network's skill by its MSE.

    Args:
      baselines: key -> result of a baseline and of the network on the same sequences; at least one.

    Returns:
      "against": key of a baseline -> {"overall", "per_lead_time"}, and "best": the least of them, as {"baseline", "overall",
      "per_lead_time"}, where "baseline" is the key of the best baseline overall. NaN and None where no frame can be judged.
    """
    against = {
        key: {
            "overall": _skill(result.network.overall()[MSE.key], result.sums.overall()[MSE.key]).item(),
            "per_lead_time": _per_lead_time(result, MSE).tolist(),
        }
        for key, result in baselines.items()
    }
    known = {key: values["overall"] for key, values in against.items() if not np.isnan(values["overall"])}
    best = min(known, key=lambda key: known[key]) if known else None
    leads = [
        min((value for value in values if not np.isnan(value)), default=float("nan"))
        for values in zip(*(each["per_lead_time"] for each in against.values()), strict=True)
    ]
    overall = known[best] if best is not None else float("nan")
    return {"against": against, "best": {"baseline": best, "overall": overall, "per_lead_time": leads}}


def shortcut_alone(step: int | None, description: Mapping[str, Any]) -> str:
    """Finds out whether a checkpoint is the shortcut without a trained network, as a run saves it at step 0.

    Args:
      step: of the checkpoint; None if it is unknown.
      description: of the checkpoint, with the config and the facts about the data.

    Returns:
      The name of the shortcut; "" for any other checkpoint.
    """
    sections = description.get("config") or {}
    shortcut = sections.get("model", {}).get("shortcut", "none")
    given = sections.get("train", {}).get("init_from") or "weights_sha256" in (description.get("data") or {})
    return shortcut if step == 0 and shortcut != "none" and not given else ""


def start_label(config: Mapping[str, Any]) -> str:
    """Returns a name for the forecast of a run before its first step, by its config."""
    shortcut = shortcut_alone(0, {"config": config})
    return f"shortcut {shortcut} alone (step 0)" if shortcut else "before the training (step 0)"


def few_windows(test_set: Mapping[str, Any]) -> str:
    """Returns a sentence if the test set is too small to tell forecasts apart; else "".

    Args:
      test_set: description of the test sequences.
    """
    separate = test_set.get("separate", _FEW_WINDOWS)
    if separate >= _FEW_WINDOWS:
        return ""
    windows, apart = (f"{count} test window{'s' * (count > 1)}" for count in (test_set["sequences"], max(separate, 1)))
    found = windows if windows == apart else f"{windows}, of which {max(separate, 1)} without overlap"
    return f"The scores are of {found}: on so few, a difference may be chance."


def verdict(baselines: Mapping[str, BaselineResult], shortcut: str = "") -> str:
    """Compares the network with the best baseline, overall and at each lead time, in one line, by MSE and by MAE.

    Args:
      baselines: as for `skill`.
      shortcut: as from `shortcut_alone`.

    Returns:
      Sentences such as "Overall, STLight is 12 % below the best baseline, the linear fit, in MSE and 3.0 % below it in MAE. By
      MSE and MAE, STLight is better than every baseline at lead times 2 to 6; worse than the last frame at lead time 1."; ""
      if no frame can be judged.
    """
    by = {metric.label: _compared(baselines, metric) for metric in (MSE, MAE)}
    if not all(by.values()):
        return ""
    sentences = [f"The checkpoint of step 0 is the shortcut {shortcut} alone, without a trained network."] if shortcut else []
    sentences.append(f"Overall, STLight is {_overall(baselines)}.")
    if by[MSE.label] == by[MAE.label]:
        by = {" and ".join(by): by[MSE.label]}
    return " ".join([*sentences, *(f"By {label}, STLight is {text}." for label, text in by.items())])


def _overall(baselines: Mapping[str, BaselineResult]) -> str:
    """Returns the difference from the best baseline by each metric: "12 % below the best baseline, ..., in MSE and ..."."""
    parts, named = [], ""
    for metric in (MSE, MAE):
        skills = {
            result.name: _skill(result.network.overall()[metric.key], result.sums.overall()[metric.key]).item()
            for result in baselines.values()
        }
        name = min(skills, key=lambda name: np.nan_to_num(skills[name], nan=np.inf))
        size, best = abs(100 * skills[name]), "it" if name == named else f"the best baseline, {name},"
        difference = f"{size:.{0 if size >= 9.95 else 1}f} % {'below' if skills[name] > 0 else 'above'}"
        if not np.isfinite(size):
            parts.append(f"worse than {best} in {metric.label}")
        elif size < 100 * _LEAST_DIFFERENCE:
            parts.append(f"equal to {best} in {metric.label}" + (f" ({difference})" if round(size, 1) else ""))
        else:
            parts.append(f"{difference} {best} in {metric.label}")
        named = name
    return " and ".join(parts)


def _compared(baselines: Mapping[str, BaselineResult], metric: FrameMetric) -> str:
    """Returns the lead times of each finding, the best one first: "better than every baseline at ...; worse than ..."."""
    skills = {result.name: _per_lead_time(result, metric) for result in baselines.values()}
    findings: dict[str, list[int]] = {}
    horizon = len(next(iter(skills.values())))
    for lead in range(horizon):
        known = {name: values[lead] for name, values in skills.items() if not np.isnan(values[lead])}
        if known:
            name = min(known, key=lambda name: known[name])
            is_better, is_worse = known[name] >= _LEAST_DIFFERENCE, known[name] <= -_LEAST_DIFFERENCE
            finding = "better than every baseline" if is_better else f"{'worse than' if is_worse else 'equal to'} {name}"
            findings.setdefault(finding, []).append(lead + 1)
    ordered = sorted(findings, key=lambda finding: (finding.startswith("worse"), not finding.startswith("better")))
    return "; ".join(f"{finding} {_at(findings[finding], horizon)}" for finding in ordered)


def _at(leads: Sequence[int], horizon: int) -> str:
    """Returns lead times in words, such as "at lead times 1, 3 to 5 and 8"."""
    if len(leads) == horizon > 1:
        return "at every lead time"
    runs = [[lead for _, lead in run] for _, run in itertools.groupby(enumerate(leads), lambda pair: pair[1] - pair[0])]
    parts = [part for run in runs for part in ([f"{run[0]} to {run[-1]}"] if len(run) > 2 else map(str, run))]
    listed = parts[0] if len(parts) == 1 else f"{', '.join(parts[:-1])} and {parts[-1]}"
    return f"at lead time{'s' * (len(leads) > 1)} {listed}"


def _per_lead_time(result: BaselineResult, metric: FrameMetric) -> np.ndarray:
    return _skill(result.network.per_lead_time()[metric.key], result.sums.per_lead_time()[metric.key])


def _skill(network: Any, baseline: Any) -> np.ndarray:
    """Returns 1 - network / baseline; 0 where both are 0."""
    network, baseline = np.asarray(network, np.float64), np.asarray(baseline, np.float64)
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.where((network == 0) & (baseline == 0), 0.0, 1 - network / baseline)
