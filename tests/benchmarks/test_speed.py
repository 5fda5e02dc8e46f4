"""The contest of `benchmarks/speed.py`: its contestants compute the same, and a busy machine is found."""

import json
import os
import subprocess
import sys

import numpy as np
import pytest
from busy_machine import name_of_record, signs_of_load
from speed_jax import JaxContestant
from speed_networks import NETWORKS, sampled
from speed_worker import ENVIRONMENTS, Contestant

from tests.conftest import ROOT

SPEC = NETWORKS["toy"] | {"device": "cpu", "precision": "float32"}


def spread(median, low, high):
    return {"median": median, "low_quartile": low, "high_quartile": high}


def test_steady_times_show_no_load():
    products = {"latency": [[0.1, 0.1, 0.2], [0.114, 0.114, 0.1]]}
    assert signs_of_load(products, {"latency": {"jax:auto": spread(0.1, 0.09, 0.114)}}) == []


def test_products_that_become_slower_or_faster_show_load():
    for times in ([[0.1], [0.12]], [[0.12], [0.1]]):
        (sign,) = signs_of_load({"train": times}, {})
        assert sign.startswith("train: matrix products took 1")


def test_quartiles_far_apart_show_load():
    seconds = {"latency": {"jax:auto": spread(0.1, 0.09, 0.1), "openvino": spread(0.1, 0.09, 0.12)}}
    assert signs_of_load({}, seconds) == ["latency: quartiles of openvino are 30 % of its median apart"]


def test_a_busy_record_has_another_name():
    assert name_of_record("speed_XS", {"summary": {"busy": ["train: ..."]}}) == "speed_XS_busy"
    assert name_of_record("speed_XS", {"summary": {"busy": []}}) == "speed_XS"


def test_no_record_of_a_busy_machine_is_kept():
    for path in (ROOT / "benchmarks" / "results").rglob("speed_*.json"):
        assert not json.loads(path.read_text())["summary"].get("busy"), path


@pytest.mark.parametrize("framework", ["onnxruntime", "openvino"])
def test_runtimes_predict_what_the_network_predicts(framework):
    pytest.importorskip("onnx")
    pytest.importorskip(framework)
    from speed_runtimes import RuntimeContestant

    ours, other = JaxContestant("auto", SPEC), RuntimeContestant(framework, SPEC)
    for task in ("throughput", "latency"):
        live, found = ours.numbers(task)[task], sampled({task: other.build(task)()})[task]
        np.testing.assert_allclose(found / np.abs(live).max(), live / np.abs(live).max(), rtol=0, atol=1e-5)


@pytest.mark.torch
def test_an_interpreter_with_pytorch_needs_no_jax(tmp_path):
    (tmp_path / "sitecustomize.py").write_text("import sys\nsys.modules.update(dict.fromkeys(('jax', 'flax')))\n")
    contestant = Contestant("torch:eager", SPEC, sys.executable, ENVIRONMENTS["cpu"] | {"PYTHONPATH": str(tmp_path)})
    for task in ("train", "throughput", "latency"):
        assert "torch" in contestant.order(task=task, prepare=True)["versions"]
        assert contestant.order(task=task, seconds=0.01)["seconds"]
    contestant.close()


@pytest.mark.long
def test_a_contest_writes_a_table_and_fails_on_a_busy_machine(tmp_path):
    pytest.importorskip("onnx")
    pytest.importorskip("onnxruntime")
    flags = ["--network=toy", "--modes=jax:auto,onnxruntime", "--seconds=0.2", "--rounds=2", f"--out={tmp_path}"]
    command = [sys.executable, str(ROOT / "benchmarks" / "speed.py"), *flags]
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    result = subprocess.run(command, capture_output=True, text=True, timeout=900, check=False, env=environment)
    (record,) = tmp_path.glob("*.json")
    summary = json.loads(record.read_text())["summary"]
    assert (result.returncode, record.stem) == ((1, "speed_toy_busy") if summary["busy"] else (0, "speed_toy")), result.stderr
    assert summary["against_best_runtime"].keys() == {"throughput", "latency"}
    assert summary["seconds"]["train"].keys() == {"jax:auto"}
    assert "onnxruntime" in record.with_suffix(".txt").read_text()
