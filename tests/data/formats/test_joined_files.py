"""Array files that are successive parts of one sequence, and those that are not."""

import os
import resource
import time

import cftime
import h5py
import netCDF4
import numpy as np
import pytest

from stlight_jax import InputError
from tests.data.formats.frame_files import open_all, open_one, read_frames

HOURS = np.datetime64("2020-01-01T00") + np.arange(200)
FRAMES = np.random.default_rng(1).random((60, 6, 5), np.float32)


def save(path, indices, name="rain", **arrays):
    """Writes frames, each with the hour of its index."""
    path.parent.mkdir(parents=True, exist_ok=True)
    np.savez(path, **{name: FRAMES[indices], "time": HOURS[indices], **arrays})


def write_netcdf(path, numbers, units, calendar="standard", frames=None):
    with netCDF4.Dataset(path, "w") as file:
        for name, size in (("time", None), ("y", 6), ("x", 5)):
            file.createDimension(name, size)
        rain = file.createVariable("rain", "f4", ("time", "y", "x"))
        time = file.createVariable("time", "f8", ("time",))
        time.units, time.calendar = units, calendar
        rain[:] = FRAMES[: len(numbers)] if frames is None else frames
        time[:] = numbers


def names(path, **options):
    return [sequence.name for sequence in open_all(path, **options)]


def test_a_file_for_each_step_is_one_sequence(tmp_path):
    for number in range(24):
        write_netcdf(tmp_path / f"rain_{number:03}.nc", [number], "hours since 2020-01-01", frames=FRAMES[[number]])
    sequence = open_one(tmp_path)
    assert sequence.name == "rain_000..023.nc#rain"
    assert sequence.step == "1 h"
    assert sequence.ticks.tolist() == list(range(24))
    assert sequence.times.stored.tolist() == list(range(24))
    assert sequence.times.attributes["units"] == "hours since 2020-01-01"
    np.testing.assert_array_equal(read_frames(sequence)[..., 0], FRAMES[:24])
    np.testing.assert_array_equal(np.concatenate(list(sequence.blocks(17)))[..., 0], FRAMES[17:24])
    assert sequence.remarks.count("24 files with 24 frames are one sequence, in the order of their times") == 1
    assert len(sequence.remarks) == len(set(sequence.remarks)) == 2


def test_days_with_a_gap_are_one_sequence_with_a_gap(tmp_path):
    for day in (0, 1, 4):
        save(tmp_path / f"day{day}.npz", np.arange(6 * day, 6 * day + 6))
    sequence = open_one(tmp_path)
    assert sequence.ticks.tolist() == [*range(12), *range(24, 30)]
    assert "1 gap, the longest of 12 steps" in sequence.remarks
    np.testing.assert_array_equal(read_frames(sequence)[..., 0], FRAMES[[*range(12), *range(24, 30)]])


def test_the_order_is_that_of_the_times(tmp_path):
    for name, first in (("a", 12), ("b", 0), ("c", 6)):
        save(tmp_path / f"{name}.npz", np.arange(first, first + 6))
    sequence = open_one(tmp_path)
    assert sequence.ticks.tolist() == list(range(18))
    np.testing.assert_array_equal(read_frames(sequence)[..., 0], FRAMES[:18])


def test_each_file_may_count_from_its_own_day(tmp_path):
    for day in (1, 2, 3):
        write_netcdf(tmp_path / f"{day}.nc", np.arange(0, 24, 6), f"hours since 2020-01-0{day}")
    sequence = open_one(tmp_path)
    assert sequence.ticks.tolist() == list(range(12))
    assert sequence.times.attributes["units"] == "hours since 2020-01-01"
    assert sequence.times.stored.tolist() == list(range(0, 72, 6))


def test_so_it_may_in_a_calendar_of_360_days(tmp_path):
    for month in (1, 2, 3):
        write_netcdf(tmp_path / f"{month}.nc", np.arange(30), f"days since 2000-0{month}-01", "360_day")
    sequence = open_one(tmp_path)
    assert sequence.ticks.tolist() == list(range(90))
    dates = cftime.num2date(sequence.times.stored, sequence.times.attributes["units"], "360_day")
    assert dates[[29, 30, 89]].tolist() == [cftime.Datetime360Day(2000, *date) for date in ((1, 30), (2, 1), (3, 30))]


def test_folders_of_years_and_months_are_one(tmp_path):
    save(tmp_path / "2020" / "01" / "a.npz", np.arange(0, 8))
    save(tmp_path / "2020" / "02" / "a.npz", np.arange(8, 16))
    save(tmp_path / "2021" / "01" / "a.npz", np.arange(20, 28))
    assert open_one(tmp_path).ticks.tolist() == [*range(16), *range(20, 28)]


@pytest.mark.parametrize(
    "second",
    [
        {"name": "wind"},
        {"indices": np.arange(5, 12)},
        {"indices": np.arange(6, 18, 2)},
        {"rain": np.zeros((6, 5, 6), np.float32), "indices": np.arange(6, 12)},
        {"rain": np.zeros((6, 6, 5), np.uint8), "indices": np.arange(6, 12)},
    ],
    ids=["other variable", "times that overlap", "other sampling step", "other frames", "other element type"],
)
def test_files_of_different_things_stay_apart(tmp_path, second):
    save(tmp_path / "a1.npz", np.arange(6))
    save(tmp_path / "a2.npz", **{"indices": np.arange(6, 12), **second})
    assert [sequence.frames for sequence in open_all(tmp_path)] == [6, len(second.get("indices", range(6)))]


def test_training_and_test_files_stay_apart(tmp_path):
    for number, name in enumerate(("train_a", "train_b", "test_a")):
        save(tmp_path / f"{name}.npz", np.arange(4 * number, 4 * number + 4))
    assert names(tmp_path) == ["test_a.npz#rain", "train_a..b.npz#rain"]


def test_two_stations_in_one_folder_are_two_sequences(tmp_path):
    for station in ("north", "south"):
        for day in (1, 2):
            save(tmp_path / f"{station}_2020010{day}.npz", np.arange(4 * day, 4 * day + 4))
    assert names(tmp_path) == ["north_20200101..20200102.npz#rain", "south_20200101..20200102.npz#rain"]


def test_members_with_the_same_times_are_sequences_of_their_own(tmp_path):
    for member in (1, 2):
        for step in range(3):
            save(tmp_path / f"m{member}_{step}.npz", [step])
    first, second = open_all(tmp_path)
    assert (first.name, second.name) == ("m1_0..2.npz#rain", "m2_0..2.npz#rain")
    assert first.ticks.tolist() == second.ticks.tolist() == [0, 1, 2]


def test_a_frame_that_is_there_twice_is_explained(tmp_path):
    for name in ("a", "b", "c"):
        save(tmp_path / f"{name}.npz", [3])
    assert any(
        "3 files of one frame are not joined to one sequence: their times overlap" in remark
        for remark in open_all(tmp_path)[0].remarks
    )


def test_times_can_be_ignored(tmp_path):
    for day in (0, 1):
        save(tmp_path / f"{day}.npz", np.arange(6 * day, 6 * day + 6))
    assert names(tmp_path, time="none") == ["0.npz#rain", "1.npz#rain"]


@pytest.mark.parametrize("ending", ["h5", "nc"])
def test_pictures_in_other_array_files_are_frames(tmp_path, ending):
    for number in range(4):
        if ending == "h5":
            with h5py.File(tmp_path / f"{number}.h5", "w") as file:
                file["rain"] = FRAMES[number]
                file["time"] = number
                file["time"].attrs["units"] = b"hours since 2020-01-01"
        else:
            with netCDF4.Dataset(tmp_path / f"{number}.nc", "w") as file:
                file.createDimension("y", 6), file.createDimension("x", 5)
                file.createVariable("rain", "f4", ("y", "x"))[:] = FRAMES[number]
                file.createVariable("time", "i4")[:] = number
                file["time"].units = "hours since 2020-01-01"
    sequence = open_one(tmp_path)
    assert (sequence.step, sequence.ticks.tolist()) == ("1 h", [0, 1, 2, 3])
    np.testing.assert_array_equal(read_frames(sequence)[..., 0], FRAMES[:4])


def test_files_with_and_without_missing_values_are_one_sequence(tmp_path):
    for number in range(4):
        with h5py.File(tmp_path / f"{number}.h5", "w") as file:
            file["rain"] = np.full((1, 6, 5), number, np.int16)
            file["time"] = [number]
            if number in (1, 2):
                file["rain"].attrs["_FillValue"] = np.int16(2)
    sequence = open_one(tmp_path, fill_value=3)
    assert (sequence.dtype, sequence.fill) == (np.float32, None)
    np.testing.assert_array_equal(read_frames(sequence)[:, 0, 0, 0], [0, 1, np.nan, np.nan])


def test_files_of_other_units_stay_apart(tmp_path):
    for number, units in enumerate(("mm", "mm", "m")):
        with h5py.File(tmp_path / f"{number}.h5", "w") as file:
            file["rain"] = FRAMES[[number]]
            file["rain"].attrs["units"] = units
            file["time"] = [number]
    with pytest.raises(
        InputError, match=r"^2.h5#rain has units 'm', 0..1.h5#rain 'mm'; expected one unit for a variable; conv"
    ):
        open_all(tmp_path)


def test_more_files_than_a_process_may_open(tmp_path):
    for number in range(60):
        save(tmp_path / f"{number:02}.npz", [number])
    limits = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (len(os.listdir("/dev/fd")) + 40, limits[1]))
    try:
        np.testing.assert_array_equal(read_frames(open_one(tmp_path))[..., 0], FRAMES)
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, limits)


def read_by_library(path):
    """Reads a frame and its time as a script would."""
    if path.suffix == ".npy":
        return np.load(path)
    if path.suffix == ".h5":
        with h5py.File(path) as file:
            return file["rain"][:], file["time"][:], file["time"].attrs["units"]
    with netCDF4.Dataset(path) as file:
        return file["rain"][:], file["time"][:], file["time"].units


@pytest.mark.long
@pytest.mark.parametrize("ending", ["npy", "h5", "nc"])
def test_thousands_of_files_open_about_as_fast_as_a_script_reads_them(tmp_path, ending):
    for number in range(2_000):
        path = tmp_path / f"rain_{number}.{ending}"
        if ending == "npy":
            np.save(path, FRAMES[:1])
        elif ending == "h5":
            with h5py.File(path, "w") as file:
                file["rain"], file["time"] = FRAMES[:1], [number]
                file["time"].attrs["units"] = "hours since 2020-01-01"
        else:
            write_netcdf(path, [number], "hours since 2020-01-01")
    start = time.process_time()
    sequence = open_one(tmp_path)
    middle = time.process_time()
    for path in tmp_path.iterdir():
        read_by_library(path)
    assert middle - start < 8 * (time.process_time() - middle)
    assert sequence.frames == 2_000
    assert len(sequence.remarks) <= 2


@pytest.mark.parametrize("layout", ["hwc", "chw"])
def test_frames_with_channels_in_files_of_their_own(tmp_path, layout):
    frames = np.random.default_rng(2).integers(0, 256, (4, 9, 8, 3), np.uint8)
    for number, frame in enumerate(frames):
        np.save(tmp_path / f"{number}.npy", frame if layout == "hwc" else frame.transpose(2, 0, 1))
    np.testing.assert_array_equal(read_frames(open_one(tmp_path, layout=layout)), frames)


def test_colours_are_not_taken_for_columns(tmp_path):
    np.save(tmp_path / "a.npy", np.zeros((64, 64, 3), np.uint8))
    with pytest.raises(InputError, match=r"a.npy has shape \[64, 64, 3\]; read as .* frames are 64 x 3; .*layout=hwc for one"):
        open_all(tmp_path)
    assert open_one(tmp_path, layout="thw").shape == (64, 3, 1)


def test_files_whose_times_overlap_in_part_are_named(tmp_path):
    for number in range(3):
        save(tmp_path / f"h{number}.npz", np.arange(6 * number, 6 * number + 7))
    first, *others = open_all(tmp_path)
    assert len(others) == 2
    assert "3 files are not joined to one sequence: the times of h0.npz#rain and h1.npz#rain overlap" in first.remarks[0]
    for number in range(3):
        save(tmp_path / f"h{number}.npz", np.arange(4 + number))  # simulations that all begin at the same time
    assert not any("joined" in remark for sequence in open_all(tmp_path) for remark in sequence.remarks)


def test_the_file_with_a_repeated_time_is_named(tmp_path):
    for number, hour in enumerate((0, 1, 2, 2)):
        save(tmp_path / f"r{number}.npz", [hour])
    assert any(
        "their times overlap, r2.npz#rain and r3.npz#rain have the time 2020-01-01T02; leave out one of them" in remark
        for remark in open_all(tmp_path)[0].remarks
    )
