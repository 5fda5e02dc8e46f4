"""Keys that `configs/frames.py` leaves to the data are chosen at the start of a run, printed, stored and kept."""

import math

import numpy as np
import pytest

from stlight_jax.config.sections import OptimizerSection, TrainSection
from stlight_jax.data.load import check_config, open_test
from stlight_jax.training.open_keys import with_earlier_choices
from stlight_jax.training.setup import TrainingSetup
from tests.conftest import load_config

pytestmark = pytest.mark.compiled_fast


def test_a_run_on_a_short_file_keeps_the_windows_that_it_has_chosen(tmp_path, capsys):
    np.save(tmp_path / "short.npy", np.random.default_rng(0).normal(size=(54, 8, 9)).astype(np.float32))
    config = load_config("auto", "frames")
    config.data.update(root=str(tmp_path / "short.npy"), prepared=str(tmp_path / "kept"))
    config.model.shortcut, config.data.periods = "none", ""
    described = TrainingSetup(config).description["config"]
    shown = " ".join(capsys.readouterr().err.split())
    assert "chosen for the data: model.in_frames=4, model.out_frames=4 (at most 10, as short data permit)" in shown
    assert "data.validation_fraction=0.2, data.test_fraction=0.2 (0.1 and 0.2, or more for the windows of short data)" in shown
    assert "chosen for the data: model.in_channels=1, model.out_channels=1 (the channels of the data)" in shown
    assert "model.patch_size=1, model.shortcut_scales=3 (frames of 8 x 9)" in shown
    assert "model.hidden_dim=96 (4 predicted values in a patch) model.depth=6 (the usual one)" in shown
    assert "optimizer.learning_rate=0.002 (for model.hidden_dim=96)" in shown
    # 60 % of 54 frames have 25 windows of 8, 8 devices share a batch.
    assert "chosen for the data: data.crop=0 (25 windows of 8 x 9, model.shortcut=none, model.input=frames)" in shown
    assert "train.batch_size=24 (72 pixels in a frame, 25 windows)" in shown
    assert "model.shortcut=" not in shown.replace("(25 windows of 8 x 9, model.shortcut=none", "")  # it is given
    assert (described["model"]["in_frames"], described["model"]["out_frames"], described["model"]["patch_size"]) == (4, 4, 1)
    assert (described["data"]["validation_fraction"], described["data"]["test_fraction"]) == (0.2, 0.2)
    assert open_test(check_config(described)).shape == (8, 8, 9, 1)
    assert TrainingSetup(config, described).description["config"] == described  # as on resuming
    assert "chosen for the data" not in capsys.readouterr().err
    kept = with_earlier_choices(
        check_config(config), {**described, "train": described["train"] | {"steps": 7}}, keep_length=True
    )
    assert (kept.train.steps, kept.train.batch_size) == (7, described["train"]["batch_size"])
    assert kept.train.least_gain == described["train"]["least_gain"] >= 0


def test_an_open_batch_size_suits_frames_sequences_and_devices():
    def chosen(pixels, sequences=1000, devices=1, **keys):
        return TrainSection(batch_size=0, **keys).for_data(pixels, sequences, devices).batch_size

    assert [chosen(side**2) for side in (8, 32, 45, 64, 512)] == [32, 32, 16, 8, 8]
    assert chosen(64, sequences=5) == 5
    assert chosen(64, sequences=29, devices=4, accumulate=2) == 24
    assert chosen(64, sequences=5, devices=8) == 8  # too many, which the pipeline refuses by name
    assert TrainSection(batch_size=3).for_data(64, 1000).batch_size == 3


def test_an_open_learning_rate_falls_with_the_root_of_the_width():
    assert [OptimizerSection(learning_rate=0.0).for_width(width).learning_rate for width in (96, 384)] == [0.002, 0.001]
    assert OptimizerSection(learning_rate=0.03).for_width(384).learning_rate == 0.03


def test_an_open_least_gain_is_a_fifth_where_training_windows_are_nearly_one():
    def chosen(separate, given=-1.0):
        return TrainSection(least_gain=given).for_data(64, 20, separate=separate).least_gain

    assert [chosen(count) for count in (1, 2, 3, 100)] == [0.2, 0.2, 0.01, 0.01]
    assert chosen(1, given=0.05) == 0.05


@pytest.mark.parametrize(
    ("separate", "events", "squares", "gain"),
    [
        (2, math.inf, 99, 0.2),
        (3, math.inf, 4.9, 0.2),
        (3, math.inf, 5, 0.1),
        (500, math.inf, 19, 0.1),
        (9, 1, 19, 0.2),
        (3, math.inf, 20, 0.01),
    ],
)
def test_an_open_least_gain_is_larger_where_validation_frames_are_few_and_small(separate, events, squares, gain):
    section = TrainSection(least_gain=-1.0)
    assert section.for_data(64, 20, separate=separate, events=events, squares=squares).least_gain == gain
    assert section.least_gain_for(separate, events, squares) == gain


@pytest.mark.parametrize(("side", "gain", "named"), [(8, 0.2, True), (40, 0.1, True), (80, 0.01, False)])
def test_a_run_asks_for_a_gain_by_the_size_of_its_validation_frames(tmp_path, capsys, side, gain, named):
    np.save(tmp_path / "short.npy", np.random.default_rng(0).normal(size=(40, side, side)).astype(np.float32))
    config = load_config("auto", "frames")
    config.data.update(root=str(tmp_path / "short.npy"), prepared=str(tmp_path / "kept"), periods="")
    config.data.update(validation_fraction=0.2, test_fraction=0.2)
    config.model.update(shortcut="none", input="frames", in_frames=3, out_frames=3)
    setup = TrainingSetup(config)
    assert (setup.training.description["separate"], setup.validation.description["separate"]) == (4, 1)
    assert setup.config.train.least_gain == gain
    shown = f"(4 training windows without overlap, 1 of {side} x {side} for validation)"
    assert (shown in " ".join(capsys.readouterr().err.split())) == named


@pytest.mark.parametrize(("events", "gain"), [(1, 0.2), (4, 0.05), (200, 0.01)])
def test_an_open_least_gain_falls_with_the_number_of_training_sequences(events, gain):
    assert TrainSection(least_gain=-1.0).for_data(64, 20, separate=events * 3, events=events).least_gain == gain


def gain_for(tmp_path, name, **keys):
    config = load_config("tiny", "frames")
    config.data.update(root=str(tmp_path / name), prepared=str(tmp_path / "kept"), periods="", **keys)
    config.data.update(validation_fraction=0.15, test_fraction=0.15)
    config.model.update(shortcut="none", in_frames=2, out_frames=2)
    return TrainingSetup(config).config.train.least_gain


@pytest.mark.parametrize(("split", "gain"), [("sequence", 0.04), ("time", 0.01)])
def test_a_gain_is_asked_for_where_the_test_frames_are_of_other_sequences(tmp_path, split, gain):
    np.save(tmp_path / "clips.npy", np.random.default_rng(0).normal(size=(7, 60, 64, 72)).astype(np.float32))
    assert gain_for(tmp_path, "clips.npy", layout="nthw", split=split) == gain  # five clips for training


def test_sequences_of_one_group_are_one_event(tmp_path):
    (tmp_path / "files").mkdir()
    for storm in "abcde":
        for part in "xy":
            frames = np.random.default_rng([ord(storm), ord(part)]).normal(size=(60, 64, 72)).astype(np.float32)
            np.save(tmp_path / "files" / f"{storm}_{part}.npy", frames)
    assert gain_for(tmp_path, "files", group="[a-e]_") == 0.067  # three storms for training


@pytest.mark.parametrize("stride", [1, 2])
def test_overlapping_windows_are_counted_as_one(tmp_path, stride):
    chosen = {}
    for frames in (80, 120):  # 32 and 48 for training, so two and three windows of 16
        np.save(tmp_path / f"{frames}.npy", np.random.default_rng(0).normal(size=(frames, 64, 72)).astype(np.float32))
        config = load_config("tiny", "frames")
        config.data.update(root=str(tmp_path / f"{frames}.npy"), prepared=str(tmp_path / "kept"), periods="", stride=stride)
        config.data.update(validation_fraction=0.3, test_fraction=0.3)
        config.model.update(shortcut="none", in_frames=8, out_frames=8)
        chosen[frames] = TrainingSetup(config).config.train.least_gain
    assert chosen == {80: 0.2, 120: 0.01}
