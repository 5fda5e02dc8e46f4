"""Files of frames, and what the reader finds in them."""

import numpy as np

from stlight_jax.data.formats.input_files import open_sequences
from stlight_jax.data.formats.types import ReadOptions

RNG = np.random.default_rng(0)
FRAMES = RNG.integers(0, 256, (6, 8, 7, 2), dtype=np.uint8)  # [t, h, w, c]


def array_file(folder, array, name="a.npy"):
    np.save(folder / name, array)
    return folder / name


def open_all(path, **options):
    return open_sequences(path, ReadOptions(**options))


def open_one(path, **options):
    (sequence,) = open_all(path, **options)
    return sequence


def read_frames(sequence):
    frames = np.concatenate(list(sequence.blocks()))
    assert frames.dtype == sequence.dtype
    assert frames.shape == (sequence.frames, *sequence.shape)
    return frames
