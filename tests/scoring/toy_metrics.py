"""A metric of frames and one of samples, as files of `stlight_jax.metrics` declare them."""

import jax.numpy as jnp
import numpy as np

from stlight_jax.metrics.metric import FrameMetric, SampledMetric

LARGEST = FrameMetric(
    "largest",
    "Largest",
    unit="grey levels",
    decimals=5,
    direction="lower",
    definition="the largest error of a pixel",
    compute=lambda frame: 255 * jnp.max(jnp.abs(frame.error)),
)


class Brightness:
    """The mean of all predicted values."""

    def __init__(self):
        self.sum = self.count = 0.0

    def add(self, truth, prediction):
        self.sum += np.nansum(prediction, (0, 2, 3, 4), dtype=np.float64)
        self.count += np.isfinite(prediction).sum((0, 2, 3, 4))

    def per_lead_time(self):
        return (self.sum / self.count).tolist()


BRIGHTNESS = SampledMetric(
    "brightness",
    "Brightness",
    direction="reference",
    definition="the mean of all predicted values",
    accumulator=Brightness,
)
