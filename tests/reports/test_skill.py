"""Skill and the verdict in words."""

import numpy as np
import pytest

from stlight_jax.evaluation.evaluator import BaselineResult
from stlight_jax.metrics.metric_sums import MetricSums
from stlight_jax.reports.skill import skill, verdict


def sums(mse, mae):
    scores = {"mse": np.array([mse]), "mae": np.array([mae]), "values": np.full((1, len(mse)), 10.0)}
    return MetricSums.from_batch(scores, np.ones(1, bool))


def baselines(network, **others):
    """Each as (MSE, MAE) per lead time."""
    own = sums(*network)
    return {name: BaselineResult(sums(*errors), own, name, f"the {name}") for name, errors in others.items()}


@pytest.mark.parametrize(
    ("mse", "text"),
    [
        ([1, 1, 1, 1, 1, 1], "better than every baseline at every lead time"),
        ([3, 1, 1, 1, 1, 1], "better than every baseline at lead times 2 to 6; worse than the last at lead time 1"),
        ([3, 1, 1, 5, 1, 9], "better than every baseline at lead times 2, 3 and 5; worse than the last at lead time 1; worse "
         "than the mean at lead times 4 and 6"),
        ([1, 2, 1, 5, 5, 5], "better than every baseline at lead times 1 and 3; as good as the last at lead time 2; worse than "
         "the mean at lead times 4 to 6"),
        ([9, 9, 9, 9, 9, 9], "worse than the last at lead times 1 to 3; worse than the mean at lead times 4 to 6"),
    ],
)  # fmt: skip
def test_the_verdict_names_the_best_baseline_of_each_lead_time(mse, text):
    ones = [1] * 6
    others = {"last": ([2, 2, 2, 4, 4, 4], [2] * 6), "mean": ([3] * 6, [3] * 6)}
    found = verdict(baselines((mse, ones), **others))
    if mse == ones:
        assert found == f"By MSE and MAE, STLight is {text}."
    else:
        assert found == f"By MSE, STLight is {text}. By MAE, STLight is better than every baseline at every lead time."


def test_errors_that_differ_by_rounding_are_equal():
    mse = [1 + 1e-6, 1 - 1e-6, 0.99]
    found = verdict(baselines((mse, mse), last=([1, 1, 1], [1, 1, 1])))
    expected = "better than every baseline at lead time 3; as good as the last at lead times 1 and 2"
    assert found == f"By MSE and MAE, STLight is {expected}."


def test_skill_is_the_least_over_the_baselines():
    found = skill(baselines(([1, 3], [1, 1]), last=([2, 4], [1, 1]), mean=([4, 3], [1, 1])))
    assert found["against"]["last"] == {"overall": 1 - 4 / 6, "per_lead_time": [0.5, 0.25]}
    assert found["against"]["mean"]["per_lead_time"] == [0.75, 0]
    assert found["best"] == {"baseline": "last", "overall": 1 - 4 / 6, "per_lead_time": [0.5, 0]}


def test_a_perfect_baseline_and_lead_times_without_truth():
    found = baselines(([1, 0, 1], [1, 0, 1]), last=([0, 0, 2], [0, 0, 2]))
    for result in found.values():
        for each in (result.sums, result.network):
            each.frames["values"][2] = 0
            each.sums["mse"][2] = each.sums["mae"][2] = 0
    assert skill(found)["best"]["per_lead_time"][:2] == [-np.inf, 0]
    assert np.isnan(skill(found)["best"]["per_lead_time"][2])
    assert verdict(found) == (
        "By MSE and MAE, STLight is as good as the last at lead time 2; worse than the last at lead time 1."
    )
