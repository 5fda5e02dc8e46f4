"""Sequences of arrays for tests of baselines."""

import numpy as np

from stlight_jax.data.scaling import Scaling

SEEN, AHEAD, SIDE = 3, 2, 8
LENGTH = SEEN + AHEAD
SCALING = Scaling("float32", (-1.0,), (3.0,), missing=True, filling=(0.25,))


class Windows:
    """All windows of an array `[t, h, w, c]`, whose first frame has the tick `begin`."""

    def __init__(self, array, begin=0):
        self.array, self.begin, self.scaling = array, begin, SCALING
        self.shape, self.description = (LENGTH, *array.shape[1:]), {"name": "an array"}

    def __len__(self):
        return len(self.array) - LENGTH + 1

    def frames(self, indices, epoch=0):
        return np.stack([self.array[i : i + LENGTH] for i in indices])

    def ticks(self, indices, epoch=0):
        return self.begin + np.asarray(indices)[:, None] + np.arange(LENGTH)

    def frames_before(self, indices, steps, epoch=0):
        wanted = np.asarray(indices)[:, None] + LENGTH - 1 - np.asarray(steps)
        return self.array[np.maximum(wanted, 0)], wanted >= 0


def seasonal(frames, seed):
    """Frames with a period of 4 steps and noise, two channels."""
    random = np.random.default_rng(seed)
    t, y, x, c = np.ogrid[:frames, :SIDE, :SIDE, :2]
    values = np.sin(2 * np.pi * (t / 4 + y / 7)) + 0.1 * x * c + 0.2 * random.normal(size=(frames, SIDE, SIDE, 2))
    return values.astype(np.float32)
