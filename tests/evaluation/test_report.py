"""When the paper's number may stand beside ours, and what the tables say."""

import dataclasses

import numpy as np
import pytest

from stlight_jax import STLightConfig
from stlight_jax.evaluation.evaluator import Evaluation
from stlight_jax.evaluation.metrics import MetricSums
from stlight_jax.evaluation.report import as_json, as_text, paper_result
from tests.conftest import load_config

PUBLISHED = {"name": "the published test set", "published": True, "sequences": 10_000, "digits": "x.npy"}


@pytest.mark.parametrize(("size", "mse"), [("XS", 24.48), ("S", 23.29), ("M", 22.21), ("L", 21.80), ("54M", 20.54)])
def test_published_sizes_meet_their_published_result(size, mse):
    model = STLightConfig(**load_config(size).model)
    assert paper_result("moving_mnist", model, PUBLISHED)["mse"] == mse
    assert paper_result("moving_mnist", model, {**PUBLISHED, "published": False}) is None
    assert paper_result("kth", model, PUBLISHED) is None
    assert paper_result("moving_mnist", dataclasses.replace(model, depth=12), PUBLISHED) is None
    assert paper_result("moving_mnist", dataclasses.replace(model, hidden_dim=1404), PUBLISHED) is None


def evaluation():
    names = ("squared_error", "absolute_error", "psnr", "ssim", "ssim_unit_range")
    model = MetricSums(2, {name: np.array([2.0, 6.0]) for name in names})
    copied = MetricSums(2, {name: np.array([20.0, np.inf]) for name in names})
    return Evaluation(model, copied, [7.0, 9.0])


def test_results_carry_baselines_and_lead_times():
    results = as_json(evaluation(), 5, PUBLISHED, {"mse": 21.8, "mae": 66.92, "ssim": 0.9515})
    assert results["overall"]["stlight"]["mse"] == 2.0
    assert results["overall"]["best_constant_image"] == {"mse": 8.0}
    assert results["per_lead_time"]["stlight"]["mse"] == [1.0, 3.0]
    text = as_text(results)
    for expected in ("copy last frame", "best constant image", "paper, this size", "21.800", "66.920", "0.9515", "8.000"):
        assert expected in text
    assert "NOT" not in text
    assert "NOT the published test set" in as_text(as_json(evaluation(), 5, {**PUBLISHED, "published": False}, None))
