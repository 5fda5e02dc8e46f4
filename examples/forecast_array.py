"""Forecasts an array with a shipped network, and compares the forecast with the frames that followed.

The input is a NumPy array of ten frames in their own units, the output an array of the next ten frames in the same units.
"""

import numpy as np
from PIL import Image, ImageSequence

from stlight_jax import Forecaster

with Image.open("examples/data/moving_digits_64.gif") as animation:
    frames = np.stack([np.array(frame.convert("L")) for frame in ImageSequence.Iterator(animation)])  # [20, 64, 64], uint8

seen, truth = frames[:10], frames[10:]
forecaster = Forecaster.load("moving_mnist")
print(forecaster)

prediction = forecaster(seen)  # [10, 64, 64], uint8


def error(forecast: np.ndarray) -> np.ndarray:
    """Returns the root mean squared error of each frame, in grey levels."""
    return np.sqrt(np.mean((forecast.astype(float) - truth) ** 2, axis=(1, 2)))  # [10]


last_frame = np.broadcast_to(seen[-1], truth.shape)
print("lead time  network  last frame repeated")
for lead, (network, repeated) in enumerate(zip(error(prediction), error(last_frame), strict=True), 1):
    print(f"{lead:9}  {network:7.1f}  {repeated:7.1f}")
