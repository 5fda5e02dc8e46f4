"""Real processes that train or evaluate together."""

import os
import signal
import socket
import subprocess
import sys
import time

import numpy as np

from stlight_jax.runs.metrics_log import read_metrics
from tests.conftest import ROOT
from tests.training.runs import command

DEVICES = 4  # of all processes together


def free_port():
    with socket.socket() as found:
        found.bind(("localhost", 0))
        return found.getsockname()[1]


def start(script, arguments, processes, each=None, devices=None):
    """Starts `script` in so many processes; `each`: further arguments of each of them; `devices`: how many each has."""
    devices = devices or [DEVICES // processes] * processes
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
            env={**os.environ, "XLA_FLAGS": f"--xla_force_host_platform_device_count={devices[i]}"},
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
    return command(workdir, config)[2:]


def train(config, workdir, processes, seconds=240):
    for status, _, error in finish(start("train.py", train_arguments(config, workdir), processes), seconds):
        assert status == 0, error
    return metrics(workdir)


def metrics(workdir):
    return {kind: read_metrics(workdir, kind) for kind in ("train", "validation")}


def assert_same_run(ours, theirs):
    for kind, key in (("train", "loss"), ("validation", "mse"), ("validation", "ssim")):
        assert [line["step"] for line in ours[kind]] == [line["step"] for line in theirs[kind]]
        np.testing.assert_allclose(
            [line[key] for line in ours[kind]], [line[key] for line in theirs[kind]], rtol=1e-5, err_msg=key
        )


def wait_for_steps(workdir, steps):
    deadline = time.monotonic() + 120
    while time.monotonic() < deadline:
        if max((line["step"] for line in read_metrics(workdir, "train")), default=0) >= steps:
            return
        time.sleep(0.05)
    raise AssertionError("training did not get going")


def assert_told_of_a_loss(status, error):
    """Of the other processes of a run that one has left."""
    assert status in (1, -signal.SIGABRT), error  # SIGABRT where JAX's own watch is quicker than the broken connection
    assert "another process of this run has failed, died or lost its connection" in error or "another task died" in error
    assert "Traceback (most recent call last)" not in error  # the watch names functions of the runtime, some of that name
