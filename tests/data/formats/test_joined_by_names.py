"""Array files without times, whose names decide whether they are parts of one sequence."""

import numpy as np
import pytest

from tests.data.formats.frame_files import open_all, open_one, read_frames
from tests.data.formats.test_joined_files import FRAMES, names


@pytest.mark.parametrize("shape", [(1, 6, 5), (6, 5)])
def test_arrays_of_one_frame_without_times_follow_in_natural_order(tmp_path, shape):
    for number in range(7, 13):
        np.save(tmp_path / f"frame{number}.npy", FRAMES[number].reshape(shape))
    sequence = open_one(tmp_path)
    assert sequence.name == "frame7..12.npy"
    assert sequence.ticks is None
    assert "6 files with 6 frames are one sequence, in the order of their names" in sequence.remarks
    np.testing.assert_array_equal(read_frames(sequence)[..., 0], FRAMES[7:13])


def test_a_number_that_is_missing_is_a_gap(tmp_path):
    for number in (0, 1, 2, 9, 10, 11):
        np.save(tmp_path / f"frame{number}.npy", FRAMES[number])
    sequence = open_one(tmp_path)
    assert sequence.ticks.tolist() == [0, 1, 2, 9, 10, 11]
    assert sequence.times is None
    assert (
        "1 gap in the numbers of the names, the longest of 6 steps (frame2.npy is followed by frame9.npy); "
        "--config.data.time=none ignores gaps"
    ) in sequence.remarks
    np.testing.assert_array_equal(read_frames(sequence)[..., 0], FRAMES[[0, 1, 2, 9, 10, 11]])
    assert open_one(tmp_path, time="none").ticks is None


@pytest.mark.parametrize(
    "written", [("t0.0", "t0.25", "t0.5", "t0.75", "t1.0", "t10.0"), ("t0", "t0.25", "t0.5", "t0.75", "t1", "t10")]
)
def test_decimals_in_names_are_numbers(tmp_path, written):
    for place, name in enumerate(written):
        np.save(tmp_path / f"{name}.npy", FRAMES[place])
    sequence = open_one(tmp_path)
    assert sequence.ticks.tolist() == [0, 1, 2, 3, 4, 40]
    np.testing.assert_array_equal(read_frames(sequence)[..., 0], FRAMES[:6])


@pytest.mark.parametrize("pattern", ["r_{:%Y-%m-%d_%H}", "r_{:%Y%m%dT%H}Z", "{:%Y_%m}"])
def test_an_hour_belongs_to_its_date_and_a_month_to_its_year(tmp_path, pattern):
    unit = "h" if "%H" in pattern else "M"
    moments = np.datetime64("2026-12-31T23" if unit == "h" else "2026-12", unit) + np.array([0, 1, 2, 4])
    for place, moment in enumerate(moments.astype("M8[us]").tolist()):
        np.save(tmp_path / f"{pattern.format(moment)}.npy", FRAMES[place])
    sequence = open_one(tmp_path)
    assert (sequence.frames, sequence.ticks.tolist()) == (4, [0, 1, 2, 4])


def test_arrays_of_many_frames_without_times_stay_apart(tmp_path):
    for number in range(3):
        np.save(tmp_path / f"clip{number}.npy", FRAMES[:4])
    assert names(tmp_path) == ["clip0.npy", "clip1.npy", "clip2.npy"]


def test_without_times_two_cameras_are_two_sequences(tmp_path):
    for camera in (1, 2):
        for number in range(3):
            np.save(tmp_path / f"cam{camera}_{number}.npy", FRAMES[:1])
    assert names(tmp_path) == ["cam1_0..2.npy", "cam2_0..2.npy"]


def test_without_times_names_decide(tmp_path):
    for name in ("sea", "land", "ice"):
        np.save(tmp_path / f"{name}.npy", FRAMES[:1])
    remark = "3 files of one frame are not joined to one sequence: their names differ in more than a number"
    assert [any(remark in text for text in sequence.remarks) for sequence in open_all(tmp_path)] == [True, False, False]


def test_without_times_the_names_can_give_them(tmp_path):
    for number, clock in enumerate(("1200", "1205", "1215")):
        np.save(tmp_path / f"rain_20260601{clock}.npy", FRAMES[number])
    sequence = open_one(tmp_path)
    assert (sequence.step, sequence.ticks.tolist()) == ("5 min", [0, 1, 3])
    assert sequence.times.values.astype("M8[us]")[2] == np.datetime64("2026-06-01T12:15")
    assert "the names of its files give their times; --config.data.time=none ignores them" in sequence.remarks
    assert open_one(tmp_path, time="none").ticks is None
