"""Files with an array for each frame."""

import h5py
import numpy as np
import pytest

from tests.data.formats.frame_files import open_all, open_one, read_frames
from tests.data.formats.test_joined_files import FRAMES, HOURS


def test_an_array_for_each_frame_is_one_sequence_in_natural_order(tmp_path):
    with h5py.File(tmp_path / "named.h5", "w") as file:
        for number in range(14):
            file[f"frame_{number}"] = FRAMES[number]
    np.savez(tmp_path / "a.npz", *FRAMES[:14])
    for name in ("named.h5", "a.npz"):
        np.testing.assert_array_equal(read_frames(open_one(tmp_path / name))[..., 0], FRAMES[:14])
    with h5py.File(tmp_path / "runs.h5", "w") as file:
        for run in range(2):
            for number in range(7):
                file[f"run{run}/{number}/rain"] = FRAMES[7 * run + number]
    for run, sequence in enumerate(open_all(tmp_path / "runs.h5")):
        np.testing.assert_array_equal(read_frames(sequence)[..., 0], FRAMES[7 * run : 7 * run + 7])


@pytest.mark.parametrize("kind", ["attribute of the frame", "attribute of the group", "array", "name"])
def test_frames_in_arrays_of_their_own_are_in_the_order_of_their_times(tmp_path, kind):
    with h5py.File(tmp_path / "a.h5", "w") as file:
        for hour in (0, 1, 2, 5, 6):
            time = f"{HOURS[hour]}:00"
            group = file.create_group(time if kind == "name" else f"t{9 - hour}")
            group["rain"] = FRAMES[hour]
            if kind == "array":
                group["time"] = time
            elif kind != "name":
                (group if kind.endswith("group") else group["rain"]).attrs["timestamp"] = time
    sequence = open_one(tmp_path / "a.h5")
    assert (sequence.step, sequence.ticks.tolist()) == ("1 h", [0, 1, 2, 5, 6])
    np.testing.assert_array_equal(read_frames(sequence)[..., 0], FRAMES[[0, 1, 2, 5, 6]])


def test_one_time_for_a_file_of_many_frames_is_not_the_time_of_each(tmp_path):
    with h5py.File(tmp_path / "a.h5", "w") as file:
        file["time"] = 3.0
        for number in range(4):
            file[f"{number}"] = FRAMES[number]
    assert open_one(tmp_path / "a.h5").times is None
