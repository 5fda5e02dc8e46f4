"""Real processes that train together: the same run as one process makes, agreement before work, no hanging after a death."""

import json
import os
import signal
import socket
import subprocess
import sys
import time

import numpy as np
import pytest

from stlight_jax.training import checkpoint
from stlight_jax.training.log import read_metrics
from tests.conftest import ROOT

DEVICES = 4  # of all processes together


def free_port():
    with socket.socket() as found:
        found.bind(("localhost", 0))
        return found.getsockname()[1]


def flags_of(config):
    return [
        f"--config.{section}.{key}={value}"
        for section in ("model", "data", "optimizer", "train", "parallel", "evaluation", "profile")
        for key, value in config[section].items()
        if value != ""
    ]


def start(script, arguments, processes, each=None):
    """Starts `script` in so many processes; `each`: further arguments of each of them."""
    environment = {**os.environ, "XLA_FLAGS": f"--xla_force_host_platform_device_count={DEVICES // processes}"}
    port = free_port()
    together = [f"--coordinator=localhost:{port}", f"--processes={processes}"] if processes > 1 else []
    return [
        subprocess.Popen(
            [
                sys.executable,
                script,
                *arguments,
                *together,
                *([f"--process={i}"] if together else []),
                *(each or {}).get(i, []),
            ],
            cwd=ROOT,
            env=environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        for i in range(processes)
    ]


def finish(started, seconds=240):
    """[(status, standard output, standard error)]; a process that does not end is a failure."""
    deadline = time.monotonic() + seconds
    results = []
    try:
        for process in started:
            out, error = process.communicate(timeout=max(deadline - time.monotonic(), 1))
            results.append((process.returncode, out, error))
    finally:
        for process in started:
            process.kill()
    return results


def train_arguments(config, workdir):
    return ["--config=configs/moving_mnist.py:tiny", f"--workdir={workdir}", *flags_of(config)]


def train(config, workdir, processes):
    for status, _, error in finish(start("train.py", train_arguments(config, workdir), processes)):
        assert status == 0, error
    return {kind: read_metrics(workdir, kind) for kind in ("train", "validation")}


def assert_same_run(ours, theirs):
    for kind, key in (("train", "loss"), ("validation", "mse"), ("validation", "ssim")):
        assert [line["step"] for line in ours[kind]] == [line["step"] for line in theirs[kind]]
        np.testing.assert_allclose(
            [line[key] for line in ours[kind]], [line[key] for line in theirs[kind]], rtol=1e-5, err_msg=key
        )


@pytest.mark.parametrize(
    ("launcher", "processes"),
    [("pmap", 2), *(pytest.param(*case, marks=pytest.mark.long) for case in (("shard_map", 2), ("pmap", 4), ("shard_map", 4)))],
)
def test_many_processes_make_the_run_of_one(small_run, tmp_path, launcher, processes):
    small_run.data.validation_sequences = 13  # so that processes have unequal shares of the last batch
    small_run.train.ema_decay = 0.5  # what is validated and evaluated is the moving average
    one = train(small_run, tmp_path / "one", 1)
    small_run.parallel.launcher = launcher
    small_run.profile.update(steps=2, first=0)
    many = train(small_run, tmp_path / "many", processes)
    assert_same_run(many, one)
    starts = [line for line in (tmp_path / "many" / "metrics.jsonl").read_text().splitlines() if '"started"' in line]
    assert len(starts) == 1  # one process writes
    assert len(list((tmp_path / "many" / "profile").glob("plugins/profile/*/*.trace.json.gz"))) == 1  # and traces
    assert checkpoint.fault(tmp_path / "many" / "checkpoints" / "6") is None

    # Evaluated together, and alone: the same figures.
    figures = []
    for number in (processes, 1):
        for status, _, error in finish(start("eval.py", [f"--workdir={tmp_path}/many"], number)):
            assert status == 0, error
        figures.append(json.loads((tmp_path / "many" / "eval" / "metrics.json").read_text()))
    for row in ("stlight", "copy_last_frame", "mean_of_inputs"):
        for metric, value in figures[1]["overall"][row].items():
            assert figures[0]["overall"][row][metric] == pytest.approx(value, rel=1e-5), (row, metric)
    assert figures[0]["overall"]["best_constant_image"]["mse"] == pytest.approx(
        figures[1]["overall"]["best_constant_image"]["mse"], rel=1e-9
    )


def test_configs_that_differ_are_refused_by_all(small_run, tmp_path):
    arguments = train_arguments(small_run, tmp_path / "run")
    for status, _, error in finish(start("train.py", arguments, 2, {1: ["--config.train.seed=7"]}), 90):
        assert status == 2
        assert "error: the config differs between processes: of those numbered 0 to 1, 1 disagree with the first" in error
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (["--coordinator=localhost:1"], "--coordinator is given; several processes need"),
        (["--coordinator=localhost:1", "--processes=2", "--process=2"], "--process is 2; it must be at least 0 and less than"),
    ],
)
def test_flags_that_do_not_belong_together(small_run, tmp_path, flags, message):
    ((status, _, error),) = finish(start("train.py", [*train_arguments(small_run, tmp_path / "run"), *flags], 1), 60)
    assert status == 2
    assert message in error


def wait_for_steps(workdir, steps):
    deadline = time.monotonic() + 120
    while time.monotonic() < deadline:
        if max((line["step"] for line in read_metrics(workdir, "train")), default=0) >= steps:
            return
        time.sleep(0.05)
    raise AssertionError("training did not get going")


@pytest.mark.long
def test_a_termination_of_one_stops_and_saves_all_and_the_run_goes_on_elsewhere(small_run, tmp_path):
    small_run.train.update(epochs=400, checkpoint_every=100_000)
    arguments = train_arguments(small_run, tmp_path / "run")
    started = start("train.py", arguments, 2)
    wait_for_steps(tmp_path / "run", 5)
    started[1].send_signal(signal.SIGTERM)
    results = finish(started, 120)
    assert [status for status, _, _ in results] == [75, 75], results
    (step,) = checkpoint.steps(tmp_path / "run" / "checkpoints")
    assert checkpoint.fault(tmp_path / "run" / "checkpoints" / str(step)) is None
    # On one process, with another launcher: the same course.
    small_run.parallel.launcher = "shard_map"
    small_run.train.update(checkpoint_every=step + 3)
    process = start("train.py", train_arguments(small_run, tmp_path / "run"), 1)
    wait_for_steps(tmp_path / "run", step + 3)
    for running in process:
        running.send_signal(signal.SIGTERM)
    assert finish(process)[0][0] == 75
    resumed = {line["step"]: line["loss"] for line in read_metrics(tmp_path / "run", "train")}
    small_run.train.update(checkpoint_every=100_000)
    process = start("train.py", train_arguments(small_run, tmp_path / "whole"), 1)
    wait_for_steps(tmp_path / "whole", step + 3)
    for running in process:
        running.kill()
    finish(process)
    whole = {line["step"]: line["loss"] for line in read_metrics(tmp_path / "whole", "train")}
    for at in range(1, step + 4):
        assert resumed[at] == pytest.approx(whole[at], rel=1e-5), at


@pytest.mark.long
def test_a_death_takes_the_run_down_within_a_minute(small_run, tmp_path):
    small_run.train.update(epochs=4000, checkpoint_every=100_000)
    started = start("train.py", train_arguments(small_run, tmp_path / "run"), 2)
    wait_for_steps(tmp_path / "run", 3)
    started[1].kill()
    begun = time.monotonic()
    (first, _) = finish(started, 70)
    assert time.monotonic() - begun < 60
    assert first[0] not in (0, None)
    assert first[2].strip(), "it says something"
