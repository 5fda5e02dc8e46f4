"""Moving Fashion-MNIST from a few sequences in OpenSTL's format."""

import gzip
import struct

import numpy as np
import pytest
import tensorflow_datasets as tfds

from stlight_jax.data.clips_builder import ClipsBuilder
from stlight_jax.data.datasets.moving_fashion_mnist import MovingFashionMnist
from stlight_jax.data.windows import Segment, Windows
from stlight_jax.errors import InputError

TRAIN, TEST = 3, 4


@pytest.fixture(autouse=True)
def few_training_sequences(monkeypatch):
    monkeypatch.setattr(MovingFashionMnist, "stored_train_sequences", TRAIN)


def clothes():
    return np.random.default_rng(0).integers(1, 256, (2, 28, 28)).astype(np.uint8)


def stored_sequences(dtype=np.uint8):
    return np.random.default_rng(1).integers(0, 256, (20, TEST, 64, 64)).astype(dtype)


def write(root, sequences):
    root.mkdir(parents=True)
    np.save(root / "fmnist_test_seq.npy", sequences)
    content = struct.pack(">IIII", 2051, 2, 28, 28) + clothes().tobytes()
    (root / "train-images-idx3-ubyte.gz").write_bytes(gzip.compress(content))
    return root


def prepare(raw, out):
    builder = ClipsBuilder(MovingFashionMnist(), data_dir=out, file_format="array_record")
    builder.download_and_prepare(download_config=tfds.download.DownloadConfig(manual_dir=raw))
    return builder


@pytest.mark.parametrize(("folder", "dtype"), [("moving_fmnist", np.uint8), ("", np.float32), ("", np.float64)])
def test_a_run_for_each_sequence(tmp_path, folder, dtype):
    write(tmp_path / "raw" / folder, stored_sequences(dtype))
    builder = prepare(tmp_path / "raw", tmp_path / "out")
    stored = np.stack([record["frame"] for record in builder.as_data_source("test")])
    assert stored.dtype == np.uint8
    expected = np.concatenate([stored_sequences()[:, place] for place in range(TEST)])[..., None]
    np.testing.assert_array_equal(stored, expected)
    for split, count in (("train", TRAIN), ("test", TEST)):
        (clip,) = builder.info.metadata["splits"][split]["clips"]
        segments = [Segment(*segment) for segment in clip["runs"]]
        assert segments == [(20 * place, 20, 21 * place) for place in range(count)]
        assert len(Windows(segments, 20, MovingFashionMnist().stride(split, 20))) == count


def test_training_frames_show_two_of_the_images_on_black(tmp_path):
    write(tmp_path / "raw", stored_sequences())
    first, again = (
        np.stack([record["frame"] for record in prepare(tmp_path / "raw", tmp_path / out).as_data_source("train")])
        for out in ("a", "b")
    )
    np.testing.assert_array_equal(first, again)
    assert first.shape == (20 * TRAIN, 64, 64, 1)
    lit = (first > 0).sum((1, 2, 3))
    assert lit.min() >= 28 * 28
    assert lit.max() <= 2 * 28 * 28
    # Where the two do not overlap, what is to be seen is one of the images.
    frame = first[np.flatnonzero(lit == 2 * 28 * 28)[0], ..., 0]
    corner = np.argwhere(frame)[0]
    piece = frame[corner[0] : corner[0] + 1, corner[1] : corner[1] + 28]
    assert any((piece == image[:1]).all() for image in clothes())


def test_any_number_of_sequences_in_blocks(tmp_path):
    sequences = np.zeros((20, 101, 64, 64), np.uint8)
    sequences[..., 0, 0] = np.arange(101)
    write(tmp_path / "raw", sequences)
    source = prepare(tmp_path / "raw", tmp_path / "out").as_data_source("test")
    assert [source[20 * place + 19]["frame"][0, 0, 0] for place in range(101)] == list(range(101))


def with_value(value):
    sequences = stored_sequences(np.float32)
    sequences[19, 2, 0, 0] = value
    return sequences


@pytest.mark.parametrize(
    ("sequences", "message"),
    [
        (np.zeros((4, 20, 64, 64), np.uint8), r"found uint8 \[4, 20, 64, 64\]"),
        (np.zeros((20, 4, 64, 64, 1), np.uint8), r"found uint8 \[20, 4, 64, 64, 1\]"),
        (np.zeros((20, 4, 64, 64), np.int16), "found int16"),
        (with_value(0.5), "found 0.5 in sequence 2"),
        (with_value(256), "found 256.* in sequence 2"),
        (with_value(np.nan), "found nan in sequence 2"),
    ],
)
def test_bad_sequences(tmp_path, sequences, message):
    write(tmp_path / "raw", sequences)
    with pytest.raises(InputError, match=rf"fmnist_test_seq.npy: expected .*{message}"):
        prepare(tmp_path / "raw", tmp_path / "out")
    assert not list((tmp_path / "out" / "moving_fashion_mnist").glob("*"))


def test_damaged_and_missing_files(tmp_path):
    raw = write(tmp_path / "raw", stored_sequences())
    whole = (raw / "fmnist_test_seq.npy").read_bytes()
    (raw / "fmnist_test_seq.npy").write_bytes(whole[:-1])
    with pytest.raises(InputError, match=r"fmnist_test_seq.npy: expected .* does not load"):
        prepare(raw, tmp_path / "out")
    (raw / "fmnist_test_seq.npy").write_bytes(whole)
    images = (raw / "train-images-idx3-ubyte.gz").read_bytes()
    (raw / "train-images-idx3-ubyte.gz").write_bytes(images[:-100])
    with pytest.raises(InputError, match=r"train-images-idx3-ubyte.gz: expected a whole gzip file"):
        prepare(raw, tmp_path / "out")
    (raw / "train-images-idx3-ubyte.gz").unlink()
    with pytest.raises(InputError, match=r"raw: expected train-images-idx3-ubyte.gz or .*, found fmnist_test_seq.npy"):
        prepare(raw, tmp_path / "out")
    (raw / "fmnist_test_seq.npy").rename(raw / "other.npy")
    with pytest.raises(InputError, match=r"raw: expected fmnist_test_seq.npy, found other.npy"):
        prepare(raw, tmp_path / "out")
    assert not list((tmp_path / "out" / "moving_fashion_mnist").glob("*"))
