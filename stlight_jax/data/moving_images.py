"""Moving images: OpenSTL's law of motion (`dataloader_moving_mnist.py`), vectorised; any sequence by its index alone.

Every sequence takes its random numbers from its own section of a counter-based generator (Philox), keyed by (seed, epoch) and
counted by index, so it is the same for any number of workers or processes.
"""

import dataclasses

import numpy as np

from stlight_jax.data.digits import Digits
from stlight_jax.data.scaling import Scaling
from stlight_jax.data.sequences import Sequences
from stlight_jax.errors import InputError

STEP_LENGTH = 0.1  # of the free canvas, per frame
PUBLISHED_SHAPE = (20, 10000, 64, 64)  # of a published test set, [t, n, h, w]
_DIGITS_PER_SEQUENCE = 2
_DRAWS_PER_DIGIT = 4  # x, y, direction, image: one Philox block
_STREAMS = {"train": 0, "validation": 1, "test": 2}


def tracks(start: np.ndarray, direction: np.ndarray, frames: int, free: int) -> np.ndarray:
    """Moves images along OpenSTL's law.

    An image moves a tenth of the free canvas per frame along its direction; at a wall it stops for that frame, and the
    component of its velocity is reversed. The starting point itself is never drawn.

    Args:
      start: `[..., 2]`, (x, y) in [0, 1].
      direction: `[...]`, angle in radians.
      frames: t.
      free: pixels that an image can move along one axis.

    Returns:
      Top-left corners, int `[..., t, 2]`, (row, column) in 0..free.
    """
    position = start[..., ::-1].astype(np.float64)  # [..., 2], (y, x)
    velocity = np.stack([np.sin(direction), np.cos(direction)], -1) * STEP_LENGTH
    path = np.empty((frames, *position.shape))  # [t, ..., 2]
    # In place: these arrays are small, and a batch's time is that of the calls.
    for frame in range(frames):
        position += velocity
        np.negative(velocity, out=velocity, where=(position <= 0) | (position >= 1))
        np.maximum(position, 0.0, out=position)
        np.minimum(position, 1.0, out=position)
        path[frame] = position
    return np.moveaxis((free * path).astype(np.int64), 0, -2)  # [..., t, 2]


def render(corners: np.ndarray, images: np.ndarray, side: int) -> np.ndarray:
    """Draws images on black canvases; where they overlap, the brighter pixel wins.

    Args:
      corners: int `[n, digits, t, 2]`, top-left (row, column).
      images: uint8 `[n, digits, s, s]`.
      side: of the canvas, in pixels.

    Returns:
      uint8 `[n, t, side, side, 1]`.
    """
    count, digits, frames, _ = corners.shape
    size = images.shape[-1]
    canvas = np.zeros((count, frames, side, side), np.uint8)
    windows = np.lib.stride_tricks.sliding_window_view(canvas, (size, size), axis=(2, 3), writeable=True)
    sequence, frame = np.arange(count)[:, None], np.arange(frames)
    for digit in range(digits):
        window = (sequence, frame, corners[:, digit, :, 0], corners[:, digit, :, 1])
        image = images[:, digit, None]
        windows[window] = np.maximum(windows[window], image) if digit else image
    return canvas[..., None]


@dataclasses.dataclass(eq=False)
class GeneratedSequences(Sequences):
    """Two images that move and bounce, drawn on request.

    Attributes:
      digits: the images to draw.
      count: sequences per epoch.
      seed: together with the split's name, epoch and index it determines a sequence.
      split: "train", "validation" or "test"; no two splits share random numbers, whatever their seeds.
      length: frames per sequence.
      side: of the canvas, in pixels; larger than an image.
      title: of the data set, in tables.
    """

    digits: Digits
    count: int
    seed: int
    split: str
    length: int = 20
    side: int = 64
    title: str = "Moving MNIST"
    scaling = Scaling()

    def __post_init__(self) -> None:
        """Checks the size of the canvas."""
        digit_side = self.digits.images.shape[-1]
        if self.side <= digit_side:
            raise InputError(f"data.image_size is {self.side}; digits of {digit_side} pixels need more to move on")
        self.shape = (self.length, self.side, self.side, 1)
        self.description = {
            "name": f"generated {self.title}, {self.split}",
            "published": False,
            "sequences": self.count,
            "digits": self.digits.origin,
            "sha256": self.digits.sha256,
            "seed": self.seed,
            "shape": list(self.shape),
            "digit_side": digit_side,
        }

    def __len__(self) -> int:
        """Returns the number of sequences in an epoch."""
        return self.count

    def frames(self, indices: np.ndarray, epoch: int = 0) -> np.ndarray:
        """Draws the sequences `indices` of `epoch`: uint8 `[n, t, side, side, 1]`."""
        corners, chosen = self.placements(indices, epoch)
        return render(corners, self.digits.images[chosen], self.side)

    def placements(self, indices: np.ndarray, epoch: int = 0) -> tuple[np.ndarray, np.ndarray]:
        """Chooses the images of the sequences `indices` of `epoch`, and their places in every frame.

        Args:
          indices: `[n]`, from 0.
          epoch: number of the epoch.

        Returns:
          Top-left corners, int `[n, digits, t, 2]`, (row, column); and the images' numbers, int `[n, digits]`.
        """
        draws = self._uniform(np.asarray(indices), epoch)  # [n, digits, 4]
        side = self.digits.images.shape[-1]
        corners = tracks(draws[..., :2], 2 * np.pi * draws[..., 2], self.length, self.side - side)  # [n, digits, t, 2]
        return corners, (draws[..., 3] * len(self.digits.images)).astype(np.int64)

    def _uniform(self, indices: np.ndarray, epoch: int) -> np.ndarray:
        """Draws float64 in [0, 1), `[n, digits, 4]`; neighbouring indices in one call."""
        key = np.array([self.seed, epoch], np.uint64)
        neighbours = np.split(indices, np.flatnonzero(np.diff(indices) != 1) + 1)
        raw = [np.empty(0, np.uint64)]
        for group in neighbours:
            if len(group):
                counter = np.array([group[0] * _DIGITS_PER_SEQUENCE, 0, 0, _STREAMS[self.split]], np.uint64)
                bits = np.random.Philox(key=key, counter=counter)
                raw.append(bits.random_raw(len(group) * _DIGITS_PER_SEQUENCE * _DRAWS_PER_DIGIT))
        draws = np.concatenate(raw) >> np.uint64(11)
        return draws.reshape(-1, _DIGITS_PER_SEQUENCE, _DRAWS_PER_DIGIT) * 2.0**-53


@dataclasses.dataclass(eq=False)
class PublishedSequences(Sequences):
    """A published test set in its own file; values are read on access.

    Attributes:
      array: uint8, or floats of whole numbers, `[t, n, h, w]`, time first.
      origin: name of the file, for tables.
      title: of the data set, in tables.
    """

    array: np.ndarray
    origin: str
    title: str = "Moving MNIST"
    scaling = Scaling()

    def __post_init__(self) -> None:
        """Describes the sequences."""
        length, count, height, width = self.array.shape
        self.shape = (length, height, width, 1)
        name = f"the published {self.title} test set"
        self.description = {"name": name, "published": True, "sequences": count, "digits": self.origin}

    def __len__(self) -> int:
        """Returns the number of sequences."""
        return self.array.shape[1]

    def frames(self, indices: np.ndarray, epoch: int = 0) -> np.ndarray:
        """Reads the sequences `indices`, the same in every epoch: uint8 `[n, t, h, w, 1]`."""
        del epoch
        stored = self.array[:, indices].swapaxes(0, 1)  # [n, t, h, w]
        return np.ascontiguousarray(stored.astype(np.uint8, copy=False))[..., None]
