"""The files, frames and times of each split in words."""

import netCDF4
import numpy as np
import pytest
from etils import epath

from stlight_jax.data.frames_reader import FramesOptions
from stlight_jax.data.own_frames import prepare_frames
from stlight_jax.scoring.division import division


@pytest.fixture
def described(tmp_path):
    """Divides the files of a folder, and returns the sentences."""
    (tmp_path / "raw").mkdir()

    def describe(files, **options):
        for name, frames in files.items():
            np.save(tmp_path / "raw" / name, frames)
        folder = prepare_frames(epath.Path(tmp_path / "raw"), FramesOptions(**options), epath.Path(tmp_path / "out"))
        return division({"folder": str(folder)})

    return describe


def moving(count):
    return np.random.default_rng(count).random((count, 8, 8), np.float32)


def test_each_split_has_its_files_and_more_than_five_are_counted(described):
    names = [*(f"train_{number}" for number in range(7)), "val_a", "test_a", "test_b"]
    assert described({f"{name}.npy": moving(10) for name in names}) == [
        "Training: train_0.npy, train_1.npy, train_2.npy, train_3.npy, train_4.npy and 2 more, 70 frames.",
        "Validation: val_a.npy, 10 frames.",
        "Test: test_a.npy, test_b.npy, 20 frames.",
    ]


def test_a_single_file_has_the_numbers_of_its_frames(described):
    assert described({"one.npy": moving(100)}, validation_fraction=0.1, test_fraction=0.2, gap=2) == [
        "Training: one.npy, 70 frames, numbers 0 to 69.",
        "Validation: one.npy, 8 frames, numbers 72 to 79.",
        "Test: one.npy, 18 frames, numbers 82 to 99.",
    ]


def test_files_that_all_splits_share_have_the_numbers_of_their_frames(described):
    files = {"a.npy": moving(100), "b.npy": moving(100)}
    assert described(files, validation_fraction=0.1, test_fraction=0.2) == [
        "Training: a.npy, b.npy, 140 frames, numbers 0 to 69 of each.",
        "Validation: a.npy, b.npy, 20 frames, numbers 70 to 79 of each.",
        "Test: a.npy, b.npy, 40 frames, numbers 80 to 99 of each.",
    ]


def test_dated_frames_have_their_times(described, tmp_path):
    with netCDF4.Dataset(tmp_path / "raw" / "a.nc", "w") as file:
        for axis, size in (("time", 100), ("y", 8), ("x", 8)):
            file.createDimension(axis, size)
        file.createVariable("time", "i4", ("time",)).units = "hours since 2019-03-01"
        file["time"][:] = np.arange(100)
        file.createVariable("value", "f4", ("time", "y", "x"))[:] = moving(100)
    assert described({}) == [
        "Training: a.nc#value, 70 frames from 2019-03-01 to 2019-03-03T21:00.",
        "Validation: a.nc#value, 10 frames from 2019-03-03T22:00 to 2019-03-04T07:00.",
        "Test: a.nc#value, 20 frames from 2019-03-04T08:00 to 2019-03-05T03:00.",
    ]


def test_data_without_files_are_not_divided():
    assert division({"name": "generated frames"}) == []
