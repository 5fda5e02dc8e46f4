"""The pipeline of `stlight predict`: request, plan, forecasts, output files."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from stlight_jax.console.messages import print_message
from stlight_jax.console.progress import Progress
from stlight_jax.errors import InputError
from stlight_jax.forecasting.announcement import print_plan
from stlight_jax.forecasting.forecast_page import ClipSelection, write_forecast_page
from stlight_jax.forecasting.forecast_run import ForecastRun
from stlight_jax.forecasting.outputs import Outputs
from stlight_jax.forecasting.plan import ForecastPlan, make_plan
from stlight_jax.forecasting.read_options import InputReader
from stlight_jax.forecasting.request import Request
from stlight_jax.forecasting.verification import Verification, as_text
from stlight_jax.storage.atomic import atomic_output, write_json

if TYPE_CHECKING:
    from stlight_jax.inference.forecaster import Forecaster

__all__ = ["Request", "predict"]


def predict(request: Request, forecaster: Forecaster) -> dict[str, Any]:
    """Makes forecasts and writes them; prints tables of metrics if the truth is known.

    Args:
      request: The request.
      forecaster: Makes the predictions.

    Returns:
      The content of `--json`: a summary and, if the truth is known, metrics.

    Raises:
      InputError: The input, an option or an output is impossible.
    """
    # 1. The plan: which frames, which forecasts, which files.
    request.check()
    model = forecaster.model
    reader = InputReader.for_model(request.input_path, request.reading, forecaster.description, model.in_channels)
    plan = make_plan(request, reader, model)
    outputs = Outputs(request, plan, forecaster)
    outputs.check()
    print_plan(plan, outputs, model.in_frames)

    # 2. The forecasts.
    total = sum(map(len, plan.starts))
    verification = Verification(forecaster.scaling, plan.horizon, model.out_channels)
    selection = ClipSelection()
    with outputs.opened() as write, Progress("predicting", total, unit="window") as progress:

        def note(frames: int) -> None:
            if plan.horizon > model.out_frames:  # several passes, which may take long
                progress.note(f"frame {frames:,}/{plan.horizon:,}")

        run = ForecastRun(forecaster, plan, note)
        for done, forecast in enumerate(run.all(), 1):
            write(forecast)
            selection.add(forecast._replace(error=verification.add(forecast)))
            progress.advance(done)
        if run.empty == total:
            raise InputError(
                f"{request.input_path}: all values of the frames to predict from are missing, so a prediction is impossible"
            )

    # 3. Results.
    results = _summary(request, plan, outputs, run, forecaster) | (verification.results() or {})
    print_message(f"wrote {outputs.path}")
    if outputs.json is not None:
        with atomic_output(outputs.json, replace=request.overwrite) as temporary:
            write_json(temporary, results)
        print_message(f"wrote {outputs.json}")
    if outputs.page is not None:
        clips = selection.clips(ForecastRun(forecaster, plan), forecaster.scaling)
        with atomic_output(outputs.page, replace=request.overwrite) as temporary:
            write_forecast_page(temporary, results, clips, forecaster)
        print_message(f"wrote {outputs.page}, a page to look at")
    if "overall" in results:
        print(as_text(results))
    return results


def _summary(
    request: Request, plan: ForecastPlan, outputs: Outputs, run: ForecastRun, forecaster: Forecaster
) -> dict[str, Any]:
    return {
        "model": forecaster.source,
        "input": str(request.input_path),
        "output": str(outputs.path),
        "sequences": len(plan.sources),
        "horizon": plan.horizon,
        "windows": run.total,
        "windows_left_out_across_gaps": plan.skipped,
        "windows_without_values": run.empty,
        "sequences_without_forecasts": plan.without_forecasts,
    }
