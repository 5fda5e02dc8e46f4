"""Whole runs: resuming bit for bit after any interruption, refusals, exit statuses; real processes where it matters."""

import dataclasses
import json
import random
import re
import signal
import subprocess
import time

import jax
import numpy as np
import pytest

from stlight_jax import InputError
from stlight_jax.config.run_config import course_differences
from stlight_jax.config.sections import ProfileSection
from stlight_jax.data.load import check_config, network_config
from stlight_jax.data.pipeline import evaluation_batches, training_batches
from stlight_jax.errors import NonFiniteLossError, PreemptedError
from stlight_jax.evaluation import evaluator
from stlight_jax.runs import checkpoint, checkpoint_writer
from stlight_jax.runs.metrics_log import read_metrics
from stlight_jax.scoring.evaluate import evaluate_workdir
from stlight_jax.training import loop, setup
from stlight_jax.training.loop import train
from tests.conftest import ROOT
from tests.training.runs import (
    alone,
    assert_same_state,
    check_evaluation,
    command,
    losses,
    newest_step,
    raw_trees,
    run_to_end,
    starts,
)

pytestmark = pytest.mark.compiled_fast


def test_a_run_leaves_behind_what_it_should(small_run, tmp_path):
    state = train(small_run, tmp_path)
    assert int(state.step) == 6
    assert sorted(losses(tmp_path)) == [1, 2, 3, 4, 5, 6]
    lines = read_metrics(tmp_path, "train")
    assert lines[0]["learning_rate"] == pytest.approx(small_run.optimizer.learning_rate / 25)
    assert lines[0]["beta1"] == pytest.approx(0.95)
    assert {line["step"] for line in read_metrics(tmp_path, "validation")} == {2, 4, 6}
    assert checkpoint.steps(tmp_path / "checkpoints") == [2, 4, 6]
    assert json.loads((tmp_path / "config.json").read_text()) == json.loads(small_run.to_json())
    environment = json.loads((tmp_path / "environment.json").read_text())
    assert environment["packages"]["jax"] == jax.__version__
    assert len(environment["devices"]) == 8
    description = checkpoint.load_description(tmp_path / "checkpoints", 6)
    assert description["config"] == json.loads(small_run.to_json())
    assert description["value_range"]["network"] == [0.0, 1.0]
    assert not (tmp_path / "profile").exists()
    before = (tmp_path / "metrics.jsonl").read_bytes()
    assert_same_state(train(small_run, tmp_path), state)  # complete: nothing more happens
    assert (tmp_path / "metrics.jsonl").read_bytes() == before

    small_run.train.tensorboard = True
    small_run.train.epochs = 3
    small_run.optimizer.clip_norm = 1.0  # may be switched on on the way, as may decay
    small_run.optimizer.weight_decay = 0.1
    train(small_run, tmp_path, allow_changes=True)
    assert list((tmp_path / "tensorboard").glob("events.*"))
    results = evaluate_workdir(tmp_path)
    check_evaluation(tmp_path, results)


def test_changes_of_the_course_are_refused_and_listed(small_run, tmp_path):
    train(small_run, tmp_path)
    small_run.train.batch_size = 16
    small_run.train.seed = 3
    small_run.optimizer.clip_norm = 1.0
    small_run.train.log_every = 5  # harmless
    with pytest.raises(InputError) as caught:
        train(small_run, tmp_path)
    for difference in ("train.batch_size: 8 -> 16", "train.seed: 42 -> 3", "optimizer.clip_norm: 0.0 -> 1.0"):
        assert difference in str(caught.value)
    assert "log_every" not in str(caught.value)
    assert "--allow_changes" in str(caught.value)


def test_a_network_of_another_shape_is_refused_whatever_is_allowed(small_run, tmp_path):
    train(small_run, tmp_path)
    small_run.model.depth += 1
    with pytest.raises(InputError, match=r"another shape \(model.depth: \d+ -> \d+\), .* or choose another --workdir"):
        train(small_run, tmp_path, allow_changes=True)


@pytest.mark.parametrize(
    ("shortcut", "key", "before", "after"),
    [("flow", "input", "frames", "frames_and_flow"), ("linear", "shortcut_scales", 0, 2)],
)
def test_further_inputs_cannot_be_added_to_a_run_that_has_begun(small_run, tmp_path, shortcut, key, before, after):
    small_run.model.update({"shortcut": shortcut, key: before})
    train(small_run, tmp_path)
    small_run.model[key] = after
    refused = rf"another shape \(model.{key}: {before!r} -> {after!r}\), whose weights do not fit"
    with pytest.raises(InputError, match=refused):
        train(small_run, tmp_path, allow_changes=True)


def test_other_digits_are_refused(small_run, tmp_path, monkeypatch):
    train(small_run, tmp_path)
    from stlight_jax.data import digits

    loaded = digits.load_digits("train")
    monkeypatch.setattr(
        "stlight_jax.data.datasets.moving_mnist.load_digits", lambda *_: digits.Digits(loaded.images[::-1], "others")
    )
    with pytest.raises(InputError, match="the training data differ"):
        train(small_run, tmp_path)


def test_a_non_finite_loss_stops_the_run_and_keeps_the_checkpoints(small_run, tmp_path):
    small_run.train.epochs = 1
    train(small_run, tmp_path)
    small_run.train.epochs = 100
    small_run.optimizer.learning_rate = 1e30
    small_run.train.checkpoint_every = 100
    with pytest.raises(NonFiniteLossError, match=r"step \d+: the loss is .*, at learning rate \d"):
        train(small_run, tmp_path, allow_changes=True)
    assert checkpoint.choose_step(tmp_path / "checkpoints", "last") == 3


def test_few_validations_are_named_with_their_remedy(small_run, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr("stlight_jax.training.loop.Trainer.run", lambda self, state, is_new: state)
    for every, few in ((2, "8 validation"), (0, None)):  # of 15 steps
        small_run.train.update(epochs=5, checkpoint_every=every)
        train(small_run, tmp_path / str(every))
        shown = " ".join(capsys.readouterr().err.split())
        assert (f"of 15 steps is chosen by {few}(s), at every {every} steps; " in shown) == (few is not None)
        assert ("--config.train.checkpoint_every=0 chooses their number" in shown) == (few is not None)
        assert "15 step(s) are few for a network to learn in: give more --minutes" in shown


def test_the_log_tells_waiting_from_working(small_run, tmp_path, monkeypatch):
    small_run.train.update(epochs=5, checkpoint_every=100)
    figures = {}
    for name, seconds in (("fast", 0.0), ("slow", 0.3)):

        def batches(*arguments, seconds=seconds):
            for batch in training_batches(*arguments):
                time.sleep(seconds)
                yield batch

        monkeypatch.setattr(setup, "training_batches", batches)
        train(small_run, tmp_path / name)
        # The first step is the compilation; the last two batches are there before their steps, read ahead.
        lines = read_metrics(tmp_path / name, "train")[1:-2]
        figures[name] = {key: np.median([line[key] for line in lines]) for key in ("step_seconds", "data_wait_seconds")}
        for line in lines:
            assert 0 <= line["data_wait_seconds"] <= line["step_seconds"]
            assert line["sequences_per_second"] == pytest.approx(8 / line["step_seconds"])
    fast, slow = figures["fast"], figures["slow"]
    assert slow["step_seconds"] > 0.299
    # What is left of a batch's 0.3 s when the step before is done: a small part of them takes the step.
    assert 0.5 * slow["step_seconds"] < slow["data_wait_seconds"]
    assert fast["data_wait_seconds"] < 0.5 * fast["step_seconds"]
    assert fast["data_wait_seconds"] < 0.2 * slow["data_wait_seconds"]


def test_pauses_have_lines_of_their_own(small_run, tmp_path, monkeypatch):
    evaluate, save, wait = loop.evaluate, checkpoint_writer.CheckpointWriter.save, checkpoint_writer.CheckpointWriter.wait

    def slow(seconds, function):
        return lambda *arguments: (time.sleep(seconds), function(*arguments))[1]

    monkeypatch.setattr(loop, "evaluate", slow(0.8, evaluate))
    monkeypatch.setattr(checkpoint_writer.CheckpointWriter, "save", slow(0.4, save))
    monkeypatch.setattr(checkpoint_writer.CheckpointWriter, "wait", slow(0.2, wait))  # `save` waits, too
    said = []
    monkeypatch.setattr(loop, "print_message", said.append)
    begun = time.monotonic()
    train(small_run, tmp_path)
    whole = time.monotonic() - begun
    validations, saves = read_metrics(tmp_path, "validation"), read_metrics(tmp_path, "checkpoint")
    assert [line["step"] for line in saves] == [2, 4, 6]
    assert all(line["seconds"] > 0.8 for line in validations)
    assert all(line["wait"] > 0.2 and line["seconds"] > line["wait"] + 0.6 for line in saves)
    paused = sum(line["seconds"] for line in validations + saves)
    steps = sum(line["step_seconds"] for line in read_metrics(tmp_path, "train")[1:])
    assert steps < 1.6  # one of the two pauses between the steps alone
    assert steps + paused < whole
    summary = re.fullmatch(
        r"trained 6 steps: (\S+) ms per step, \S+ % of it waiting for data; "
        r"pauses: checkpoint (\S+) s, validation (\S+) s",
        next(line for line in said if line.startswith("trained")),
    )
    assert float(summary[1]) == pytest.approx(1000 * steps / 5, rel=0.01)
    assert float(summary[2]) > sum(line["seconds"] for line in saves) + 0.1  # the last save's end is waited for
    assert float(summary[3]) == pytest.approx(sum(line["seconds"] for line in validations), abs=0.1)


@pytest.mark.parametrize(("number", "within"), [(signal.SIGTERM, "training"), (signal.SIGINT, "validation")])
def test_a_signal_saves_between_two_saves_and_ends_a_validation(small_run, tmp_path, monkeypatch, number, within):
    small_run.data.validation_sequences = 40  # five batches
    if within == "training":
        small_run.train.checkpoint_every = 100
    seen = []

    def interrupted(batches):
        def made(*arguments):
            for batch in batches(*arguments):
                seen.append(batch)
                if len(seen) == 2:
                    signal.raise_signal(number)
                yield batch

        return made

    with monkeypatch.context() as patched:
        if within == "training":
            patched.setattr(setup, "training_batches", interrupted(training_batches))
        else:
            patched.setattr(evaluator, "evaluation_batches", interrupted(evaluation_batches))
        with pytest.raises(
            PreemptedError, match="stopped on request at step ., saved; run the same command to continue"
        ) as stopped:
            train(small_run, tmp_path)
    assert len(seen) < 5
    assert read_metrics(tmp_path, "validation") == []
    (saved,) = checkpoint.steps(tmp_path / "checkpoints")
    assert f"at step {saved}," in str(stopped.value)
    train(small_run, tmp_path)
    assert starts(tmp_path) == [0, saved]
    assert sorted(losses(tmp_path)) == [1, 2, 3, 4, 5, 6]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda c: c.train.update(batch_size=12), "train.batch_size is 12; .* multiple of the 8 devices"),
        (lambda c: c.train.update(batch_size=32), "train.batch_size is 32, but an epoch has 24 sequences"),
        (lambda c: c.train.update(epochs=0), "train.epochs is 0; it must be at least 1"),
        (lambda c: c.train.update(accumulate=0), "train.accumulate is 0; it must be at least 1"),
        (lambda c: c.train.update(accumulate=3), "multiple of the 8 devices it is split over, times train.accumulate 3"),
        (lambda c: c.parallel.update(launcher="xmap"), "parallel.launcher is 'xmap'; choose one of pmap, shard_map"),
        (lambda c: c.optimizer.update(learning_rate=float("nan")), "optimizer.learning_rate is nan"),
        (lambda c: c.optimizer.update(beta2=1.0), "optimizer.beta2 is 1.0"),
        (lambda c: c.train.update(ema_decay=1.0), "train.ema_decay is 1.0; it must be at least 0 and less than 1"),
        (lambda c: c.train.update(ema_decay=-0.1), "train.ema_decay is -0.1"),
        (lambda c: c.train.update(seed=2**32), "train.seed is 4294967296; it must be at least 0 and less than 4294967296"),
        (lambda c: c.train.update(keep_checkpoints=1), "train.keep_checkpoints is 1; it must be at least 2"),
        (lambda c: c.model.update(dtype="float64"), "model.dtype is float64, which JAX offers only with"),
        (lambda c: c.train.update(epochs=10**20), "train.epochs is 1000.*; it must be less than"),
        (lambda c: c.update(dataset="mnist"), "dataset is 'mnist'; choose one of moving_mnist"),
        (lambda c: c.profile.update(steps=-1), "profile.steps is -1; it must be at least 0"),
        (lambda c: c.profile.update(first=-1), "profile.first is -1; it must be at least 0"),
        (lambda c: c.evaluation.__delattr__("pictures"), "the config lacks evaluation.pictures"),
        (lambda c: c.model.__delattr__("dilation"), "the config lacks model.dilation"),
        (lambda c: c.model.update(width=3), "the config has an unknown key, model.width"),
        (lambda c: c.model.update(patch_size=3, hidden_dim=16), r"model.hidden_dim is 16; .* patch_size\*\*2 = 9"),
        (lambda c: c.model.update(in_channels=3), r"frames have shape \[1, 3, 16, 16, 1\]"),
        (lambda c: c.model.update(out_channels=3), r"sequences have shape \[5, 16, 16, 1\]; .* at least 3 channels"),
        (lambda c: c.data.update(root="/nowhere"), "data.root is '/nowhere'"),
        (lambda c: c.train.update(init_from="/nowhere"), "train.init_from: /nowhere.*: no checkpoint here"),
    ],
)
def test_impossible_runs_are_refused_before_anything_is_written(small_run, tmp_path, change, message):
    change(small_run)
    with pytest.raises(InputError, match=message):
        train(small_run, tmp_path / "run")
    assert not list((tmp_path / "run").glob("*.json*"))


def test_configs_of_older_checkpoints_are_taken(small_run):
    del (
        small_run.parallel,
        small_run.profile,
        small_run.model.rematerialise,
        small_run.optimizer.schedule,
        small_run.evaluation.horizon,
        small_run.data.validation,
        small_run.train.ema_decay,
    )
    before = small_run.to_dict()
    checked = check_config(small_run)
    assert network_config(checked).rematerialise == "elementwise"
    assert (checked.optimizer.schedule, checked.evaluation.horizon, checked.data.validation) == ("onecycle", 0, "generated")
    assert checked.train.ema_decay == 0
    assert checked.profile.steps == 0
    profiled = dataclasses.replace(checked, profile=ProfileSection(steps=10, first=0))  # may change on the way
    assert course_differences(before, profiled) == []


def interrupt(arguments, workdir, number, generator, meanwhile=None):
    """Starts training, waits until one more step is saved, calls `meanwhile(process)`, and sends a signal at random soon."""
    process = subprocess.Popen(arguments, cwd=ROOT, env=alone(), stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
    try:
        before = newest_step(workdir)
        deadline = time.monotonic() + 200
        while process.poll() is None and time.monotonic() < deadline:
            if newest_step(workdir) > before:
                break
            time.sleep(0.002)
        if meanwhile:
            process.send_signal(signal.SIGSTOP)  # or it might be done by then
            meanwhile(process)
            process.send_signal(signal.SIGCONT)
        time.sleep(generator.random() * 0.3)
        process.send_signal(number)
        output, _ = process.communicate(timeout=200)
    finally:
        process.kill()
    return process.returncode, output.decode()


def resume_after_interrupts(small_run, tmp_path, numbers, meanwhile=None):
    """Sends each of the signals to a start of its own; one more ends the run. Returns what the interrupted starts printed."""
    config = small_run
    # A save is always under way, and there are steps enough that no start comes to the end.
    config.train.update(epochs=1 + 2 * len(numbers), checkpoint_every=1, keep_checkpoints=2)
    total = 3 * config.train.epochs
    config.data.validation_sequences = 2
    whole = run_to_end(command(tmp_path / "whole", config))
    assert whole.returncode == 0, whole.stderr
    generator = random.Random(0)
    arguments, printed = command(tmp_path / "cut", config), []
    for number in numbers:
        status, output = interrupt(arguments, tmp_path / "cut", number, generator, meanwhile)
        assert status == (-number if number == signal.SIGKILL else 75), output
        printed.append(output)
    assert max(1, len(numbers) // 2) <= newest_step(tmp_path / "cut") < total
    finished = run_to_end(arguments)
    assert finished.returncode == 0, finished.stderr

    begun = starts(tmp_path / "cut")
    assert begun == sorted(begun)  # each goes on where one was killed, or again there: its first save was not yet sealed
    assert len(begun) == len(numbers) + 1
    assert losses(tmp_path / "cut") == losses(tmp_path / "whole")
    assert len(losses(tmp_path / "cut")) == total
    rates = [
        [(line["learning_rate"], line["beta1"]) for line in read_metrics(tmp_path / name, "train")] for name in ("cut", "whole")
    ]
    assert rates[0] == rates[1]
    assert_same_state(raw_trees(tmp_path / "cut", total), raw_trees(tmp_path / "whole", total))
    return printed, begun


def test_killed_and_terminated_runs_resume_bit_for_bit_and_two_at_once_are_refused(small_run, tmp_path):
    def start_another(process):
        with pytest.raises(InputError, match=rf"--workdir=.* is in use by process {process.pid}, which trains in it"):
            train(small_run, tmp_path / "cut")

    numbers = [signal.SIGKILL, signal.SIGTERM]
    (_, printed), begun = resume_after_interrupts(small_run, tmp_path, numbers, start_another)
    assert f"resuming {tmp_path}/cut at step {begun[1]} of 15" in printed
    assert f"stopped on request at step {begun[2]}, saved; run the same command to continue" in printed


@pytest.mark.long
def test_runs_killed_twenty_times_and_interrupted_once_resume_bit_for_bit(small_run, tmp_path):
    resume_after_interrupts(small_run, tmp_path, [signal.SIGKILL] * 20 + [signal.SIGINT])
