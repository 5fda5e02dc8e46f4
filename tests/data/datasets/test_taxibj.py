"""TaxiBJ from a small dataset.npz in OpenSTL's format."""

import hashlib

import numpy as np
import pytest
import tensorflow_datasets as tfds

from stlight_jax.data.clips_builder import ClipsBuilder
from stlight_jax.data.datasets import taxibj
from stlight_jax.data.datasets.taxibj import TaxiBJ
from stlight_jax.data.tfds_builders import BUILDERS
from stlight_jax.data.windows import Segment, Windows
from stlight_jax.errors import InputError

ITEMS = {"train": 5, "test": 2}


def arrays(dtype=np.float32):
    rng = np.random.default_rng(0)
    return {
        f"{part}_{split}": rng.uniform(-1, 1, (items, 4, 2, 32, 32)).astype(dtype)
        for split, items in ITEMS.items()
        for part in "XY"
    }


def prepare(raw, out, **builder):
    builder = ClipsBuilder(TaxiBJ(), data_dir=out, **{"file_format": "array_record"} | builder)
    builder.download_and_prepare(download_config=tfds.download.DownloadConfig(manual_dir=raw))
    return builder


@pytest.mark.parametrize(("folder", "dtype", "block"), [("taxibj", np.float32, 64), ("", np.float64, 2)])
def test_items_are_runs_of_eight_frames(tmp_path, monkeypatch, folder, dtype, block):
    monkeypatch.setattr(taxibj, "_BLOCK", block)
    raw = tmp_path / "raw"
    (raw / folder).mkdir(parents=True)
    data = arrays(dtype)
    np.savez(raw / folder / "dataset.npz", **data)
    builder = prepare(raw, tmp_path / "out")
    for split, items in ITEMS.items():
        whole = np.concatenate([data[f"X_{split}"], data[f"Y_{split}"]], 1).astype(np.float32)
        expected = whole.transpose(0, 1, 3, 4, 2).reshape(-1, 32, 32, 2)
        stored = np.stack([record["frame"] for record in builder.as_data_source(split)])
        assert stored.dtype == np.float32
        np.testing.assert_array_equal(stored, expected)
        table = builder.info.metadata["splits"][split]
        assert table["frames"] == 8 * items
        assert table["sha256"] == hashlib.sha256(expected.tobytes()).hexdigest()
        np.testing.assert_allclose(table["statistics"]["mean"], expected.mean((0, 1, 2), np.float64), rtol=1e-9)
        assert [clip["name"] for clip in table["clips"]] == [split]
        segments = [Segment(*segment) for segment in table["clips"][0]["runs"]]
        assert segments == [(8 * item, 8, 9 * item) for item in range(items)]
        assert len(Windows(segments, 8, TaxiBJ().stride(split, 8))) == items
        assert len(Windows(segments, 9)) == 0
    assert builder.info.metadata["value_range"] == [-1.0, 1.0]


def test_tfds_load_reads_what_it_prepares_in_the_default_format(tmp_path):
    assert BUILDERS["taxibj"].name == "taxibj"
    (tmp_path / "raw").mkdir()
    data = arrays()
    np.savez_compressed(tmp_path / "raw" / "dataset.npz", **data)
    config = tfds.download.DownloadConfig(manual_dir=tmp_path / "raw")
    loaded = tfds.load(
        "taxibj", split="test", data_dir=tmp_path / "out", download_and_prepare_kwargs={"download_config": config}
    )
    frames = [record["frame"] for record in loaded.as_numpy_iterator()]
    np.testing.assert_array_equal(frames[4], data["Y_test"][0, 0].transpose(1, 2, 0))


def without(key):
    return lambda data: data.pop(key)


def with_array(key, array):
    return lambda data: data.update({key: array})


def with_value(key, item, value):
    return lambda data: data[key].__setitem__((item, 3, 1, 31, 31), value)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (without("Y_test"), "found X_test, X_train, Y_train"),
        (with_array("X_train", np.zeros((5, 4, 32, 32, 2), np.float32)), r"X_train to be floats \[n, 4, 2, 32, 32\]"),
        (with_array("Y_train", np.zeros((5, 4, 2, 32, 32), np.uint8)), "found uint8"),
        (with_array("Y_train", np.zeros((5, 4, 2, 32, 32), object)), "found object"),
        (with_array("Y_train", np.zeros((4, 4, 2, 32, 32), np.float32)), "as many items in Y_train as in X_train, 5, found 4"),
        (with_value("Y_train", 4, 1.01), r"found 1.01.* in Y_train, item 4$"),
        (with_value("X_test", 1, np.nan), "found nan in X_test, item 1$"),
    ],
)
def test_bad_arrays(tmp_path, change, message):
    (tmp_path / "raw").mkdir()
    data = arrays()
    change(data)
    np.savez(tmp_path / "raw" / "dataset.npz", **data)
    with pytest.raises(InputError, match=message) as caught:
        prepare(tmp_path / "raw", tmp_path / "out")
    assert str(caught.value).startswith(f"{tmp_path / 'raw' / 'dataset.npz'}: expected ")
    assert not list((tmp_path / "out" / "taxibj").glob("*"))


def test_rounding_beyond_one_is_no_error(tmp_path):
    (tmp_path / "raw").mkdir()
    data = arrays()
    data["X_train"][0, 0, 0, 0, 0] = 1 + 2.0**-23
    np.savez(tmp_path / "raw" / "dataset.npz", **data)
    builder = prepare(tmp_path / "raw", tmp_path / "out")
    assert builder.info.metadata["splits"]["train"]["statistics"]["max"][0] == 1 + 2.0**-23


def damage(content, how):
    if how == "cut":
        return content[: len(content) // 2]
    if how == "flipped":  # inside an array: the archive opens, its checksum does not fit
        middle = len(content) // 2
        return content[:middle] + bytes(byte ^ 1 for byte in content[middle : middle + 4]) + content[middle + 4 :]
    return b"no archive"


@pytest.mark.parametrize("how", ["cut", "flipped", "other"])
def test_damaged_file(tmp_path, how):
    raw = tmp_path / "raw"
    raw.mkdir()
    np.savez(raw / "dataset.npz", **arrays())
    (raw / "dataset.npz").write_bytes(damage((raw / "dataset.npz").read_bytes(), how))
    with pytest.raises(InputError, match=r"dataset\.npz: expected"):
        prepare(raw, tmp_path / "out")
    assert not list((tmp_path / "out" / "taxibj").glob("*"))


def test_missing_file(tmp_path):
    (tmp_path / "raw" / "kth").mkdir(parents=True)
    with pytest.raises(InputError, match=r"raw: expected taxibj/dataset\.npz or dataset\.npz, found kth"):
        prepare(tmp_path / "raw", tmp_path / "out")
