"""PyTorch and JAX live: every case within its tolerances, and the same training run."""

import numpy as np
import pytest

from stlight_jax.baseline import parity
from tests.conftest import load_config

pytestmark = pytest.mark.torch
pytest.importorskip("torch")
from stlight_jax.baseline import compare  # noqa: E402


def test_every_quantity_of_every_case_is_within_its_tolerance(tmp_path):
    results = {"cases": compare.compare_cases()}
    assert results["cases"].keys() == parity.CASES.keys()
    assert compare.failures(results) == []
    compare.draw(tmp_path / "x.png", results)
    text = compare.as_text(results)
    assert "gradients" in text
    assert "kitti" in text


def test_a_difference_is_found():
    case = parity.CASES["taxibj"]
    frames, variables = parity.make_frames(case), parity.make_variables(case)
    theirs = parity.outcome_in_torch(case, variables, frames)
    kernel = variables["params"]["mixers_after_skip"]["far"]["kernel"]
    kernel[0, 0, 0, 0, 0] *= 1.01  # one weight of thousands, by a hundredth
    changed = parity.outcome_in_torch(case, variables, frames)
    found = parity.deviations(case, changed, theirs, variables)
    for quantity, limits in parity.TOLERANCES.items():
        if "parameters" not in quantity:
            assert found[quantity] > limits["float64"], quantity
    results = {"cases": {"taxibj": {quantity: {"float64": value} for quantity, value in found.items()}}}
    assert any("prediction in float64" in failure for failure in compare.failures(results))


def test_500_steps_of_tiny_end_at_the_same_loss(tmp_path):
    curves = compare.compare_curves(load_config("tiny"), 500)
    assert curves["jax"][0] == pytest.approx(curves["torch"][0], rel=1e-5)
    assert curves["jax"][0] > 3 * np.mean(curves["jax"][-50:])  # it has learnt something
    assert abs(curves["difference"]) < compare.CURVE_TOLERANCE
    assert curves["difference"] == pytest.approx(np.mean(curves["jax"][-50:]) / np.mean(curves["torch"][-50:]) - 1)
