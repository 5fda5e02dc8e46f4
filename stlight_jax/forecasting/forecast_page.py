"""The HTML page of a prediction: forecasts, and metrics if the truth is known."""

import datetime
import pathlib
from collections.abc import Sequence
from typing import Any

import numpy as np

from stlight_jax.data.scaling import Scaling
from stlight_jax.evaluation.samples import best_median_worst
from stlight_jax.forecasting.forecast_run import ForecastRun
from stlight_jax.forecasting.forecast_windows import Forecast, ForecastError
from stlight_jax.inference.forecaster import Forecaster
from stlight_jax.reports.page import Gallery, Page, write_page
from stlight_jax.reports.sprites import Clip, error_note
from stlight_jax.runs.environment import describe_environment

_CLIPS = 4
_GALLERY_REMARK = (
    "The MSE is that of a whole forecast, summed over pixels and averaged over frames. Best, median and worst are chosen by "
    "the squared error per valid value."
)


def write_forecast_page(path: pathlib.Path, results: dict[str, Any], clips: Sequence[Clip], forecaster: Forecaster) -> None:
    """Writes the page.

    Args:
      path: The file to write.
      results: As `predict` returns them.
      clips: Forecasts to show.
      forecaster: Made the forecasts; its source and description are named.
    """
    description, machine = forecaster.description, describe_environment()
    windows, model, has_truth = results["windows"], forecaster.source, "overall" in results
    page = Page(
        title=f"{pathlib.Path(results['input']).name}: predicted",
        subtitle=f"STLight, {model}: {results['horizon']} frames ahead, {windows:,} forecast{'s' * (windows > 1)}",
        results=results if has_truth else None,
        gallery=Gallery(clips, "Forecasts", [_GALLERY_REMARK] if has_truth else []),
        config=description.get("config"),
        provenance={
            "input": results["input"],
            "output": results["output"],
            "model": model,
            "checkpoint": f"step {description['step']:,}" if "step" in description else "unknown",
            "weights": "moving averages" if description.get("averaged") else "as trained, no moving averages",
            "trained on": description.get("data", "unknown"),
            "predicted": datetime.datetime.now(datetime.UTC).strftime("%Y-%m-%d %H:%M UTC"),
            "python": machine["python"],
            **machine["packages"],
            "devices": machine["devices"],
            "platform": machine["platform"],
        },
    )
    write_page(path, page)


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
        """Returns the chosen forecasts in the network's range.

        Args:
          run: Makes forecasts once more, and names them.
          scaling: From the data's units to the network's range.
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
