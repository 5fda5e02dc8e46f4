"""The metrics log survives being cut short, and JSON stays JSON."""

import json

import pytest

from stlight_jax.runs.metrics_log import MetricsLog, read_metrics
from stlight_jax.storage.atomic import write_json


def test_lines_that_were_gone_back_behind_and_torn_ones_are_passed_over(tmp_path):
    log = MetricsLog(tmp_path, tensorboard=False)
    for step in (1, 2, 3):
        log.write(step, "train", {"loss": float(step)})
    log.write(2, "validation", {"mse": 9.0})
    log.close()
    path = tmp_path / "metrics.jsonl"
    path.write_bytes(path.read_bytes() + b'{"step": 4, "kind": "tr')
    log = MetricsLog(tmp_path, tensorboard=False)
    log.write(1, "started", {})  # from the checkpoint of step 1, logging every second step now
    log.write(3, "train", {"loss": 30.0})
    log.write(3, "validation", {"mse": 8.0})
    log.close()
    assert {line["step"]: line["loss"] for line in read_metrics(tmp_path, "train")} == {1: 1.0, 3: 30.0}
    assert [line["mse"] for line in read_metrics(tmp_path, "validation")] == [8.0]
    assert read_metrics(tmp_path / "nowhere", "train") == []


def test_infinite_values_are_null_in_json(tmp_path):
    write_json(tmp_path / "x.json", {"psnr": [1.0, float("inf")], "mse": float("nan"), "name": "a"})
    text = (tmp_path / "x.json").read_text()
    assert json.loads(text, parse_constant=pytest.fail) == {"psnr": [1.0, None], "mse": None, "name": "a"}
    log = MetricsLog(tmp_path, tensorboard=False)
    log.write(1, "validation", {"psnr": float("inf")})
    log.close()
    assert json.loads((tmp_path / "metrics.jsonl").read_text(), parse_constant=pytest.fail)["psnr"] is None
