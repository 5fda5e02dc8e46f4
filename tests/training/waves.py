"""Frames that a linear map of two frames predicts exactly."""

import numpy as np

from stlight_jax.data.sequences import Sequences


class Waves(Sequences):
    """Standing waves that two frames determine: x(t + 1) = 2 cos(w) x(t) - x(t - 1), about a mean of 0.5."""

    def __init__(self, scaling, length=5, seed=0):
        self.description = {"name": "waves", "published": False, "sequences": 40, "sha256": "waves"}
        self.shape, self.scaling, self._seed = (length, 16, 16, 1), scaling, seed

    def __len__(self):
        return 40

    def frames(self, indices, epoch=0):
        phases = np.random.default_rng(self._seed).uniform(0, 6, (40, 1, 16, 16, 1))[np.asarray(indices)]
        time = np.arange(self.shape[0])[:, None, None, None]
        return (0.5 + 0.4 * np.sin(0.7 * time + phases)).astype(np.float32)
