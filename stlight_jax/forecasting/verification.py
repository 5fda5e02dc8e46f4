"""How good forecasts were, where the truth is known: metrics per lead time, beside the last frame copied."""

from __future__ import annotations

from typing import Any, NamedTuple

import jax
import numpy as np

from stlight_jax.data.scaling import Scaling
from stlight_jax.forecasting.forecast_windows import Window
from stlight_jax.metrics.frame_metrics import frame_metrics
from stlight_jax.metrics.input_baselines import copy_last_frame as copy_last
from stlight_jax.metrics.metric_sums import MetricSums, SampledSums
from stlight_jax.metrics.ssim import SSIM_WINDOW
from stlight_jax.reports.tables import summary, tables

_JUDGED = ("stlight", "copy_last_frame")


class Error(NamedTuple):
    """Of one forecast, squared, in the network's range.

    Attributes:
      mse: summed over the pixels that are there, averaged over frames.
      per_value: averaged over all values that are there.
    """

    mse: float
    per_value: float


class Verification:
    """Sums over windows, whose truth may end before the horizon.

    Attributes:
      windows: how many had any truth.
    """

    def __init__(self, scaling: Scaling, horizon: int, out_channels: int):
        self._scaling, self._horizon, self._channels = scaling.for_channels(out_channels), horizon, out_channels
        self._sums: dict[str, MetricSums] = {}
        # In the data's own units: squared errors and counts, [horizon, out_channels].
        self._squares = {name: np.zeros((horizon, out_channels)) for name in _JUDGED}
        self._counts = np.zeros((horizon, out_channels))
        self._sampled = SampledSums()
        self._step = jax.jit(frame_metrics)
        self.windows = 0

    def add(self, window: Window, prediction: np.ndarray) -> Error | None:
        """Args: prediction: `[horizon, h, w, c]` in the data's units.

        Returns its error; None without truth.
        """
        known = len(window.truth)
        truth = np.full(prediction.shape, np.nan, np.float32)
        truth[:known] = window.truth[..., : self._channels]
        here = ~np.isnan(truth) & ~np.isnan(prediction)
        if not here.any():
            return None
        self.windows += 1
        copied = copy_last_frame(window.inputs[..., : self._channels], self._scaling)
        guesses = {"stlight": prediction, "copy_last_frame": np.broadcast_to(copied, prediction.shape)}
        self._counts += here.sum((1, 2))

        # To SSIM's window, in which something is missing then: frames that are smaller have the other metrics.
        beyond = [(0, 0), *((0, max(0, SSIM_WINDOW - side)) for side in here.shape[1:3]), (0, 0)]

        def seen(frames: np.ndarray) -> np.ndarray:
            known = np.where(here, self._scaling.to_network_on_host(frames), np.float32(0))
            return np.pad(known, beyond)[None]

        target, judged = seen(truth), np.pad(here, beyond)[None]
        self._sampled.add(*(np.where(judged, frames, np.float32(np.nan)) for frames in (target, seen(prediction))))
        of_window: dict[str, MetricSums] = {}
        for name, guess in guesses.items():
            error = np.where(here, guess.astype(np.float64) - truth, 0)
            self._squares[name] += np.square(error).sum((1, 2))
            sums = MetricSums.from_batch(self._step(seen(guess), target, judged), np.array([True]))
            of_window[name] = sums
            self._sums[name] = sums if name not in self._sums else self._sums[name] + sums
        return Error(of_window["stlight"].overall()["mse"], of_window["stlight"].rmse_per_value() ** 2)

    def results(self) -> dict[str, Any] | None:
        """Plain data; None if no window had any truth.

        "overall" and "per_lead_time" are of {"stlight", "copy_last_frame"}; "rmse_in_units" is of single values, in the data's
        units, over all channels (None where these have ranges of their own) and of each channel; "rmse_per_value" is the first
        of these, where it is there. The sampled metrics are of all windows with truth.
        """
        if not self._sums:
            return None
        units = {name: self._rmse_in_units(squares) for name, squares in self._squares.items()}
        results = {
            "windows_with_truth": self.windows,
            "overall": {name: sums.overall() for name, sums in self._sums.items()},
            "per_lead_time": {name: sums.per_lead_time() for name, sums in self._sums.items()},
            "rmse_in_units": units,
            **self._sampled.as_json(windows=self.windows),
        }
        if self._scaling.common_span is not None:
            results["rmse_per_value"] = {name: of["overall"] for name, of in units.items()}
        return results

    def _rmse_in_units(self, squares: np.ndarray) -> dict[str, Any]:
        def root(squares: np.ndarray, counts: np.ndarray) -> list[float]:
            with np.errstate(invalid="ignore", divide="ignore"):
                return np.sqrt(squares / counts).tolist()

        counts, common = self._counts, self._scaling.common_span is not None
        return {
            "overall": root(squares.sum(keepdims=True), counts.sum(keepdims=True))[0][0] if common else None,
            "per_channel": root(squares.sum(0), counts.sum(0)),
            "per_lead_time": root(squares.sum(1), counts.sum(1)) if common else None,
        }


def is_too_small(size: tuple[int, ...]) -> bool:
    """Whether frames of (height, width) have no SSIM, which has a window."""
    return min(size) < SSIM_WINDOW


def copy_last_frame(inputs: np.ndarray, scaling: Scaling) -> np.ndarray:
    """The last frame of `[t, h, w, c]`; where a value of it is missing, the last one there is, or what the network is shown.

    Returns float32 `[h, w, c]`, in the units of the inputs.
    """
    scaling = scaling.for_channels(inputs.shape[-1])
    valid = ~np.isnan(inputs)
    filled = np.where(valid, inputs, scaling.from_network(np.asarray(scaling.filling)))
    return copy_last(filled[None], valid[None])[0, 0].astype(np.float32)


def as_text(results: dict[str, Any]) -> str:
    """Tables, overall and per lead time, of `Verification.results`."""
    leads, per_lead_time = results["per_lead_time"], results["rmse_in_units"]["stlight"]["per_lead_time"]
    columns = {"MSE, copy": leads["copy_last_frame"]["mse"]}
    if per_lead_time is not None:
        columns["RMSE, units"] = per_lead_time
    said = summary(results)
    return tables(said.title, said.rows, leads["stlight"], columns, said.remarks)
