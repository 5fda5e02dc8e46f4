"""Real processes that have no disk in common, only a bucket."""

import json
import os
import re
import signal
import subprocess
import sys
import time

import numpy as np
import pytest

from stlight_jax.runs import checkpoint
from stlight_jax.runs.metrics_log import read_metrics
from stlight_jax.storage import bucket
from tests.conftest import ROOT
from tests.parallel.processes import assert_same_run, finish, free_port
from tests.storage.test_copies import frames_config
from tests.training.runs import assert_same_state, flags_of, losses, raw_trees


def environment_of(machine, devices):
    """Of a process on a machine of its own: folders for its caches, temporary files and home."""
    for name in ("cache", "tmp", "home"):
        (machine / name).mkdir(parents=True, exist_ok=True)
    return {
        **os.environ,
        "XLA_FLAGS": f"--xla_force_host_platform_device_count={devices}",
        "XDG_CACHE_HOME": str(machine / "cache"),
        "TMPDIR": str(machine / "tmp"),
        "HOME": str(machine / "home"),
    }


def begin(machines, *arguments, devices=4):
    """The same command on every machine."""
    together = [f"--coordinator=localhost:{free_port()}", f"--processes={len(machines)}"] if len(machines) > 1 else []
    return [
        subprocess.Popen(
            [sys.executable, *map(str, arguments), *together, *([f"--process={i}"] if together else [])],
            cwd=ROOT,
            env=environment_of(machine, devices // len(machines)),
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        for i, machine in enumerate(machines)
    ]


def end(processes, wanted=0):
    results = finish(processes, 500)
    for status, _, errors in results:
        assert status == wanted, errors
        assert "Traceback" not in errors
    return [errors for _, _, errors in results]


def train_command(config, workdir):
    name = "frames.py" if config.dataset == "frames" else "moving_mnist.py:tiny"
    flags = [flag for flag in flags_of(config) if not flag.endswith("=None")]
    return ["train.py", f"--config=configs/{name}", f"--workdir={workdir}", *flags]


def wait_for(what, processes):
    deadline = time.monotonic() + 400
    while not what():
        assert time.monotonic() < deadline
        for process in processes:
            assert process.poll() is None, process.communicate()
        time.sleep(0.01)


@pytest.fixture
def small_frames(small_run):
    """A run on frames of a user, of 4 epochs of 10 steps."""
    config = frames_config("")
    config.model.update(hidden_dim=16, depth=3, near_kernel=3, far_kernel=3, dilation=2, scan_unroll=1)
    config.train.update(batch_size=8, epochs=4, checkpoint_every=6, log_every=1, tensorboard=False)
    config.evaluation.update(batch_size=8, pictures=2)
    return config


@pytest.mark.long
def test_machines_that_share_only_a_bucket_make_the_run_of_one(small_frames, bucket_folder, server, tmp_path):
    random = np.random.default_rng(0)
    (tmp_path / "raw").mkdir()
    for name, length in (("a", 70), ("b", 60)):
        np.save(tmp_path / "raw" / f"{name}.npy", random.integers(0, 256, (length, 16, 16, 1), np.uint8))
    here, machines = tmp_path / "here", [tmp_path / "first", tmp_path / "second"]
    for out in (tmp_path / "prepared", bucket_folder / "prepared"):
        end(begin([here], "-m", "stlight_jax", "prepare", "frames", f"--raw={tmp_path}/raw", f"--out={out}"))
    config = small_frames
    config.data.root = str(tmp_path / "prepared")
    end(begin([here], *train_command(config, tmp_path / "run")))
    end(begin([here], "eval.py", f"--workdir={tmp_path}/run"))

    config.data.root, run = str(bucket_folder / "prepared"), bucket_folder / "run"
    killed = begin(machines, *train_command(config, run))
    wait_for(lambda: len(checkpoint.steps(run / "checkpoints")) > 1, killed)
    for process in killed:
        process.kill()
    finish(killed)
    assert max(checkpoint.steps(run / "checkpoints")) < 40
    left = json.loads((run / ".lock").read_text())
    (run / ".lock").write_text(json.dumps({**left, "host": "elsewhere"}))  # where nobody can look whether it lives
    errors = end(begin(machines, *train_command(config, run)))
    assert f"its lock on {run}, which is taken over" in errors[0]
    assert re.search(rf"resuming {run} at step \d+ of 40", errors[0])
    # The libraries' own logs, and that it waits where the first one takes long; nothing else is said there.
    assert [line for line in errors[1].splitlines() if not re.match(r"[IWE]\d{4} |process 1 of 2 waits", line)] == []
    assert_same_run(*({kind: read_metrics(of, kind) for kind in ("train", "validation")} for of in (run, tmp_path / "run")))
    for machine in machines:
        (copy,) = (machine / "cache" / "stlight_jax" / "fetched").iterdir()
        assert len(list(copy.glob("*array_record*"))) == 2  # training needs two of the three splits
    end(begin(machines, "eval.py", f"--workdir={run}"))
    assert [name for name in bucket.files(run) if name.startswith(".")] == []
    ours, theirs = (json.loads((of / "eval" / "metrics.json").read_text())["overall"] for of in (run, tmp_path / "run"))
    for row in ("stlight", "copy_last_frame", "mean_of_inputs"):
        for metric, value in theirs[row].items():
            assert ours[row][metric] == pytest.approx(value, rel=1e-5, abs=1e-6), (row, metric)
    for name in ("prediction.gif", "prediction.png", "loss_curve.png", "table.txt", "report.html"):
        assert len((run / "eval" / name).read_bytes()) > 500

    # Elsewhere: on from its weights, and evaluated on a local copy of the data.
    config.train.update(init_from=str(run), epochs=1)
    errors = end(begin([tmp_path / "third"], *train_command(config, bucket_folder / "tuned")))
    assert f"starting from the weights of {run}/checkpoints/40" in errors[0]
    arguments = ("eval.py", f"--workdir={run}", f"--data_root={tmp_path}/prepared", "--checkpoint=last")
    end(begin([tmp_path / "third"], *arguments))


@pytest.mark.long
def test_runs_killed_at_any_moment_resume_bit_for_bit(small_run, bucket_folder, tmp_path):
    config, kills = small_run, 4
    config.train.update(epochs=3 + 2 * kills, checkpoint_every=1, keep_checkpoints=2)  # a save is always under way
    config.data.validation_sequences = 2
    total = 3 * config.train.epochs
    end(begin([tmp_path], *train_command(config, tmp_path / "whole"), devices=1))
    moments = np.random.default_rng(0)
    for _ in range(kills):
        before = max(checkpoint.steps(bucket_folder / "checkpoints"), default=0)
        running = begin([tmp_path], *train_command(config, bucket_folder), devices=1)
        wait_for(lambda before=before: max(checkpoint.steps(bucket_folder / "checkpoints"), default=0) > before, running)
        time.sleep(moments.random() * 0.3)
        running[0].kill()
        finish(running)
    assert 1 < max(checkpoint.steps(bucket_folder / "checkpoints")) < total
    end(begin([tmp_path], *train_command(config, bucket_folder), devices=1))
    starts = [
        json.loads(line)["step"] for line in (bucket_folder / "metrics.jsonl").read_text().splitlines() if "started" in line
    ]
    assert sorted(starts) == starts
    assert losses(bucket_folder) == losses(tmp_path / "whole")
    assert len(losses(bucket_folder)) == total
    assert_same_state(raw_trees(bucket_folder, total), raw_trees(tmp_path / "whole", total))


@pytest.mark.long
def test_a_stop_is_heard_a_bucket_that_falters_is_borne_and_two_at_once_are_refused(
    small_run, bucket_folder, server, tmp_path, monkeypatch
):
    small_run.train.update(epochs=100_000, checkpoint_every=20)
    running = begin([tmp_path / "a"], *train_command(small_run, bucket_folder), devices=1)
    wait_for(lambda: len(checkpoint.steps(bucket_folder / "checkpoints")) > 0, running)
    monkeypatch.setattr(server, "fault", lambda method, path: 503)
    time.sleep(5)
    monkeypatch.undo()
    before = max(checkpoint.steps(bucket_folder / "checkpoints"))
    wait_for(lambda: max(checkpoint.steps(bucket_folder / "checkpoints")) > before + 20, running)
    (errors,) = end(begin([tmp_path / "b"], *train_command(small_run, bucket_folder), devices=1), wanted=2)
    assert re.search(rf"error: --workdir={bucket_folder} is in use by process {running[0].pid} on ", errors)
    running[0].send_signal(signal.SIGTERM)
    (errors,) = end(running, wanted=75)
    saved = int(re.search(r"stopped on request at step (\d+), saved", errors).group(1))
    assert checkpoint.choose_step(bucket_folder / "checkpoints", "last") == saved
    assert max(losses(bucket_folder)) == saved
    assert not bucket.folders(bucket_folder / "rejected_checkpoints")


@pytest.mark.long
def test_a_bucket_that_is_not_there_is_one_line(small_run, server, tmp_path):
    for arguments in (
        train_command(small_run, "gs://nobucket/run"),
        ["eval.py", "--workdir=gs://nobucket/run"],
        ["-m", "stlight_jax", "prepare", "kth", f"--raw={tmp_path}", "--out=gs://nobucket/prepared"],
    ):
        (errors,) = end(begin([tmp_path / "here"], *arguments), wanted=2)
        assert errors.splitlines()[-1] == "error: gs://nobucket: there is no such bucket"
