"""Moving MNIST: OpenSTL's law of motion (`dataloader_moving_mnist.py`), vectorised, any sequence by its index alone.

Every sequence takes its random numbers from its own place in a counter-based generator (Philox), keyed by
(seed, epoch) and counted by index, so it is the same however many workers or processes make the others.
"""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np

from stlight_jax.data.digits import DIGIT_SIDE, Digits, find_file, load_digits, prepared_tfds_builder
from stlight_jax.data.formats.npy import memory_map
from stlight_jax.data.scaling import Scaling
from stlight_jax.data.sequences import Sequences
from stlight_jax.errors import InputError

STEP_LENGTH = 0.1  # of the free canvas, per frame
_DIGITS_PER_SEQUENCE = 2
_DRAWS_PER_DIGIT = 4  # x, y, direction, which digit: one Philox block
_STREAMS = {"train": 0, "validation": 1, "test": 2}
# The validation and test sets are fixed: they do not depend on the training seed.
_FIXED_SEED = 20241115
# dataset: (its name in tables, its published test set)
_VARIANTS = {
    "moving_mnist": ("Moving MNIST", "mnist_test_seq.npy"),
    "moving_fashion_mnist": ("Moving Fashion-MNIST", "fmnist_test_seq.npy"),
}
_PUBLISHED_SHAPE = (20, 10000, 64, 64)


def tracks(start: np.ndarray, direction: np.ndarray, frames: int, free: int) -> np.ndarray:
    """Moves digits along OpenSTL's law.

    A digit goes a tenth of the free canvas per frame along its direction; at a wall it stops there for that frame and the
    component is reversed. The starting point itself is never drawn.

    Args:
      start: `[..., 2]`, (x, y) in [0, 1].
      direction: `[...]`, angle in radians.
      frames: t.
      free: pixels a digit can move along one axis.

    Returns:
      Top-left corners, int `[..., t, 2]`, (row, column) in 0..free.
    """
    position = start[..., ::-1].astype(np.float64)  # [..., 2], (y, x)
    velocity = np.stack([np.sin(direction), np.cos(direction)], -1) * STEP_LENGTH
    path = np.empty((frames, *position.shape))
    # In place: these arrays are small, and a batch's time is that of the calls.
    for frame in range(frames):
        position += velocity
        np.negative(velocity, out=velocity, where=(position <= 0) | (position >= 1))
        np.maximum(position, 0.0, out=position)
        np.minimum(position, 1.0, out=position)
        path[frame] = position
    return np.moveaxis((free * path).astype(np.int64), 0, -2)


def render(corners: np.ndarray, images: np.ndarray, side: int) -> np.ndarray:
    """Draws digits on black canvases; where they overlap the brighter pixel wins.

    Args:
      corners: int `[n, digits, t, 2]`, top-left (row, column).
      images: uint8 `[n, digits, s, s]`.
      side: of the canvas.

    Returns:
      uint8 `[n, t, side, side, 1]`.
    """
    count, digits, frames, _ = corners.shape
    size = images.shape[-1]
    canvas = np.zeros((count, frames, side, side), np.uint8)
    windows = np.lib.stride_tricks.sliding_window_view(canvas, (size, size), axis=(2, 3), writeable=True)
    sequence, frame = np.arange(count)[:, None], np.arange(frames)
    for digit in range(digits):
        place = (sequence, frame, corners[:, digit, :, 0], corners[:, digit, :, 1])
        image = images[:, digit, None]
        windows[place] = np.maximum(windows[place], image) if digit else image
    return canvas[..., None]


@dataclasses.dataclass(frozen=True)
class GeneratedSequences:
    """Two digits that move and bounce, made on the fly.

    Attributes:
      digits: the images to draw.
      count: sequences per epoch.
      seed: together with the split's name, epoch and index it determines a sequence.
      split: "train", "validation" or "test"; no two splits share random numbers, whatever their seeds.
      length: frames per sequence.
      side: of the canvas, in pixels; larger than a digit.
      title: of the data set, in tables.
    """

    digits: Digits
    count: int
    seed: int
    split: str
    length: int = 20
    side: int = 64
    title: str = "Moving MNIST"
    scaling: Scaling = dataclasses.field(default=Scaling(), init=False)

    def __post_init__(self) -> None:
        if self.side <= self.digits.images.shape[-1]:
            raise InputError(
                f"data.image_size is {self.side}; digits of {self.digits.images.shape[-1]} pixels need more to move on"
            )

    def __len__(self) -> int:
        return self.count

    @property
    def shape(self) -> tuple[int, int, int, int]:
        """Of one sequence, `[t, h, w, c]`."""
        return (self.length, self.side, self.side, 1)

    @property
    def description(self) -> dict[str, Any]:
        """What a checkpoint or a table says of these sequences."""
        return {
            "name": f"generated {self.title}, {self.split}",
            "published": False,
            "sequences": self.count,
            "digits": self.digits.origin,
            "sha256": self.digits.sha256,
            "seed": self.seed,
            "shape": list(self.shape),
            "digit_side": self.digits.images.shape[-1],
        }

    def frames(self, indices: np.ndarray, epoch: int = 0) -> np.ndarray:
        """uint8 `[n, t, side, side, 1]`; the sequences `indices` of `epoch`."""
        draws = self._uniform(np.asarray(indices), epoch)  # [n, digits, 4]
        side = self.digits.images.shape[-1]
        corners = tracks(draws[..., :2], 2 * np.pi * draws[..., 2], self.length, self.side - side)
        which = (draws[..., 3] * len(self.digits.images)).astype(np.int64)
        return render(corners, self.digits.images[which], self.side)

    def frames_before(self, indices: np.ndarray, steps: int, targets: int) -> None:
        """There was nothing before."""

    def _uniform(self, indices: np.ndarray, epoch: int) -> np.ndarray:
        """Float64 in [0, 1), `[n, digits, 4]`. Neighbouring indices are drawn in one go."""
        key = np.array([self.seed, epoch], np.uint64)
        runs = np.split(indices, np.flatnonzero(np.diff(indices) != 1) + 1)
        raw = []
        for run in runs:
            if not len(run):
                continue
            counter = np.array([run[0] * _DIGITS_PER_SEQUENCE, 0, 0, _STREAMS[self.split]], np.uint64)
            bits = np.random.Philox(key=key, counter=counter)
            raw.append(bits.random_raw(len(run) * _DIGITS_PER_SEQUENCE * _DRAWS_PER_DIGIT))
        draws = np.concatenate(raw) if raw else np.empty(0, np.uint64)
        return (draws >> np.uint64(11)).reshape(-1, _DIGITS_PER_SEQUENCE, _DRAWS_PER_DIGIT) * 2.0**-53


@dataclasses.dataclass(frozen=True)
class StoredSequences:
    """The published test set: an array uint8 `[20, n, h, w]`, time first; only what is asked for is read."""

    array: np.ndarray
    origin: str
    title: str = "Moving MNIST"
    scaling: Scaling = dataclasses.field(default=Scaling(), init=False)

    def __len__(self) -> int:
        return self.array.shape[1]

    @property
    def shape(self) -> tuple[int, int, int, int]:
        """Of one sequence, `[t, h, w, c]`."""
        length, _, height, width = self.array.shape
        return (length, height, width, 1)

    @property
    def description(self) -> dict[str, Any]:
        """What a checkpoint or a table says of these sequences."""
        return {
            "name": f"the published {self.title} test set",
            "published": True,
            "sequences": len(self),
            "digits": self.origin,
        }

    def frames(self, indices: np.ndarray, epoch: int = 0) -> np.ndarray:
        """uint8 `[n, 20, h, w, 1]`; the epoch makes no difference."""
        del epoch
        stored = self.array[:, indices].swapaxes(0, 1)  # [n, t, h, w]
        return np.ascontiguousarray(stored.astype(np.uint8, copy=False))[..., None]

    def frames_before(self, indices: np.ndarray, steps: int, targets: int) -> None:
        """There was nothing before."""


def open_training(dataset: str, data: Any, frames: int, seed: int) -> tuple[Sequences, Sequences]:
    """Opens the training and the validation sequences that a config's `data` section describes.

    Both show training digits; the validation set is fixed.

    Args:
      dataset: moving_mnist or moving_fashion_mnist.
      data: keys root, digits, digit_size, image_size, sequences_per_epoch, validation_sequences, test_sequences.
      frames: per sequence, T + T'.
      seed: of the training stream.

    Raises:
      InputError: a file is missing or not what it should be, or a key has an impossible value.
    """
    digits = load_digits("train", data.digits, data.root, dataset).resized(data.digit_size)
    title, _ = _VARIANTS[dataset]
    return (
        GeneratedSequences(digits, data.sequences_per_epoch, seed, "train", frames, data.image_size, title),
        GeneratedSequences(digits, data.validation_sequences, _FIXED_SEED, "validation", frames, data.image_size, title),
    )


def open_test(dataset: str, data: Any, frames: int) -> Sequences:
    """Opens the test set: the published one where it fits and is there, otherwise a fixed one of unseen digits.

    Args and Raises: as `open_training`.
    """
    published = _published_test_set(dataset, data, frames)
    if published is not None:
        return published
    digits = load_digits("test", data.digits, data.root, dataset).resized(data.digit_size)
    title, _ = _VARIANTS[dataset]
    return GeneratedSequences(digits, data.test_sequences, _FIXED_SEED, "test", frames, data.image_size, title)


def _published_test_set(dataset: str, data: Any, frames: int) -> StoredSequences | None:
    """The published test set, if the model's frames are of its size and it can be found."""
    length, _, side, _ = _PUBLISHED_SHAPE
    title, file = _VARIANTS[dataset]
    if (data.image_size, data.digit_size, frames) != (side, DIGIT_SIDE, length):
        return None
    if data.root:
        path = find_file(data.root, (file,), dataset, required=False)
        if path is not None:
            return StoredSequences(read_published(path), path.name, title)
    if data.digits == "tfds" and dataset == "moving_mnist":
        builder = prepared_tfds_builder("moving_mnist", data.root)
        if builder is not None:
            examples = builder.as_dataset(split="test").as_numpy_iterator()
            sequences = np.stack([example["image_sequence"][..., 0] for example in examples])  # [n, t, h, w]
            sequences = sequences.swapaxes(0, 1)
            if sequences.shape != _PUBLISHED_SHAPE:
                raise InputError(
                    f"TFDS moving_mnist in {data.root or 'its default folder'}: expected frames {list(_PUBLISHED_SHAPE)} "
                    f"(time first), found {list(sequences.shape)}; prepare it anew"
                )
            return StoredSequences(sequences, "TFDS moving_mnist")
    return None


def read_published(path: Any) -> np.ndarray:
    """Memory-maps a published test set, uint8 `[20, 10000, 64, 64]`, or floats of the same whole numbers (Fashion-MNIST's).

    Raises InputError for anything else.
    """
    expected = f"expected a .npy array uint8 {list(_PUBLISHED_SHAPE)}"
    array = memory_map(path, expected)
    floats = array.dtype.kind == "f" and path.name != _VARIANTS["moving_mnist"][1]
    if array.shape != _PUBLISHED_SHAPE or not (array.dtype == np.uint8 or floats):
        raise InputError(f"{path}: {expected}, found {array.dtype} {list(array.shape)}")
    if floats:
        first = array[:, 0]
        if not ((first == np.rint(first)) & (first >= 0) & (first <= 255)).all() or first.max() <= 1:
            raise InputError(f"{path}: {expected}, found {array.dtype} that are not the whole numbers 0 to 255")
    return array
