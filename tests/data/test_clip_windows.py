"""Windows of prepared clips against slices of the arrays they were made from."""

import numpy as np
import pytest
from etils import epath

from stlight_jax.data.clip_windows import ClipWindows
from stlight_jax.data.frames_reader import FramesOptions
from stlight_jax.data.own_frames import prepare_frames
from stlight_jax.data.scaling import Scaling
from stlight_jax.data.windows import Windows, permutation
from stlight_jax.errors import InputError
from tests.data.prepared_arrays import LARGE, TAKEN, clips_of, shifted, slices, windows_of


@pytest.mark.parametrize("memory", [0, LARGE])
@pytest.mark.parametrize(("length", "stride", "frame_step"), [(4, 1, 1), (4, 3, 2), (1, 1, 1), (6, 5, 1)])
def test_windows_are_slices_of_the_raw_arrays(folder, arrays, memory, length, stride, frame_step):
    for split in ("train", "test") if (length - 1) * frame_step < 6 else ("train",):
        windows = windows_of(folder, split, length, memory, stride, frame_step)
        expected = slices(arrays, split, length, stride, frame_step)
        assert len(windows) == len(expected) == windows.description["sequences"]
        assert windows.shape == expected.shape[1:] == tuple(windows.description["shape"])
        indices = np.random.default_rng(2).permutation(len(expected))
        found = windows.frames(indices, epoch=3)  # without a seed, epochs are alike
        assert found.dtype == np.float32
        assert found.flags.c_contiguous
        np.testing.assert_array_equal(found, expected[indices])


@pytest.mark.parametrize("memory", [0, LARGE])
def test_a_seed_shuffles_every_epoch_in_its_way(folder, arrays, memory):
    expected = slices(arrays, "train", 4)
    windows = windows_of(folder, "train", 4, memory, seed=11)
    for epoch in (0, 1, 2, 0):
        order = permutation(len(expected), 11, epoch)
        np.testing.assert_array_equal(windows.frames(np.arange(len(expected)), epoch), expected[order])
        np.testing.assert_array_equal(windows.frames(np.array([5, 2]), epoch), expected[order[[5, 2]]])


def test_channels_can_be_reversed(folder, arrays):
    windows = windows_of(folder, "test", 4, reverse_channels=True, past=lambda: [clips_of(folder, "train")])
    expected = slices(arrays, "test", 4)[..., ::-1]
    np.testing.assert_array_equal(windows.frames(np.arange(len(expected))), expected)
    before, there = shifted(windows, np.array([0]), 10, 1)
    assert there.tolist() == [True]
    np.testing.assert_array_equal(before[0, 0], arrays["a.npy"][27, ..., ::-1])


@pytest.mark.parametrize("split", ["train", "test"])
@pytest.mark.parametrize("memory", [0, LARGE])
@pytest.mark.parametrize(("steps", "targets"), [(1, 1), (5, 2), (12, 3), (100, 1)])
def test_the_past_is_the_array_shifted(folder, arrays, split, memory, steps, targets):
    everything = [clips_of(folder, other, memory) for other in TAKEN]
    windows = windows_of(folder, split, 4, memory, past=lambda: everything)
    found, there = shifted(windows, np.arange(len(windows)), steps, targets)
    assert found.shape == (len(windows), targets, 6, 5, 3)
    number = 0
    for name, taken in TAKEN[split].items():
        known = {frame for other in TAKEN.values() for frame in other[name]}  # what lies in a gap is not
        for first in range(taken.start, taken.stop - 3):
            wanted = [first + 4 - targets + i - steps for i in range(targets)]
            assert there[number] == (known >= set(wanted)), (name, first)
            if there[number]:
                np.testing.assert_array_equal(found[number], arrays[name][wanted])
            number += 1
    assert number == len(windows)
    assert there.any() == (steps < 100 and (split, steps) != ("test", 5))  # which falls into gaps


def test_without_other_clips_the_past_ends_where_its_run_begins(folder):
    assert shifted(windows_of(folder, "test", 4), np.array([0, 2]), 2, 4)[1].tolist() == [False, True]


def test_the_past_is_found_by_time_where_there_are_jumps(tmp_path):
    """Two stations with hours of their own; an hour is left out of one, and one comes twice."""
    hours = {"first": [*range(0, 30), *range(31, 50)], "second": [*range(20, 40), 39, *range(40, 60)]}
    arrays = {name: np.random.default_rng(len(name)).random((len(h), 4, 5), np.float32) for name, h in hours.items()}
    for name, array in arrays.items():
        stamps = np.datetime64("2020-01-01", "h") + np.array(hours[name])
        (tmp_path / "raw").mkdir(exist_ok=True)
        np.savez(tmp_path / "raw" / f"{name}.npz", data=array, time=stamps)
    options = FramesOptions(split="time", validation_fraction=0.2, test_fraction=0.3)
    folder = prepare_frames(epath.Path(tmp_path / "raw"), options, epath.Path(tmp_path / "out"))
    values = {name: {} for name in hours}
    for name, array in arrays.items():
        values[name] = dict(zip(hours[name], array, strict=True))  # of an hour that comes twice, the later frame
    tables = {split: clips_of(folder, split) for split in TAKEN}
    seen = set()
    for split, clips in tables.items():
        past = list(tables.values())
        windows = ClipWindows(
            clips, Windows(clips.segments, 3), Scaling("float32", (0.0,), (1.0,)), {"name": "x"}, past=lambda past=past: past
        )
        frames, runs = windows.frames(np.arange(len(windows))), [run for clip in clips.table for run in clip["runs"]]
        names = [clip["name"].split(".")[0] for clip in clips.table for _ in clip["runs"]]
        expected = [
            (name, tick + start + 2) for name, (_, count, tick) in zip(names, runs, strict=True) for start in range(count - 2)
        ]  # the hour of each window's last frame
        assert len(expected) == len(frames)
        shift = expected[0][1] - next(h for h, v in values[expected[0][0]].items() if (v[..., None] == frames[0, -1]).all())
        for cycle in (1, 5, 24):
            before, there = shifted(windows, np.arange(len(frames)), cycle, 1)
            for row, (name, tick) in enumerate(expected):
                hour = tick - shift - cycle
                assert there[row] == (hour in values[name]), (split, name, hour)
                if there[row]:
                    np.testing.assert_array_equal(before[row, 0, ..., 0], values[name][hour])
                seen.add((cycle, bool(there[row])))
    assert seen == {(1, True), *((cycle, known) for cycle in (5, 24) for known in (True, False))}


def test_windows_that_are_too_long_are_refused(folder):
    with pytest.raises(InputError, match="x, in .*: a window spans 7 frames .* longest stretch without a jump has 6") as caught:
        windows_of(folder, "test", 7)
    assert str(folder) in str(caught.value)
    with pytest.raises(InputError, match="a window spans 29 frames"):
        windows_of(folder, "train", 15, frame_step=2)
