"""Real processes that train together: the same run as one process makes, agreement before work, no hanging after a death."""

import json
import random
import resource
import shutil
import signal
import time
import types

import jax
import pytest
from jax.experimental import multihost_utils

from stlight_jax import InputError
from stlight_jax.errors import LostProcessError
from stlight_jax.parallel import agreement, distributed
from stlight_jax.parallel.agreement import StopRequests
from stlight_jax.runs import checkpoint
from stlight_jax.runs.metrics_log import read_metrics
from stlight_jax.scoring.evaluate import evaluate_workdir
from stlight_jax.training import loop
from tests.commands import run
from tests.parallel.processes import (
    assert_same_run,
    assert_told_of_a_loss,
    finish,
    metrics,
    start,
    train,
    train_arguments,
    wait_for_steps,
)
from tests.training.runs import assert_same_state, newest_step, raw_trees, starts

pytestmark = pytest.mark.compiled_fast


@pytest.mark.parametrize(
    ("launcher", "processes"),
    [("pmap", 2), *(pytest.param(*case, marks=pytest.mark.long) for case in (("shard_map", 2), ("pmap", 4), ("shard_map", 4)))],
)
def test_many_processes_make_the_run_of_one(small_run, tmp_path, launcher, processes):
    small_run.data.validation_sequences = 13  # so that processes have unequal shares of the last batch
    small_run.train.ema_decay = 0.5  # what is validated and evaluated is the moving average
    small_run.model.shortcut = "last"
    small_run.train.shrinkage = True
    small_run.optimizer.learning_rate = 0.1  # so high that the network's corrections are too large
    loop.train(small_run, tmp_path / "one")
    small_run.parallel.launcher = launcher
    small_run.profile.update(steps=2, first=0)
    many = train(small_run, tmp_path / "many", processes)
    assert_same_run(many, metrics(tmp_path / "one"))
    assert len(starts(tmp_path / "many")) == 1  # one process writes
    assert len(list((tmp_path / "many" / "profile").glob("plugins/profile/*/*.trace.json.gz"))) == 1  # and traces
    assert checkpoint.find_damage(tmp_path / "many" / "checkpoints" / "6") is None
    shares = [line["network_share"] for line in many["validation"]]
    assert shares == [line["network_share"] for line in metrics(tmp_path / "one")["validation"]]
    assert shares[0] == 1 > max(shares[1:])
    shutil.rmtree(tmp_path / "many" / "checkpoints" / "6")
    loop.train(small_run, tmp_path / "many")  # one process resumes with the whole network
    assert starts(tmp_path / "many") == [0, 4]
    assert_same_run(metrics(tmp_path / "many"), metrics(tmp_path / "one"))


@pytest.mark.long
def test_many_processes_evaluate_as_one(small_run, tmp_path):
    small_run.data.test_sequences = 13  # so that processes have unequal shares of the last batch
    loop.train(small_run, tmp_path / "many")
    for status, _, error in finish(start("eval.py", [f"--workdir={tmp_path}/many"], 4)):
        assert status == 0, error
    together = json.loads((tmp_path / "many" / "eval" / "metrics.json").read_text())
    figures = [together, evaluate_workdir(tmp_path / "many")]
    assert [found["test_set"]["sequences"] for found in figures] == [13, 13]
    for row in ("stlight", "copy_last_frame", "mean_of_inputs"):
        for metric, value in figures[1]["overall"][row].items():
            assert figures[0]["overall"][row][metric] == pytest.approx(value, rel=1e-5), (row, metric)
    assert figures[0]["overall"]["best_constant_image"]["mse"] == pytest.approx(
        figures[1]["overall"]["best_constant_image"]["mse"], rel=1e-9
    )


@pytest.mark.long
def test_configs_that_differ_are_refused_by_all(small_run, tmp_path):
    arguments = train_arguments(small_run, tmp_path / "run")
    for status, _, error in finish(start("train.py", arguments, 2, {1: ["--config.train.seed=7"]}), 90):
        assert status == 2
        assert "error: the config differs between processes: of those numbered 0 to 1, 1 disagree with the first" in error
    assert not (tmp_path / "run").exists()


def test_unequal_numbers_of_devices_are_told(monkeypatch):
    monkeypatch.setattr(jax, "process_count", lambda: 3)
    monkeypatch.setattr(jax.distributed, "is_initialized", lambda: True)
    monkeypatch.setattr(jax, "devices", lambda: [types.SimpleNamespace(process_index=i) for i in (0, 0, 1, 2, 2)])
    with pytest.raises(InputError, match="the processes have 2, 1, 2 devices; .* all must have as many"):
        distributed.check_layout()


@pytest.mark.long
@pytest.mark.parametrize(
    ("devices", "batch_size", "message"),
    [
        ([1, 2], 6, "the processes have 1, 2 devices; a batch is shared equally, so all must have as many"),
        ([2, 2], 6, "train.batch_size is 6; it must be a positive multiple of the 4 devices it is split over"),
    ],
)
def test_impossible_layouts_are_refused_by_all_before_anything_is_compiled(small_run, tmp_path, devices, batch_size, message):
    small_run.train.batch_size = batch_size
    begun = time.monotonic()
    for status, _, error in finish(start("train.py", train_arguments(small_run, tmp_path / "run"), 2, devices=devices), 90):
        assert status == 2
        assert f"error: {message}" in error
        assert "compiling" not in error
    assert time.monotonic() - begun < 60
    assert not (tmp_path / "run").exists()


@pytest.mark.long
def test_workdirs_that_are_not_shared_are_refused_by_all_before_anything_is_compiled(small_run, tmp_path):
    others = {1: [f"--workdir={tmp_path}/second"]}
    started = start("train.py", train_arguments(small_run, tmp_path / "first"), 2, others)
    for name, (status, _, error) in zip(("first", "second"), finish(started, 200), strict=True):
        assert status == 2
        assert f"error: --workdir={tmp_path}/{name} is not the same folder on all hosts: not on that of process 1. " in error
        assert "needs: --workdir=gs://BUCKET/FOLDER" in error
        assert "compiling" not in error
    assert not list((tmp_path / "first").iterdir())
    assert not (tmp_path / "second").exists()


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (["--coordinator=localhost:1"], "--coordinator is given; several processes need"),
        (["--coordinator=localhost:1", "--processes=2", "--process=2"], "--process is 2; it must be at least 0 and less than"),
        (["--coordinator=localhost", "--processes=2", "--process=0"], "--coordinator is localhost; it must be HOST:PORT"),
        (["--coordinator=localhost:abc", "--processes=1", "--process=0"], "it must be HOST:PORT, such as host0:1234"),
    ],
)
def test_flags_that_do_not_belong_together(small_run, tmp_path, flags, message):
    result = run("train.py", *train_arguments(small_run, tmp_path / "run"), *flags)
    assert result.returncode == 2
    assert message in result.stderr


def test_what_looks_like_a_loss_keeps_its_traceback(monkeypatch, caplog):
    monkeypatch.setattr(jax.distributed, "is_initialized", lambda: True)
    original = jax.errors.JaxRuntimeError("INTERNAL: the peer buffer of a kernel is too small")
    told = pytest.raises(LostProcessError, match="--verbosity=1 shows where")
    with caplog.at_level("DEBUG", logger="absl"), told as caught, distributed.lost_process_errors():
        raise original
    assert caught.value.__cause__ is original
    (record,) = caplog.records
    assert record.exc_info[1] is original
    with pytest.raises(jax.errors.JaxRuntimeError, match="no such buffer"), distributed.lost_process_errors():
        raise jax.errors.JaxRuntimeError("INTERNAL: no such buffer")


def test_processes_count_the_moments_at_which_they_may_stop(monkeypatch):
    monkeypatch.setattr(jax, "process_count", lambda: 2)
    counted = []
    monkeypatch.setattr(multihost_utils, "reached_preemption_sync_point", lambda moment: counted.append(moment) or moment == 3)
    stop = StopRequests()
    assert [stop.agree() for _ in range(5)] == [False, False, True, True, True]
    assert stop.requested
    assert counted == [1, 2, 3, 4, 5]


@pytest.mark.long
def test_a_termination_of_one_saves_and_stops_both_and_waits_for_no_validation(small_run, tmp_path):
    small_run.train.update(epochs=400, checkpoint_every=1)
    small_run.data.validation_sequences = 40_000
    started = start("train.py", train_arguments(small_run, tmp_path / "run"), 2)
    wait_for_steps(tmp_path / "run", 1)
    started[1].send_signal(signal.SIGTERM)
    results = finish(started, 120)
    assert [status for status, _, _ in results] == [75, 75], results
    assert "stopped on request at step 1, saved; run the same command to continue" in results[0][2]
    assert read_metrics(tmp_path / "run", "validation") == []
    assert checkpoint.choose_step(tmp_path / "run" / "checkpoints", "last") == 1


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
    assert checkpoint.find_damage(tmp_path / "run" / "checkpoints" / str(step)) is None
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
@pytest.mark.parametrize("victim", [0, 1])
def test_a_death_takes_the_run_down_within_a_minute(small_run, tmp_path, victim):
    small_run.train.update(epochs=4000, checkpoint_every=100_000)
    started = start("train.py", train_arguments(small_run, tmp_path / "run"), 2)
    wait_for_steps(tmp_path / "run", 3)
    started[victim].kill()
    begun = time.monotonic()
    results = finish(started, 70)
    assert time.monotonic() - begun < 60
    assert results[victim][0] == -signal.SIGKILL
    assert_told_of_a_loss(results[1 - victim][0], results[1 - victim][2])


def test_what_only_the_first_process_meets_is_refused_by_all(small_run, tmp_path):
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "config.json").write_text("{}")  # the others do not look at the workdir
    begun = time.monotonic()
    for status, _, error in finish(start("train.py", train_arguments(small_run, tmp_path / "run"), 2), 120):
        assert status == 2
        assert f"error: {tmp_path}/run/config.json is of another program; name another --workdir" in error
    assert time.monotonic() - begun < 90


@pytest.mark.parametrize("process", [0, 1])
def test_an_error_of_the_first_process_is_raised_on_all(monkeypatch, process):
    """The broadcast of the first process is simulated; the other one does not call the function."""
    calls, sent = [], "no such run" if process else None

    def refuse():
        calls.append(process)
        raise InputError("no such run")

    monkeypatch.setattr(jax, "process_index", lambda: process)
    monkeypatch.setattr(agreement, "broadcast_from_first", lambda message: sent or message)
    with pytest.raises(InputError, match="^no such run$"):
        agreement.call_in_first(refuse)
    assert calls == [0] * (1 - process)
    sent = None
    assert agreement.call_in_first(lambda: "run") == (None if process else "run")


FAILING = """
import runpy
import sys

sys.path[0] = "."
from stlight_jax.training import setup

original = setup.training_batches

def failing(*arguments):
    for number, batch in enumerate(original(*arguments)):
        if number == 8 and "--process=1" in sys.argv:
            raise RuntimeError("a defect in one of them")
        yield batch

setup.training_batches = failing
runpy.run_path("train.py", run_name="__main__")
"""


@pytest.mark.long
@pytest.mark.parametrize("what", ["log of the first", "save of the first", "save of the second", "defect of the second"])
def test_a_failure_of_one_process_ends_all_within_a_minute(small_run, tmp_path, what):
    workdir, at_fault = tmp_path / "run", int(what.endswith("second"))
    small_run.train.update(epochs=400, checkpoint_every=100_000 if what.startswith("log") else 4)
    small_run.data.validation_sequences = 2
    script = "train.py"
    if what.startswith("defect"):
        script = tmp_path / "failing.py"
        script.write_text(FAILING)
    started = start(script, train_arguments(small_run, workdir), 2)
    if what.startswith("defect"):
        wait_for_steps(workdir, 4)
    else:
        wait_for_steps(workdir, 6)
        while what.startswith("save") and checkpoint.latest_valid_step(workdir / "checkpoints") is None:
            time.sleep(0.05)  # until step 4 is sealed
        size = 100 if at_fault else (workdir / "metrics.jsonl").stat().st_size + 1000
        resource.prlimit(started[at_fault].pid, resource.RLIMIT_FSIZE, (size, resource.RLIM_INFINITY))
    begun = time.monotonic()
    results = finish(started, 120)
    assert time.monotonic() - begun < 60
    status, _, error = results[at_fault]
    if what.startswith("defect"):
        assert status == 1
        assert "RuntimeError: a defect in one of them" in error
    else:
        assert status == 2, error
        (line,) = [line for line in error.splitlines() if line.startswith("error: ")]
        assert "could not be written: " in line
        assert "File too large" in line
        assert "Traceback" not in error
    assert_told_of_a_loss(results[1 - at_fault][0], results[1 - at_fault][2])
    if not what.startswith("log"):
        assert checkpoint.latest_valid_step(workdir / "checkpoints") >= 4


@pytest.mark.long
def test_two_processes_killed_twenty_times_end_with_the_parameters_of_an_undisturbed_run(small_run, tmp_path):
    kills, generator = 20, random.Random(0)
    small_run.train.update(epochs=3 + 2 * kills, checkpoint_every=1, keep_checkpoints=2)  # a save is always under way
    small_run.data.validation_sequences = 2
    total = 3 * small_run.train.epochs
    whole = train(small_run, tmp_path / "whole", 2, seconds=900)
    workdir = tmp_path / "cut"
    for number in range(kills):
        before = newest_step(workdir)
        started = start("train.py", train_arguments(small_run, workdir), 2)
        deadline = time.monotonic() + 200
        while newest_step(workdir) <= before and time.monotonic() < deadline:
            assert [process.poll() for process in started] == [None, None]
            time.sleep(0.002)
        time.sleep(generator.random() * 0.5)
        victims = generator.choice([[0], [1], [0, 1]])
        for victim in victims:
            started[victim].kill()
        begun = time.monotonic()
        for process, (status, _, error) in enumerate(finish(started, 90)):
            if process in victims:
                assert status == -signal.SIGKILL, (number, error)
            else:
                assert_told_of_a_loss(status, error)
        assert time.monotonic() - begun < 60
    assert kills // 2 <= newest_step(workdir) < total  # a start may only come as far as the save that the last one left
    cut = train(small_run, workdir, 2, seconds=900)
    assert len(starts(workdir)) == kills + 1
    assert [line["step"] for line in cut["train"]] == list(range(1, total + 1))
    for kind, keys in (("train", ("loss", "gradient_norm")), ("validation", ("mse", "ssim"))):
        for key in keys:
            assert [line[key] for line in cut[kind]] == [line[key] for line in whole[kind]]
    assert_same_state(raw_trees(workdir, total), raw_trees(tmp_path / "whole", total))
