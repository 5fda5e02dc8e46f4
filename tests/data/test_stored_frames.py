"""Stored frames against the arrays they were made from, in memory and on disk."""

import concurrent.futures
import json

import numpy as np
import pytest
from etils import epath

from stlight_jax.data import stored_frames
from stlight_jax.data.stored_frames import PreparedData, StoredFrames
from stlight_jax.errors import InputError
from tests.data.prepared_arrays import LARGE, TAKEN, copied


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
    monkeypatch.setattr(stored_frames, "_FRAMES_AT_A_TIME", 10)
    frames = StoredFrames(folder, "train", 49 * 6 * 5 * 3 * 4)  # as large as the limit
    expected = np.concatenate([arrays["a.npy"][:28], arrays["b.npy"][:21]])
    np.testing.assert_array_equal(frames[np.arange(49)], expected)
    assert frames._in_memory is not None
    assert StoredFrames(folder, "train", 49 * 6 * 5 * 3 * 4 - 1)._in_memory is None


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
    with pytest.raises(InputError, match="split train has 49 frames, its table has 48; prepare anew"):
        StoredFrames(epath.Path(target), "train", 0)
    (target / "metadata.json").unlink()
    with pytest.raises(InputError, match="has no split train; prepare the data anew"):
        StoredFrames(epath.Path(target), "train", 0)


def with_statistics(folder, tmp_path, **statistics):
    """The same data, of which others were measured."""
    target = copied(folder, tmp_path)
    change_metadata(target, lambda content: content["splits"]["train"]["statistics"].update(statistics))
    return PreparedData(epath.Path(target), LARGE)


@pytest.mark.parametrize(
    ("clip", "least", "bounds"),
    [
        ("none", 0.0, (None, None)),
        ("auto", 0.0, (0.0, None)),
        ("auto", 0.5, (None, None)),
        ("auto", -0.5, (None, None)),
        ("-1,2.5", 0.0, (-1.0, 2.5)),
        ("0,inf", 0.5, (0.0, None)),
    ],
)
def test_auto_clips_at_0_what_begins_there(folder, tmp_path, clip, least, bounds):
    scaling = with_statistics(folder, tmp_path, min=[least, 3.0, 3.0]).scaling(clip=clip)
    assert (scaling.clip_low, scaling.clip_high) == tuple((bound,) for bound in bounds)


@pytest.mark.parametrize("clip", ["yes", "1", "2,1", "1,1", "0,1,2", "nan,1"])
def test_bounds_of_another_form_are_refused(folder, tmp_path, clip):
    with pytest.raises(InputError, match="expected none, auto, or two numbers LOW,HIGH"):
        with_statistics(folder, tmp_path).scaling(clip=clip)


def test_the_offset_of_a_logarithm_is_the_mean_where_there_are_zeros(folder, tmp_path):
    measured = {"min": [0.0, 2.0, 0.0], "max": [9.0, 9.0, 0.0], "mean": [3.0, 5.0, 0.0]}
    data = with_statistics(folder, tmp_path, **measured)
    assert data.scaling(True, "log").offset == (3.0, 0.0, 1.0)
    assert data.scaling(False, "log").offset == ((3 + 5) / 3,)
    assert data.scaling(False, "sqrt").offset == (0.0,)


def test_transforms_of_negative_values_are_refused(folder, tmp_path):
    target = copied(folder, tmp_path)
    change_metadata(target, lambda content: content["splits"]["test"]["statistics"].update(min=[-2.0, 0.0, 0.0]))
    with pytest.raises(InputError, match="raw: values go down to -2; data.transform=log expects values of at least 0"):
        PreparedData(epath.Path(target), LARGE).scaling(transform="log")
