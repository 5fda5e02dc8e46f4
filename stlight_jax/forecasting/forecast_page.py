"""The HTML page of a prediction: forecasts, and metrics if the truth is known."""

from __future__ import annotations

import datetime
import pathlib
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from stlight_jax.reports.page import Gallery, Page, write_page
from stlight_jax.reports.sprites import Clip
from stlight_jax.runs.environment import describe_environment

if TYPE_CHECKING:
    from stlight_jax.inference.forecaster import Forecaster

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
