"""Scaling frames exactly as the code that others' numbers come from did it."""

from __future__ import annotations

import numpy as np
import scipy.ndimage

from stlight_jax.data.pipeline import load_tensorflow


def bilinear(frames: np.ndarray, height: int, width: int, antialias: bool = False) -> np.ndarray:
    """As OpenCV's INTER_LINEAR on float32: pixel centres lie at halves, and nothing is smoothed before frames shrink.

    Args:
      frames: `[n, h, w, c]`, any real dtype.
      height: h' of the result.
      width: w' of the result.
      antialias: widen the kernel where frames shrink, so that every pixel counts; OpenCV's does not.

    Returns:
      float32 `[n, h', w', c]`, in the range of `frames`.
    """
    tf = load_tensorflow()
    with tf.device("CPU"):
        resized = tf.image.resize(frames.astype(np.float32), (height, width), method="bilinear", antialias=antialias)
    return resized.numpy()


def smooth_bilinear(frame: np.ndarray, height: int, width: int) -> np.ndarray:
    """As `skimage.transform.resize(frame, (height, width), preserve_range=True)`: a Gaussian first where the frame shrinks.

    Args:
      frame: `[h, w, c]`, any real dtype.
      height: h' of the result.
      width: w' of the result.

    Returns:
      float64 `[h', w', c]`, in the range of `frame`.
    """
    factors = np.divide(frame.shape, (height, width, frame.shape[-1]))
    frame = frame.astype(np.float64)
    smooth = scipy.ndimage.gaussian_filter(frame, np.maximum(0, (factors - 1) / 2), mode="mirror")
    resized = scipy.ndimage.zoom(smooth, 1 / factors, order=1, mode="mirror", grid_mode=True)  # [h', w', c]
    return np.clip(resized, frame.min(), frame.max())
