"""Stored frames against the arrays they were made from, in memory and on disk."""

import concurrent.futures
import json

import numpy as np
import pytest
from etils import epath

from stlight_jax.data import stored_frames
from stlight_jax.data.stored_frames import StoredFrames
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
