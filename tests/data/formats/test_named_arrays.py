"""Files of several arrays: which are frames, and which are their times."""

import numpy as np
import pytest

from stlight_jax import InputError
from stlight_jax.data.windows import split_at_jumps
from tests.data.formats.frame_files import FRAMES, open_all, open_one, read_frames


def test_members_of_equal_form_are_sequences_and_others_a_question(tmp_path):
    path = tmp_path / "a.npz"
    np.savez(path, b=FRAMES[:4], a=FRAMES, note=np.arange(3))
    assert [(s.name, s.frames) for s in open_all(path)] == [("a.npz#b", 4), ("a.npz#a", 6)]
    np.savez(path, a=FRAMES, b=FRAMES.astype(np.float32))
    with pytest.raises(InputError, match=r"choose one with --config.data.variable: a uint8 \[6, 8, 7, 2\], b float32"):
        open_all(path)
    assert open_one(path, variable="b").name == "a.npz#b"
    with pytest.raises(InputError, match="data.variable is 'c', which it does not hold; it holds a uint8"):
        open_all(path, variable="c")


def test_times_are_found_by_length_and_name(tmp_path):
    path = tmp_path / "a.npz"
    np.savez(path, x=FRAMES, lat=np.arange(6), when=np.array([0, 1, 2, 5, 6, 7]))
    sequence = open_one(path)
    assert sequence.ticks.tolist() == [0, 1, 2, 5, 6, 7]
    assert sequence.remarks == ("times are those of 'when'", "1 gap, the longest of 2 steps")
    np.savez(path, x=FRAMES, loss=np.arange(6) * 1.5, date=np.array([f"2020010{day}" for day in range(1, 7)]))
    assert open_one(path).step == "1 d"
    assert open_one(path, time="loss").step == "1.5 of 'loss'"
    assert open_one(path, time="none").ticks is None
    np.savez(path, x=FRAMES, one=np.arange(6), two=np.arange(6))
    with pytest.raises(InputError, match="name its times with --config.data.time=NAME .or none.; it holds one int64"):
        open_all(path)


def test_times_of_another_length_are_an_error(tmp_path):
    np.savez(tmp_path / "a.npz", x=FRAMES, time=np.arange(5))
    for time in ("", "time"):
        with pytest.raises(InputError, match=r"has 6 frames, its times 'time' have shape \[5\]"):
            open_all(tmp_path / "a.npz", time=time)
    with pytest.raises(InputError, match="data.time is 'date', which it does not hold"):
        open_all(tmp_path / "a.npz", time="date")


def test_arrays_of_one_file_share_its_times(tmp_path):
    h5py = pytest.importorskip("h5py")
    with h5py.File(tmp_path / "a.h5", "w") as file:
        file["left"], file["right"] = FRAMES, FRAMES
        file["time"] = [f"2020-01-01T{hour:02}:00" for hour in (0, 1, 2, 4, 5, 6)]
        file["empty"] = h5py.Empty("f4")
    left, right = open_all(tmp_path / "a.h5")
    assert left.ticks.tolist() == right.ticks.tolist() == [0, 1, 2, 4, 5, 6]
    assert (left.step, right.step) == ("1 h", "1 h")


def test_the_clean_taxi_years(test_data):
    sequence = open_one(test_data / "taxinyc" / "taxinyc_2012_2014_16x8.npz")
    assert (sequence.frames, sequence.shape, sequence.dtype, sequence.step) == (24141, (16, 8, 2), np.uint16, "1 h")
    assert len(split_at_jumps(sequence.ticks)) == 7  # SOURCE.txt
    assert read_frames(sequence).max() == 17082  # SOURCE.txt


def test_the_raw_taxi_year_with_its_repeated_stamps(test_data):
    h5py = pytest.importorskip("h5py")
    path = test_data / "taxinyc" / "NYC14_Taxi_M16x8_T60_InOut.h5"
    sequence = open_one(path, layout="tchw")
    assert "1728 time stamps occur more than once" in sequence.remarks  # SOURCE.txt
    with h5py.File(path) as file:
        dates, data = file["date"][:], file["data"][:]
    hours = np.array([f"{date[:4]}-{date[4:6]}-{date[6:8]}T{date[8:]}" for date in dates.astype(str)], "M8[h]")
    for run in split_at_jumps(sequence.ticks):
        assert (np.diff(hours[run.first : run.first + run.frames]).astype(int) == 1).all()
    assert np.array_equal(read_frames(sequence), data.transpose(0, 2, 3, 1).astype(np.float32))
    with pytest.raises(InputError, match="2 x 16 with 8 channels; name .*tchw"):
        open_all(path)
