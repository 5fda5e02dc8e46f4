"""Moving Fashion-MNIST: OpenSTL's test file, and a fixed training set by the same law of motion."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from typing import ClassVar

import numpy as np
from etils import epath

from stlight_jax.data.clips_builder import Clip, ClipsBuilder, Split
from stlight_jax.data.datasets.moving_mnist import GeneratedSequences
from stlight_jax.data.digits import Digits, find_file, read_idx_images
from stlight_jax.data.formats.npy import memory_map
from stlight_jax.data.windows import Run
from stlight_jax.errors import InputError

_FOLDER = "moving_fmnist"
_TEST_FILE = "fmnist_test_seq.npy"
_IMAGES = ("train-images-idx3-ubyte.gz", "train-images-idx3-ubyte")
_FRAMES, _SIDE = 20, 64
_BLOCK = 50  # sequences


class MovingFashionMnist(ClipsBuilder):
    """Moving Fashion-MNIST: two pieces of clothing that move and bounce, 20 frames of 64 x 64.

    The test split is OpenSTL's file. The training split holds sequences made once, by the law of motion of
    `stlight_jax.data.datasets.moving_mnist` with seed 0, for those who want files; training with
    `configs/moving_fashion_mnist.py` draws fresh sequences in every epoch instead, as OpenSTL does.

    Source: OpenSTL's folder `moving_fmnist`: `fmnist_test_seq.npy` and Fashion-MNIST's `train-images-idx3-ubyte.gz`.
    Citation: H. Xiao, K. Rasul, R. Vollgraf, "Fashion-MNIST: a Novel Image Dataset for Benchmarking Machine Learning
    Algorithms", arXiv:1708.07747; N. Srivastava, E. Mansimov, R. Salakhutdinov, "Unsupervised Learning of Video
    Representations using LSTMs", ICML 2015.
    """

    name = "moving_fashion_mnist"
    MANUAL_DOWNLOAD_INSTRUCTIONS = """
    The manual folder holds `moving_fmnist/fmnist_test_seq.npy` and `moving_fmnist/train-images-idx3-ubyte.gz`, or these
    two files themselves, as OpenSTL's tools/prepare_data/download_mfmnist.sh gets them
    (https://github.com/chengtan9907/OpenSTL).
    """
    FRAME_SHAPE = (_SIDE, _SIDE, 1)
    TRAIN_SEQUENCES: ClassVar[int] = 10_000
    DOCUMENTED: ClassVar = {20: {"test": {"OpenSTL": 10000}}}

    def open_raw(self, root: epath.Path) -> dict[str, Split]:
        """See `ClipsBuilder.open_raw`."""
        folder = root / _FOLDER if (root / _FOLDER).is_dir() else root
        test_file = find_file(os.fspath(folder), (_TEST_FILE,), self.name)
        stored = _open_test(test_file)
        images_file = find_file(os.fspath(folder), _IMAGES, self.name)
        images = Digits(read_idx_images(images_file), images_file.name)
        generated = GeneratedSequences(images, self.TRAIN_SEQUENCES, seed=0, split="train", length=_FRAMES, side=_SIDE)
        return {
            "train": _split("train", len(generated), generated.frames),
            "test": _split("test", stored.shape[1], lambda places: _read(test_file, stored, places)),
        }


def _open_test(path: epath.Path) -> np.ndarray:
    """Memory-maps `[20, n, 64, 64]`, time first. Raises InputError for anything else."""
    wanted = f"expected a .npy array of whole numbers [{_FRAMES}, n, {_SIDE}, {_SIDE}] (time first)"
    array = memory_map(path, wanted)
    fits = array.ndim == 4 and array.shape[0] == _FRAMES and array.shape[2:] == (_SIDE, _SIDE)
    if not fits or array.dtype not in (np.uint8, np.float32, np.float64):
        raise InputError(f"{path}: {wanted}, uint8, float32 or float64, found {array.dtype} {list(array.shape)}")
    return array


def _split(name: str, sequences: int, read: Callable[[np.ndarray], np.ndarray]) -> Split:
    """A clip of sequences that `read` gets by their places, uint8 `[n, 20, 64, 64, 1]`."""
    # A tick left out after every sequence keeps it apart from the next one.
    runs = tuple(Run(place * _FRAMES, _FRAMES, place * (_FRAMES + 1)) for place in range(sequences))

    def blocks() -> Iterator[np.ndarray]:
        for first in range(0, sequences, _BLOCK):
            block = read(np.arange(first, min(first + _BLOCK, sequences)))
            yield block.reshape(-1, *block.shape[2:])  # [n * 20, 64, 64, 1]

    return Split(lambda: iter([Clip(name, blocks(), runs)]), sequences * _FRAMES)


def _read(path: epath.Path, stored: np.ndarray, places: np.ndarray) -> np.ndarray:
    """uint8 `[n, 20, 64, 64, 1]`. Raises InputError for floats that are not 0, 1, ..., 255."""
    block = np.asarray(stored[:, places[0] : places[-1] + 1]).swapaxes(0, 1)[..., None]  # [n, 20, 64, 64, 1]
    if block.dtype == np.uint8:
        return block
    wrong = ~((block >= 0) & (block <= 255) & (block == np.rint(block)))  # of NaN, too
    if wrong.any():
        place = tuple(np.argwhere(wrong)[0])
        raise InputError(f"{path}: expected 0, 1, ..., 255, found {block[place]} in sequence {places[place[0]]}")
    return block.astype(np.uint8)
