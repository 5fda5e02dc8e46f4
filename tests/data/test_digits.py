"""Where digits come from, and one clear line for every way a file can be wrong."""

import gzip
import hashlib
import struct

import numpy as np
import pytest
import tensorflow_datasets as tfds

from stlight_jax import InputError
from stlight_jax.data.datasets.moving_mnist import MovingMnist
from stlight_jax.data.digits import Digits, load_digits, read_idx_images
from tests.conftest import load_config


def idx(images, magic=2051):
    return struct.pack(">IIII", magic, *images.shape) + images.tobytes()


@pytest.fixture
def images():
    return np.random.default_rng(0).integers(0, 256, (5, 28, 28), dtype=np.uint8)


def test_embedded_digits_are_mnists_first(test_data):
    for split, count in (("train", 6000), ("test", 1000)):
        ours = load_digits(split)
        whole = load_digits(split, "idx", str(test_data / "mnist"))
        assert len(ours.images) == count
        np.testing.assert_array_equal(ours.images, whole.images[:count])
        assert "embedded" in ours.origin


def test_full_mnist_is_the_known_one(test_data):
    # MD5 of the uncompressed originals, as published with the data set.
    known = {"train": "6bbc9ace898e44ae57da46a324031adb", "test": "2646ac647ad5339dbf082846283269ea"}
    for split, md5 in known.items():
        images = load_digits(split, root=str(test_data / "mnist")).images
        assert hashlib.md5(idx(images)).hexdigest() == md5


@pytest.mark.parametrize("compress", [gzip.compress, bytes])
@pytest.mark.parametrize("folder", ["", "moving_mnist"])
def test_idx_files_gzipped_or_not_here_or_in_openstls_folder(tmp_path, images, compress, folder):
    (tmp_path / folder).mkdir(exist_ok=True)
    name = "train-images-idx3-ubyte" + (".gz" if compress is gzip.compress else "")
    (tmp_path / folder / name).write_bytes(compress(idx(images)))
    np.testing.assert_array_equal(load_digits("train", root=str(tmp_path)).images, images)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (lambda x: idx(x)[:-9], r"expected 3,936 bytes for the 5 images in its header, found 3,927"),
        (lambda x: idx(x) + b"0", r"expected 3,936 bytes .* found 3,937"),
        (lambda x: idx(x, magic=2049), r"expected idx images \(magic number 2051\), found magic number 2049"),
        (lambda x: idx(x[:, :20]), r"expected images of 28 x 28 pixels, found 5 of 20 x 28"),
        (lambda x: idx(x[:0]), r"expected images of 28 x 28 pixels, found 0 of"),
        (lambda x: b"", r"expected a 16-byte idx header, found 0 bytes"),
        (lambda x: gzip.compress(idx(x))[:-20], r"expected a whole gzip file, found a damaged one"),
    ],
)
def test_wrong_files_get_one_line(tmp_path, images, content, message):
    path = tmp_path / "train-images-idx3-ubyte.gz"
    path.write_bytes(content(images))
    with pytest.raises(InputError, match=message) as caught:
        load_digits("train", root=str(tmp_path))
    assert str(path) in str(caught.value)
    assert "\n" not in str(caught.value)


def test_missing_files_and_folders(tmp_path):
    (tmp_path / "train-image.gz").write_text("")
    with pytest.raises(InputError, match=r"expected train-images-idx3-ubyte.gz or .*, found train-image.gz"):
        load_digits("train", root=str(tmp_path))
    with pytest.raises(InputError, match=r"data.root is '/nowhere', which is no folder"):
        load_digits("train", root="/nowhere")


def test_half_size_averages_blocks(images):
    half = Digits(images, "").resized(14).images
    assert half.shape == (5, 14, 14)
    expected = images.astype(int)[:, 0::2, 0::2] + images[:, 1::2, 0::2] + images[:, 0::2, 1::2] + images[:, 1::2, 1::2]
    assert np.abs(half - expected / 4).max() <= 0.5
    with pytest.raises(InputError, match="data.digit_size is 13"):
        Digits(images, "").resized(13)


def test_unprepared_tfds_is_refused(tmp_path):
    with pytest.raises(InputError, match="mnist is not prepared"):
        load_digits("train", "tfds", str(tmp_path))


def test_prepared_tfds_is_read(tmp_path, images, monkeypatch):
    features = {"image": tfds.features.Image(shape=(28, 28, 1)), "label": tfds.features.ClassLabel(num_classes=10)}
    examples = [{"image": image[..., None], "label": 0} for image in images]
    write_tfds(tmp_path / "mnist" / "3.0.1", features, {"train": examples, "test": examples[:2]})
    np.testing.assert_array_equal(load_digits("train", "tfds", str(tmp_path)).images, images)
    np.testing.assert_array_equal(load_digits("test", "tfds", str(tmp_path)).images, images[:2])

    # Its companion `moving_mnist` is the published test set.
    config = load_config("L")
    config.data.update(root=str(tmp_path), digits="tfds")
    assert not MovingMnist().open_test(config.data, 20).description["published"]
    videos = np.random.default_rng(1).integers(0, 256, (3, 20, 64, 64, 1), dtype=np.uint8)
    features = {"image_sequence": tfds.features.Video(shape=(20, 64, 64, 1))}
    write_tfds(tmp_path / "moving_mnist" / "1.0.0", features, {"test": [{"image_sequence": video} for video in videos]})
    with pytest.raises(InputError, match=r"expected frames \[20, 10000, 64, 64\] .* found \[20, 3, 64, 64\]"):
        MovingMnist().open_test(config.data, 20)  # a part of it is not the published test set
    monkeypatch.setattr("stlight_jax.data.datasets.moving_mnist.PUBLISHED_SHAPE", (20, 3, 64, 64))
    test = MovingMnist().open_test(config.data, 20)
    assert test.description["published"]
    np.testing.assert_array_equal(test.frames(np.array([2, 0])), videos[[2, 0]])


def write_tfds(folder, features, splits):
    """A data set prepared by TFDS's own writer, as the public one of that name is."""
    folder.mkdir(parents=True)
    identity = tfds.core.DatasetIdentity(
        name=folder.parent.name, version=tfds.core.Version(folder.name), data_dir=str(folder), module_name=""
    )
    info = tfds.core.DatasetInfo(builder=identity, features=tfds.features.FeaturesDict(features))
    writer = tfds.core.SequentialWriter(info, max_examples_per_shard=100)
    writer.initialize_splits(list(splits))
    writer.add_examples(splits)
    writer.close_all()


def test_read_idx_images_of_a_plain_path(tmp_path, images):
    (tmp_path / "x").write_bytes(idx(images))
    np.testing.assert_array_equal(read_idx_images(tmp_path / "x"), images)
