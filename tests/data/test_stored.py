"""Windows of prepared clips against slices of the arrays they were made from."""

import concurrent.futures
import json
import shutil

import numpy as np
import pytest
import tensorflow_datasets as tfds
from etils import epath

from stlight_jax.data import stored
from stlight_jax.data.datasets.frames import Frames, FramesOptions
from stlight_jax.data.prepare import prepare_frames
from stlight_jax.data.scaling import Scaling
from stlight_jax.data.stored import Clips, ClipWindows, StoredFrames, find_prepared
from stlight_jax.data.windows import Windows, permutation
from stlight_jax.errors import InputError

LARGE = 2**30
GAP = 2
# Splits by time, of 40 and of 30 frames, with a gap of 2.
TAKEN = {
    "train": {"a.npy": range(28), "b.npy": range(21)},
    "validation": {"a.npy": range(30, 32), "b.npy": range(23, 24)},
    "test": {"a.npy": range(34, 40), "b.npy": range(26, 30)},
}


@pytest.fixture(scope="module")
def arrays():
    rng = np.random.default_rng(0)
    return {"a.npy": rng.random((40, 6, 5, 3), np.float32), "b.npy": rng.random((30, 6, 5, 3), np.float32)}


@pytest.fixture(scope="module")
def folder(tmp_path_factory, arrays):
    """A prepared data set of two sequences without times."""
    base = tmp_path_factory.mktemp("stored")
    (base / "raw").mkdir()
    for name, array in arrays.items():
        np.save(base / "raw" / name, array)
    return prepare_frames(epath.Path(base / "raw"), FramesOptions(gap=GAP), epath.Path(base / "out"))


def clips_of(folder, split, memory=LARGE):
    frames = StoredFrames(folder, split, memory)
    return Clips(frames, frames.table["clips"])


def windows_of(folder, split, length, memory=LARGE, stride=1, frame_step=1, **options):
    clips = clips_of(folder, split, memory)
    windows = Windows(clips.runs, length, stride, frame_step)
    return ClipWindows(clips, windows, Scaling("float32", (0.0,), (1.0,)), {"name": "x", "folder": str(folder)}, **options)


def slices(arrays, split, length, stride=1, frame_step=1):
    """The windows, cut from the raw arrays."""
    span = (length - 1) * frame_step + 1
    return np.stack(
        [
            arrays[name][first : first + span : frame_step]
            for name, taken in TAKEN[split].items()
            for first in range(taken.start, taken.stop - span + 1, stride)
        ]
    )


@pytest.mark.parametrize("memory", [0, LARGE])
@pytest.mark.parametrize("split", list(TAKEN))
def test_frames_are_those_that_were_read(folder, arrays, split, memory):
    frames = StoredFrames(folder, split, memory)
    expected = np.concatenate([arrays[name][taken.start : taken.stop] for name, taken in TAKEN[split].items()])
    assert len(frames) == len(expected)
    assert frames.shape == (6, 5, 3)
    assert frames.dtype == np.float32
    places = np.random.default_rng(1).integers(0, len(expected), 25)  # in any order, some of them several times
    np.testing.assert_array_equal(frames[places], expected[places])


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
    windows = windows_of(folder, "test", 4, reverse_channels=True, past=[clips_of(folder, "train")])
    expected = slices(arrays, "test", 4)[..., ::-1]
    np.testing.assert_array_equal(windows.frames(np.arange(len(expected))), expected)
    before, there = windows.frames_before(np.array([0]), 10, 1)
    assert there.tolist() == [True]
    np.testing.assert_array_equal(before[0, 0], arrays["a.npy"][27, ..., ::-1])


@pytest.mark.parametrize("split", ["train", "test"])
@pytest.mark.parametrize("memory", [0, LARGE])
@pytest.mark.parametrize(("steps", "targets"), [(1, 1), (5, 2), (12, 3), (100, 1)])
def test_the_past_is_the_array_shifted(folder, arrays, split, memory, steps, targets):
    everything = [clips_of(folder, other, memory) for other in TAKEN]
    windows = windows_of(folder, split, 4, memory, past=everything)
    found, there = windows.frames_before(np.arange(len(windows)), steps, targets)
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
    assert windows_of(folder, "test", 4).frames_before(np.array([0, 2]), 2, 4)[1].tolist() == [False, True]


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
        windows = ClipWindows(clips, Windows(clips.runs, 3), Scaling("float32", (0.0,), (1.0,)), {"name": "x"}, past=past)
        frames, runs = windows.frames(np.arange(len(windows))), [run for clip in clips.clips for run in clip["runs"]]
        names = [clip["name"].split(".")[0] for clip in clips.clips for _ in clip["runs"]]
        expected = [
            (name, tick + start + 2) for name, (_, count, tick) in zip(names, runs, strict=True) for start in range(count - 2)
        ]  # the hour of each window's last frame
        assert len(expected) == len(frames)
        shift = expected[0][1] - next(h for h, v in values[expected[0][0]].items() if (v[..., None] == frames[0, -1]).all())
        for cycle in (1, 5, 24):
            before, there = windows.frames_before(np.arange(len(frames)), cycle, 1)
            for row, (name, tick) in enumerate(expected):
                hour = tick - shift - cycle
                assert there[row] == (hour in values[name]), (split, name, hour)
                if there[row]:
                    np.testing.assert_array_equal(before[row, 0, ..., 0], values[name][hour])
                seen.add((cycle, bool(there[row])))
    assert seen == {(1, True), *((cycle, known) for cycle in (5, 24) for known in (True, False))}


def test_threads_read_what_is_kept_in_memory_once(folder, monkeypatch):
    counts = []
    read = StoredFrames._read
    monkeypatch.setattr(StoredFrames, "_read", lambda self, places: counts.append(len(places)) or read(self, places))
    frames = StoredFrames(folder, "train", LARGE)
    with concurrent.futures.ThreadPoolExecutor(8) as pool:
        results = list(pool.map(lambda _: frames[np.arange(49)], range(8)))
    assert counts == [49]
    assert all((result == results[0]).all() for result in results)


def test_memory_is_filled_piece_by_piece(folder, arrays, monkeypatch):
    monkeypatch.setattr(stored, "_FRAMES_AT_A_TIME", 10)
    frames = StoredFrames(folder, "train", 49 * 6 * 5 * 3 * 4)  # as large as the limit
    expected = np.concatenate([arrays["a.npy"][:28], arrays["b.npy"][:21]])
    np.testing.assert_array_equal(frames[np.arange(49)], expected)
    assert frames._all is not None
    assert StoredFrames(folder, "train", 49 * 6 * 5 * 3 * 4 - 1)._all is None


def test_windows_that_are_too_long_are_refused(folder):
    with pytest.raises(InputError, match="x, in .*: a window spans 7 frames .* longest stretch without a jump has 6") as caught:
        windows_of(folder, "test", 7)
    assert str(folder) in str(caught.value)
    with pytest.raises(InputError, match="a window spans 29 frames"):
        windows_of(folder, "train", 15, frame_step=2)


def copied(folder, tmp_path):
    target = tmp_path / "frames" / "1.0.0"
    shutil.copytree(folder, target)
    return target


def change_metadata(folder, change):
    path = folder / "metadata.json"
    content = json.loads(path.read_text())
    change(content)
    path.write_text(json.dumps(content))


def test_damaged_tables_are_refused(folder, tmp_path):
    target = copied(folder, tmp_path)
    with pytest.raises(InputError, match="has no split extra; prepare the data anew"):
        StoredFrames(epath.Path(target), "extra", 0)
    change_metadata(target, lambda content: content["splits"]["train"].update(frames=48))
    with pytest.raises(InputError, match="split train has 49 frames, its table says 48; prepare anew"):
        StoredFrames(epath.Path(target), "train", 0)
    (target / "metadata.json").unlink()
    with pytest.raises(InputError, match="has no split train; prepare the data anew"):
        StoredFrames(epath.Path(target), "train", 0)


def test_prepared_data_are_found_in_or_below_a_folder(folder, tmp_path):
    assert find_prepared("frames", str(tmp_path), "") is None
    assert find_prepared("frames", str(tmp_path / "nowhere"), "") is None
    target = copied(folder, tmp_path)
    for root in (tmp_path, target):
        assert find_prepared("frames", str(root), "") == epath.Path(target)
    with pytest.raises(InputError, match="holds the data set frames; kth is wanted"):
        find_prepared("kth", str(target), "")
    assert find_prepared("kth", str(tmp_path), "") is None


def test_folders_that_are_being_written_are_not_found(folder, tmp_path):
    (tmp_path / "frames").mkdir()
    shutil.copytree(folder, tmp_path / "frames" / f"{tfds.core.constants.INCOMPLETE_PREFIX}ABC123_1.0.0")
    assert find_prepared("frames", str(tmp_path), "") is None
    target = copied(folder, tmp_path)
    assert find_prepared("frames", str(tmp_path), "") == epath.Path(target)


def test_tildes_are_expanded(folder, tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    target = copied(folder, tmp_path)
    assert find_prepared("frames", "~", "") == epath.Path(target)


def test_formats_without_random_access_are_refused(tmp_path):
    np.save(tmp_path / "a.npy", np.arange(10 * 4 * 4, dtype=np.float32).reshape(10, 4, 4))
    builder = Frames(raw=tmp_path / "a.npy", data_dir=tmp_path / "out", file_format="tfrecord")
    builder.download_and_prepare()
    with pytest.raises(InputError, match="is stored as tfrecord, array_record is wanted: do that"):
        find_prepared("frames", str(tmp_path / "out"), "do that")
