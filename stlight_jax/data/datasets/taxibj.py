"""TaxiBJ, as OpenSTL's `dataset.npz`."""

from __future__ import annotations

import os
import zipfile
import zlib
from collections.abc import Iterable, Iterator
from typing import ClassVar

import numpy as np
from etils import epath

from stlight_jax.data.clips_builder import Clip, ClipsBuilder, Split
from stlight_jax.data.formats.npy import read_npy_header
from stlight_jax.data.windows import Run
from stlight_jax.errors import InputError

_FILE = "dataset.npz"
_PART_SHAPE = (4, 2, 32, 32)  # of X and of Y, each, [t, c, h, w]
_FRAMES = 8  # of an item: X and then Y
_TOLERANCE = 1e-6  # of the bounds; scaling to [-1, 1] in float32 may overshoot by a rounding
_BLOCK = 64  # items


class TaxiBJ(ClipsBuilder):
    """TaxiBJ: taxis that enter and leave each cell of a 32 x 32 grid of Beijing, every half hour.

    A frame has two channels, inflow and outflow, scaled to [-1, 1]. An item is eight frames in a row, four to see and four
    to predict; where items lie in time is not known, so no window goes from one into the next.

    Source: OpenSTL's `taxibj/dataset.npz`, as it is.
    Citation: J. Zhang, Y. Zheng, D. Qi, "Deep Spatio-Temporal Residual Networks for Citywide Crowd Flows Prediction",
    AAAI 2017.
    """

    name = "taxibj"
    MANUAL_DOWNLOAD_INSTRUCTIONS = """
    The manual folder holds `taxibj/dataset.npz` or `dataset.npz`, from taxibj_dataset.zip of OpenSTL's release v0.1.0
    (https://github.com/chengtan9907/OpenSTL/releases).
    """
    FRAME_SHAPE = (32, 32, 2)
    FRAME_DTYPE = np.float32
    VALUE_RANGE = (-1.0, 1.0)
    # There are nearly as many items as half hours: each begins one after the one before it.
    RUNS_THAT_SHARE_FRAMES = _FRAMES
    DOCUMENTED: ClassVar = {8: {"train": {"paper": 20461}, "test": {"paper": 500}}}

    def open_raw(self, root: epath.Path) -> dict[str, Split]:
        """See `ClipsBuilder.open_raw`."""
        path = next((path for path in (root / "taxibj" / _FILE, root / _FILE) if path.exists()), None)
        if path is None:
            found = _listed(item.name for item in root.iterdir())
            raise InputError(f"{root}: expected taxibj/{_FILE} or {_FILE}, found {found}")
        counts = _items(path)
        return {split: _split(path, split, count) for split, count in counts.items()}


def _split(path: epath.Path, name: str, items: int) -> Split:
    # A tick left out after every item keeps it apart from the next one.
    runs = tuple(Run(item * _FRAMES, _FRAMES, item * (_FRAMES + 1)) for item in range(items))
    return Split(lambda: iter([Clip(name, _blocks(path, name), runs)]), items * _FRAMES)


def _items(path: epath.Path) -> dict[str, int]:
    """How many items each split has, from the arrays' headers alone."""
    headers = _headers(path)
    counts = {}
    for split in ("train", "test"):
        for key in (f"X_{split}", f"Y_{split}"):
            if key not in headers:
                raise InputError(f"{path}: expected X_train, Y_train, X_test and Y_test, found {_listed(headers)}")
            shape, dtype = headers[key]
            if len(shape) != 5 or shape[1:] != _PART_SHAPE or dtype.kind != "f" or not shape[0]:
                wanted = f"floats [n, {', '.join(map(str, _PART_SHAPE))}]"
                raise InputError(f"{path}: expected {key} to be {wanted}, found {dtype} {list(shape)}")
            if counts.setdefault(split, shape[0]) != shape[0]:
                raise InputError(f"{path}: expected as many items in {key} as in X_{split}, {counts[split]}, found {shape[0]}")
    return counts


def _headers(path: epath.Path) -> dict[str, tuple[tuple[int, ...], np.dtype]]:
    headers = {}
    try:
        with path.open("rb") as file, zipfile.ZipFile(file) as archive:
            for member in archive.namelist():
                with archive.open(member) as array:
                    shape, _, dtype = read_npy_header(array)
                    headers[member.removesuffix(".npy")] = (shape, dtype)
    except (zipfile.BadZipFile, zlib.error, EOFError, OSError, ValueError, KeyError) as error:
        raise InputError(f"{path}: expected an .npz archive of arrays, found a file that does not load ({error})") from None
    return headers


def _blocks(path: epath.Path, split: str) -> Iterator[np.ndarray]:
    """Frames float32 `[n, 32, 32, 2]`, eight an item. Raises InputError for a damaged file and for values beyond [-1, 1]."""
    x, y = _read(path, f"X_{split}"), _read(path, f"Y_{split}")
    for first in range(0, len(x), _BLOCK):
        block = np.concatenate([x[first : first + _BLOCK], y[first : first + _BLOCK]], 1)  # [items, 8, 2, 32, 32]
        wrong = ~(np.abs(block) <= 1 + _TOLERANCE)  # of NaN, too
        if wrong.any():
            item, frame, *place = np.argwhere(wrong)[0]
            key = f"X_{split}" if frame < _PART_SHAPE[0] else f"Y_{split}"
            found = block[(item, frame, *place)]
            raise InputError(f"{path}: expected values in [-1, 1], found {found:.6g} in {key}, item {first + item}")
        frames = block.reshape(-1, *_PART_SHAPE[1:])  # [n, 2, 32, 32]
        yield np.moveaxis(frames, 1, -1).astype(np.float32)  # [n, 32, 32, 2]


def _read(path: epath.Path, key: str) -> np.ndarray:
    try:
        with np.load(os.fspath(path), allow_pickle=False) as archive:
            return archive[key]
    except (zipfile.BadZipFile, zlib.error, EOFError, OSError, ValueError) as error:
        raise InputError(f"{path}: expected {key} to be a whole array, found a damaged one ({error})") from None


def _listed(names: Iterable[str]) -> str:
    return ", ".join(sorted(names)[:8]) or "nothing"
