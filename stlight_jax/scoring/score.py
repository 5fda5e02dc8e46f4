"""Metrics of saved predictions of any model."""

from __future__ import annotations

from typing import Any

import jax
import numpy as np
from etils import epath

from stlight_jax.console.messages import print_message
from stlight_jax.console.progress import track
from stlight_jax.data.formats.npy import memory_map
from stlight_jax.data.scaling import to_unit_range
from stlight_jax.errors import InputError
from stlight_jax.metrics.frame_metrics import frame_metrics
from stlight_jax.metrics.metric_sums import MetricSums

# Axes of the saved arrays; OpenSTL's are tchw.
LAYOUTS = ("auto", "tchw", "thwc", "thw")
_BATCH_BYTES = 32 * 2**20  # of float32 frames


def score(prediction: epath.PathLike, truth: epath.PathLike, layout: str = "auto") -> MetricSums:
    """Metrics of saved predictions, a few sequences at a time.

    Args:
      prediction, truth: `.npy` files of equal shape, floats in [0, 1] (predictions may overshoot) or uint8. (OpenSTL's
        metrics of weather data, in physical units, are others.)
      layout: axes after the first; "auto" tells channels-first from channels-last by which axis has at most 4 entries.

    Raises:
      InputError: a file is missing, damaged, of another shape or type, or holds values no frame can have.
    """
    if layout not in LAYOUTS:
        raise InputError(f"--layout={layout}: choose one of {', '.join(LAYOUTS)}")
    predicted, true = _open(prediction), _open(truth)
    if predicted.shape != true.shape:
        raise InputError(f"{prediction} has shape {list(predicted.shape)}, {truth} {list(true.shape)}; they must be equal")
    if layout == "auto":
        layout = _guess_layout(prediction, predicted.shape)
    if len(layout) != predicted.ndim - 1:
        raise InputError(f"{prediction} has shape {list(predicted.shape)}; --layout={layout} asks for {len(layout) + 1} axes")
    _, *axes = zip(f"n{layout}", predicted.shape, strict=True)
    sizes = {"c": 1, **dict(axes)}
    print_message(
        f"{len(predicted):,} sequences of {sizes['t']} frames, {sizes['h']} x {sizes['w']} pixels, {sizes['c']} channel(s); "
        f"the axes are n{layout}"
    )
    sequence_bytes = 4 * int(np.prod(predicted.shape[1:]))
    batch = max(1, min(len(predicted), _BATCH_BYTES // sequence_bytes))
    step = jax.jit(frame_metrics)
    sums = None
    for first in track(range(0, len(predicted), batch), "scoring", -(-len(predicted) // batch)):
        indices = np.minimum(np.arange(first, first + batch), len(predicted) - 1)  # fillers at the end, masked
        ours = _as_frames(prediction, predicted[indices], layout, first, (-100, 100))
        theirs = _as_frames(truth, true[indices], layout, first, (-0.001, 1.001))
        part = MetricSums.from_batch(step(ours, theirs), np.arange(first, first + batch) < len(predicted))
        sums = part if sums is None else sums + part
    return sums


def _open(path: epath.PathLike) -> np.ndarray:
    array = memory_map(path, "expected a whole .npy file with one array")
    if array.ndim not in (4, 5) or 0 in array.shape:
        raise InputError(f"{path} has shape {list(array.shape)}; expected [n, t, c, h, w], [n, t, h, w, c] or [n, t, h, w]")
    if array.dtype != np.uint8 and array.dtype.kind != "f":
        raise InputError(f"{path} holds {array.dtype}; expected floats in [0, 1] or uint8")
    return array


def _guess_layout(path: epath.PathLike, shape: tuple[int, ...]) -> str:
    if len(shape) == 4:
        return "thw"
    first, last = shape[2] <= 4, shape[4] <= 4
    if first == last:
        raise InputError(f"{path} has shape {list(shape)}; say with --layout=tchw or thwc where its channels are")
    return "tchw" if first else "thwc"


def _as_frames(path: epath.PathLike, array: np.ndarray, layout: str, first: int, limits: tuple[float, float]) -> Any:
    """-> float32 `[b, t, h, w, c]`. Predictions may overshoot; true frames that leave [0, 1] are in other units."""
    if array.dtype == np.uint8:
        frames = to_unit_range(np.ascontiguousarray(array))
    else:
        frames = np.asarray(array, np.float32)
        bad = ~np.isfinite(frames).all(axis=tuple(range(1, frames.ndim)))
        if bad.any():
            raise InputError(f"{path}: sequence {first + int(bad.argmax())} holds values that are not finite")
        lowest, highest = float(frames.min()), float(frames.max())
        if lowest < limits[0] or highest > limits[1]:
            raise InputError(
                f"{path} holds values from {lowest:g} to {highest:g}; expected floats in [0, 1], as the metrics ask, or uint8"
            )
    if layout == "tchw":
        return frames.transpose(0, 1, 3, 4, 2)
    return frames if layout == "thwc" else frames[..., None]
