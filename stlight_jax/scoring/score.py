"""The pipeline of `score`: metrics of any model's saved predictions."""

from collections.abc import Iterator
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from etils import epath

from stlight_jax.console.messages import print_message
from stlight_jax.console.progress import track
from stlight_jax.data.formats.npy import memory_map
from stlight_jax.data.scaling import to_unit_range
from stlight_jax.errors import InputError
from stlight_jax.metrics.metric_sums import MetricSums, add_batch, frame_metrics
from stlight_jax.reports.results import definitions, metric_tables
from stlight_jax.storage import paths
from stlight_jax.storage.atomic import write_json
from stlight_jax.storage.paths import create_folder

# Axes of the saved arrays after the first; OpenSTL's are tchw.
LAYOUTS = ("auto", "tchw", "thwc", "thw")
_BATCH_BYTES = 32 * 2**20  # of float32 frames
_PREDICTED_RANGE, _TRUE_RANGE = (-100.0, 100.0), (-0.001, 1.001)  # predictions may overshoot


def score_files(
    prediction: epath.PathLike, truth: epath.PathLike, layout: str = "auto", json: epath.PathLike | None = None
) -> dict[str, Any]:
    """Scores saved predictions, and prints the metrics.

    Args:
      prediction: as for `score`.
      truth: as for `score`.
      layout: as for `score`.
      json: the file to write the metrics to; None for none.

    Returns:
      The content of the JSON file.

    Raises:
      InputError: the files cannot be scored, or `json` cannot be written.
    """
    if json:
        paths.connect(json)
        if epath.Path(json).suffix != ".json" or epath.Path(json).is_dir():
            raise InputError(f"--json={json}: expected the name of a file that ends in .json")
        create_folder(epath.Path(json).parent)
    sums = score(prediction, truth, layout)
    overall, per_lead_time = sums.overall(), sums.per_lead_time()
    frames = len(per_lead_time["mse"])
    results = {"sequences": sums.count, "frames": frames, "overall": overall, "per_lead_time": per_lead_time}
    print(metric_tables("saved predictions", {"predictions": overall}, per_lead_time, definitions()))
    if json:
        write_json(json, results)
        print_message(f"wrote {json}")
    return results


def score(prediction: epath.PathLike, truth: epath.PathLike, layout: str = "auto") -> MetricSums:
    """Scores saved predictions, a few sequences at a time.

    Args:
      prediction: `.npy` file of `[n, t, c, h, w]`, `[n, t, h, w, c]` or `[n, t, h, w]`, floats in [0, 1] except for
        overshoots, or uint8. (OpenSTL's metrics of weather data, in physical units, have other definitions.)
      truth: `.npy` file of the same shape, floats in [0, 1] or uint8.
      layout: axes after the first; "auto" takes the one of axes 2 and 4 with at most 4 entries for the channels.

    Returns:
      The sums over all sequences.

    Raises:
      InputError: a file is missing, damaged, of another shape or type, or has values outside the range.
    """
    if layout not in LAYOUTS:
        raise InputError(f"--layout={layout}: choose one of {', '.join(LAYOUTS)}")
    predicted, true = _open(prediction), _open(truth)
    if predicted.shape != true.shape:
        raise InputError(f"{prediction} has shape {list(predicted.shape)}, {truth} {list(true.shape)}; they must be equal")
    if layout == "auto":
        layout = _guess_layout(prediction, predicted.shape)
    if len(layout) != predicted.ndim - 1:
        raise InputError(f"{prediction} has shape {list(predicted.shape)}; --layout={layout} needs {len(layout) + 1} axes")
    sizes = {"c": 1, **dict(zip(layout, predicted.shape[1:], strict=True))}
    print_message(
        f"{len(predicted):,} sequences of {sizes['t']} frames, {sizes['h']} x {sizes['w']} pixels, {sizes['c']} channel(s); "
        f"the axes are n{layout}"
    )
    step = jax.jit(frame_metrics)
    sums: dict[str, MetricSums] = {}
    for indices, mask in _batches(predicted.shape):
        ours = _as_frames(prediction, predicted[indices], layout, int(indices[0]), _PREDICTED_RANGE)
        theirs = _as_frames(truth, true[indices], layout, int(indices[0]), _TRUE_RANGE)
        add_batch(sums, {"predictions": step(ours, theirs)}, mask)
    return sums["predictions"]


def _batches(shape: tuple[int, ...]) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Indices of the sequences of each batch, and whether each counts: the last batch is filled up."""
    count = shape[0]
    size = max(1, min(count, _BATCH_BYTES // (4 * int(np.prod(shape[1:])))))
    for first in track(range(0, count, size), "scoring", -(-count // size)):
        indices = np.arange(first, first + size)
        yield np.minimum(indices, count - 1), indices < count


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
        raise InputError(f"{path} has shape {list(shape)}; name the axis of its channels with --layout=tchw or --layout=thwc")
    return "tchw" if first else "thwc"


def _as_frames(path: epath.PathLike, array: np.ndarray, layout: str, first: int, limits: tuple[float, float]) -> np.ndarray:
    """Converts sequences, of which the first has the index `first`, to float32 `[b, t, h, w, c]`, and checks their values."""
    if array.dtype == np.uint8:
        frames = np.asarray(to_unit_range(jnp.asarray(array)))
    else:
        frames = np.asarray(array, np.float32)
        bad = np.flatnonzero(~np.isfinite(frames).all(axis=tuple(range(1, frames.ndim))))
        if bad.size:
            raise InputError(f"{path}: sequence {first + int(bad[0])} holds values that are not finite")
        lowest, highest = float(frames.min()), float(frames.max())
        if lowest < limits[0] or highest > limits[1]:
            raise InputError(f"{path} holds values from {lowest:g} to {highest:g}; expected floats in [0, 1] or uint8")
    if layout == "tchw":
        return frames.transpose(0, 1, 3, 4, 2)  # [b, t, h, w, c]
    return frames if layout == "thwc" else frames[..., None]  # [b, t, h, w, c]
