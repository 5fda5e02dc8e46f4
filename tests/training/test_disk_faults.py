"""Disks that fill up and folders that vanish or are damaged: one line, a right status, nothing lost."""

import functools
import re
import resource
import shutil
import signal
import subprocess

import jax
import pytest
import rich.console

from stlight_jax import InputError
from stlight_jax.console import messages
from stlight_jax.parallel.launchers import make_launcher
from stlight_jax.runs import checkpoint, checkpoint_writer
from stlight_jax.runs.metrics_log import MetricsLog, read_metrics
from stlight_jax.training import loop, setup
from stlight_jax.training.saved_state import to_trees
from tests.runs.checkpoints import damage, make_state
from tests.training.faults import (
    Started,
    assert_checkpoints_are_sound,
    assert_goes_on_to_the_end,
    fill,
    limit_files,
    run_config,
    size_of_log,
)
from tests.training.runs import losses

pytestmark = pytest.mark.compiled_fast


def test_a_save_that_finds_the_disk_full_is_told_and_the_one_before_stays(limited, tmp_path):
    def save_two():
        with checkpoint_writer.CheckpointWriter(tmp_path / "checkpoints", 2) as writer:
            writer.save(1, to_trees(make_state(1)), {}, {"mse": 1.0})
            writer.wait()
            limited(100)
            writer.save(2, to_trees(make_state(2)), {}, {"mse": 0.5})

    with pytest.raises(InputError, match=r"the checkpoint in .*/checkpoints could not be written: .*File too large"):
        save_two()
    limited(resource.RLIM_INFINITY)
    assert assert_checkpoints_are_sound(tmp_path) == 1


@pytest.mark.long
def test_a_full_disk_ends_the_run_and_leaves_what_was_saved(small_run, tmp_path, limited, monkeypatch, caplog):
    """In one process: the third save fails, and the run, which knows of it at the next step, does not go on to the fourth."""
    small_run.train.update(epochs=2, checkpoint_every=1)
    monkeypatch.setattr(setup, "make_launcher", functools.partial(make_launcher, devices=jax.devices()[:1]))
    original = checkpoint_writer.CheckpointWriter.save

    def save(writer, step, *rest):
        if step == 3:
            writer.wait()
            limited(10_000)
        return original(writer, step, *rest)

    message = r"the checkpoint in .*/cut/checkpoints could not be written: .*File too large"
    with monkeypatch.context() as patched:
        patched.setattr(checkpoint_writer.CheckpointWriter, "save", save)
        with pytest.raises(InputError, match=message):
            loop.train(small_run, tmp_path / "cut")
    limited(resource.RLIM_INFINITY)
    assert caplog.text == ""
    assert assert_checkpoints_are_sound(tmp_path / "cut") == 2
    assert max(losses(tmp_path / "cut")) <= 4
    for place in ("cut", "whole"):
        loop.train(small_run, tmp_path / place)
    assert losses(tmp_path / "cut") == losses(tmp_path / "whole")


def test_a_line_that_finds_no_space_does_not_end_a_run(tmp_path, limited, monkeypatch):
    """`train.py 2> on_the_full_disk`: the line is printed with the next one for which there is space."""
    with (tmp_path / "said").open("w") as file:
        monkeypatch.setattr(messages, "console", rich.console.Console(file=file))
        limited(10)
        messages.print_message("step one")
        messages.print_message("step two")
        limited(resource.RLIM_INFINITY)
        messages.print_message("step three")
    assert (tmp_path / "said").read_text().endswith("step two\nstep three\n")


def test_a_log_that_cannot_be_written_is_told_in_one_line(tmp_path, limited):
    log = MetricsLog(tmp_path, tensorboard=False)
    log.write(1, "train", {"loss": 1.0})
    limited((tmp_path / "metrics.jsonl").stat().st_size + 10)
    with pytest.raises(InputError, match=r"metrics.jsonl could not be written: .*File too large"):
        log.write(2, "train", {"loss": 2.0})
    limited(resource.RLIM_INFINITY)
    log.close()
    log = MetricsLog(tmp_path, tensorboard=False)
    log.write(1, "started", {})
    log.write(2, "train", {"loss": 3.0})
    log.close()
    assert [line["loss"] for line in read_metrics(tmp_path, "train")] == [1.0, 3.0]


def test_a_workdir_that_cannot_be_made_is_told_in_one_line(small_run, tmp_path):
    (tmp_path / "file").write_text("")
    workdir = tmp_path / "file" / "run"
    error = Started(small_run, workdir).error()
    assert error == f"error: --workdir={workdir}: {tmp_path}/file is a file; expected a folder"


@pytest.mark.long
@pytest.mark.parametrize("how", ["disk", "limit"])
def test_a_disk_that_is_full_when_a_checkpoint_is_saved(whole, request, tmp_path, how):
    folder = request.getfixturevalue("small_disk") if how == "disk" else tmp_path
    workdir = folder / "run"
    started = Started(run_config(), workdir)
    started.until_step(5)
    if how == "disk":
        filler = fill(folder)
        message = "No space left on device"
    else:
        limit_files(started.pid, size_of_log(workdir) + 3000)  # less than a checkpoint's arrays
        message = "File too large"
    error = started.error()
    # The log is written to in between, and may be what meets the full disk.
    assert re.search(f"{workdir}/(checkpoints|metrics.jsonl) could not be written: ", error)
    assert message in error
    if how == "disk":
        again = Started(run_config(), workdir)
        assert "No space left on device" in again.error()
        filler.unlink()
    saved = assert_checkpoints_are_sound(workdir)
    assert 5 <= saved < 30
    assert_goes_on_to_the_end(workdir, whole, saved)


@pytest.mark.long
@pytest.mark.parametrize("tensorboard", [False, True])
def test_a_disk_that_is_full_when_the_log_is_written(whole, tmp_path, tensorboard):
    workdir = tmp_path / "run"
    workdir.mkdir()
    (workdir / "metrics.jsonl").write_text('{"step": 0, "kind": "filler"}\n' * 40_000)  # more than a checkpoint's files
    config = run_config()
    config.train.tensorboard = tensorboard
    started = Started(config, workdir)
    started.until_step(5)
    limit_files(started.pid, size_of_log(workdir) + 1000)
    assert f"error: {workdir}/metrics.jsonl could not be written: [Errno 27] File too large" in started.error()
    assert_goes_on_to_the_end(workdir, whole, assert_checkpoints_are_sound(workdir))


@pytest.mark.long
def test_a_disk_that_is_full_at_the_start(whole, tmp_path):
    started = Started(run_config(), tmp_path / "run")
    limit_files(started.pid, 100)
    assert f"error: {tmp_path}/run/config.json could not be written: [Errno 27] File too large" in started.error()
    assert_goes_on_to_the_end(tmp_path / "run", whole, 0)


@pytest.mark.long
def test_tensorboard_events_that_find_the_disk_full(tmp_path, small_disk):
    config = run_config()
    config.train.update(tensorboard=True, checkpoint_every=1000)
    workdir = small_disk / "run"
    elsewhere = tmp_path / "metrics.jsonl"  # only the events meet the full disk
    workdir.mkdir()
    elsewhere.touch()
    (workdir / "metrics.jsonl").symlink_to(elsewhere)
    config.train.epochs = 100_000
    started = Started(config, workdir)
    started.until(lambda: len(losses(workdir)) > 5)
    fill(small_disk)
    assert f"{workdir}/tensorboard could not be written: " in started.error()


@pytest.mark.long
def test_a_folder_that_is_not_or_no_longer_writable(whole, tmp_path, immutable):
    workdir = tmp_path / "run"
    started = Started(run_config(), workdir)
    started.until_step(5)
    immutable(workdir / "checkpoints")
    assert f"the checkpoint in {workdir}/checkpoints could not be written: " in started.error()
    immutable(workdir)
    assert f"{workdir} cannot be written to: permission denied" in Started(run_config(), workdir).error()
    for folder in (workdir, workdir / "checkpoints"):
        subprocess.run(["chattr", "-i", folder], check=True)
    # An old one may have been on its way out: emptied, but not removed.
    assert_goes_on_to_the_end(workdir, whole, checkpoint.latest_valid_step(workdir / "checkpoints"))


@pytest.mark.long
@pytest.mark.parametrize("name", ["checkpoints", "."])
def test_a_folder_that_vanishes(whole, tmp_path, name):
    workdir = tmp_path / "run"
    started = Started(run_config(), workdir)
    started.until_step(5)
    (workdir / name).resolve().rename(tmp_path / "gone")
    error = started.error()
    assert (
        f"{workdir}/checkpoints is gone; checkpoints cannot be written, training stops at step" in error
        or f"the checkpoint in {workdir}/checkpoints could not be written: " in error
        or f"{workdir}/checkpoints/5/checksums.json could not be written: " in error  # gone while it was sealed
    )
    checkpoints = tmp_path / "gone" / ("checkpoints" if name == "." else "")
    assert checkpoint.latest_valid_step(checkpoints) >= 4  # the fifth was there, but maybe not sealed yet
    assert_goes_on_to_the_end(workdir, whole, 0)


@pytest.mark.long
def test_damaged_checkpoints_at_the_start(whole, tmp_path):
    workdir = tmp_path / "run"
    started = Started(run_config(), workdir)
    started.until_step(5)
    started.signal(signal.SIGKILL)
    assert started.end() == -signal.SIGKILL
    newest = checkpoint.latest_valid_step(workdir / "checkpoints")
    damage(workdir / "checkpoints" / str(newest))
    before = checkpoint.latest_valid_step(workdir / "checkpoints")
    assert before < newest
    (workdir / "config.json").write_text('{"model": {"dep')  # half written, as is its successor
    (workdir / "config.json.tmp").write_text("{")
    (workdir / "metrics.jsonl").write_bytes((workdir / "metrics.jsonl").read_bytes()[:-20])
    shutil.copytree(workdir, tmp_path / "copy")
    assert_goes_on_to_the_end(workdir, whole, before)
    assert [path.name for path in (workdir / "rejected_checkpoints").iterdir() if path.name.startswith(f"{newest}-")]

    workdir = tmp_path / "copy"
    kept = checkpoint.steps(workdir / "checkpoints")
    for step in set(kept) - {newest}:
        damage(workdir / "checkpoints" / str(step))
    for _ in range(2):  # nor does the second start take the run for a new one
        error = Started(run_config(), workdir).error()
        assert f"{workdir}/checkpoints: no valid checkpoint is left (damaged: " in error
        assert "choose another --workdir to start anew" in error
    assert checkpoint.steps(workdir / "checkpoints") == kept
