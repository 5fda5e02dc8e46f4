"""What a run leaves behind, and runs as users start them."""

import json
import os
import subprocess
import sys

import jax
import numpy as np
import pytest

from stlight_jax.runs import checkpoint
from stlight_jax.runs.metrics_log import read_metrics
from tests.conftest import ROOT


def losses(workdir):
    return {line["step"]: line["loss"] for line in read_metrics(workdir, "train")}


def starts(workdir):
    """The steps at which its processes began."""
    lines = map(json.loads, (workdir / "metrics.jsonl").read_text().splitlines())
    return [line["step"] for line in lines if line["kind"] == "started"]


def newest_step(workdir):
    return max(checkpoint.steps(workdir / "checkpoints"), default=0)


def assert_same_state(a, b):
    for x, y in zip(jax.tree.leaves(a), jax.tree.leaves(b), strict=True):
        np.testing.assert_array_equal(x, y)


def raw_trees(workdir, step):
    from orbax.checkpoint import v1 as ocp

    assert checkpoint.choose_step(workdir / "checkpoints", str(step)) == step
    path = workdir / "checkpoints" / str(step)
    stored = ocp.checkpointables_metadata(path).metadata
    # As NumPy arrays, on whatever devices and by however many processes they were saved.
    return ocp.load_checkpointables(path, jax.tree.map(lambda leaf: np.zeros(leaf.shape, leaf.dtype), stored))


def check_evaluation(workdir, results):
    assert json.loads((workdir / "eval" / "metrics.json").read_text())["overall"]["stlight"]["mse"] > 0
    for name in ("table.txt", "prediction.gif", "prediction.png", "loss_curve.png", "report.html"):
        assert (workdir / "eval" / name).stat().st_size > 500, name
    assert "NOT the published test set" in (workdir / "eval" / "table.txt").read_text()
    assert results["overall"]["paper"] is None
    validated = {line["step"]: line["mse"] for line in read_metrics(workdir, "validation")}
    assert results["checkpoint_step"] == min(validated, key=validated.get)
    leads = results["per_lead_time"]["stlight"]["mse"]
    assert np.mean(leads) == pytest.approx(results["overall"]["stlight"]["mse"], rel=1e-9)


def flags_of(config):
    """Its values as a user would give them."""
    return [
        f"--config.{section}.{key}={value}"
        for section in ("model", "data", "optimizer", "train", "parallel", "evaluation", "profile")
        for key, value in config[section].items()
        if value != ""
    ]


def command(workdir, config, *more):
    """train.py with `config`'s values as flags."""
    given = ["--config=configs/moving_mnist.py:tiny", f"--workdir={workdir}", *flags_of(config), *more]
    return [sys.executable, "train.py", *given]


def alone():
    """The environment of a process with one device, as on a user's laptop."""
    return {**os.environ, "XLA_FLAGS": ""}


def run_to_end(arguments, environment=None):
    return subprocess.run(arguments, cwd=ROOT, env=environment or alone(), capture_output=True, text=True, timeout=300)
