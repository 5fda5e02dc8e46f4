"""Moving Fashion-MNIST: OpenSTL's test file, and training sequences by the law of motion of Moving MNIST."""

import os
from collections.abc import Callable, Iterator
from typing import Any, ClassVar

import numpy as np
from etils import epath

from stlight_jax.data.datasets.moving_mnist import MovingMnist
from stlight_jax.data.datasets.published_tables import make_table
from stlight_jax.data.digits import Digits, ImageSource, find_file, read_idx_images
from stlight_jax.data.formats.npy import memory_map
from stlight_jax.data.moving_images import GeneratedSequences
from stlight_jax.data.raw_clips import ClipReader, RawClip, RawSplit
from stlight_jax.data.windows import Segment
from stlight_jax.errors import InputError

_IMAGES = ("train-images-idx3-ubyte.gz", "train-images-idx3-ubyte")
_FRAMES, _SIDE = 20, 64
_BLOCK = 50  # sequences


class MovingFashionMnist(MovingMnist, ClipReader):
    """Moving Fashion-MNIST: two pieces of clothing that move and bounce, 20 frames of 64 x 64.

    Training with `configs/moving_fashion_mnist.py` draws fresh sequences in every epoch, as OpenSTL does. For users who want
    files, `prepare` stores the test split, which is OpenSTL's file, and a training split that is drawn once, by the law of
    motion of `stlight_jax.data.moving_images` with seed 0.

    Source: OpenSTL's folder `moving_fmnist`: `fmnist_test_seq.npy` and Fashion-MNIST's `train-images-idx3-ubyte.gz`.
    Citation: H. Xiao, K. Rasul, R. Vollgraf, "Fashion-MNIST: a Novel Image Dataset for Benchmarking Machine Learning
    Algorithms", arXiv:1708.07747; N. Srivastava, E. Mansimov, R. Salakhutdinov, "Unsupervised Learning of Video
    Representations using LSTMs", ICML 2015.
    """

    name = "moving_fashion_mnist"
    title = "Moving Fashion-MNIST"
    images = ImageSource("moving_fashion_mnist", "Fashion-MNIST", "moving_fmnist")
    test_file = "fmnist_test_seq.npy"
    test_dtypes = "uf"
    instructions = """
    The manual folder holds `moving_fmnist/fmnist_test_seq.npy` and `moving_fmnist/train-images-idx3-ubyte.gz`, or these
    two files themselves, which OpenSTL's tools/prepare_data/download_mfmnist.sh downloads
    (https://github.com/chengtan9907/OpenSTL).
    """
    frame_shape = (_SIDE, _SIDE, 1)
    stored_train_sequences: ClassVar[int] = 10_000
    published_windows: ClassVar = {_FRAMES: {"test": {"OpenSTL": 10000}}}
    published = (
        make_table(
            in_frames=10,
            out_frames=10,
            frame=(64, 64, 1),
            title="Moving Fashion-MNIST, 10 -> 10 frames",
            source="OpenSTL",
            recipe="200 epochs of 10,000 generated sequences, batch 16, Adam, OneCycle, OpenSTL's rates",
            settings={"train.epochs": 200, "train.batch_size": 16, "data.sequences_per_epoch": 10_000},
            train_sequences={},
            test_sequences={"OpenSTL": 10_000},
            metrics=("mse", "mae", "ssim", "psnr"),
            stlight=[],
            others=[
                ("ConvLSTM", 15.0, 56.8, (28.87, 113.20, 0.8793, 22.07)),
                ("PredRNN", 23.8, 116.0, (22.01, 91.74, 0.9091, 23.42)),
                ("PredRNN++", 38.6, 171.7, (21.71, 91.97, 0.9097, 23.45)),
                ("SimVP + ConvMixer", 3.9, 5.5, (31.21, 115.74, 0.8709, 21.71)),
                ("SimVP + ConvNeXt", 37.3, 14.1, (26.41, 102.56, 0.8908, 22.49)),
                ("SimVP + gSTA", 46.8, 16.5, (25.86, 101.22, 0.8933, 22.61)),
                ("SimVP + IncepU", 58.0, 19.4, (30.77, 113.94, 0.8740, 21.81)),
                ("SimVP + MogaNet", 46.8, 16.5, (25.14, 99.69, 0.8960, 22.73)),
                ("TAU", 44.7, 16.0, (24.24, 96.72, 0.8995, 22.87)),
            ],
        ),
    )

    def prepare(self, raw: epath.Path, out: epath.Path, section: Any | None) -> str:
        """Prepares files for `tfds.load`; training does not use them. See `Dataset`."""
        super().prepare(raw, out, section)
        folder = out / self.name / self.version
        return f"prepared in {folder} for tfds.load; training reads the raw files, --config.data.root={raw}"

    def open_raw(self, root: epath.Path, remarks: list[str]) -> dict[str, RawSplit]:
        """Finds the test file and the images; see `ClipReader.open_raw`."""
        test_file = find_file(os.fspath(root), (self.test_file,), self.images.folder)
        stored = _open_test_file(test_file)
        images_file = find_file(os.fspath(root), _IMAGES, self.images.folder)
        images = Digits(read_idx_images(images_file), images_file.name)
        count = self.stored_train_sequences
        generated = GeneratedSequences(images, count, seed=0, split="train", length=_FRAMES, side=_SIDE)
        return {
            "train": _open_split("train", len(generated), generated.frames),
            "test": _open_split("test", stored.shape[1], lambda indices: _read_test_sequences(test_file, stored, indices)),
        }


def _open_test_file(path: epath.Path) -> np.ndarray:
    """Memory-maps `[20, n, 64, 64]`, time first, with any number of sequences."""
    wanted = f"expected a .npy array of whole numbers [{_FRAMES}, n, {_SIDE}, {_SIDE}] (time first)"
    array = memory_map(path, wanted)
    fits = array.ndim == 4 and array.shape[0] == _FRAMES and array.shape[2:] == (_SIDE, _SIDE)
    if not fits or array.dtype not in (np.uint8, np.float32, np.float64):
        raise InputError(f"{path}: {wanted}, uint8, float32 or float64, found {array.dtype} {list(array.shape)}")
    return array


def _open_split(name: str, sequences: int, read: Callable[[np.ndarray], np.ndarray]) -> RawSplit:
    """Makes a clip of all sequences, which `read` returns by their indices, uint8 `[n, 20, 64, 64, 1]`."""
    # A tick left out after every sequence keeps it apart from the next one.
    segments = tuple(Segment(index * _FRAMES, _FRAMES, index * (_FRAMES + 1)) for index in range(sequences))

    def blocks() -> Iterator[np.ndarray]:
        for first in range(0, sequences, _BLOCK):
            block = read(np.arange(first, min(first + _BLOCK, sequences)))
            yield block.reshape(-1, *block.shape[2:])  # [n * 20, 64, 64, 1]

    return RawSplit(lambda: iter([RawClip(name, blocks(), segments)]), sequences * _FRAMES)


def _read_test_sequences(path: epath.Path, stored: np.ndarray, indices: np.ndarray) -> np.ndarray:
    """Reads neighbouring sequences, uint8 `[n, 20, 64, 64, 1]`, and refuses floats that are not 0, 1, ..., 255."""
    block = np.asarray(stored[:, indices[0] : indices[-1] + 1]).swapaxes(0, 1)[..., None]  # [n, 20, 64, 64, 1]
    if block.dtype == np.uint8:
        return block
    wrong = ~((block >= 0) & (block <= 255) & (block == np.rint(block)))  # True for NaN, too
    if wrong.any():
        index = tuple(np.argwhere(wrong)[0])
        raise InputError(f"{path}: expected 0, 1, ..., 255, found {block[index]} in sequence {indices[index[0]]}")
    return block.astype(np.uint8)
