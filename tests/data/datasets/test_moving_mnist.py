"""Moving MNIST and its variant: the published test sets, and which digits each split shows."""

import numpy as np
import pytest

from stlight_jax import InputError
from stlight_jax.data.datasets.moving_fashion_mnist import MovingFashionMnist
from stlight_jax.data.datasets.moving_mnist import MovingMnist
from tests.conftest import load_config


def sparse_npy(path, shape, dtype):
    """A .npy of any size that takes no room on disk."""
    array = np.lib.format.open_memmap(path, "w+", dtype, shape)
    return array


def test_the_published_test_set_is_used_where_it_is_found(tmp_path):
    config = load_config("L")
    folder = tmp_path / "moving_mnist"
    folder.mkdir()
    (folder / "train-images-idx3-ubyte.gz").write_bytes(embedded("train"))
    array = sparse_npy(folder / "mnist_test_seq.npy", (20, 10000, 64, 64), np.uint8)
    array[3, 9999, 5, 6] = 77
    array.flush()
    config.data.root = str(tmp_path)
    test = MovingMnist().open_test(config.data, 20)
    assert test.description["published"]
    assert len(test) == 10000
    frames = test.frames(np.array([0, 9999]))
    assert frames.shape == (2, 20, 64, 64, 1) == (2, *test.shape)
    assert frames.sum() == 77
    assert frames[1, 3, 5, 6, 0] == 77
    (folder / "t10k-images-idx3-ubyte.gz").write_bytes(embedded("t10k"))
    assert not MovingMnist().open_test(config.data, 30).description["published"]  # 10 -> 20 frames


@pytest.mark.parametrize(
    ("shape", "dtype", "found"),
    [
        ((10000, 20, 64, 64), np.uint8, r"uint8 \[10000, 20, 64, 64\]"),
        ((20, 10000, 64, 64), np.float32, r"float32 \[20, 10000, 64, 64\]"),
    ],
)
def test_another_published_file_is_refused(tmp_path, shape, dtype, found):
    sparse_npy(tmp_path / "mnist_test_seq.npy", shape, dtype)
    with pytest.raises(InputError, match=rf"expected a .npy array uint8 \[20, 10000, 64, 64\], found {found}"):
        MovingMnist().read_published(tmp_path / "mnist_test_seq.npy")


def test_a_truncated_published_file_is_refused(tmp_path):
    path = tmp_path / "mnist_test_seq.npy"
    np.save(path, np.zeros((20, 10, 64, 64), np.uint8))
    path.write_bytes(path.read_bytes()[:1000])
    with pytest.raises(InputError, match=r"mnist_test_seq.npy: expected .* found a file that does not load"):
        MovingMnist().read_published(path)


def embedded(name):
    import pathlib

    import stlight_jax

    folder = pathlib.Path(stlight_jax.__file__).parent / "data" / "digits"
    return (folder / f"{name}-images-idx3-ubyte.gz").read_bytes()


def test_splits_are_fixed_but_for_training():
    config = load_config("tiny")
    (training, validation), (other_training, other_validation) = (
        MovingMnist().open_training(config.data, 20, 20, seed) for seed in (1, 2)
    )
    test = MovingMnist().open_test(config.data, 20)
    indices = np.arange(3)
    assert not np.array_equal(training.frames(indices), other_training.frames(indices))
    np.testing.assert_array_equal(validation.frames(indices), other_validation.frames(indices))
    assert len(validation) == len(test) == 1000
    assert training.digits.sha256 == validation.digits.sha256 != test.digits.sha256


def test_training_needs_no_test_digits(tmp_path):
    config = load_config("tiny")
    config.data.root = str(tmp_path)
    (tmp_path / "train-images-idx3-ubyte.gz").write_bytes(embedded("train"))
    training, _ = MovingMnist().open_training(config.data, 20, 20, 0)
    assert len(training.digits.images) == 6000
    with pytest.raises(InputError, match="t10k-images"):
        MovingMnist().open_test(config.data, 20)


def test_moving_fashion_mnist_has_its_own_files(tmp_path, monkeypatch):
    folder = tmp_path / "moving_fmnist"
    folder.mkdir()
    data = load_config("L", "moving_fashion_mnist").data
    data.root = str(tmp_path)
    with pytest.raises(InputError, match="expected train-images-idx3-ubyte.gz or train-images-idx3-ubyte, found moving_fmnist"):
        MovingFashionMnist().open_training(data, 20, 20, 0)
    (folder / "train-images-idx3-ubyte.gz").write_bytes(embedded("train"))
    training, _ = MovingFashionMnist().open_training(data, 20, 20, 0)
    assert "Fashion-MNIST train" in training.digits.origin
    data.digits = "embedded"
    with pytest.raises(InputError, match="moving_fashion_mnist is read from idx files only"):
        MovingFashionMnist().open_training(data, 20, 20, 0)
    data.digits = "auto"

    # OpenSTL's script writes the test set as floats of whole numbers.
    monkeypatch.setattr("stlight_jax.data.datasets.moving_mnist.PUBLISHED_SHAPE", (20, 3, 64, 64))
    sequences = np.random.default_rng(0).integers(0, 256, (20, 3, 64, 64)).astype(np.float32)
    np.save(folder / "fmnist_test_seq.npy", sequences)
    test = MovingFashionMnist().open_test(data, 20)
    assert test.description["published"]
    frames = test.frames(np.array([2, 0]))
    assert frames.dtype == np.uint8
    np.testing.assert_array_equal(frames[..., 0], sequences.swapaxes(0, 1)[[2, 0]])
    np.save(folder / "fmnist_test_seq.npy", sequences / 255)
    with pytest.raises(InputError, match="found float32 that are not the whole numbers 0 to 255"):
        MovingFashionMnist().open_test(data, 20)
