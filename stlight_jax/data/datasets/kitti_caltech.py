"""KITTI for training, Caltech Pedestrian for the test, as OpenSTL reads them."""

import os
from collections.abc import Iterator
from typing import Any, ClassVar

import numpy as np
from etils import epath

from stlight_jax.console.messages import print_message
from stlight_jax.data.datasets.published_tables import make_table
from stlight_jax.data.formats.npy import memory_map
from stlight_jax.data.hickle import find_frames, open_hickle, read_strings
from stlight_jax.data.prepared_benchmark import PreparedBenchmark
from stlight_jax.data.raw_clips import RawClip, RawSplit, first_names
from stlight_jax.data.resize import smooth_bilinear
from stlight_jax.data.windows import Segment
from stlight_jax.errors import InputError
from stlight_jax.optional_packages import import_optional

_HEIGHT, _WIDTH = 128, 160
_SHAPE = (_HEIGHT, _WIDTH, 3)
_WINDOW = 11  # frames, of the windows whose starts are stored: 10 inputs, 1 target
_VIDEO_STEP = 3  # every third frame of a Caltech video is used
_CALTECH_TEST_SETS = tuple(f"set{number:02}" for number in range(6, 11))
_CACHES = ("data_cache.npy", "indices_cache.npy")
_ARRAYS = ("train_data.npy", "train_idx.npy", "test_data.npy", "test_idx.npy")
_ROUNDING = 1e-3  # of v * 255; float32 is off by 2e-5 at most, a frame that was scaled afterwards by far more
_BLOCK = 64  # frames


class KittiCaltech(PreparedBenchmark):
    """KITTI -> Caltech: a car's view of the road, 10 frames a second; training in Germany, test in California.

    Training frames are KITTI's, in RGB, as PredNet scaled and cropped them. Test frames are those of the Caltech Pedestrian
    data set's sets 06 to 10, every third one, in BGR, as OpenCV reads them: OpenSTL never swaps the channels of either, so
    published figures come from networks that met blue for red. The stored frames keep these orders; `colour_order` names them.

    As in OpenSTL, windows are counted from the end of each drive and do not overlap.

    Source: OpenSTL's folders `kitti_hkl` (`X_train.hkl`, `sources_train.hkl`) and `caltech` (`data_cache.npy` and
    `indices_cache.npy`, or the videos `set06/V000.seq` and so on), or its folder `kitticaltech_npy`.
    Citation: A. Geiger, P. Lenz, C. Stiller, R. Urtasun, "Vision meets robotics: The KITTI dataset", IJRR 2013;
    P. Dollar, C. Wojek, B. Schiele, P. Perona, "Pedestrian detection: A benchmark", CVPR 2009; W. Lotter, G. Kreiman,
    D. Cox, "Deep Predictive Coding Networks for Video Prediction and Unsupervised Learning", ICLR 2017.
    """

    name = "kitti_caltech"
    title = "KITTI -> Caltech Pedestrian"
    channels = ("red", "green", "blue")
    instructions = """
    The manual folder holds `kitti_hkl` and `caltech`, or `kitticaltech_npy`, or the four files of the latter, which
    OpenSTL's tools/prepare_data/download_kitticaltech.sh downloads (https://github.com/chengtan9907/OpenSTL).
    """
    frame_shape = _SHAPE
    colour_order: ClassVar = {"train": "rgb", "test": "bgr"}
    anchor = "end"
    published_windows: ClassVar = {
        _WINDOW: {
            "train": {"paper and OpenSTL's documents": 2042, "OpenSTL's code, threads 12 and 111": 3738},
            "test": {"paper": 1983},
        }
    }
    published_remark = "OpenSTL also lists LPIPS, whose weights do not come with this package."
    published = (
        make_table(
            in_frames=10,
            out_frames=1,
            frame=(128, 160, 3),
            title="KITTI -> Caltech Pedestrian, 10 -> 1 frames",
            source="STLight: read from the paper's figure 4, to 0.002 M and 0.0001; others: OpenSTL",
            recipe="100 epochs, batch 8, Adam, OneCycle to 0.01, final_div_factor 3000 (others: batch 16, OpenSTL's rates)",
            settings={
                "train.epochs": 100,
                "train.batch_size": 8,
                "optimizer.learning_rate": 1e-2,
                "optimizer.final_div_factor": 3e3,
            },
            train_sequences={"paper": 2042, "OpenSTL's code": 3738},
            test_sequences={"paper": 1983},
            metrics=("mse", "mae", "ssim", "psnr"),
            stlight=[
                (f"STLight {label}", parameters, None, (None, None, ssim, None), settings)
                for label, parameters, ssim, settings in [
                    ("0.09M", 0.088, 0.9166, None),
                    ("0.11M", 0.114, 0.9192, None),
                    ("0.18M", 0.175, 0.9205, None),
                    ("0.25M", 0.252, 0.9243, None),
                    ("0.46M", 0.459, 0.9264, None),
                    ("0.60M", 0.601, 0.9275, None),
                    ("1.61M", 1.607, 0.9308, None),
                    ("1.68M", 1.676, 0.9307, None),
                    ("2.12M", 2.123, 0.9317, None),
                    ("5M", 4.979, 0.9340, (600, 12, 0, 5, 7)),
                    ("7M", 7.021, 0.9346, (800, 10, 0, 3, 7)),
                    ("8M", 8.404, 0.9357, (800, 12, 0, 3, 7)),
                    ("11M", 10.695, 0.9365, (1000, 10, 0, 5, 5)),
                    ("13M", 12.809, 0.9369, (1000, 12, 0, 5, 5)),
                    ("15M", 15.233, 0.9377, (1200, 10, 0, 5, 5)),
                ]
            ],
            others=[
                ("ConvLSTM", 15.0, 595, (139.6, 1583.3, 0.9345, 27.46)),
                ("DMVFN", 3.6, 1.2, (183.9, 1531.1, 0.9314, 26.95)),
                ("E3D-LSTM", 54.9, 1004, (200.6, 1946.2, 0.9047, 25.45)),
                ("MAU", 24.3, 172, (177.8, 1800.4, 0.9176, 26.14), "the paper's figure 4 draws it at 8.6 M"),
                ("MIM", 49.2, 1858, (125.1, 1464.0, 0.9409, 28.10)),
                ("PhyDNet", 3.1, 40.4, (312.2, 2754.8, 0.8615, 23.26)),
                ("PredNet", 12.5, 42.8, (159.8, 1568.9, 0.9286, 27.21)),
                ("PredRNN", 23.7, 1216, (130.4, 1525.5, 0.9374, 27.81)),
                ("PredRNN++", 38.5, 1803, (125.5, 1453.2, 0.9433, 28.02)),
                ("PredRNNv2", 23.8, 1223, (147.8, 1610.5, 0.9330, 27.12)),
                ("SimVP + ConvMixer", 1.5, 23.1, (174.7, 1854.3, 0.9232, 26.23)),
                ("SimVP + ConvNeXt", 12.5, 80.2, (146.8, 1630.0, 0.9336, 27.19)),
                ("SimVP + gSTA", 15.6, 96.3, (129.7, 1507.7, 0.9454, 27.89)),
                ("SimVP + HorNet", 15.3, 94.4, (152.8, 1637.9, 0.9365, 27.09)),
                ("SimVP + IncepU", 8.6, 60.6, (160.2, 1690.8, 0.9338, 26.81)),
                ("SimVP + MLP-Mixer", 22.2, 83.5, (207.9, 1835.9, 0.9133, 26.29)),
                ("SimVP + MogaNet", 15.6, 96.2, (131.4, 1512.1, 0.9442, 27.79)),
                ("SimVP + Poolformer", 12.4, 79.8, (153.4, 1613.5, 0.9334, 27.38)),
                ("SimVP + Swin", 15.3, 95.2, (155.2, 1588.9, 0.9299, 27.25)),
                ("SimVP + Uniformer", 11.8, 104, (135.9, 1534.2, 0.9393, 27.66)),
                ("SimVP + VAN", 14.9, 92.5, (127.5, 1476.5, 0.9462, 27.98)),
                ("SimVP + ViT", 12.7, 155, (146.4, 1615.8, 0.9379, 27.43)),
                (
                    "TAU",
                    15.0,
                    92.5,
                    (131.1, 1507.8, 0.9456, 27.83),
                    "size counted from OpenSTL's config; its table prints 44.7M, 80.0G",
                ),
            ],
        ),
    )

    def open_raw(self, root: epath.Path, remarks: list[str]) -> dict[str, RawSplit]:
        """Finds the folders or arrays; see `ClipReader.open_raw`."""
        hickles, caltech, arrays = root / "kitti_hkl", root / "caltech", root / "kitticaltech_npy"
        if hickles.is_dir():
            if arrays.is_dir():
                remarks.append("both kitti_hkl and kitticaltech_npy exist; kitti_hkl and caltech were read")
            return {"train": _hickle_split(hickles), "test": _caltech_split(caltech, remarks)}
        arrays = arrays if arrays.is_dir() else root
        missing = [name for name in _ARRAYS if not (arrays / name).exists()]
        if len(missing) == len(_ARRAYS):
            wanted = f"kitti_hkl and caltech, or kitticaltech_npy with {', '.join(_ARRAYS)}"
            raise InputError(f"{root}: expected {wanted}, found {first_names(root.iterdir())}")
        if missing:
            raise InputError(f"{arrays}: expected {', '.join(_ARRAYS)}; there is no {' and no '.join(missing)}")
        return {
            split: _windows_split(split, arrays / f"{split}_data.npy", arrays / f"{split}_idx.npy", remarks)
            for split in ("train", "test")
        }


def _hickle_split(folder: epath.Path) -> RawSplit:
    """Makes a clip of each stretch of frames with the same source."""
    data, names = folder / "X_train.hkl", folder / "sources_train.hkl"
    for path in (data, names):
        if not path.exists():
            raise InputError(f"{folder}: expected {data.name} and {names.name}, found {first_names(folder.iterdir())}")
    with open_hickle(data) as file:
        frames = len(find_frames(data, file, _SHAPE))
    with open_hickle(names) as file:
        sources = read_strings(names, file)
    if len(sources) != frames:
        raise InputError(f"{names}: expected a source for each of the {frames} frames in {data.name}, found {len(sources)}")
    starts = [index for index in range(frames) if index == 0 or sources[index] != sources[index - 1]]

    def clips() -> Iterator[RawClip]:
        with open_hickle(data) as file:
            images = find_frames(data, file, _SHAPE)
            for first, end in zip(starts, [*starts[1:], frames], strict=True):
                yield RawClip(sources[first], _read_blocks(data, images, first, end))

    return RawSplit(clips, frames)


def _caltech_split(folder: epath.Path, remarks: list[str]) -> RawSplit:
    data, starts = (folder / name for name in _CACHES)
    if data.exists() or starts.exists():
        return _windows_split("test", data, starts, remarks)
    files = [path for name in _CALTECH_TEST_SETS for path in sorted((folder / name).glob("*.seq"))]
    if not files:
        wanted = f"{' and '.join(_CACHES)}, or videos *.seq in {_CALTECH_TEST_SETS[0]} to {_CALTECH_TEST_SETS[-1]}"
        raise InputError(
            f"{folder}: expected {wanted}, found {first_names(folder.iterdir()) if folder.is_dir() else 'no such folder'}"
        )
    missing = [name for name in _CALTECH_TEST_SETS if name not in {path.parent.name for path in files}]
    if missing:
        raise InputError(f"{folder}: expected videos *.seq of all test sets, found none in {', '.join(missing)}")
    print_message(f"counting the frames of {len(files)} videos")
    counts = [_count_frames(path) // _VIDEO_STEP for path in files]

    def clips() -> Iterator[RawClip]:
        for path, count in zip(files, counts, strict=True):
            yield RawClip(f"{path.parent.name}/{path.name}", _video_blocks(path, count))

    return RawSplit(clips, sum(counts))


def _windows_split(name: str, data: epath.Path, starts_file: epath.Path, remarks: list[str]) -> RawSplit:
    """Makes one clip, in which the windows are known, but not the beginnings of drives."""
    images = _open_array(data)
    if images.ndim != 4 or images.shape[1:] != _SHAPE or not (images.dtype == np.uint8 or images.dtype.kind == "f"):
        wanted = f"uint8, or floats in [0, 1], [n, {', '.join(map(str, _SHAPE))}]"
        raise InputError(f"{data}: expected {wanted}, found {images.dtype} {list(images.shape)}")
    starts = _read_starts(starts_file, f"the {len(images)} of {data.name}", len(images), remarks)
    # A tick left out after every window keeps it apart from the next one.
    segments = tuple(Segment(int(first), _WINDOW, number * (_WINDOW + 1)) for number, first in enumerate(starts))
    return RawSplit(lambda: iter([RawClip(name, _read_blocks(data, images, 0, len(images)), segments)]), len(images))


def _read_starts(path: epath.Path, images: str, count: int, remarks: list[str]) -> np.ndarray:
    """Reads the first frames of all windows, sorted, and refuses windows beyond the `count` images."""
    starts = _open_array(path)
    if starts.ndim != 1 or starts.dtype.kind not in "iu" or not len(starts):
        raise InputError(f"{path}: expected the starts of windows, integers [n], found {starts.dtype} {list(starts.shape)}")
    starts = np.sort(starts.astype(np.int64))
    if starts[0] < 0 or starts[-1] + _WINDOW > count:
        wrong = starts[0] if starts[0] < 0 else starts[-1]
        raise InputError(f"{path}: expected windows of {_WINDOW} frames within {images}, found one that starts at {wrong}")
    nearest = int(np.diff(starts).min()) if len(starts) > 1 else _WINDOW
    if not nearest:
        raise InputError(f"{path}: expected every window once, found two that start at the same frame")
    if nearest != _WINDOW:
        # OpenSTL never makes its caches anew, even where another length is asked for.
        remarks.append(f"{path.name}: expected windows {_WINDOW} frames apart, found that the nearest are {nearest}")
    return starts


def _open_array(path: epath.Path) -> np.ndarray:
    """Memory-maps a .npy file."""
    if not path.exists():
        raise InputError(f"{path.parent}: expected {path.name}, found {first_names(path.parent.iterdir())}")
    return memory_map(path, "expected a .npy array")


def _read_blocks(path: epath.Path, images: Any, first: int, end: int) -> Iterator[np.ndarray]:
    """Yields frames `first` to `end` of an array on disk, uint8 `[n, 128, 160, 3]`, and refuses floats that are no k / 255."""
    for start in range(first, end, _BLOCK):
        try:
            block = np.asarray(images[start : min(start + _BLOCK, end)])
        except OSError as error:
            raise InputError(f"{path}: expected whole frames, found that frame {start} cannot be read ({error})") from None
        yield block if block.dtype == np.uint8 else _round(path, block * 255.0, start)


def _round(path: epath.Path, block: np.ndarray, first: int) -> np.ndarray:
    rounded = np.rint(block)
    wrong = ~((np.abs(block - rounded) <= _ROUNDING) & (rounded >= 0) & (rounded <= 255))  # True for NaN, too
    if wrong.any():
        index = tuple(np.argwhere(wrong)[0])
        found = f"{block[index] / 255:.6g} in frame {first + index[0]}"
        raise InputError(f"{path}: expected values k/255 with k = 0, ..., 255, found values that are not k/255 ({found})")
    return rounded.astype(np.uint8)


def _cv2() -> Any:
    return import_optional(  # needed for the videos, not for the caches
        "cv2",
        f"decoding caltech/*/*.seq needs OpenCV: `pip install opencv-python-headless`; with {' and '.join(_CACHES)} "
        "of OpenSTL in caltech it is not needed",
    )


def _count_frames(path: epath.Path) -> int:
    """Counts a video's frames by going through it, because its header can be wrong."""
    video = _cv2().VideoCapture(os.fspath(path))
    count = 0
    while video.grab():
        count += 1
    video.release()
    if not count:
        raise InputError(f"{path}: expected a video, found a file of which OpenCV decodes no frame")
    return count


def _video_blocks(path: epath.Path, count: int) -> Iterator[np.ndarray]:
    """Yields frames 3, 6, 9, ... of a video, uint8 `[n, 128, 160, 3]`, BGR; `count` frames in all."""
    video = _cv2().VideoCapture(os.fspath(path))
    block: list[np.ndarray] = []
    for index in range(count):
        for _ in range(_VIDEO_STEP):
            video.grab()
        decoded, frame = video.retrieve()
        if not decoded:
            number = (index + 1) * _VIDEO_STEP
            raise InputError(f"{path}: expected {count * _VIDEO_STEP} frames, found that frame {number} does not decode")
        block.append(_scale_and_crop(path, frame))
        if len(block) == _BLOCK or index == count - 1:
            yield np.stack(block)
            block = []
    video.release()


def _scale_and_crop(path: epath.Path, frame: np.ndarray) -> np.ndarray:
    """Scales uint8 `[h, w, 3]` to height 128, crops the middle, and cuts off decimals: uint8 `[128, 160, 3]`."""
    width = round(_HEIGHT / frame.shape[0] * frame.shape[1])
    if width < _WIDTH:
        raise InputError(f"{path}: expected frames at least {_WIDTH}/{_HEIGHT} as wide as high, found {list(frame.shape[:2])}")
    left = (width - _WIDTH) // 2
    scaled = smooth_bilinear(frame, _HEIGHT, width)[:, left : left + _WIDTH]  # [128, 160, 3]
    # OpenSTL's cache: divided by 255, multiplied again, and cut off rather than rounded.
    return (scaled / 255.0 * 255).astype(np.uint8)
