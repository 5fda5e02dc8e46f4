"""The pipeline of `score`: metrics of any model's saved predictions."""

from collections.abc import Iterator
from typing import Any

import jax
import numpy as np
from etils import epath

from stlight_jax.console.messages import print_message
from stlight_jax.console.progress import track
from stlight_jax.console.text_table import text_table
from stlight_jax.errors import InputError
from stlight_jax.metrics.metric_sums import MetricSums, add_batch, frame_metrics
from stlight_jax.reports.results_summary import definitions
from stlight_jax.reports.results_text import metric_tables
from stlight_jax.scoring.saved_frames import Reading, open_saved
from stlight_jax.storage import paths
from stlight_jax.storage.atomic import write_json
from stlight_jax.storage.paths import create_folder

_BATCH_BYTES = 32 * 2**20  # of float32 frames


def score_files(
    prediction: epath.PathLike,
    truth: epath.PathLike,
    layout: str = "auto",
    json: epath.PathLike | None = None,
    reading: Reading | None = None,
) -> dict[str, Any]:
    """Scores saved predictions, and prints the metrics.

    Args:
      prediction: as for `score`.
      truth: as for `score`.
      layout: as for `score`.
      json: the file to write the metrics to; None for none.
      reading: as for `score`.

    Returns:
      The content of the JSON file: the metrics "overall" and "per_lead_time"; with a value range, "in_units" has MAE and RMSE
      of a single value in the data's units.

    Raises:
      InputError: the files cannot be scored, or `json` cannot be written.
    """
    reading = reading or Reading()
    if json:
        paths.connect(json)
        if epath.Path(json).suffix != ".json" or epath.Path(json).is_dir():
            raise InputError(f"--json={json}: expected the name of a file that ends in .json")
        create_folder(epath.Path(json).parent)
    sums = score(prediction, truth, layout, reading)
    overall, per_lead_time = sums.overall(), sums.per_lead_time()
    frames = len(per_lead_time["mse"])
    results: dict[str, Any] = {"sequences": sums.count, "frames": frames, "overall": overall, "per_lead_time": per_lead_time}
    results["valid_values"] = int(sums.values.sum())
    print(metric_tables("saved predictions", "predictions", overall, per_lead_time, definitions()), end="")
    if reading.value_range is not None:
        low, high = reading.value_range
        span = high - low
        in_units = {name: (span * np.array(values)).tolist() for name, values in sums.errors_per_value().items()}
        whole = {name: span * values[0] for name, values in sums.total().errors_per_value().items()}
        results |= {"value_range": [low, high], "in_units": {"overall": whole, "per_lead_time": in_units}}
        rows = [[str(lead), *(f"{values[lead - 1]:.4g}" for values in in_units.values())] for lead in range(1, frames + 1)]
        rows.append(["all", *(f"{value:.4g}" for value in whole.values())])
        print(text_table(["lead time", "MAE", "RMSE"], rows, "in the data's units"), end="")
        print("MAE and RMSE in the data's units: of a single value.")
    if json:
        write_json(json, results)
        print_message(f"wrote {json}")
    return results


def score(
    prediction: epath.PathLike, truth: epath.PathLike, layout: str = "auto", reading: Reading | None = None
) -> MetricSums:
    """Scores saved predictions, a few sequences at a time.

    Missing values, NaN in floats, count nowhere. If predictions and true frames both have times, frames of one time are
    compared, and other predicted frames count nowhere; else frames are compared in their order.

    Args:
      prediction: a file of any format that `predict` reads, of `[n, t, c, h, w]`, `[n, t, h, w, c]` or `[n, t, h, w]`, or of
        one sequence: floats in [0, 1] except for overshoots, uint8, or values with a range. (OpenSTL's metrics of weather
        data, in physical units, have other definitions.)
      truth: a file with frames of the same size; without times, as many.
      layout: one of `LAYOUTS`; "auto" finds the axes by the names of dimensions and by their sizes.
      reading: how the files are read.

    Returns:
      The sums over all sequences.

    Raises:
      InputError: a file is missing, damaged, of another shape or type, has values outside the range, or has no frame of a
        predicted time.
    """
    predicted, true = open_saved(prediction, truth, layout, reading or Reading())
    count, frames, height, width, channels = predicted.shape
    axes = predicted.sources[0].info.axes
    print_message(
        f"{count:,} sequence{'s' * (count > 1)} of {frames} frames, {height} x {width} pixels, {channels} channel(s)"
        + (f"; the axes are {axes}" if axes else "")
    )
    step = jax.jit(frame_metrics)
    sums: dict[str, MetricSums] = {}
    missing = not_predicted = 0
    for indices, counted in _batches(predicted.shape):
        ours, theirs = (np.stack([saved.read(index) for index in indices.tolist()]) for saved in (predicted, true))
        known, has_value = ~np.isnan(theirs), ~np.isnan(ours)
        lost = known & ~has_value
        empty = known.any(axis=(1, 2, 3, 4)) & ~(known & has_value).any(axis=(1, 2, 3, 4))
        if empty.any():
            index = indices[int(np.argmax(empty))]
            raise InputError(
                f"{prediction}: sequence {index} holds values that are not finite, and no others where the truth is known"
            )
        has_truth = true.has_frames(indices)[:, :, None, None, None]
        missing, not_predicted = missing + int((~known & has_truth)[counted].sum()), not_predicted + int(lost[counted].sum())
        valid = known & has_value
        arrays = (ours, theirs) if valid.all() else (*(np.where(valid, part, np.float32(0)) for part in (ours, theirs)), valid)
        add_batch(sums, {"predictions": step(*arrays)}, counted)
    if missing:
        print_message(f"{missing:,} true values are missing and count nowhere")
    if not_predicted:
        print_message(f"{not_predicted:,} values have a truth and no prediction; they count nowhere, too")
    if not sums["predictions"].values.any():
        raise InputError(f"{truth}: all values are missing; expected true frames; check --fill_value and --mask")
    return sums["predictions"]


def _batches(shape: tuple[int, ...]) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Indices of the sequences of each batch, and whether each counts: the last batch is filled up."""
    count = shape[0]
    size = max(1, min(count, _BATCH_BYTES // (4 * int(np.prod(shape[1:])))))
    for first in track(range(0, count, size), "scoring", -(-count // size)):
        indices = np.arange(first, first + size)
        yield np.minimum(indices, count - 1), indices < count
