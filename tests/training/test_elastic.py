"""A run saved on some devices goes on with others: the same data in the same order, the same losses."""

import functools
import shutil

import jax
import numpy as np
import pytest

from stlight_jax.data.pipeline import training_batches
from stlight_jax.parallel.launchers import make_launcher
from stlight_jax.runs import checkpoint
from stlight_jax.runs.metrics_log import read_metrics
from stlight_jax.training import loop, setup
from tests.parallel.processes import train as train_in_processes
from tests.training.runs import starts

pytestmark = pytest.mark.compiled_fast


def figures(workdir):
    """What was logged, by step: [(step, kind of figure, value)]."""
    return [
        (line["step"], key, line[key])
        for kind, key in (("train", "loss"), ("train", "gradient_norm"), ("validation", "mse"), ("validation", "ssim"))
        for line in read_metrics(workdir, kind)
    ]


def assert_same_course(workdir, whole):
    ours, theirs = figures(workdir), figures(whole)
    assert [line[:2] for line in ours] == [line[:2] for line in theirs]
    for (step, key, value), (_, _, expected) in zip(ours, theirs, strict=True):
        # The norm of a gradient is reported as it is before clipping, and has a sum of more terms in it than the loss.
        assert value == pytest.approx(expected, rel=1e-5 if key != "gradient_norm" else 1e-4), (step, key)


def train(config, workdir, devices, monkeypatch):
    """Trains to the end on so many of the eight devices; returns the batches by step."""
    seen = {}

    def recorded(source, batch_size, first, *rest):
        for step, batch in enumerate(training_batches(source, batch_size, first, *rest), first):
            seen[step] = batch
            yield batch

    with monkeypatch.context() as patched:
        patched.setattr(setup, "training_batches", recorded)
        patched.setattr(setup, "make_launcher", functools.partial(make_launcher, devices=jax.devices()[:devices]))
        state = loop.train(config, workdir)
    assert {len(leaf.sharding.device_set) for leaf in jax.tree.leaves(state)} == {devices}
    return seen


def check_resuming(config, folder, monkeypatch, save_at, saved_on, cases):
    """Trains on `saved_on` devices, then again from step `save_at` with each launcher and number of devices."""
    config.train.update(checkpoint_every=save_at, keep_checkpoints=10)
    whole = train(config, folder / "whole", saved_on, monkeypatch)
    for launcher, devices in cases:
        place = folder / f"{launcher}_{devices}"
        shutil.copytree(folder / "whole" / "checkpoints" / str(save_at), place / "checkpoints" / str(save_at))
        shutil.copy(folder / "whole" / "metrics.jsonl", place)
        config.parallel.launcher = launcher
        rest = train(config, place, devices, monkeypatch)
        assert starts(place) == [0, save_at]
        assert_same_course(place, folder / "whole")
        assert sorted(rest) == sorted(whole)[save_at:]
        for step, batch in rest.items():
            np.testing.assert_array_equal(batch, whole[step])


def test_a_run_saved_on_eight_devices_goes_on_with_fewer(small_run, tmp_path, monkeypatch):
    check_resuming(small_run, tmp_path, monkeypatch, 2, 8, [("shard_map", 2)])


@pytest.mark.long
@pytest.mark.parametrize(("saved_on", "accumulate"), [(8, 1), (2, 1), (4, 2)])
def test_a_run_goes_on_with_any_number_of_devices(small_run, tmp_path, monkeypatch, saved_on, accumulate):
    small_run.train.update(epochs=8, accumulate=accumulate)
    devices = [number for number in (1, 2, 4, 8) if small_run.train.batch_size % (number * accumulate) == 0]
    cases = [(launcher, number) for launcher in ("pmap", "shard_map") for number in devices]
    check_resuming(small_run, tmp_path, monkeypatch, 4, saved_on, cases)


@pytest.mark.long
@pytest.mark.parametrize("launcher", ["pmap", "shard_map"])
def test_a_run_goes_on_with_another_number_of_processes(small_run, tmp_path, launcher):
    small_run.train.update(checkpoint_every=3, epochs=4, keep_checkpoints=10)
    small_run.parallel.launcher = launcher
    train_in_processes(small_run, tmp_path / "whole", 1)
    place = tmp_path / "moved"
    # What is saved after two, four and one processes in turn: a checkpoint beyond the next start's first step is taken away.
    for processes, until in ((2, 3), (4, 9), (1, 12)):
        train_in_processes(small_run, place, processes)
        for step in checkpoint.steps(place / "checkpoints"):
            if step > until:
                shutil.rmtree(place / "checkpoints" / str(step))
    assert_same_course(place, tmp_path / "whole")
    assert starts(place) == [0, 3, 9]
