"""The nodes of an ONNX graph between the data's units and the network's range, with the inputs that the graph has."""

from __future__ import annotations

from typing import Literal

import numpy as np
import onnx
from onnx import TensorProto, helper

from stlight_jax.data.covariates import Covariates
from stlight_jax.data.scaling import Scaling
from stlight_jax.data.value_transforms import DECIBELS, DRY
from stlight_jax.errors import InputError
from stlight_jax.inference.onnx_file import NETWORK_INPUT, NETWORK_OUTPUT
from stlight_jax.inference.onnx_nodes import GraphNodes
from stlight_jax.inference.trained_model import TrainedModel
from stlight_jax.model.context import context_of_pass
from stlight_jax.model.stlight_config import STLightConfig

InputType = Literal["float32", "uint8"]


def check_mark(model: TrainedModel) -> None:
    """Refuses uint8 for a network whose input can be missing, if no fill value of its data is a uint8.

    Raises:
      InputError: It does not fit.
    """
    if _byte_mark(model) is not None or not (model.scaling.missing or model.config.context_periods):
        return
    has_context = bool(model.config.context_periods)
    cause = "sees earlier frames (data.periods), any of which" if has_context else "was trained on values of which some"
    raise InputError(
        f"--input_dtype is uint8, and {model.source} {cause} can be missing; expected data with a fill value of 0 to 255 "
        "(data.fill_value) to mark them: leave --input_dtype out, in float32 NaN marks them"
    )


def _byte_mark(model: TrainedModel) -> float | None:
    """Returns the fill value of a network's data if it is a uint8; else None."""
    fill = model.data_scaling.fill
    return fill if fill in range(256) else None


def value_info(name: str, frames: int, channels: int, text: str, dtype: int = TensorProto.FLOAT) -> onnx.ValueInfoProto:
    """Declares frames `[batch, frames, height, width, channels]` of a graph, with a description."""
    return helper.make_tensor_value_info(name, dtype, ["batch", frames, "height", "width", channels], text)


def scaled_input(nodes: GraphNodes, model: TrainedModel, input_dtype: InputType) -> tuple[list[onnx.ValueInfoProto], str]:
    """Adds the nodes before the network, from the data's units to `NETWORK_INPUT`.

    Args:
      nodes: Receives them.
      model: The network.
      input_dtype: Type of the inputs `frames` and `context`.

    Returns:
      The graph's inputs, and bool `[b, 1, h, w, c]`, where a value is missing in all input frames; "" if none can be missing.
    """
    config, count = model.config, model.scaling.covariates
    channels = config.in_channels - count
    scaling = model.data_scaling.for_channels(channels)
    dtype = TensorProto.FLOAT if input_dtype == "float32" else TensorProto.UINT8
    mark = _byte_mark(model)
    marked = "NaN" if input_dtype == "float32" else "" if mark is None else f"{mark:g}"
    text = "in the data's units" + (f", {marked} where missing" if marked else "")
    inputs = [value_info("frames", config.in_frames, channels, f"input frames {text}", dtype)]
    given = "frames"
    if config.context_periods:
        text = f"{_described_context(config)}; {text}"
        inputs.append(value_info("context", config.context_frames, channels, text, dtype))
        given = nodes.add("Concat", "context", "frames", axis=1)
    values = nodes.cast(given, TensorProto.FLOAT) if input_dtype == "uint8" else given
    missing = ""
    if input_dtype == "float32":
        missing = nodes.add("Or", nodes.add("IsNaN", given), nodes.add("IsInf", given))
    elif mark is not None:
        missing = nodes.add("Equal", given, nodes.constant(mark, np.uint8))
    seen, lost = _to_network(nodes, values, scaling), ""
    if missing:
        seen = nodes.add("Where", missing, nodes.constant(np.nan), seen)
        recent = nodes.parts(missing, [config.context_frames, config.in_frames])[1] if config.context_periods else missing
        lost = nodes.add("ReduceMin", nodes.cast(recent, TensorProto.INT32), nodes.integers([1]), keepdims=1)
        lost = nodes.cast(lost, TensorProto.BOOL)
    if count:
        inputs.append(value_info("covariates", config.seen_frames, count, _described_covariates(model)))
        seen = nodes.add("Concat", seen, "covariates", axis=-1)
    nodes.add("Identity", seen, name=NETWORK_INPUT)
    return inputs, lost


def _described_context(config: STLightConfig) -> str:
    """Describes the frames of the input `context`."""
    frames = context_of_pass(config)
    single = ", ".join(str(frame.time) for frame in frames if not frame.mean_period)
    parts = [f"frames at the times {single}"] if single else []
    parts += [
        f"the mean of the frames at {frame.time}, {frame.times[1]}, ..., {frame.times[-1]}"
        for frame in frames
        if frame.mean_period
    ]
    return f"{', '.join(parts)}, in sampling steps since the last input frame"


def _described_covariates(model: TrainedModel) -> str:
    """Describes the channels and the frames of the input `covariates`."""
    stored = model.description.get("covariates")
    names = ", ".join(Covariates.from_json(stored).names) if stored else "time of day, week or year, then the static field"
    context = "of the frames of context (for a mean, its latest frame), then " if model.config.context_periods else ""
    return (
        f"{names}, {context}of the input frames; a sine or cosine s as (1 + s) / 2, see Covariates.at in "
        "stlight_jax.data.covariates"
    )


def _to_network(nodes: GraphNodes, values: str, scaling: Scaling) -> str:
    """Adds `Scaling.to_network_on_host`."""
    if scaling.transform == "dbz":
        values = nodes.add("Div", nodes.add("Max", values, nodes.constant(DRY)), nodes.constant(DRY))
        values = nodes.add("Mul", nodes.add("Log", values), nodes.constant(DECIBELS / np.log(10)))
    elif scaling.transform != "none":
        values = nodes.add("Max", values, nodes.constant(scaling.floor))
        if scaling.transform == "sqrt":
            values = nodes.add("Sqrt", values)
        else:
            values = nodes.add("Log", nodes.add("Add", values, nodes.constant(scaling.offset)))
    low, span = scaling.low_and_span(np.float32)
    values = nodes.add("Sub", values, nodes.constant(low)) if low.any() else values
    return nodes.add("Div", values, nodes.constant(np.where(span > 0, span, 1)))


def output_in_units(nodes: GraphNodes, scaling: Scaling) -> str:
    """Adds the nodes of `Scaling.output_in_units` behind `NETWORK_OUTPUT`; returns the name of their result."""
    low, span = scaling.low_and_span(np.float32)  # a constant channel has no span
    values = nodes.add("Add", nodes.add("Mul", NETWORK_OUTPUT, nodes.constant(span)), nodes.constant(low))
    zero = nodes.constant(0) if scaling.transform != "none" else ""
    if scaling.transform == "dbz":
        exponential = nodes.add("Exp", nodes.add("Mul", values, nodes.constant(np.log(10) / DECIBELS)))
        is_dry = nodes.add("LessOrEqual", values, zero)
        values = nodes.add("Where", is_dry, zero, nodes.add("Mul", exponential, nodes.constant(DRY)))
    elif scaling.transform == "sqrt":
        positive = nodes.add("Max", values, zero)
        values = nodes.add("Mul", positive, positive)
    elif scaling.transform == "log":
        values = nodes.add("Max", nodes.add("Sub", nodes.add("Exp", values), nodes.constant(scaling.offset)), zero)
    for operator, ends in zip(("Max", "Min"), scaling.clip_ends, strict=True):
        if np.isfinite(ends).any():
            values = nodes.add(operator, values, nodes.constant(ends))
    return values
