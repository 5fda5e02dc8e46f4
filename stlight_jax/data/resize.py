"""Resizing, with the same results as the libraries that published results rest on."""

import numpy as np
from etils import epy

from stlight_jax.data.pipeline import load_tensorflow
from stlight_jax.data.statistics import is_missing

with epy.lazy_imports():
    import scipy.ndimage


def bilinear(frames: np.ndarray, height: int, width: int, antialias: bool = False) -> np.ndarray:
    """Resizes like OpenCV's INTER_LINEAR on float32: pixel centres lie at halves, without smoothing before frames shrink.

    Args:
      frames: `[n, h, w, c]`, any real dtype.
      height: h' of the result.
      width: w' of the result.
      antialias: widen the kernel where frames shrink, so that every pixel counts; OpenCV does not.

    Returns:
      float32 `[n, h', w', c]`, in the range of `frames`.
    """
    tf = load_tensorflow()
    with tf.device("CPU"):
        resized = tf.image.resize(frames.astype(np.float32), (height, width), method="bilinear", antialias=antialias)
    return resized.numpy()


def smooth_bilinear(frame: np.ndarray, height: int, width: int) -> np.ndarray:
    """Resizes like `skimage.transform.resize(frame, (height, width), preserve_range=True)`, which smooths before it shrinks.

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


def resize_valid(block: np.ndarray, fill: float | None, height: int, width: int) -> np.ndarray:
    """Resizes antialiased, from valid values only: a pixel is missing if its valid values weigh less than half.

    Args:
      block: `[n, h, w, c]`.
      fill: the integer that marks a missing value; in floats NaN does.
      height: h' of the result.
      width: w' of the result.

    Returns:
      `[n, h', w', c]` of the same dtype; integers are rounded.
    """
    missing = is_missing(block, fill)
    if missing is None or not missing.any():
        resized, weight = bilinear(block, height, width, antialias=True), None
    else:
        weight = bilinear(~missing, height, width, antialias=True)
        resized = bilinear(np.where(missing, 0, block), height, width, antialias=True) / np.maximum(weight, 0.5)
    if block.dtype.kind != "f":
        resized = np.rint(resized)
    if weight is not None:
        resized = np.where(weight < 0.5, np.nan if fill is None else fill, resized)
    return resized.astype(block.dtype)
