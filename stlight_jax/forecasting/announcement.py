"""The messages that `predict` prints before it starts: its plan, and remarks on input and output."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from stlight_jax.console.messages import print_message
from stlight_jax.data.formats.output_spec import OutputSpec
from stlight_jax.forecasting.output_specs import remark_on_pictures, remarks_on_values
from stlight_jax.forecasting.outputs import Outputs
from stlight_jax.forecasting.plan import ForecastPlan
from stlight_jax.metrics.ssim import SSIM_WINDOW

_MAX_NAMES = 12  # in a message


def print_plan(plan: ForecastPlan, outputs: Outputs, specs: Sequence[OutputSpec], in_frames: int) -> None:
    """Prints which frames will be predicted from which, and remarks on input and output.

    Args:
      plan: The forecasts.
      outputs: Their files.
      specs: Descriptions of the files.
      in_frames: Frames that the network sees.
    """
    print_message(_summary(plan, outputs, in_frames))
    if plan.reader.from_training:
        options = ", ".join(f"--{key}={value}" for key, value in plan.reader.from_training.items())
        print_message(f"as in training: {options}")
    _print_once(remark for source in plan.sources for remark in source.original.remarks)
    _print_once(plan.truth_remarks[:_MAX_NAMES])
    _print_once(remarks_on_values(specs[0], plan.reader.options.fill_value))
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
    _print_once(map(remark_on_pictures, specs, outputs.formats), indent="")


def _summary(plan: ForecastPlan, outputs: Outputs, in_frames: int) -> str:
    source, count, total = plan.sources[0], len(plan.sources), sum(map(len, plan.starts))
    original = source.original
    name = f"{count:,} sequences, the first {original.name}" if count > 1 else original.name
    height, width, channels = source.shape
    step = f", every {original.step}" if original.step else ""
    frames = f"{plan.horizon} frame{'s' * (plan.horizon > 1)} from {in_frames}"
    where = f"{total:,} times" if plan.rolling else f"from frame {source.file_index(plan.starts[0][0])} on"
    return (
        f"{name}: {original.frames:,} frames of {height} x {width}, {channels} channel{'s' * (channels > 1)}, {original.dtype}"
        f"{step}; predicting {frames}, {where}, to {outputs.path}"
    )


def _print_once(remarks: Iterable[str], indent: str = "  ") -> None:
    for remark in dict.fromkeys(filter(None, remarks)):
        print_message(f"{indent}{remark}")
