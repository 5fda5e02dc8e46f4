"""The pipeline of a forecast: frames in, forecasts, files out."""

from __future__ import annotations

import dataclasses
import datetime
import pathlib
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from stlight_jax.console.messages import print_message
from stlight_jax.console.progress import Progress
from stlight_jax.data.formats.file_format import FileFormat
from stlight_jax.data.formats.output_spec import OutputSpec
from stlight_jax.data.formats.value_conversion import can_hold
from stlight_jax.errors import InputError
from stlight_jax.forecasting import read_options
from stlight_jax.forecasting.clips import Clips, Run
from stlight_jax.forecasting.outputs import Destination
from stlight_jax.forecasting.plan import Plan, make_plan
from stlight_jax.forecasting.verification import Verification, as_text, is_too_small
from stlight_jax.metrics.ssim import SSIM_WINDOW
from stlight_jax.reports.page import write_page
from stlight_jax.reports.sprites import Clip
from stlight_jax.runs.environment import environment
from stlight_jax.storage import paths
from stlight_jax.storage.atomic import atomic_output
from stlight_jax.storage.json_files import write_json

if TYPE_CHECKING:
    from stlight_jax.inference.forecaster import Forecaster

_FLOATS = ("float16", "float32", "float64")
_MOST_NAMES = 12  # in a message
_GALLERY_REMARK = (
    "MSE is of a whole forecast, summed over pixels, averaged over frames. Best, median and worst are so by the "
    "squared error per value that is there."
)
_USUAL_RATE = 10.0  # frames per second, where the input has none


@dataclasses.dataclass(frozen=True)
class Request:
    """What is to be predicted, and where to; the flags of the command under their names.

    Attributes:
      reading: the options among `stlight_jax.forecasting.read_options.KEYS` that the user has set.
    """

    input: str
    out: str = ""
    kind: str = ""
    horizon: int | None = None
    start: int | None = None
    truth: str | None = None
    rolling: bool = False
    every: int | None = None
    overwrite: bool = False
    json: str | None = None
    report: str = ""
    dtype: str | None = None
    reading: dict[str, Any] = dataclasses.field(default_factory=dict)


def predict(request: Request, forecaster: Forecaster) -> dict[str, Any]:
    """Makes the forecasts and writes them; prints tables where the truth is known.

    Returns what `--json` holds: what was done and, with truth, metrics.

    Raises InputError for input, options or an output that cannot be.
    """
    _check(request)
    model, source = forecaster.model, pathlib.Path(request.input).expanduser()
    reading = read_options.decide(source, request.reading, forecaster.description, model.in_channels)
    sequences = read_options.open_input(source, reading)
    plan = make_plan(
        sequences,
        reading,
        model,
        horizon=request.horizon,
        start=request.start,
        rolling=request.rolling,
        every=request.every,
        truth=request.truth,
    )
    destination = Destination(source, sequences, request.out, request.kind)
    page, table = _beside(request, destination)
    forms = [
        _form(request, reading, forecaster, plan, view, destination.stacked)
        for view in range(1 if destination.stacked else len(plan.views))
    ]
    destination.check(
        forms,
        {option: path for option, path in (("--report", page), ("--json", table)) if path is not None},
        [source, *plan.read_from],
        overwrite=request.overwrite,
        rolling=request.rolling,
    )
    run = Run(forecaster, plan)
    _tell(reading, plan, model, run.total, destination, forms)
    verification = Verification(forecaster.scaling, plan.horizon, model.out_channels)
    clips = Clips()
    with destination.writing(forms, forecaster.scaling) as write, Progress("predicting", run.total, unit="window") as progress:

        def ready(frames: int) -> None:
            if plan.horizon > model.out_frames:  # in more than one pass, which may take long
                progress.note(f"frame {frames:,}/{plan.horizon:,}")

        for done, (window, prediction) in enumerate(run.all(ready), 1):
            write(window, prediction[: plan.frames_written(window.view, window.start)])
            clips.add(window, prediction, verification.add(window, prediction))
            progress.advance(done)
        if run.empty == run.total:
            raise InputError(
                f"{source}: all values of the frames to predict from are missing; there is nothing to predict from"
            )
    results = _results(forecaster, plan, run, source, destination.path) | (verification.results() or {})
    print_message(f"wrote {destination.path}")
    if table is not None:
        with atomic_output(table, replace=request.overwrite) as temporary:
            write_json(temporary, results)
        print_message(f"wrote {table}")
    if page is not None:
        with atomic_output(page, replace=request.overwrite) as temporary:
            _write_report(temporary, results, clips.chosen(run, forecaster.scaling), forecaster)
        print_message(f"wrote {page}, a page to look at")
    if "overall" in results:
        print(as_text(results))
    return results


def _write_report(path: pathlib.Path, results: dict[str, Any], clips: Sequence[Clip], forecaster: Forecaster) -> None:
    """A page with the clips and, where the truth is known, metrics."""
    description, here = forecaster.description, environment()
    windows, model = results["windows"], forecaster.source
    write_page(
        path,
        title=f"{pathlib.Path(results['input']).name}: predicted",
        subtitle=f"STLight, {model}: {results['horizon']} frames ahead, {windows:,} forecast{'s' * (windows > 1)}",
        results=results if "overall" in results else None,
        clips=clips,
        gallery_title="Forecasts",
        gallery_remarks=[_GALLERY_REMARK] if "overall" in results else [],
        sharpness=results.get("sharpness"),
        config=description.get("config"),
        provenance={
            "input": results["input"],
            "output": results["output"],
            "model": model,
            "checkpoint": f"step {description['step']:,}" if "step" in description else "not known",
            "weights": "moving averages" if description.get("averaged") else "as trained, no moving averages",
            "trained on": description.get("data", "not known"),
            "predicted": datetime.datetime.now(datetime.UTC).strftime("%Y-%m-%d %H:%M UTC"),
            "python": here["python"],
            **here["packages"],
            "devices": here["devices"],
            "platform": here["platform"],
        },
    )


def _check(request: Request) -> None:
    """What can be judged before anything is read. Raises InputError."""
    if paths.is_remote(request.input):
        raise InputError(f"{request.input}: frames are read from local folders; copy them to this machine first")
    if not pathlib.Path(request.input).expanduser().exists():
        raise InputError(f"{request.input}: there is no such file or folder")
    if request.horizon is not None and request.horizon < 1:
        raise InputError(f"--horizon={request.horizon}: give at least 1")
    for key, value, ending in (("json", request.json, ".json"), ("report", request.report, ".html")):
        if value and value != "none" and pathlib.Path(value).suffix != ending:
            raise InputError(f"--{key}={value}: expected the name of a file that ends in {ending}")
        if value and paths.is_remote(value):
            raise InputError(f"--{key}={value}: it is written to local disks; copy it from there")
    fill = request.reading.get("fill_value")
    if fill is not None and not np.isfinite(fill):
        raise InputError(f"--fill_value={fill:g}: give a number, or none; in floats NaN are missing anyway")
    if request.dtype not in (None, *_FLOATS):
        raise InputError(f"--dtype={request.dtype}: choose one of {', '.join(_FLOATS)}")


def _fill_value(text: str) -> float | None:
    if text == "none":
        return None
    try:
        return float(text)
    except ValueError:
        raise InputError(f"--fill_value={text}: give a number, or none") from None


def _value_range(texts: list[str]) -> tuple[float, float]:
    try:
        low, high = map(float, texts)
    except ValueError:
        raise InputError(f"--value_range={','.join(texts)}: give two numbers, such as 0,1") from None
    return low, high


def _beside(request: Request, destination: Destination) -> tuple[pathlib.Path | None, pathlib.Path | None]:
    """Of the page and of the JSON, None for what is not wanted."""
    page = pathlib.Path(request.report).expanduser() if request.report else destination.page
    return None if request.report == "none" else page, pathlib.Path(request.json).expanduser() if request.json else None


def _form(
    request: Request, reading: read_options.Reading, forecaster: Forecaster, plan: Plan, number: int, stacked: bool
) -> OutputSpec:
    """How the predictions of a view, or of all that are items of one array, are written."""
    view, starts, scaling = plan.views[number], plan.starts[number], forecaster.scaling
    source, channels = view.sequence.info, forecaster.model.out_channels
    natural = source.dtype or view.sequence.dtype
    fill = reading.options.fill_value
    if reading.options.mask and fill is None and natural.kind != "f":  # nothing stands for what the mask covers
        natural = np.dtype(np.float32)
    if fill is not None and natural.kind != "f" and not can_hold(natural, fill):
        natural = np.dtype(np.float32)
    dtype = np.dtype(request.dtype) if request.dtype else natural
    apart = plan.rolling and not plan.joined
    return OutputSpec(
        source=source,
        frames=sum(plan.frames_written(number, start) for start in starts) if not apart else plan.horizon,
        shape=(*view.shape[:2], channels),
        dtype=dtype,
        fill=fill if fill is not None and can_hold(dtype, fill) else None,
        low=scaling.low[:channels],
        high=scaling.high[:channels],
        items=len(plan.views) if stacked else None,
        window_starts=np.array([view.place(start) for start in starts]) if apart else None,
        frame_numbers=None if apart else view.place(plan.places_written(number)),
        times=plan.stamps(number),
        frame_rate=(source.frame_rate or _USUAL_RATE) / (view.step if source.frame_rate else 1),
        dtype_requested=bool(request.dtype),
    )


def _tell(
    reading: read_options.Reading, plan: Plan, model: Any, total: int, destination: Destination, forms: Sequence[OutputSpec]
) -> None:
    """What is going to be done, in a line, and what about it may surprise."""
    form = forms[0]
    view = plan.views[0]
    sequence = view.sequence
    count = len(plan.views)
    which = f"{count:,} sequences, the first {sequence.name}" if count > 1 else sequence.name
    height, width, channels = view.shape
    each = f", every {sequence.step}" if sequence.step else ""
    these = f"{plan.horizon} frame{'s' * (plan.horizon > 1)} from {model.in_frames}"
    how = f"{total:,} times" if plan.rolling else f"from frame {view.place(plan.starts[0][0])} on"
    print_message(
        f"{which}: {sequence.frames:,} frames of {height} x {width}, {channels} channel{'s' * (channels > 1)}, {sequence.dtype}"
        f"{each}; predicting {these}, {how}, to {destination.path}"
    )
    if reading.taken:
        print_message("as in training: " + ", ".join(f"--{key}={value}" for key, value in reading.taken.items()))
    for remark in dict.fromkeys(remark for view in plan.views for remark in view.sequence.remarks):
        print_message(f"  {remark}")
    for remark in dict.fromkeys(plan.truths_told[:_MOST_NAMES]):
        print_message(f"  {remark}")
    for remark in _remarks(form, form.source.dtype or sequence.dtype, reading.options.fill_value):
        print_message(f"  {remark}")
    small = {
        view.shape[:2] for number, view in enumerate(plan.views) if is_too_small(view.shape[:2]) and plan.knows_truth(number)
    }
    if small:
        height, width = min(small)
        print_message(f"no SSIM of frames of {height} x {width}: it needs at least {SSIM_WINDOW} x {SSIM_WINDOW}")
    if plan.left_out:
        print_message(f"{plan.left_out:,} forecast{'s' * (plan.left_out > 1)} left out, across gaps in time")
    names = plan.without_forecasts
    if names:
        more = f" and {len(names) - _MOST_NAMES:,} more" if len(names) > _MOST_NAMES else ""
        print_message(
            f"no forecast, and no file, of {', '.join(names[:_MOST_NAMES])}{more}: nowhere are {model.in_frames} frames, and "
            "those to predict, without a gap in time"
        )
    for remark in dict.fromkeys(map(_as_pictures, forms, destination.formats)):
        if remark:
            print_message(remark)


def _as_pictures(form: OutputSpec, file_format: FileFormat) -> str:
    """How values become the grey levels of pictures; "" where nobody would wonder."""
    ends = min(form.low), max(form.high)
    if not file_format.is_pictures or file_format.writer is None or ends == (0, 255):
        return ""
    if form.is_eight_bit or (form.is_sixteen_bit and file_format.is_folder):
        return "grey levels of pictures are written as they are"
    return f"values are mapped from {ends[0]:g}..{ends[1]:g} to 0..255 for pictures"


def _remarks(form: OutputSpec, natural: np.dtype, fill: float | None) -> list[str]:
    """What of the input's type and fill value the output does not have, though nobody asked for that."""
    remarks = []
    if form.dtype != natural and not form.dtype_requested:
        what = "missing values" if fill is None else f"the fill value {fill:g}"
        remarks.append(f"{natural} has no place for {what}; arrays are written as {form.dtype}")
    if fill is not None and form.fill is None:
        remarks.append(f"{form.dtype} cannot hold the fill value {fill:g}; missing values are written as NaN")
    return remarks


def _results(forecaster: Forecaster, plan: Plan, run: Run, source: pathlib.Path, out: pathlib.Path) -> dict[str, Any]:
    return {
        "model": forecaster.source,
        "input": str(source),
        "output": str(out),
        "sequences": len(plan.views),
        "horizon": plan.horizon,
        "windows": run.total,
        "windows_left_out_across_gaps": plan.left_out,
        "windows_without_values": run.empty,
        "sequences_without_forecasts": plan.without_forecasts,
    }
