"""KTH Action, as OpenSTL's folders of images."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from typing import ClassVar, NamedTuple

import numpy as np
import PIL.Image
from etils import epath

from stlight_jax.data.clips_builder import Clip, ClipsBuilder, Split
from stlight_jax.data.resize import bilinear
from stlight_jax.data.windows import runs_of
from stlight_jax.errors import InputError

# From one window to the next one; None: its length, so that windows do not overlap.
_STRIDES = {"boxing": None, "handclapping": None, "handwaving": None, "walking": None, "jogging": 3, "running": 3}
_LAST_TRAINING_PERSON, _LAST_PERSON = 16, 25
_SIDE = 128
_BLOCK = 64  # frames


class _Folder(NamedTuple):
    """A clip on disk: its images, and their numbers, which grow."""

    name: str
    images: Sequence[epath.Path]
    numbers: Sequence[int]


class Kth(ClipsBuilder):
    """KTH Action: 25 people who box, clap, wave, walk, jog and run, in grey, 25 frames a second.

    Persons 1 to 16 are for training, 17 to 25 for the test. Images are scaled to 128 x 128 as OpenSTL does, with OpenCV's
    bilinear interpolation in float32, and then rounded to whole numbers, which OpenSTL does not do: the rounding adds about
    128 * 128 / 12 / 255^2 = 0.021 to an MSE that is summed over a frame.

    Time jumps where images are missing from a clip; windows do not cross these places. As in OpenSTL, windows are counted
    from the end of each stretch, and do not overlap, except that jogging and running have one every 3 frames.

    Source: OpenSTL's folder `kth`: `boxing/person01_boxing_d1_uncomp/image_0001.jpg` and so on.
    Citation: C. Schuldt, I. Laptev, B. Caputo, "Recognizing human actions: a local SVM approach", ICPR 2004.
    """

    name = "kth"
    MANUAL_DOWNLOAD_INSTRUCTIONS = """
    The manual folder holds `kth/boxing`, ..., `kth/walking` or these six folders themselves, from kth_action.zip as
    OpenSTL's tools/prepare_data/download_kth.sh gets it (https://github.com/chengtan9907/OpenSTL).
    """
    FRAME_SHAPE = (_SIDE, _SIDE, 1)
    ANCHOR = "end"
    DOCUMENTED: ClassVar = {
        20: {"train": {"PredRNN, thread 15": 8488}, "test": {"PredRNN, thread 15": 5041}},
        30: {
            "train": {"paper": 4940, "OpenSTL's documents": 5200},
            "test": {"paper": 3030, "OpenSTL's documents": 3167},
        },
    }

    @classmethod
    def strides(cls, clip: str, length: int) -> int:
        """See `ClipsBuilder.strides`."""
        return _STRIDES[clip.split("/")[0]] or length

    @classmethod
    def group(cls, clip: str) -> str:
        """The person: whoever is seen in training must not be seen in validation. See `ClipsBuilder.group`."""
        return clip.split("/")[1].split("_")[0]

    def open_raw(self, root: epath.Path) -> dict[str, Split]:
        """See `ClipsBuilder.open_raw`."""
        folder = root / "kth" if (root / "kth").is_dir() else root
        missing = [action for action in sorted(_STRIDES) if not (folder / action).is_dir()]
        if missing:
            raise InputError(f"{folder}: expected a folder for each action, found none for {', '.join(missing)}")
        folders: dict[str, list[_Folder]] = {"train": [], "test": []}
        for action in sorted(_STRIDES):
            for path in sorted(folder / action / name for name in _visible_folders(folder / action)):
                split = "train" if _person(path, action) <= _LAST_TRAINING_PERSON else "test"
                folders[split].append(_list_images(path, f"{action}/{path.name}"))
        for split, persons in (("train", "01 to 16"), ("test", "17 to 25")):
            if not folders[split]:
                raise InputError(f"{folder}: expected clips of persons {persons} for the split {split}, found none")
        return {
            split: Split(lambda clips=clips: map(_clip, clips), sum(len(clip.images) for clip in clips))
            for split, clips in folders.items()
        }


def _visible_folders(parent: epath.Path) -> list[str]:
    return [path.name for path in parent.iterdir() if not path.name.startswith(".") and path.is_dir()]


def _person(path: epath.Path, action: str) -> int:
    found = re.fullmatch(rf"person(\d\d)_{action}_.+", path.name)
    if not found or not 1 <= int(found[1]) <= _LAST_PERSON:
        raise InputError(f"{path}: expected a name like person01_{action}_d1_uncomp, with persons 01 to {_LAST_PERSON}")
    return int(found[1])


def _list_images(path: epath.Path, name: str) -> _Folder:
    """The images of a clip in the order of their numbers. Raises InputError for odd names and numbers that occur twice."""
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
    numbers = sorted(images)
    return _Folder(name, [images[number] for number in numbers], numbers)


def _clip(folder: _Folder) -> Clip:
    return Clip(folder.name, _blocks(folder.images), tuple(runs_of(np.array(folder.numbers))))


def _blocks(images: Sequence[epath.Path]) -> Iterator[np.ndarray]:
    """Frames uint8 `[n, 128, 128, 1]`. Raises InputError naming an image that cannot be read or differs in size."""
    size = None
    for first in range(0, len(images), _BLOCK):
        block = []
        for path in images[first : first + _BLOCK]:
            image = _read(path)
            size = size or image.shape
            if image.shape != size:
                raise InputError(f"{path}: expected {list(size)} pixels as in {images[0].name}, found {list(image.shape)}")
            block.append(image)
        frames = bilinear(np.stack(block)[..., None], _SIDE, _SIDE)  # [n, 128, 128, 1]
        yield np.rint(frames).astype(np.uint8)


def _read(path: epath.Path) -> np.ndarray:
    """uint8 `[h, w]`, the first channel. Raises InputError."""
    try:
        with path.open("rb") as file, PIL.Image.open(file) as image:
            mode, pixels = image.mode, np.asarray(image)
    except (OSError, SyntaxError, ValueError, PIL.Image.DecompressionBombError) as error:
        raise InputError(f"{path}: expected an image, found a file that does not load ({error})") from None
    if mode not in ("L", "RGB", "RGBA"):
        raise InputError(f"{path}: expected a grey or an RGB image of 8 bits, found PIL's mode {mode}")
    return pixels if pixels.ndim == 2 else pixels[:, :, 0]
