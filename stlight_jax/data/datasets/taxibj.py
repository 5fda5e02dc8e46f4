"""TaxiBJ, from OpenSTL's `dataset.npz`."""

import os
import zipfile
import zlib
from collections.abc import Iterator
from typing import ClassVar

import numpy as np
from etils import epath

from stlight_jax.data.datasets.published_tables import make_table
from stlight_jax.data.formats.npy import read_npy_header
from stlight_jax.data.prepared_benchmark import PreparedBenchmark
from stlight_jax.data.raw_clips import RawClip, RawSplit, first_names
from stlight_jax.data.windows import Segment
from stlight_jax.errors import InputError

_FILE = "dataset.npz"
_PART_SHAPE = (4, 2, 32, 32)  # of X and of Y, each, [t, c, h, w]
_FRAMES = 8  # of an item: X, followed by Y
_TOLERANCE = 1e-6  # of the bounds; scaling to [-1, 1] in float32 may exceed them by a rounding error
_BLOCK = 64  # items
_TRAIN_SEQUENCES, _TEST_SEQUENCES = {"paper": 20_461}, {"paper": 500}


class TaxiBJ(PreparedBenchmark):
    """TaxiBJ: taxis that enter and leave each cell of a 32 x 32 grid of Beijing, every half hour.

    A frame has two channels, inflow and outflow, scaled to [-1, 1]. An item is eight consecutive frames, four inputs and four
    targets; the times of items are unknown, so no window crosses from one item into the next.

    Source: OpenSTL's `taxibj/dataset.npz`, unchanged.
    Citation: J. Zhang, Y. Zheng, D. Qi, "Deep Spatio-Temporal Residual Networks for Citywide Crowd Flows Prediction",
    AAAI 2017.
    """

    name = "taxibj"
    title = "TaxiBJ"
    channels = ("inflow", "outflow")
    instructions = """
    The manual folder holds `taxibj/dataset.npz` or `dataset.npz`, from taxibj_dataset.zip of OpenSTL's release v0.1.0
    (https://github.com/chengtan9907/OpenSTL/releases).
    """
    frame_shape = (32, 32, 2)
    frame_dtype = np.float32
    value_range = (-1.0, 1.0)
    # There are nearly as many items as half hours: each begins one after the one before it.
    overlapping_segments = _FRAMES
    published_windows: ClassVar = {8: {"train": _TRAIN_SEQUENCES, "test": _TEST_SEQUENCES}}
    # The paper prints 100 times the MSE.
    published = (
        make_table(
            in_frames=4,
            out_frames=4,
            frame=(32, 32, 2),
            patch_size=1,
            title="TaxiBJ, 4 -> 4 frames",
            source="STLight paper, table 3",
            recipe="50 epochs, batch 16, Adam, cosine from 0.003 (others: OpenSTL's rates, 5 epochs of warm-up)",
            settings={
                "train.epochs": 50,
                "train.batch_size": 16,
                "optimizer.learning_rate": 3e-3,
                "optimizer.schedule": "cosine",
            },
            train_sequences=_TRAIN_SEQUENCES,
            test_sequences=_TEST_SEQUENCES,
            metrics=("mse", "mae", "ssim"),
            stlight=[
                ("STLight-S", 0.99, 0.82, (0.3479, 15.58, 0.9825), (256, 12, 0, 3, 7)),
                ("STLight-M", 1.65, 1.37, (0.3254, 15.25, 0.9839), (256, 20, 0, 3, 7)),
                ("STLight-L", 2.96, 2.71, (0.3087, 15.00, 0.9853), (512, 10, 0, 3, 7)),
            ],
            others=[
                ("ConvLSTM", 14.98, 20.74, (0.3358, 15.32, 0.9836)),
                ("DMVFN", 3.54, 0.057, (3.3954, 45.52, 0.8321), "OpenSTL's digits; the paper prints 339.5 and 45.526"),
                ("E3D-LSTM", 50.99, 98.19, (0.3427, 14.98, 0.9842)),
                ("MAU", 4.41, 6.02, (0.3268, 15.26, 0.9834)),
                ("MIM", 37.86, 64.10, (0.3110, 14.96, 0.9847)),
                ("PhyDNet", 3.09, 5.60, (0.3622, 15.53, 0.9828)),
                ("PredRNN", 23.66, 42.40, (0.3194, 15.31, 0.9838)),
                ("PredRNN++", 38.40, 62.95, (0.3348, 15.37, 0.9834)),
                ("PredRNNv2", 23.67, 42.63, (0.3834, 15.55, 0.9826)),
                ("SimVP + ConvMixer", 0.84, 0.23, (0.3634, 15.63, 0.9831)),
                ("SimVP + IncepU", 13.79, 3.61, (0.3282, 15.45, 0.9835)),
                ("TAU", 9.55, 2.49, (0.3108, 14.93, 0.9848)),
            ],
        ),
    )

    def open_raw(self, root: epath.Path, remarks: list[str]) -> dict[str, RawSplit]:
        """Finds `dataset.npz`; see `ClipReader.open_raw`."""
        path = next((path for path in (root / "taxibj" / _FILE, root / _FILE) if path.exists()), None)
        if path is None:
            raise InputError(f"{root}: expected taxibj/{_FILE} or {_FILE}, found {first_names(root.iterdir())}")
        return {split: _open_split(path, split, items) for split, items in _count_items(path).items()}


def _open_split(path: epath.Path, split: str, items: int) -> RawSplit:
    # A tick left out after every item keeps it apart from the next one.
    segments = tuple(Segment(item * _FRAMES, _FRAMES, item * (_FRAMES + 1)) for item in range(items))
    return RawSplit(lambda: iter([RawClip(split, _read_blocks(path, split), segments)]), items * _FRAMES)


def _count_items(path: epath.Path) -> dict[str, int]:
    """Counts the items of each split from the arrays' headers alone."""
    headers = _read_headers(path)
    counts: dict[str, int] = {}
    for split in ("train", "test"):
        for key in (f"X_{split}", f"Y_{split}"):
            if key not in headers:
                found = ", ".join(sorted(headers)[:8]) or "nothing"
                raise InputError(f"{path}: expected X_train, Y_train, X_test and Y_test, found {found}")
            shape, dtype = headers[key]
            if len(shape) != 5 or shape[1:] != _PART_SHAPE or dtype.kind != "f" or not shape[0]:
                wanted = f"floats [n, {', '.join(map(str, _PART_SHAPE))}]"
                raise InputError(f"{path}: expected {key} to be {wanted}, found {dtype} {list(shape)}")
            if counts.setdefault(split, shape[0]) != shape[0]:
                raise InputError(f"{path}: expected as many items in {key} as in X_{split}, {counts[split]}, found {shape[0]}")
    return counts


def _read_headers(path: epath.Path) -> dict[str, tuple[tuple[int, ...], np.dtype]]:
    headers = {}
    try:
        with path.open("rb") as file, zipfile.ZipFile(file) as archive:
            for member in archive.namelist():
                with archive.open(member) as array:
                    shape, _, dtype = read_npy_header(array)
                    headers[member.removesuffix(".npy")] = (shape, dtype)
    except (zipfile.BadZipFile, zlib.error, EOFError, OSError, ValueError) as error:
        raise InputError(f"{path}: expected an .npz archive of arrays, found a file that does not load ({error})") from None
    return headers


def _read_blocks(path: epath.Path, split: str) -> Iterator[np.ndarray]:
    """Yields frames float32 `[n, 32, 32, 2]`, eight per item, and refuses damaged files and values beyond [-1, 1]."""
    x, y = _read_array(path, f"X_{split}"), _read_array(path, f"Y_{split}")
    for first in range(0, len(x), _BLOCK):
        block = np.concatenate([x[first : first + _BLOCK], y[first : first + _BLOCK]], 1)  # [items, 8, 2, 32, 32]
        wrong = ~(np.abs(block) <= 1 + _TOLERANCE)  # True for NaN, too
        if wrong.any():
            item, frame, *pixel = np.argwhere(wrong)[0]
            key = f"X_{split}" if frame < _PART_SHAPE[0] else f"Y_{split}"
            found = block[(item, frame, *pixel)]
            raise InputError(f"{path}: expected values in [-1, 1], found {found:.6g} in {key}, item {first + item}")
        frames = block.reshape(-1, *_PART_SHAPE[1:])  # [n, 2, 32, 32]
        yield np.moveaxis(frames, 1, -1).astype(np.float32)  # [n, 32, 32, 2]


def _read_array(path: epath.Path, key: str) -> np.ndarray:
    try:
        with np.load(os.fspath(path), allow_pickle=False) as archive:
            return archive[key]
    except (zipfile.BadZipFile, zlib.error, EOFError, OSError, ValueError) as error:
        raise InputError(f"{path}: expected {key} to be a whole array, found a damaged one ({error})") from None
