"""KTH Action, from OpenSTL's folders of images."""

import functools
import re
from collections.abc import Iterator, Sequence
from typing import ClassVar

import numpy as np
from etils import epath, epy

from stlight_jax.data.datasets.published_tables import make_table
from stlight_jax.data.prepared_benchmark import PreparedBenchmark
from stlight_jax.data.raw_clips import RawClip, RawSplit
from stlight_jax.data.resize import bilinear
from stlight_jax.data.windows import split_at_jumps
from stlight_jax.errors import InputError

with epy.lazy_imports():
    import PIL.Image

# Frames from one window to the next one; None: a window's length, so that windows do not overlap.
_STRIDES = {"boxing": None, "handclapping": None, "handwaving": None, "walking": None, "jogging": 3, "running": 3}
_LAST_TRAINING_PERSON, _LAST_PERSON = 16, 25
_SIDE = 128
_BLOCK = 64  # frames
_ONE_OF_TWO_PASSES = "FLOPs of one pass of 10 frames; 20 frames take two"
_TRAIN_SEQUENCES = {"paper": 4940, "OpenSTL's documents": 5200}
_TEST_SEQUENCES = {"paper": 3030, "OpenSTL's documents": 3167}


class Kth(PreparedBenchmark):
    """KTH Action: 25 people who box, clap, wave, walk, jog and run, in grey, 25 frames a second.

    Persons 1 to 16 are for training, 17 to 25 for the test. Images are scaled to 128 x 128 as in OpenSTL, with OpenCV's
    bilinear interpolation in float32, and then, unlike in OpenSTL, rounded to whole numbers: the rounding adds about
    128 * 128 / 12 / 255^2 = 0.021 to an MSE that is summed over a frame.

    Time jumps where images are missing from a clip; no window crosses a jump. As in OpenSTL, windows are counted from the end
    of each stretch, and do not overlap, except that jogging and running have one every 3 frames.

    Source: OpenSTL's folder `kth`: `boxing/person01_boxing_d1_uncomp/image_0001.jpg` and so on.
    Citation: C. Schuldt, I. Laptev, B. Caputo, "Recognizing human actions: a local SVM approach", ICPR 2004.
    """

    name = "kth"
    title = "KTH"
    channels = ("intensity",)
    instructions = """
    The manual folder holds `kth/boxing`, ..., `kth/walking` or these six folders themselves, from kth_action.zip, which
    OpenSTL's tools/prepare_data/download_kth.sh downloads (https://github.com/chengtan9907/OpenSTL).
    """
    frame_shape = (_SIDE, _SIDE, 1)
    anchor = "end"
    published_windows: ClassVar = {
        20: {"train": {"PredRNN, thread 15": 8488}, "test": {"PredRNN, thread 15": 5041}},
        30: {"train": _TRAIN_SEQUENCES, "test": _TEST_SEQUENCES},
    }
    published_remark = "OpenSTL also lists LPIPS, whose weights do not come with this package."
    published = (
        make_table(
            in_frames=10,
            out_frames=20,
            frame=(128, 128, 1),
            title="KTH, 10 -> 20 frames",
            source="STLight paper, table 3",
            recipe="100 epochs, batch 12, Adam, OneCycle to 0.0005 (others: batch 16, OpenSTL's rates)",
            settings={"train.epochs": 100, "train.batch_size": 12, "optimizer.learning_rate": 5e-4},
            train_sequences=_TRAIN_SEQUENCES,
            test_sequences=_TEST_SEQUENCES,
            metrics=("mae", "psnr", "ssim"),
            stlight=[
                ("STLight-XS", 1.4, 5.4, (376.1, 27.50, 0.9052), (400, 8, 0, 3, 5)),
                ("STLight-S", 5.4, 20.9, (377.8, 27.52, 0.9078), (600, 14, 0, 3, 5)),
                ("STLight-M", 9.5, 37.1, (367.9, 27.54, 0.9102), (800, 14, 0, 3, 5)),
                ("STLight-L", 14.6, 57.8, (363.8, 27.57, 0.9113), (1000, 14, 0, 3, 5)),
            ],
            others=[
                ("ConvLSTM", 14.9, 1368, (445.5, 26.99, 0.8977)),
                ("DMVFN", 3.5, 0.88, (413.2, 26.65, 0.8976)),
                (
                    "E3D-LSTM",
                    53.5,
                    217,
                    (892.7, 21.78, 0.8153),
                    "OpenSTL's; the paper prints its MSE as MAE and its MAE as PSNR",
                ),
                ("MAU", 20.1, 399, (471.2, 26.73, 0.8945)),
                ("MIM", 39.8, 1099, (380.8, 27.78, 0.9025)),
                ("PhyDNet", 3.1, 93.6, (765.6, 23.41, 0.8322), "PSNR is OpenSTL's; the paper prints none"),
                ("PredRNN", 23.6, 2800, (380.6, 27.95, 0.9097), "PSNR is OpenSTL's; the paper prints 27.81"),
                ("PredRNN++", 38.3, 4162, (370.4, 28.13, 0.9124)),
                ("PredRNNv2", 23.6, 2815, (368.8, 28.01, 0.9099)),
                ("SimVP + ConvMixer", 1.5, 18.3, (446.1, 26.66, 0.8993), _ONE_OF_TWO_PASSES),
                ("SimVP + IncepU", 12.2, 62.8, (397.1, 27.46, 0.9065), _ONE_OF_TWO_PASSES),
                ("TAU", 15.0, 73.8, (421.7, 27.10, 0.9086), _ONE_OF_TWO_PASSES),
            ],
        ),
    )

    def stride(self, clip: str, length: int) -> int:
        """Returns the stride of the clip's action; see `ClipReader.stride`."""
        return _STRIDES[clip.split("/")[0]] or length

    def group(self, clip: str) -> str:
        """Returns the clip's person, so that no person is in both training and validation; see `PreparedBenchmark.group`."""
        return clip.split("/")[1].split("_")[0]

    def open_raw(self, root: epath.Path, remarks: list[str]) -> dict[str, RawSplit]:
        """Lists the folders of images; see `ClipReader.open_raw`."""
        folder = root / "kth" if (root / "kth").is_dir() else root
        missing = [action for action in sorted(_STRIDES) if not (folder / action).is_dir()]
        if missing:
            raise InputError(f"{folder}: expected a folder for each action, found none for {', '.join(missing)}")
        folders: dict[str, dict[str, dict[int, epath.Path]]] = {"train": {}, "test": {}}
        for action in sorted(_STRIDES):
            for path in sorted(folder / action / name for name in _visible_folders(folder / action)):
                split = "train" if _person(path, action) <= _LAST_TRAINING_PERSON else "test"
                folders[split][f"{action}/{path.name}"] = _list_images(path)
        for split, persons in (("train", "01 to 16"), ("test", "17 to 25")):
            if not folders[split]:
                raise InputError(f"{folder}: expected clips of persons {persons} for the split {split}, found none")
        return {
            split: RawSplit(functools.partial(_open_clips, clips), sum(map(len, clips.values())))
            for split, clips in folders.items()
        }


def _visible_folders(parent: epath.Path) -> list[str]:
    return [path.name for path in parent.iterdir() if not path.name.startswith(".") and path.is_dir()]


def _person(path: epath.Path, action: str) -> int:
    found = re.fullmatch(rf"person(\d\d)_{action}_.+", path.name)
    if not found or not 1 <= int(found[1]) <= _LAST_PERSON:
        raise InputError(f"{path}: expected a name like person01_{action}_d1_uncomp, with persons 01 to {_LAST_PERSON}")
    return int(found[1])


def _list_images(path: epath.Path) -> dict[int, epath.Path]:
    """Returns the images of a clip by their numbers, in order, and refuses odd names and numbers that occur twice."""
    images: dict[int, epath.Path] = {}
    for image in sorted(path.iterdir()):
        if not image.name.startswith("image"):
            continue
        digits = image.name[6:10]
        if not re.fullmatch("[0-9]{4}", digits):
            raise InputError(f"{image}: expected a name like image_0001.jpg, whose characters 7 to 10 are the frame's number")
        other = images.setdefault(int(digits), image)
        if other is not image:
            raise InputError(f"{path}: expected one image for each frame, found {other.name} and {image.name}; remove one")
    if not images:
        raise InputError(f"{path}: expected images like image_0001.jpg, found none; without them, remove the folder")
    return dict(sorted(images.items()))


def _open_clips(folders: dict[str, dict[int, epath.Path]]) -> Iterator[RawClip]:
    for name, images in folders.items():
        yield RawClip(name, _read_blocks(list(images.values())), tuple(split_at_jumps(np.array(list(images)))))


def _read_blocks(images: Sequence[epath.Path]) -> Iterator[np.ndarray]:
    """Yields frames uint8 `[n, 128, 128, 1]`, and refuses images that cannot be read or differ in size."""
    size = None
    for first in range(0, len(images), _BLOCK):
        block = []
        for path in images[first : first + _BLOCK]:
            image = _read_image(path)
            size = size or image.shape
            if image.shape != size:
                raise InputError(f"{path}: expected {list(size)} pixels as in {images[0].name}, found {list(image.shape)}")
            block.append(image)
        frames = bilinear(np.stack(block)[..., None], _SIDE, _SIDE)  # [n, 128, 128, 1]
        yield np.rint(frames).astype(np.uint8)


def _read_image(path: epath.Path) -> np.ndarray:
    """Reads the first channel of an image: uint8 `[h, w]`."""
    try:
        with path.open("rb") as file, PIL.Image.open(file) as image:
            mode, pixels = image.mode, np.asarray(image)
    except (OSError, SyntaxError, ValueError, PIL.Image.DecompressionBombError) as error:
        raise InputError(f"{path}: expected an image, found a file that does not load ({error})") from None
    if mode not in ("L", "RGB", "RGBA"):
        raise InputError(f"{path}: expected a grey or an RGB image of 8 bits, found PIL's mode {mode}")
    return pixels if pixels.ndim == 2 else pixels[:, :, 0]
