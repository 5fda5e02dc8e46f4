"""Handwritten digits for Moving MNIST: embedded in the package, from idx files, or from TFDS."""

from __future__ import annotations

import dataclasses
import gzip
import hashlib
import struct
import zlib
from typing import Any, Literal

import numpy as np
from etils import epath

from stlight_jax.data.pipeline import load_tensorflow
from stlight_jax.errors import InputError
from stlight_jax.storage import paths

DIGIT_SIDE = 28
SOURCES = ("auto", "embedded", "idx", "tfds")
_EMBEDDED = epath.resource_path("stlight_jax") / "data" / "digits"
_FILES = {"train": "train-images-idx3-ubyte", "test": "t10k-images-idx3-ubyte"}
_MAGIC = 2051
# dataset: its folder in OpenSTL's data tree
_FOLDERS = {"moving_mnist": "moving_mnist", "moving_fashion_mnist": "moving_fmnist"}


@dataclasses.dataclass(frozen=True)
class Digits:
    """Images uint8 `[n, side, side]`, black 0, and where they come from."""

    images: np.ndarray
    origin: str

    @property
    def sha256(self) -> str:
        """Of the pixels."""
        return hashlib.sha256(np.ascontiguousarray(self.images).tobytes()).hexdigest()

    def resized(self, side: int) -> Digits:
        """The same digits with `side` pixels per side, by averaging whole blocks.

        Raises InputError unless `side` divides 28.
        """
        if side < 1 or DIGIT_SIDE % side:
            raise InputError(f"data.digit_size is {side}; it must divide {DIGIT_SIDE}: 28 (as published), 14 or 7")
        factor = DIGIT_SIDE // side
        blocks = self.images.reshape(-1, side, factor, side, factor).astype(np.float32)
        return Digits(np.rint(blocks.mean((2, 4))).astype(np.uint8), self.origin)


def load_digits(split: Literal["train", "test"], source: str = "auto", root: str = "", dataset: str = "moving_mnist") -> Digits:
    """Loads the images of one split of MNIST, or of Fashion-MNIST.

    Args:
      split: MNIST's own split, so that test sequences show unseen digits.
      source: "embedded" (6,000 and 1,000 digits that ship with the package), "idx" (the standard files, in `root`),
        "tfds" (`mnist`, prepared, below `root` or TFDS's default folder), "auto": idx with a root, embedded without.
      root: folder, local or remote.
      dataset: moving_mnist, or moving_fashion_mnist, of which nothing is embedded and TFDS is not asked.

    Raises:
      InputError: nothing there, or not what it should be; says what was found and what was expected.
    """
    if source not in SOURCES:
        raise InputError(f"data.digits is {source!r}; choose one of {', '.join(SOURCES)}")
    if source == "auto":
        source = "idx" if root or dataset != "moving_mnist" else "embedded"
    if dataset != "moving_mnist" and source != "idx":
        raise InputError(f"data.digits is {source!r}; {dataset} is read from idx files only (auto, or idx)")
    if source == "embedded":
        images = read_idx_images(_EMBEDDED / f"{_FILES[split]}.gz")
        return Digits(images, f"{len(images)} MNIST {split} digits embedded in the package")
    if source == "idx":
        path = find_file(root, (f"{_FILES[split]}.gz", _FILES[split]), dataset)
        images = read_idx_images(path)
        what = "MNIST" if dataset == "moving_mnist" else "Fashion-MNIST"
        return Digits(images, f"{len(images)} {what} {split} digits from {path.name}")
    images = _from_tfds(split, root)
    return Digits(images, f"{len(images)} MNIST {split} digits from TFDS")


def find_file(root: str, names: tuple[str, ...], dataset: str = "moving_mnist", required: bool = True) -> epath.Path | None:
    """The first of `names` in `root` or, as in OpenSTL's data tree, in `root/moving_mnist`; else InputError or None."""
    paths.connect(root)
    folder = epath.Path(root)
    if not root or not folder.is_dir():
        raise InputError(f"data.root is {str(root)!r}, which is no folder; set it to the folder that holds {names[0]}")
    for parent in (folder, folder / _FOLDERS[dataset]):
        for name in names:
            if (parent / name).exists():
                return parent / name
    if not required:
        return None
    found = ", ".join(sorted(path.name for path in folder.iterdir())[:8]) or "nothing"
    raise InputError(f"{folder}: expected {' or '.join(names)}, found {found}")


def read_idx_images(path: epath.Path) -> np.ndarray:
    """Reads an idx3 file of 28 x 28 uint8 images, gzipped or not: `[n, 28, 28]`.

    Raises InputError for a file that is truncated, too long, or of another kind.
    """
    content = path.read_bytes()
    if content[:2] == b"\x1f\x8b":
        try:
            content = gzip.decompress(content)
        except (EOFError, OSError, zlib.error) as error:
            raise InputError(f"{path}: expected a whole gzip file, found a damaged one ({error})") from None
    if len(content) < 16:
        raise InputError(f"{path}: expected a 16-byte idx header, found {len(content)} bytes")
    magic, count, height, width = struct.unpack(">IIII", content[:16])
    if magic != _MAGIC:
        raise InputError(f"{path}: expected idx images (magic number {_MAGIC}), found magic number {magic}")
    if (height, width) != (DIGIT_SIDE, DIGIT_SIDE) or not count:
        raise InputError(f"{path}: expected images of 28 x 28 pixels, found {count} of {height} x {width}")
    expected = 16 + count * height * width
    if len(content) != expected:
        raise InputError(f"{path}: expected {expected:,} bytes for the {count:,} images in its header, found {len(content):,}")
    return np.frombuffer(content, np.uint8, offset=16).reshape(count, height, width)


def prepared_tfds_builder(name: str, root: str) -> Any:
    """The TFDS builder `name` if its data are prepared below `root` (TFDS's default folder if empty), else None."""
    import tensorflow_datasets as tfds  # slow to import, and only some users need it

    if paths.is_remote(root):
        from stlight_jax.data.stored import versions
        from stlight_jax.storage.copies import local_folder

        found = versions(name, epath.Path(root))
        return tfds.builder_from_directory(str(local_folder(found[0], "dataset_info.json"))) if found else None
    builder = tfds.builder(name, data_dir=root or None)
    return builder if builder.is_prepared() else None


def _from_tfds(split: str, root: str) -> np.ndarray:
    builder = prepared_tfds_builder("mnist", root)
    if builder is None:
        where = root or "TFDS's default folder"
        raise InputError(f"data.digits is 'tfds', but mnist is not prepared in {where}; run `tfds build mnist` first")
    load_tensorflow()  # in its own way, before TFDS does
    dataset = builder.as_dataset(split=split)
    return np.stack([example["image"][:, :, 0] for example in dataset.as_numpy_iterator()])
