"""The results of a prediction: metrics, where the truth is known, beside those of baselines; and a page."""

import functools
import pathlib
from collections.abc import Sequence
from typing import Any

import jax
import numpy as np

from stlight_jax.data.scaling import Scaling
from stlight_jax.evaluation.baselines import FlowBaseline, PeriodBaseline, flow_forecast
from stlight_jax.evaluation.evaluator import BaselineResult
from stlight_jax.evaluation.samples import best_median_worst
from stlight_jax.forecasting.forecast_run import ForecastRun
from stlight_jax.forecasting.forecast_windows import Forecast, ForecastError
from stlight_jax.forecasting.plan import ForecastPlan
from stlight_jax.inference.forecaster import Forecaster
from stlight_jax.metrics import input_baselines
from stlight_jax.metrics.metric_sums import MetricSums, SampledSums, frame_metrics
from stlight_jax.metrics.threshold_scores import ThresholdScores
from stlight_jax.model.context import HistoryFrame
from stlight_jax.reports.frame_display import FrameDisplay
from stlight_jax.reports.page import Gallery, Page, write_page
from stlight_jax.reports.results import comparison_as_json, errors_as_json
from stlight_jax.reports.skill import shortcut_alone
from stlight_jax.reports.sprites import Clip, error_note
from stlight_jax.runs.environment import provenance

_NETWORK = "stlight"


class Verification:
    """Sums of metrics over forecasts; their truth may end before the horizon.

    Args:
      forecaster: Makes the forecasts.
      horizon: Predicted frames of each forecast.
      thresholds: Scores of events to compute.
    """

    def __init__(self, forecaster: Forecaster, horizon: int, thresholds: Sequence[ThresholdScores] = ()):
        self._channels, self._thresholds = forecaster.model.out_channels, thresholds
        self._scaling = forecaster.scaling.untransformed.for_channels(self._channels)
        self._baselines = {baseline.key: jax.jit(baseline.predict) for baseline in input_baselines.INPUT_BASELINES}
        self._baselines[FlowBaseline.key] = jax.jit(functools.partial(flow_forecast, horizon=horizon))
        self._names = {each.key: (each.label, each.name) for each in input_baselines.INPUT_BASELINES}
        self._names[FlowBaseline.key] = FlowBaseline.label, FlowBaseline.name
        self._names |= {key: (label, name) for key, label, name in map(PeriodBaseline.names, forecaster.model.periods)}
        # For each period, the indices of the frames that stand for the predicted ones, among history and input frames.
        self._periods = _period_frames(forecaster, horizon)
        self._sums: dict[str, MetricSums] = {}
        self._network: dict[str, MetricSums] = {}  # of the network, on the forecasts that a baseline makes, too
        self._sampled = SampledSums()
        # Squared errors in the data's units, and numbers of valid values, [horizon, out_channels].
        names = (_NETWORK, *self._baselines, *self._periods)
        self._squares, self._counts = ({name: np.zeros((horizon, self._channels)) for name in names} for _ in range(2))
        parts = [part for scores in thresholds for part in scores.parts]
        self._frame_metrics = jax.jit(functools.partial(frame_metrics, parts=parts))
        self._shortcut = shortcut_alone(forecaster.description.get("step"), forecaster.description)
        self._windows = 0

    def add(self, forecast: Forecast) -> ForecastError | None:
        """Adds a forecast.

        Returns:
          Its error; None if no valid value has a known truth.
        """
        prediction = forecast.prediction
        truth = np.full(prediction.shape, np.nan, np.float32)
        truth[: len(forecast.truth)] = forecast.truth[..., : self._channels]
        valid = ~np.isnan(truth) & ~np.isnan(prediction)
        if not valid.any():
            return None
        self._windows += 1
        predictions = {_NETWORK: prediction, **self._by_baselines(forecast)}

        def filled(frames: np.ndarray) -> np.ndarray:
            return np.where(valid, self._scaling.to_network_on_host(frames), np.float32(0))[None]

        target, mask = filled(truth), valid[None]
        self._sampled.add(*(np.where(mask, frames, np.float32(np.nan)) for frames in (target, filled(prediction))))
        sums = {}
        for name, frames in predictions.items():
            error = np.where(valid, frames.astype(np.float64) - truth, 0)
            self._squares[name] += np.square(error).sum((1, 2))
            self._counts[name] += valid.sum((1, 2))
            sums[name] = MetricSums.from_batch(self._frame_metrics(filled(frames), target, mask), np.array([True]))
        for name, own in sums.items():
            for totals, new in ((self._sums, own), (self._network, sums[_NETWORK])):
                totals[name] = totals[name] + new if name in totals else new
        return ForecastError(sums[_NETWORK].overall()["mse"], sums[_NETWORK].rmse_per_value() ** 2)

    def results(self) -> dict[str, Any] | None:
        """Returns the metrics as plain data.

        Returns:
          None if the truth of no forecast is known. Otherwise the errors of "stlight" and the baselines, see
          `errors_as_json`, and their comparison, see `comparison_as_json`; "rmse_in_units", the error of single values in the
          data's units, for each channel and over all channels (None if channels have different ranges); and each sampled
          metric, over all forecasts with truth.
        """
        if not self._sums:
            return None
        baselines = {
            key: BaselineResult(self._sums[key], self._network[key], *names)
            for key, names in self._names.items()
            if key in self._sums
        }
        return {
            "windows_with_truth": self._windows,
            **errors_as_json(self._sums, self._scaling, self._thresholds),
            **comparison_as_json(baselines, self._shortcut),
            "rmse_in_units": {name: self._rmse_in_units(name) for name in self._sums},
            **self._sampled.as_json(windows=self._windows),
        }

    def _by_baselines(self, forecast: Forecast) -> dict[str, np.ndarray]:
        """Returns the forecasts of the baselines in the data's units, float64 `[horizon, h, w, c']` each.

        A baseline of a period is left out if one of its frames has no value.
        """
        seen = np.concatenate([forecast.history, forecast.inputs])[..., : self._channels]  # [history + T, h, w, c']
        valid = ~np.isnan(seen)
        filled = np.where(valid, self._scaling.to_network_on_host(seen), np.asarray(self._scaling.filling, np.float32))
        inputs = [part[None, len(forecast.history) :] for part in (filled, valid)]
        made = {key: np.asarray(predict(*inputs)[0]) for key, predict in self._baselines.items()}
        for key, indices in self._periods.items():
            if valid[indices].any(axis=(1, 2, 3)).all():
                made[key] = np.where(valid[indices], filled[indices], input_baselines.copy_last_frame(*inputs)[0])
        shape = forecast.prediction.shape
        return {
            key: np.broadcast_to(self._scaling.from_network(self._scaling.clipped(prediction), np.float64), shape)
            for key, prediction in made.items()
        }

    def _rmse_in_units(self, name: str) -> dict[str, Any]:
        def root(squares: np.ndarray, counts: np.ndarray) -> list[Any]:
            with np.errstate(invalid="ignore", divide="ignore"):
                return np.sqrt(squares / counts).tolist()

        squares, counts, common = self._squares[name], self._counts[name], self._scaling.common_span is not None
        return {
            "overall": root(squares.sum(keepdims=True), counts.sum(keepdims=True))[0][0] if common else None,
            "per_channel": root(squares.sum(0), counts.sum(0)),
            "per_lead_time": root(squares.sum(1), counts.sum(1)) if common else None,
        }


def _period_frames(forecaster: Forecaster, horizon: int) -> dict[str, np.ndarray]:
    """Finds the frames of the baselines of a network's periods, if the network sees them.

    Returns:
      Key of the baseline -> for each predicted frame, the index of the one that stands for it among history and input frames.
    """
    model = forecaster.model
    inputs = [-number * model.frame_step for number in reversed(range(model.in_frames))]
    seen = [*forecaster.history(horizon), *map(HistoryFrame, inputs)]
    index = {frame.time: number for number, frame in enumerate(seen) if not frame.mean_period}
    wanted = {period: PeriodBaseline.times(period, horizon, model.frame_step).tolist() for period in model.periods}
    return {
        PeriodBaseline.names(period)[0]: np.array([index[time] for time in times])
        for period, times in wanted.items()
        if index.keys() >= {*times}
    }


_CLIPS = 4
_GALLERY_REMARK = (
    "The MSE is that of a whole forecast, summed over pixels and averaged over frames. Best, median and worst are chosen by "
    "the squared error per valid value."
)


def write_forecast_page(
    path: pathlib.Path, results: dict[str, Any], clips: Sequence[Clip], forecaster: Forecaster, plan: ForecastPlan
) -> None:
    """Writes the page.

    Args:
      path: The file to write.
      results: As `predict` returns them.
      clips: Forecasts to show.
      forecaster: Made the forecasts; its source and description are named.
      plan: The forecasts.
    """
    description, windows = forecaster.description, results["windows"]
    model, has_truth = forecaster.source, "overall" in results
    true_frames = [part for clip in clips for part in clip.true_parts]
    errors = [part for clip in clips for part in clip.errors]
    display = display_of(true_frames, errors, forecaster, plan)
    page = Page(
        title=f"{pathlib.Path(results['input']).name}: predicted",
        subtitle=f"STLight, {model}: {results['horizon']} frames ahead, {windows:,} forecast{'s' * (windows > 1)}",
        results=results if has_truth else None,
        gallery=Gallery(clips, "Forecasts", [_GALLERY_REMARK] if has_truth else [], display),
        config=description.get("config"),
        provenance={
            "input": results["input"],
            "output": results["output"],
            "model": model,
            "checkpoint": f"step {description['step']:,}" if "step" in description else "unknown",
            "weights": "moving averages" if description.get("averaged") else "as trained, no moving averages",
            "trained on": description.get("data", "unknown"),
            **provenance("predicted"),
        },
    )
    write_page(path, page)


def display_of(
    frames: Sequence[np.ndarray], errors: Sequence[np.ndarray], forecaster: Forecaster, plan: ForecastPlan
) -> FrameDisplay:
    """Chooses the colours of forecasts.

    Args:
      frames: True frames in the metrics' range, `[t, h, w, c]` each, NaN where values are missing.
      errors: Errors of the forecasts, likewise.
      forecaster: Made the forecasts.
      plan: The forecasts; it has the units and the orientation of the frames.
    """
    channels = forecaster.model.out_channels
    frames = [part[..., :channels] for part in frames]
    return FrameDisplay.of(frames, channels, forecaster.scaling.untransformed, plan.unit, errors, plan.rows_go_north)


class ClipSelection:
    """Chooses forecasts for the page: all of up to four, else the first, and the best, median and worst.

    The ranking is by the error per value. Only the first of many forecasts is kept; the others are made once more.
    """

    def __init__(self) -> None:
        self._kept: list[Forecast] = []
        self._errors: dict[tuple[int, int], ForecastError] = {}  # by source and start
        self._count = 0

    def add(self, forecast: Forecast) -> None:
        """Adds the next forecast."""
        self._count += 1
        if self._count <= _CLIPS:
            # Copies, because the arrays may be parts of a whole batch.
            arrays = {key: getattr(forecast, key).copy() for key in ("inputs", "truth", "prediction")}
            self._kept.append(forecast._replace(**arrays))
        elif self._count == _CLIPS + 1:
            del self._kept[1:]
        if forecast.error is not None:
            self._errors[forecast.source, forecast.start] = forecast.error

    def clips(self, run: ForecastRun, scaling: Scaling) -> list[Clip]:
        """Returns the chosen forecasts in the metrics' range.

        Args:
          run: Makes forecasts once more, and names them.
          scaling: From the data's units to the metrics' range.
        """
        if self._count <= _CLIPS:
            return [_clip(run.title(forecast), forecast, scaling) for forecast in self._kept]
        (first,) = self._kept
        names = {(first.source, first.start): ["first"]}
        keys = list(self._errors)
        errors = np.array([error.per_value for error in self._errors.values()])
        for name, indices in best_median_worst(errors, each=1).items():
            for index in indices:  # empty if no error is known
                names.setdefault(keys[index], []).append(name)
        clips = []
        for key, of_key in names.items():
            again = first if key == (first.source, first.start) else run.again(*key)._replace(error=self._errors[key])
            clips.append(_clip(f"{' and '.join(of_key).capitalize()}: {run.title(again)}", again, scaling))
        return clips


def _clip(title: str, forecast: Forecast, scaling: Scaling) -> Clip:
    truth, out_scaling = None, scaling.for_channels(forecast.prediction.shape[-1])
    if len(forecast.truth):  # unknown frames are missing
        truth = np.full(forecast.prediction.shape, np.nan, np.float32)
        known = forecast.truth[..., : forecast.prediction.shape[-1]]
        truth[: len(known)] = out_scaling.to_network_on_host(known)
    inputs = scaling.to_network_on_host(forecast.inputs)
    prediction = out_scaling.to_network_on_host(forecast.prediction)
    return Clip(title, inputs, truth, prediction, "" if forecast.error is None else error_note(*forecast.error))
