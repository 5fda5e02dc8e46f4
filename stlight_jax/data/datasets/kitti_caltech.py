"""KITTI for training, Caltech Pedestrian for the test, as OpenSTL reads them."""

from __future__ import annotations

import operator
import os
import re
from collections.abc import Iterator
from typing import Any, ClassVar

import h5py
import numpy as np
from etils import epath

from stlight_jax.console.messages import print_message
from stlight_jax.data.clips_builder import Clip, ClipsBuilder, Split
from stlight_jax.data.formats.npy import memory_map
from stlight_jax.data.resize import smooth_bilinear
from stlight_jax.data.windows import Run
from stlight_jax.errors import InputError

_HEIGHT, _WIDTH = 128, 160
_SHAPE = (_HEIGHT, _WIDTH, 3)
_WINDOW = 11  # frames, of the windows whose starts are stored: 10 to see, 1 to predict
_EVERY = 3  # of the frames of a Caltech video
_CALTECH_TEST_SETS = tuple(f"set{number:02}" for number in range(6, 11))
_CACHES = ("data_cache.npy", "indices_cache.npy")
_ARRAYS = ("train_data.npy", "train_idx.npy", "test_data.npy", "test_idx.npy")
_NEAR_WHOLE = 1e-3  # of v * 255; float32 is off by 2e-5 at most, a frame that was scaled afterwards by far more
_BLOCK = 64  # frames


class KittiCaltech(ClipsBuilder):
    """KITTI -> Caltech: a car's view of the road, 10 frames a second; learnt in Germany, tested in California.

    Training frames are KITTI's, in RGB, as PredNet scaled and cut them. Test frames are those of the Caltech Pedestrian
    data set's sets 06 to 10, every third one, in BGR, as OpenCV reads them: OpenSTL never swaps the channels of either, so
    published figures come from networks that met blue for red. The stored frames keep it so; `colour_order` tells.

    As in OpenSTL, windows are counted from the end of each drive and do not overlap.

    Source: OpenSTL's folders `kitti_hkl` (`X_train.hkl`, `sources_train.hkl`) and `caltech` (`data_cache.npy` and
    `indices_cache.npy`, or the videos `set06/V000.seq` and so on), or its folder `kitticaltech_npy`.
    Citation: A. Geiger, P. Lenz, C. Stiller, R. Urtasun, "Vision meets robotics: The KITTI dataset", IJRR 2013;
    P. Dollar, C. Wojek, B. Schiele, P. Perona, "Pedestrian detection: A benchmark", CVPR 2009; W. Lotter, G. Kreiman,
    D. Cox, "Deep Predictive Coding Networks for Video Prediction and Unsupervised Learning", ICLR 2017.
    """

    name = "kitti_caltech"
    MANUAL_DOWNLOAD_INSTRUCTIONS = """
    The manual folder holds `kitti_hkl` and `caltech`, or `kitticaltech_npy`, or the four files of the latter, as
    OpenSTL's tools/prepare_data/download_kitticaltech.sh gets them (https://github.com/chengtan9907/OpenSTL).
    """
    FRAME_SHAPE = _SHAPE
    COLOUR_ORDER: ClassVar = {"train": "rgb", "test": "bgr"}
    ANCHOR = "end"
    DOCUMENTED: ClassVar = {
        11: {
            "train": {"paper and OpenSTL's documents": 2042, "OpenSTL's code, threads 12 and 111": 3738},
            "test": {"paper": 1983},
        }
    }

    def open_raw(self, root: epath.Path) -> dict[str, Split]:
        """See `ClipsBuilder.open_raw`."""
        remarks = self.info.metadata["remarks"]
        hickles, caltech, arrays = root / "kitti_hkl", root / "caltech", root / "kitticaltech_npy"
        if hickles.is_dir():
            if arrays.is_dir():
                remarks.append("kitti_hkl and kitticaltech_npy were both there; kitti_hkl and caltech were read")
            return {"train": _hickle_split(hickles), "test": _caltech_split(caltech, remarks)}
        arrays = arrays if arrays.is_dir() else root
        missing = [name for name in _ARRAYS if not (arrays / name).exists()]
        if len(missing) == len(_ARRAYS):
            wanted = f"kitti_hkl and caltech, or kitticaltech_npy with {', '.join(_ARRAYS)}"
            raise InputError(f"{root}: expected {wanted}, found {_listed(root)}")
        if missing:
            raise InputError(f"{arrays}: expected {', '.join(_ARRAYS)}; there is no {' and no '.join(missing)}")
        return {
            split: _windows_split(split, arrays / f"{split}_data.npy", arrays / f"{split}_idx.npy", remarks)
            for split in ("train", "test")
        }


def _listed(folder: epath.Path) -> str:
    return ", ".join(sorted(path.name for path in folder.iterdir())[:8]) or "nothing"


def _hickle_split(folder: epath.Path) -> Split:
    """A clip for each stretch of frames with the same source."""
    data, names = folder / "X_train.hkl", folder / "sources_train.hkl"
    for path in (data, names):
        if not path.exists():
            raise InputError(f"{folder}: expected {data.name} and {names.name}, found {_listed(folder)}")
    with _open_hickle(data) as file:
        frames = len(_hickled_images(data, file))
    with _open_hickle(names) as file:
        sources = _hickled_strings(names, file)
    if len(sources) != frames:
        raise InputError(f"{names}: expected a source for each of the {frames} frames in {data.name}, found {len(sources)}")
    starts = [place for place in range(frames) if place == 0 or sources[place] != sources[place - 1]]

    def clips() -> Iterator[Clip]:
        with _open_hickle(data) as file:
            images = _hickled_images(data, file)
            for first, end in zip(starts, [*starts[1:], frames], strict=True):
                yield Clip(sources[first], _blocks(data, images, first, end))

    return Split(clips, frames)


def _open_hickle(path: epath.Path) -> h5py.File:
    try:
        return h5py.File(os.fspath(path), "r")
    except OSError as error:
        raise InputError(f"{path}: expected a hickle (HDF5) file, found one that does not open ({error})") from None


def _hickled_arrays(file: h5py.File) -> list[h5py.Dataset]:
    """All arrays, whatever the versions of hickle call them, but those that name types: one in version 1, a table in 5."""
    found: list[h5py.Dataset] = []

    def visit(name: str, node: h5py.HLObject) -> None:
        if isinstance(node, h5py.Dataset) and name.split("/")[0] not in ("type", "hickle_types_table"):
            found.append(node)

    file.visititems(visit)
    return found


def _hickled_images(path: epath.Path, file: h5py.File) -> h5py.Dataset:
    arrays = _hickled_arrays(file)
    images = [array for array in arrays if array.ndim == 4 and array.dtype == np.uint8]
    if len(images) != 1 or images[0].shape[1:] != _SHAPE or not len(images[0]):
        found = ", ".join(f"{array.dtype} {list(array.shape or ())}" for array in arrays[:4]) or "no array"
        raise InputError(f"{path}: expected one array uint8 [n, {', '.join(map(str, _SHAPE))}], found {found}")
    return images[0]


def _hickled_strings(path: epath.Path, file: h5py.File) -> list[str]:
    """A list of strings: one array, as hickle 1 to 4 write it, or numbered arrays, a string each, as 5 does."""
    arrays = _hickled_arrays(file)
    try:
        if len(arrays) == 1 and arrays[0].ndim == 1 and arrays[0].dtype.kind in "SO":
            return [_text(item) for item in arrays[0][()]]
        numbers = [re.search(r"\d+$", array.name) for array in arrays]
        if None in numbers:
            raise TypeError(f"an array {arrays[numbers.index(None)].name}, which has no number")
        numbered = sorted(zip((int(number[0]) for number in numbers), arrays, strict=True), key=operator.itemgetter(0))
        return [_text(_resolved(array)) for _, array in numbered]
    except (TypeError, ValueError, OSError) as error:
        raise InputError(f"{path}: expected a list of strings, found something else ({error})") from None


def _resolved(array: h5py.Dataset) -> Any:
    """Its content; hickle 5 writes an object that occurs again as a reference to where it is."""
    content = array[()]
    return array.file[content][()] if isinstance(content, h5py.Reference) else content


def _text(value: bytes | str | np.ndarray) -> str:
    """Of the ways in which versions of hickle store a string: as itself, as its bytes, or as an array of either."""
    if isinstance(value, np.ndarray):
        if value.dtype.kind not in "SOu":
            raise TypeError(f"{value.dtype} {list(value.shape)}")
        value = b"".join(value.ravel()) if value.dtype.kind == "O" else value.tobytes().rstrip(b"\0")
    if not isinstance(value, bytes | str):
        raise TypeError(f"a {type(value).__name__}")
    return value.decode() if isinstance(value, bytes) else value


def _caltech_split(folder: epath.Path, remarks: list[str]) -> Split:
    data, starts = (folder / name for name in _CACHES)
    if data.exists() or starts.exists():
        return _windows_split("test", data, starts, remarks)
    files = [path for name in _CALTECH_TEST_SETS for path in sorted((folder / name).glob("*.seq"))]
    if not files:
        wanted = f"{' and '.join(_CACHES)}, or videos *.seq in {_CALTECH_TEST_SETS[0]} to {_CALTECH_TEST_SETS[-1]}"
        raise InputError(f"{folder}: expected {wanted}, found {_listed(folder) if folder.is_dir() else 'no such folder'}")
    missing = [name for name in _CALTECH_TEST_SETS if name not in {path.parent.name for path in files}]
    if missing:
        raise InputError(f"{folder}: expected videos *.seq of all test sets, found none in {', '.join(missing)}")
    print_message(f"counting the frames of {len(files)} videos")
    counts = [_count(path) // _EVERY for path in files]

    def clips() -> Iterator[Clip]:
        for path, count in zip(files, counts, strict=True):
            yield Clip(f"{path.parent.name}/{path.name}", _video_blocks(path, count))

    return Split(clips, sum(counts))


def _windows_split(name: str, data: epath.Path, starts_file: epath.Path, remarks: list[str]) -> Split:
    """One clip, in which windows are known, but not where a drive begins."""
    images = _open_array(data)
    if images.ndim != 4 or images.shape[1:] != _SHAPE or not (images.dtype == np.uint8 or images.dtype.kind == "f"):
        wanted = f"uint8, or floats in [0, 1], [n, {', '.join(map(str, _SHAPE))}]"
        raise InputError(f"{data}: expected {wanted}, found {images.dtype} {list(images.shape)}")
    starts = _open_array(starts_file)
    if starts.ndim != 1 or starts.dtype.kind not in "iu" or not len(starts):
        found = f"{starts.dtype} {list(starts.shape)}"
        raise InputError(f"{starts_file}: expected the starts of windows, integers [n], found {found}")
    starts = np.sort(starts.astype(np.int64))
    if starts[0] < 0 or starts[-1] + _WINDOW > len(images):
        wrong = starts[0] if starts[0] < 0 else starts[-1]
        wanted = f"windows of {_WINDOW} frames within the {len(images)} of {data.name}"
        raise InputError(f"{starts_file}: expected {wanted}, found one that starts at {wrong}")
    nearest = int(np.diff(starts).min()) if len(starts) > 1 else _WINDOW
    if not nearest:
        raise InputError(f"{starts_file}: expected every window once, found two that start at the same frame")
    if nearest != _WINDOW:
        # OpenSTL never makes its caches anew, even where another length is asked for.
        remarks.append(f"{starts_file.name}: expected windows {_WINDOW} frames apart, found that the nearest are {nearest}")
    # A tick left out after every window keeps it apart from the next one.
    runs = tuple(Run(int(first), _WINDOW, place * (_WINDOW + 1)) for place, first in enumerate(starts))
    return Split(lambda: iter([Clip(name, _blocks(data, images, 0, len(images)), runs)]), len(images))


def _open_array(path: epath.Path) -> np.ndarray:
    """Memory-maps a .npy file. Raises InputError."""
    if not path.exists():
        raise InputError(f"{path.parent}: expected {path.name}, found {_listed(path.parent)}")
    return memory_map(path, "expected a .npy array")


def _blocks(path: epath.Path, images: Any, first: int, end: int) -> Iterator[np.ndarray]:
    """Frames `first` to `end` of an array on disk, uint8 `[n, 128, 160, 3]`. Raises InputError for what is no k / 255."""
    for start in range(first, end, _BLOCK):
        try:
            block = np.asarray(images[start : min(start + _BLOCK, end)])
        except OSError as error:
            raise InputError(f"{path}: expected whole frames, found that frame {start} cannot be read ({error})") from None
        yield block if block.dtype == np.uint8 else _whole(path, block * 255.0, start)


def _whole(path: epath.Path, block: np.ndarray, first: int) -> np.ndarray:
    rounded = np.rint(block)
    wrong = ~((np.abs(block - rounded) <= _NEAR_WHOLE) & (rounded >= 0) & (rounded <= 255))  # of NaN, too
    if wrong.any():
        place = tuple(np.argwhere(wrong)[0])
        found = f"{block[place] / 255:.6g} in frame {first + place[0]}"
        raise InputError(f"{path}: expected values k/255 with k = 0, ..., 255, found values that are not k/255 ({found})")
    return rounded.astype(np.uint8)


def _cv2() -> Any:
    try:
        import cv2  # only those who have the videos and not the caches need it
    except ImportError:
        raise InputError(
            f"decoding caltech/*/*.seq needs OpenCV: `pip install opencv-python-headless`; with {' and '.join(_CACHES)} "
            "of OpenSTL in caltech it is not needed"
        ) from None
    return cv2


def _count(path: epath.Path) -> int:
    """Frames of a video by going through it: what its header says need not be so. Raises InputError if there are none."""
    video = _cv2().VideoCapture(os.fspath(path))
    count = 0
    while video.grab():
        count += 1
    video.release()
    if not count:
        raise InputError(f"{path}: expected a video, found a file of which OpenCV decodes no frame")
    return count


def _video_blocks(path: epath.Path, count: int) -> Iterator[np.ndarray]:
    """Frames 3, 6, 9, ... of a video, uint8 `[n, 128, 160, 3]`, BGR. Raises InputError if they are fewer than `count`."""
    video = _cv2().VideoCapture(os.fspath(path))
    block: list[np.ndarray] = []
    for place in range(count):
        for _ in range(_EVERY):
            video.grab()
        decoded, frame = video.retrieve()
        if not decoded:
            number = (place + 1) * _EVERY
            raise InputError(f"{path}: expected {count * _EVERY} frames, found that frame {number} does not decode")
        block.append(_scaled(path, frame))
        if len(block) == _BLOCK or place == count - 1:
            yield np.stack(block)
            block = []
    video.release()


def _scaled(path: epath.Path, frame: np.ndarray) -> np.ndarray:
    """uint8 `[h, w, 3]` -> `[128, 160, 3]`: scaled to the height, the middle cut out, cut down to whole numbers."""
    width = round(_HEIGHT / frame.shape[0] * frame.shape[1])
    if width < _WIDTH:
        raise InputError(f"{path}: expected frames at least {_WIDTH}/{_HEIGHT} as wide as high, found {list(frame.shape[:2])}")
    left = (width - _WIDTH) // 2
    scaled = smooth_bilinear(frame, _HEIGHT, width)[:, left : left + _WIDTH]  # [128, 160, 3]
    # OpenSTL's cache: divided by 255, multiplied again, and cut off rather than rounded.
    return (scaled / 255.0 * 255).astype(np.uint8)
