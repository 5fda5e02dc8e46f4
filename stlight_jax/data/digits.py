"""Images for Moving MNIST and its variants: embedded in the package, from idx files, or from TFDS."""

from __future__ import annotations

import dataclasses
import gzip
import hashlib
import struct
import zlib
from typing import Literal

import numpy as np
from etils import epath

from stlight_jax.data.pipeline import load_tensorflow
from stlight_jax.data.raw_clips import first_names
from stlight_jax.errors import InputError
from stlight_jax.storage import paths

DIGIT_SIDE = 28
Source = Literal["auto", "embedded", "idx", "tfds"]
_EMBEDDED = epath.resource_path("stlight_jax") / "data" / "digits"
_FILES = {"train": "train-images-idx3-ubyte", "test": "t10k-images-idx3-ubyte"}
_IDX_IMAGES = 2051  # magic number
_GZIP = b"\x1f\x8b"


@dataclasses.dataclass(frozen=True)
class ImageSource:
    """A set of images like MNIST.

    Attributes:
      dataset: name of the data set that is made from these images.
      title: name of the images, for messages.
      folder: the data set's folder in OpenSTL's data tree.
      idx_only: whether idx files are the only source, so that no images are embedded and TFDS is not asked.
    """

    dataset: str
    title: str
    folder: str
    idx_only: bool = True


MNIST = ImageSource("moving_mnist", "MNIST", "moving_mnist", idx_only=False)


@dataclasses.dataclass(frozen=True)
class Digits:
    """Images with a black background.

    Attributes:
      images: uint8 `[n, side, side]`, black is 0.
      origin: where the images come from, for tables.
    """

    images: np.ndarray
    origin: str

    @property
    def sha256(self) -> str:
        """SHA-256 of the pixels."""
        return hashlib.sha256(np.ascontiguousarray(self.images).tobytes()).hexdigest()

    def resized(self, side: int) -> Digits:
        """Shrinks the images by averaging whole blocks of pixels.

        Args:
          side: pixels per side of the result.

        Returns:
          The smaller images.

        Raises:
          InputError: `side` does not divide 28.
        """
        if side < 1 or DIGIT_SIDE % side:
            raise InputError(f"data.digit_size is {side}; it must divide {DIGIT_SIDE}: 28 (as published), 14 or 7")
        factor = DIGIT_SIDE // side
        blocks = self.images.reshape(-1, side, factor, side, factor).astype(np.float32)
        return Digits(np.rint(blocks.mean((2, 4))).astype(np.uint8), self.origin)  # [n, side, side]


def load_digits(
    split: Literal["train", "test"], source: Source = "auto", root: str = "", image_source: ImageSource = MNIST
) -> Digits:
    """Loads the images of one split.

    Args:
      split: MNIST's own split, so that test sequences show unseen digits.
      source: "embedded" (6,000 and 1,000 digits that ship with the package), "idx" (the standard files, in `root`),
        "tfds" (`mnist`, prepared, below `root` or TFDS's default folder), "auto": idx with a root, embedded without.
      root: folder, local or remote.
      image_source: which images.

    Returns:
      The images.

    Raises:
      InputError: the images are not found, or the files are not as expected.
    """
    if source == "auto":
        source = "idx" if root or image_source.idx_only else "embedded"
    if image_source.idx_only and source != "idx":
        raise InputError(f"data.digits is {source!r}; {image_source.dataset} is read from idx files only (auto, or idx)")
    label = f"{image_source.title} {split} digits"
    if source == "embedded":
        images = read_idx_images(_EMBEDDED / f"{_FILES[split]}.gz")
        return Digits(images, f"{len(images)} {label} embedded in the package")
    if source == "tfds":
        images = _load_from_tfds(split, root)
        return Digits(images, f"{len(images)} {label} from TFDS")
    path = find_file(root, (f"{_FILES[split]}.gz", _FILES[split]), image_source.folder)
    images = read_idx_images(path)
    return Digits(images, f"{len(images)} {label} from {path.name}")


def find_file(root: str, names: tuple[str, ...], folder: str) -> epath.Path:
    """Finds a file in `root` or, as in OpenSTL's data tree, in a folder below it.

    Args:
      root: folder, local or remote.
      names: names of the file, the preferred one first.
      folder: name of the folder below `root`.

    Returns:
      The first file that exists.

    Raises:
      InputError: `root` is no folder, or contains none of the files.
    """
    found = find_optional_file(root, names, folder)
    if found is None:
        raise InputError(f"{root}: expected {' or '.join(names)}, found {first_names(epath.Path(root).iterdir())}")
    return found


def find_optional_file(root: str, names: tuple[str, ...], folder: str) -> epath.Path | None:
    """Finds a file like `find_file`, but returns None if it does not exist.

    Args:
      root: folder, local or remote.
      names: names of the file, the preferred one first.
      folder: name of the folder below `root`.

    Returns:
      The first file that exists, or None.

    Raises:
      InputError: `root` is no folder.
    """
    paths.connect(root)
    if not root or not epath.Path(root).is_dir():
        raise InputError(f"data.root is {str(root)!r}, which is no folder; set it to the folder that holds {names[0]}")
    candidates = [parent / name for parent in (epath.Path(root), epath.Path(root) / folder) for name in names]
    return next((path for path in candidates if path.exists()), None)


def read_idx_images(path: epath.Path) -> np.ndarray:
    """Reads an idx3 file of 28 x 28 uint8 images, gzipped or not.

    Args:
      path: the file.

    Returns:
      uint8 `[n, 28, 28]`.

    Raises:
      InputError: the file is truncated, too long, or of another kind.
    """
    content = path.read_bytes()
    if content.startswith(_GZIP):
        try:
            content = gzip.decompress(content)
        except (EOFError, OSError, zlib.error) as error:
            raise InputError(f"{path}: expected a whole gzip file, found a damaged one ({error})") from None
    if len(content) < 16:
        raise InputError(f"{path}: expected a 16-byte idx header, found {len(content)} bytes")
    magic, count, height, width = struct.unpack(">IIII", content[:16])
    if magic != _IDX_IMAGES:
        raise InputError(f"{path}: expected idx images (magic number {_IDX_IMAGES}), found magic number {magic}")
    if (height, width) != (DIGIT_SIDE, DIGIT_SIDE) or not count:
        raise InputError(f"{path}: expected images of 28 x 28 pixels, found {count} of {height} x {width}")
    expected = 16 + count * height * width
    if len(content) != expected:
        raise InputError(f"{path}: expected {expected:,} bytes for the {count:,} images in its header, found {len(content):,}")
    return np.frombuffer(content, np.uint8, offset=16).reshape(count, height, width)


def _load_from_tfds(split: str, root: str) -> np.ndarray:
    from stlight_jax.data.prepared import find_tfds_builder  # TFDS is slow to import, and only some users need it

    builder = find_tfds_builder("mnist", root)
    if builder is None:
        folder = root or "TFDS's default folder"
        raise InputError(f"data.digits is 'tfds', but mnist is not prepared in {folder}; run `tfds build mnist` first")
    load_tensorflow()  # before TFDS does, to hide the accelerators
    dataset = builder.as_dataset(split=split)
    return np.stack([example["image"][:, :, 0] for example in dataset.as_numpy_iterator()])
