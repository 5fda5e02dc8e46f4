"""Skill and the verdict in words."""

import numpy as np
import pytest

from stlight_jax.evaluation.evaluator import BaselineResult
from stlight_jax.metrics.metric_sums import MetricSums
from stlight_jax.reports.skill import few_windows, shortcut_alone, skill, verdict


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
        ([1, 2, 1, 5, 5, 5], "better than every baseline at lead times 1 and 3; equal to the last at lead time 2; worse than "
         "the mean at lead times 4 to 6"),
        ([9, 9, 9, 9, 9, 9], "worse than the last at lead times 1 to 3; worse than the mean at lead times 4 to 6"),
    ],
)  # fmt: skip
def test_the_verdict_names_the_best_baseline_of_each_lead_time(mse, text):
    ones = [1] * 6
    others = {"last": ([2, 2, 2, 4, 4, 4], [2] * 6), "mean": ([3] * 6, [3] * 6)}
    found = verdict(baselines((mse, ones), **others))
    of_mae = "and 50 % below it in MAE."  # 1 instead of 2
    if mse == ones:
        assert found.endswith(f" {of_mae} By MSE and MAE, STLight is {text}.")
    else:
        assert found.endswith(
            f" {of_mae} By MSE, STLight is {text}. By MAE, STLight is better than every baseline at every lead time."
        )


@pytest.mark.parametrize(
    ("mse", "mae", "text"),
    [
        ([1, 2], [3, 3], "40 % below the best baseline, the mean, in MSE and 50 % above the best baseline, the last, in MAE"),
        ([2, 2.9], [1, 1], "2.0 % below the best baseline, the mean, in MSE and 50 % below the best baseline, the last, in "
         "MAE"),
        ([2.5, 2.53], [2, 2], "equal to the best baseline, the mean, in MSE (0.6 % above) and equal to the best baseline, the "
         "last, in MAE"),
        ([7.5, 7.5], [2, 1.92], "200 % above the best baseline, the mean, in MSE and 2.0 % below the best baseline, the last, "
         "in MAE"),
    ],
)  # fmt: skip
def test_the_verdict_begins_with_the_difference_from_the_best_baseline_overall(mse, mae, text):
    """Means of 2.5 and 2: by MSE the mean is the best, by MAE the last frame."""
    found = verdict(baselines((mse, mae), last=([2, 4], [2, 2]), mean=([2, 3], [3, 3])))
    assert found.startswith(f"Overall, STLight is {text}. By MSE")


def test_a_perfect_baseline_has_no_percentage():
    found = verdict(baselines(([1, 1], [0, 0]), last=([0, 0], [0, 0])))
    assert found.startswith("Overall, STLight is worse than the best baseline, the last, in MSE and equal to it in MAE.")


def test_errors_that_differ_by_less_than_a_hundredth_are_equal():
    mse = [1 + 1e-6, 0.991, 1.009, 0.98, 1.02]
    found = verdict(baselines((mse, mse), last=([1] * 5, [1] * 5)))
    assert found == (
        "Overall, STLight is equal to the best baseline, the last, in MSE and equal to it in MAE. By "
        "MSE and MAE, STLight is better than every baseline at lead time 4; equal to the last at lead times 1 to 3; worse than "
        "the last at lead time 5."
    )


@pytest.mark.parametrize(
    ("step", "shortcut", "init_from", "data", "expected"),
    [
        (0, "flow", "", {}, "flow"),
        (1, "flow", "", {}, ""),
        (None, "flow", "", {}, ""),
        (0, "none", "", {}, ""),
        (0, "linear", "runs/first", {}, ""),
        (0, "linear", "", {"weights_sha256": "5f2a"}, ""),
    ],
)
def test_a_checkpoint_before_the_training_is_the_shortcut_alone(step, shortcut, init_from, data, expected):
    description = {"config": {"model": {"shortcut": shortcut}, "train": {"init_from": init_from}}, "data": data}
    assert shortcut_alone(step, description) == expected


def test_the_verdict_names_a_checkpoint_without_a_trained_network():
    found = verdict(baselines(([1], [1]), last=([2], [2])), "flow")
    assert found.startswith(
        "The checkpoint of step 0 is the shortcut flow alone, without a trained network. Overall, STLight is 50 %"
    )


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
        "Overall, STLight is worse than the best baseline, the last, in MSE and worse than it in MAE. By MSE and MAE, STLight "
        "is equal to the last at lead time 2; worse than the last at lead time 1."
    )


@pytest.mark.parametrize(
    ("sequences", "separate", "found"),
    [(7, 1, "7 test windows, of which 1 without overlap"), (2, 2, "2 test windows"), (1, 1, "1 test window"), (9, 3, "")],
)
def test_few_test_windows_are_named(sequences, separate, found):
    sentence = few_windows({"sequences": sequences, "separate": separate})
    assert sentence == (f"The scores are of {found}: on so few, a difference may be chance." if found else "")
    assert few_windows({"sequences": 10_000}) == ""
