"""PyTorch and JAX live: every case within its tolerances, and the same training run."""

import json
import os
import subprocess
import sys

import numpy as np
import pytest

from stlight_jax.torch_reference import parity
from tests.conftest import ROOT

pytestmark = pytest.mark.torch
pytest.importorskip("torch")
from stlight_jax.torch_reference import compare  # noqa: E402


def test_the_whole_comparison_as_a_user_runs_it(tmp_path):
    """In a process of its own with one device: eight simulated ones would fight with PyTorch for the processors."""
    result = subprocess.run(
        [sys.executable, "-m", "stlight_jax", "compare", f"--out={tmp_path}"],
        cwd=ROOT,
        env={**os.environ, "XLA_FLAGS": ""},
        capture_output=True,
        text=True,
    )
    assert result.returncode == 0, result.stderr
    results = json.loads((tmp_path / "parity.json").read_text())
    assert results["cases"].keys() == parity.CASES.keys()
    for quantities in results["cases"].values():
        for quantity, limits in parity.TOLERANCES.items():
            for dtype, limit in limits.items():
                assert quantities[quantity][dtype] <= limit, (quantity, dtype)
    ours, theirs = (np.array(results["curves"][name]) for name in ("jax", "torch"))
    assert len(ours) == len(theirs) == 500
    assert ours[0] == pytest.approx(theirs[0], rel=1e-5)
    # Both learn: the start is the last frame, the end beats the best constant image (28.72 a frame of 32 x 32, see `eval.py`).
    assert ours[-50:].mean() < 28.72 / 32**2 < ours[0]
    assert ours[-50:].mean() == pytest.approx(theirs[-50:].mean(), rel=compare.CURVE_TOLERANCE)
    assert "gradients" in result.stdout
    assert (tmp_path / "parity.png").stat().st_size > 10_000


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
