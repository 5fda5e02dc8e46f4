"""The pipeline of `stlight predict`: request, plan and its announcement, forecasts, output files."""

from collections.abc import Iterable, Sequence
from typing import Any

from absl import logging
from rich.console import Console

from stlight_jax.console.messages import print_message
from stlight_jax.console.progress import Progress
from stlight_jax.data.formats.file_format import FileFormat
from stlight_jax.data.formats.output_spec import OutputSpec
from stlight_jax.data.formats.unlike_quantities import remark_on_units
from stlight_jax.data.reading_flags import name_flags
from stlight_jax.data.ticks import step_ratio
from stlight_jax.errors import InputError
from stlight_jax.evaluation.eval_steps import threshold_scores
from stlight_jax.forecasting.forecast_results import ClipSelection, Verification, display_of, write_forecast_page
from stlight_jax.forecasting.forecast_run import ForecastRun
from stlight_jax.forecasting.outputs import Outputs
from stlight_jax.forecasting.plan import ForecastPlan, make_plan
from stlight_jax.forecasting.request import InputReader, Request
from stlight_jax.inference.forecaster import Forecaster
from stlight_jax.metrics.ssim import SSIM_WINDOW
from stlight_jax.reports.results_text import results_text
from stlight_jax.reports.sprites import Clip
from stlight_jax.reports.terminal_frames import draw_clip
from stlight_jax.storage.atomic import atomic_output, write_json


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
    reader = InputReader.for_model(request.input_path, request.reading, forecaster.description, forecaster.channels)
    plan = make_plan(request, reader, forecaster)
    outputs = Outputs(request, plan, forecaster)
    outputs.check()
    print_plan(plan, outputs, model.in_frames)
    _print_once(_remarks_on_sizes(plan, forecaster.description.get("frame_size")))
    _print_once(_remarks_on_steps(plan, forecaster.description.get("data", {}).get("step", ""), model.frame_step))
    units = remark_on_units(plan.unit, forecaster.description.get("data", {}).get("units", ""))
    if units:
        logging.warning("%s", units)

    # 2. The forecasts.
    total = sum(map(len, plan.starts))
    verification = _verification(forecaster, plan.horizon)
    selection = ClipSelection()
    with outputs.opened() as write, Progress("predicting", total, unit="window") as progress:

        def note(frames: int) -> None:
            if plan.horizon > model.out_frames:  # several passes, which may take long
                progress.note(f"frame {frames:,}/{plan.horizon:,}")

        run = ForecastRun(forecaster, plan, note)
        try:
            for done, forecast in enumerate(run.all(), 1):
                write(forecast)
                selection.add(forecast._replace(error=verification.add(forecast)))
                progress.advance(done)
        finally:  # suspicious values can be the cause of an error
            _print_once(run.remarks())
        if run.empty == total:
            fill = plan.reader.options.fill_value
            raise InputError(
                f"{request.input_path}: all values of the frames to predict from are missing; expected values; check "
                f"{'' if fill is None else f'--fill_value={fill:g} and '}the file, or give another --start"
            )

    # 3. Results.
    results = _facts(request, plan, outputs, run, forecaster) | (verification.results() or {})
    print_message(f"wrote {outputs.path}")
    if outputs.json is not None:
        with atomic_output(outputs.json, replace=request.overwrite) as temporary:
            write_json(temporary, results)
        print_message(f"wrote {outputs.json}")
    clips = []
    if outputs.page is not None or request.show:
        clips = selection.clips(ForecastRun(forecaster, plan), forecaster.scaling.untransformed)
    if outputs.page is not None:
        with atomic_output(outputs.page, replace=request.overwrite) as temporary:
            write_forecast_page(temporary, results, clips, forecaster, plan)
        print_message(f"wrote {outputs.page}, a page to look at")
    if "overall" in results:
        print(results_text(results, more_in=str(outputs.page or "")))
        print_message(
            "baselines that need training data (climatology, linear fit, ridge per pixel) are in stlight evaluate only"
        )
    if request.show:
        print(_drawing(clips[0], forecaster, plan), end="")
    return results


def _drawing(clip: Clip, forecaster: Forecaster, plan: ForecastPlan) -> str:
    """Draws a forecast for the terminal that standard output is connected to; without colours for a file or a pipe."""
    display, terminal = display_of(clip.true_parts, clip.errors, forecaster, plan), Console()
    coloured = terminal.is_terminal and terminal.color_system is not None and not terminal.no_color
    return draw_clip(clip, display, terminal.width, coloured)


def _verification(forecaster: Forecaster, horizon: int) -> Verification:
    """Makes the empty sums, with the scores of the thresholds of the training's config."""
    section = (forecaster.description.get("config") or {}).get("evaluation") or {}
    scores = threshold_scores(section.get("thresholds", ""), section.get("fss_window", 1), forecaster.scaling)
    return Verification(forecaster, horizon, scores)


def _facts(request: Request, plan: ForecastPlan, outputs: Outputs, run: ForecastRun, forecaster: Forecaster) -> dict[str, Any]:
    return {
        "model": forecaster.source,
        "input": str(request.input_path),
        "output": str(outputs.path),
        "unit": plan.unit,
        "sequences": len(plan.sources),
        "horizon": plan.horizon,
        "windows": run.total,
        "windows_left_out_across_gaps": plan.skipped,
        "windows_without_values": run.empty,
        "values_far_outside": run.output.far,
        "sequences_without_forecasts": plan.without_forecasts,
    }


_MAX_NAMES = 12  # in a message
_SAME_STEP = 0.1  # relative difference of steps that count as equal, such as of 24 and 25 frames a second, or of months


def print_plan(plan: ForecastPlan, outputs: Outputs, in_frames: int) -> None:
    """Prints which frames will be predicted from which, and remarks on input and output.

    Args:
      plan: The forecasts.
      outputs: Their files.
      in_frames: Frames that the network sees.
    """
    print_message(_plan_summary(plan, outputs, in_frames))
    if plan.reader.from_training:
        options = ", ".join(f"--{key}={value}" for key, value in plan.reader.from_training.items())
        print_message(f"as in training: {options}")
    _print_once(name_flags(remark) for source in plan.sources for remark in source.original.remarks)
    _print_once(plan.truth_remarks[:_MAX_NAMES])
    _print_once(
        f"predicted at {source.shape[0]} x {source.shape[1]} pixels; written at the input's "
        f"{source.original.shape[0]} x {source.original.shape[1]}"
        for source in plan.sources
        if source.shape[:2] != source.original.shape[:2]
    )
    _print_once(_remarks_on_values(outputs.specs[0], outputs.formats[0], plan.reader.options.fill_value))
    small = {
        source.shape[:2]
        for number, source in enumerate(plan.sources)
        if min(source.shape[:2]) < SSIM_WINDOW and plan.knows_truth(number)
    }
    if small:
        height, width = min(small)
        print_message(f"no SSIM of frames of {height} x {width}: it needs at least {SSIM_WINDOW} x {SSIM_WINDOW}")
    if plan.skipped:
        print_message(f"{plan.skipped:,} forecast{'s' * (plan.skipped > 1)} left out, across gaps in time")
    names = plan.without_forecasts
    if names:
        more = f" and {len(names) - _MAX_NAMES:,} more" if len(names) > _MAX_NAMES else ""
        print_message(
            f"no forecast, and no file, of {', '.join(names[:_MAX_NAMES])}{more}: no {in_frames} frames, with the frames to "
            "predict, are without a gap in time"
        )
    _print_once(map(_remark_on_pictures, outputs.specs, outputs.formats), indent="")
    if plan.rows_go_north and outputs.formats[0].is_pictures:
        print_message("rows of pictures go from north to south, those of the input from south to north")


def _plan_summary(plan: ForecastPlan, outputs: Outputs, in_frames: int) -> str:
    source, count, total = plan.sources[0], len(plan.sources), sum(map(len, plan.starts))
    original = source.original
    name = f"{count:,} sequences, the first {original.name}" if count > 1 else original.name
    height, width, channels = source.shape
    step = f", every {original.step}" if original.step else ""
    frames = f"{plan.horizon} frame{'s' * (plan.horizon > 1)} from {in_frames}"
    frames += f" and {len(plan.history)} earlier ones" if plan.history else ""
    where = f"{total:,} times" if plan.rolling else f"from frame {source.file_index(plan.starts[0][0])} on"
    return (
        f"{name}: {original.frames:,} frames of {height} x {width}, {channels} channel{'s' * (channels > 1)}, {original.dtype}"
        f"{step}; predicting {frames}, {where}, to {outputs.path}"
    )


def _remarks_on_sizes(plan: ForecastPlan, trained: Sequence[int] | None) -> list[str]:
    """Names frames with sides of less than half, or more than twice, the side of the training's frames."""
    if trained is None:
        return []
    return [
        f"frames are {size[0]} x {size[1]}, those of the training {trained[0]} x {trained[1]}; the network takes any size, but "
        "knows objects of the size that they have in pixels there; if the resolution differs, give --height and --width"
        for size in dict.fromkeys(source.shape[:2] for source in plan.sources)
        if any(not own / 2 <= side <= 2 * own for side, own in zip(size, trained, strict=True))
    ]


def _remarks_on_steps(plan: ForecastPlan, trained: str, frame_step: int) -> list[str]:
    """Names frames that are further apart in time than those of the training, or less far.

    Args:
      plan: The forecasts.
      trained: The sampling step of the training data, such as "1 h"; "" if it is unknown.
      frame_step: Sampling steps between the frames that the network was trained on.
    """
    remarks = []
    for step in dict.fromkeys(source.original.step for source in plan.sources):
        ratio = step_ratio(trained, step)
        wanted = None if ratio is None else frame_step * ratio  # frames of the file from one frame to the next
        if wanted is None or abs(plan.reader.frame_step / wanted - 1) <= _SAME_STEP:
            continue
        given, own = (f", one in {every}" if every > 1 else "" for every in (plan.reader.frame_step, frame_step))
        is_possible = wanted > 1 and abs(wanted / round(wanted) - 1) <= _SAME_STEP
        advice = f"give --frame_step={round(wanted)}" if is_possible else "give frames of the training's step"
        remarks.append(
            f"frames are {step} apart{given}, those of the training {trained}{own}; the network knows changes over the step of "
            f"the training; {advice}"
        )
    return remarks


def _remarks_on_values(spec: OutputSpec, file_format: FileFormat, fill: float | None) -> list[str]:
    """Names the properties of the input's values that the output does not keep.

    Args:
      spec: The output.
      file_format: Its format.
      fill: The number that marks missing values of the input; None for NaN or a mask.
    """
    remarks, dtype = [], spec.source.dtype
    is_array = not file_format.is_pictures and file_format.writer is not None
    if is_array and spec.dtype != dtype and not spec.dtype_requested:
        values = "missing values" if fill is None else f"the fill value {fill:g}"
        remarks.append(f"{dtype} cannot hold {values}; arrays are written as {spec.dtype}")
    if is_array and fill is not None and spec.fill is None:
        remarks.append(f"{spec.dtype} cannot hold the fill value {fill:g}; missing values are written as NaN")
    remarks += [
        f"channel {number} was {low:g} in all training frames, and so are its predictions"
        for number, (low, high) in enumerate(zip(spec.low, spec.high, strict=True), 1)
        if low == high
    ]
    return remarks


def _remark_on_pictures(spec: OutputSpec, file_format: FileFormat) -> str:
    """Explains how values become the grey levels of pictures; "" for other kinds of output and for values 0..255."""
    ends = min(spec.low), max(spec.high)
    if not file_format.is_pictures or file_format.writer is None or ends == (0, 255):
        return ""
    if spec.is_eight_bit or (spec.keeps_values and file_format.is_folder):
        return "grey levels of pictures are written as they are"
    return f"values are mapped from {ends[0]:g}..{ends[1]:g} to 0..255 for pictures"


def _print_once(remarks: Iterable[str], indent: str = "  ") -> None:
    for remark in dict.fromkeys(filter(None, remarks)):
        print_message(f"{indent}{remark}")
