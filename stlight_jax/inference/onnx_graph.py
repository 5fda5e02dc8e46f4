"""Writes a trained network as an ONNX graph of standard operators, from and to values in the data's units.

| value | shape | |
|---|---|---|
| `frames` | `[batch, T, height, width, c]` | input frames in the data's units, float32 or uint8 |
| `context` | `[batch, context_frames, height, width, c]` | alike; the earlier frames of a network with periods |
| `covariates` | `[batch, context_frames + T, height, width, n]` | float32 in [0, 1], if the network has covariates |
| `predictions` | `[batch, T', height, width, c']` | output in the data's units, float32 |

NaN marks missing values, in uint8 the data's fill value. A `Forecaster` runs the nodes between `NETWORK_INPUT` and
`NETWORK_OUTPUT`, which are in the network's range.
"""

from __future__ import annotations

import dataclasses
import json
from typing import Any

import jax
import numpy as np
import onnx
from onnx import TensorProto, helper

from stlight_jax.errors import InputError
from stlight_jax.inference.onnx_file import NETWORK_INPUT, NETWORK_OUTPUT, checksum
from stlight_jax.inference.onnx_nodes import GraphNodes
from stlight_jax.inference.onnx_units import InputType, check_mark, output_in_units, scaled_input, value_info
from stlight_jax.inference.trained_model import FORMAT, TrainedModel
from stlight_jax.model.ops import batch_norm, smoothing
from stlight_jax.model.shortcut import filling_order
from stlight_jax.model.stlight_config import MOVING_SHORTCUTS, STLightConfig
from stlight_jax.version import __version__

MOST_BYTES = 2**31 - 2**20  # of a serialised protocol buffer
_OPSET, _IR_VERSION = 20, 9  # 20 is the first with Gelu; 9 is the file format of its time, which older runtimes read, too


def make_onnx(model: TrainedModel, input_dtype: InputType = "float32") -> bytes:
    """Writes a network as an ONNX file, which computes in float32.

    Args:
      model: The network.
      input_dtype: Type of `frames` and `context`.

    Returns:
      The content of the file.

    Raises:
      InputError: The network has a shortcut along the motion, or more weights than a file can hold; or its input can be
        missing, and `input_dtype` has no mark for that.
    """
    config = dataclasses.replace(model.config, dtype="float32")
    if config.shortcut in MOVING_SHORTCUTS:
        raise InputError(
            f"{model.source} has model.shortcut={config.shortcut}, which --format=onnx does not export; expected none, last or "
            "linear: predict from the run itself, or train with model.shortcut=linear"
        )
    if input_dtype == "uint8":
        check_mark(model)
    content = {
        "stlight_jax": __version__,
        "format": FORMAT,
        "model": dataclasses.asdict(config),
        "description": model.description,
    }
    description = json.dumps(content)
    variables = jax.device_get(batch_norm.fold(model.variables))["params"]
    size = sum(leaf.size * 4 for leaf in jax.tree.leaves(variables)) + len(description)
    if size > MOST_BYTES:
        raise InputError(f"{model.source} has {size:,} bytes of weights; an ONNX file holds 2 GiB; leave --format=onnx out")
    nodes = GraphNodes()
    inputs, lost = scaled_input(nodes, model, input_dtype)
    _Network(nodes, config, variables).add(model.scaling.for_channels(config.in_channels).filling)
    output = output_in_units(nodes, model.data_scaling.for_channels(config.out_channels))
    if lost:
        seen = config.in_channels - model.scaling.covariates
        if config.out_channels < seen:
            lost = nodes.slice(lost, 0, config.out_channels, axis=-1)
        elif config.out_channels > seen:  # a prediction is missing where all channels are
            lost = nodes.add("ReduceMin", nodes.cast(lost, TensorProto.INT32), nodes.integers([-1]), keepdims=1)
            lost = nodes.cast(lost, TensorProto.BOOL)
        output = nodes.add("Where", lost, nodes.constant(np.nan), output)
    nodes.add("Identity", output, name="predictions")
    outputs = [value_info("predictions", config.out_frames, config.out_channels, "predicted frames in the data's units")]
    between = [
        value_info(NETWORK_INPUT, config.seen_frames, config.in_channels, "what the network sees, NaN where missing"),
        value_info(NETWORK_OUTPUT, config.out_frames, config.out_channels, "what the network predicts, in its range"),
    ]
    graph = helper.make_graph(nodes.nodes, "stlight", inputs, outputs, nodes.constants, value_info=between)
    opsets = [helper.make_opsetid("", _OPSET)]
    made = helper.make_model(graph, producer_name="stlight_jax", ir_version=_IR_VERSION, opset_imports=opsets)
    made.producer_version = __version__
    # ONNX Runtime does not show the descriptions of the inputs, but the metadata.
    described = {value.name: value.doc_string for value in (*inputs, *outputs)}
    properties = {
        "stlight_jax": description,
        "sha256": checksum(made, description),
        "inputs_and_outputs": json.dumps(described),
    }
    helper.set_model_props(made, properties)
    onnx.checker.check_model(made, full_check=True)
    return made.SerializeToString()


@dataclasses.dataclass
class _Network:
    """Adds the nodes of the network, part by part as `stlight_jax.model.stlight` has them, from `[b, t, h, w, c]`.

    Attributes:
      nodes: The graph.
      config: The network's shape.
      params: Its parameters with folded batch norms.
    """

    nodes: GraphNodes
    config: STLightConfig
    params: Any

    def add(self, filling: tuple[float, ...]) -> None:
        """Adds the network.

        Args:
          filling: Its input where values are missing: one value, or one per channel.
        """
        nodes, config = self.nodes, self.config
        valid = nodes.add("Not", nodes.add("IsNaN", NETWORK_INPUT))
        frames = nodes.add("Where", valid, NETWORK_INPUT, nodes.constant(filling))
        if config.shortcut != "none":
            frames = self._fill_from_neighbours(frames, valid)
        seen = frames
        if config.input == "changes":  # covariates stay
            changing = np.arange(config.in_channels) < config.in_channels - config.covariates
            seen = nodes.add("Sub", frames, nodes.add("Mul", self._last(frames), nodes.constant(changing)))
        x = nodes.folded(seen, config.seen_frames, config.in_channels)  # [b, t*c, h, w]
        sides = nodes.add("Shape", x, start=2)
        if config.patch_size > 1:
            further = nodes.add("Mod", nodes.add("Neg", sides), nodes.integers([config.patch_size]))
            x = nodes.add("Pad", x, nodes.add("Concat", nodes.integers([0] * 6), further, axis=0), mode="edge")
        x = self._encoder(x)  # [b, d, h/p, w/p]
        for name in ("mixers_before_skip", "mixers_across_skip", "mixers_after_skip"):
            skipped, x = x, self._mixers(name, x)
            if name == "mixers_across_skip":
                x = nodes.add("Add", x, skipped)
        if config.patch_size > 1:
            x = nodes.add("DepthToSpace", x, blocksize=config.patch_size, mode="CRD")  # [b, d/p**2, h, w]
        conv = self.params["patch_reassembly"]["conv"]
        x = nodes.convolution(x, conv["kernel"][None, None], conv["bias"])  # [b, t'*c', h, w]
        if config.patch_size > 1:  # without the padding
            x = nodes.add("Slice", x, nodes.integers([0, 0]), sides, nodes.integers([2, 3]))
        if config.shortcut == "linear":
            linear = self.params["shortcut"]["linear"]
            inputs = self._map_inputs(frames, valid)
            x = nodes.add("Add", x, nodes.convolution(inputs, linear["kernel"][None, None], linear["bias"]))
        x = nodes.unfolded(x, config.out_frames, config.out_channels)  # [b, t', h, w, c']
        if config.shortcut == "last":
            x = nodes.add("Add", x, nodes.slice(self._last(frames), 0, config.out_channels, axis=-1))
        nodes.add("Identity", x, name=NETWORK_OUTPUT)

    def _map_inputs(self, frames: str, valid: str) -> str:
        """Adds the inputs of the linear map, `[b, n, h, w]`: all frames, and `shortcut.smoothed_inputs`."""
        nodes, config = self.nodes, self.config
        inputs = nodes.folded(frames, config.seen_frames, config.in_channels)
        if not config.shortcut_scales:
            return inputs
        channels = config.in_channels - config.covariates
        values, known = (self._recent(value, channels) for value in (frames, nodes.cast(valid, TensorProto.FLOAT)))
        known = nodes.add("ReduceMax", known, nodes.integers([1]), keepdims=1)  # [b, 1, h, w, c]
        values = nodes.folded(values, config.in_frames, channels)  # [b, t*c, h, w]
        weight = nodes.folded(known, 1, channels)  # [b, c, h, w]
        for_all, margin = nodes.integers([1, config.in_frames, 1, 1]), smoothing.radius(config.shortcut_scales)
        total, parts = nodes.add("Mul", values, nodes.add("Tile", weight, for_all)), [inputs]
        edges = nodes.integers([0, 0, margin, margin] * 2)
        total, weight = (nodes.add("Pad", x, edges, mode="edge") for x in (total, weight))
        for scale in range(config.shortcut_scales):
            margin -= 2 * 2**scale
            total = self._filtered(total, config.in_frames * channels, 2**scale)
            weight = self._filtered(weight, channels, 2**scale)
            copy, share = (self._without_margin(x, margin) for x in (total, nodes.add("Tile", weight, for_all)))
            least = nodes.constant(smoothing.LEAST_SHARE)
            mean = nodes.add("Div", copy, nodes.add("Max", share, least))
            parts.append(nodes.add("Where", nodes.add("Greater", share, least), mean, values))
        return nodes.add("Concat", *parts, axis=1)

    def _recent(self, frames: str, channels: int) -> str:
        """Adds the first channels of the T input frames, `[b, t, h, w, c]`."""
        config = self.config
        kept = self.nodes.slice(frames, config.context_frames, config.seen_frames, axis=1)
        return self.nodes.slice(kept, 0, channels, axis=-1)

    def _filtered(self, x: str, channels: int, dilation: int) -> str:
        """Adds the filter of `ops.smoothing` to `[b, n, h, w]`."""
        kernel = np.repeat(np.outer(smoothing.KERNEL, smoothing.KERNEL)[..., None, None], channels, axis=-1)  # [5, 5, 1, n]
        return self.nodes.convolution(x, kernel, np.zeros(channels), group=channels, dilations=[dilation] * 2)

    def _without_margin(self, x: str, margin: int) -> str:
        """Adds the slice of `[b, n, h, w]` without a margin on each side."""
        for axis in (2, 3) if margin else ():
            x = self.nodes.slice(x, margin, -margin, axis=axis)
        return x

    def _last(self, frames: str) -> str:
        """Adds the last frame, `[b, 1, h, w, c]`."""
        return self.nodes.slice(frames, self.config.seen_frames - 1, self.config.seen_frames, axis=1)

    def _fill_from_neighbours(self, frames: str, valid: str) -> str:
        """Adds `shortcut.fill_from_neighbours`."""
        nodes, config, count = self.nodes, self.config, self.config.in_frames
        first = len(config.context_periods)
        lengths = [config.out_frames + 1] * first + [1] * count
        given, is_valid = nodes.parts(frames, lengths), nodes.parts(valid, lengths)
        recent, known = given[first:], is_valid[first:]
        forward = [(time, time - 1) for time in range(1, count)]
        backward = [(time, time + 1) for time in range(count - 2, -1, -1)]
        for time, neighbour in (*forward, *backward):
            recent[time] = nodes.add("Where", known[time], recent[time], recent[neighbour])
            known[time] = nodes.add("Or", known[time], known[neighbour])
        before = []
        for number in range(first):
            filled = recent[-1]
            for source in filling_order(number, config.context_periods):
                filled = nodes.add("Where", is_valid[source], given[source], filled)
            before.append(filled)
        return nodes.add("Concat", *before, *recent, axis=1)

    def _encoder(self, x: str) -> str:
        """Adds the patch encoder, with its batch norm in the convolution."""
        config, params = self.config, self.params["patch_encoder"]
        norm = params["norm"]
        kernel, bias = params["conv"]["kernel"] * norm["factor"], params["bias"] * norm["factor"] + norm["summand"]
        strides, pads = [config.patch_size] * 2, [config.encoder_padding] * 4
        return self.nodes.add("Gelu", self.nodes.convolution(x, kernel, bias, strides=strides, pads=pads))

    def _mixers(self, name: str, x: str) -> str:
        """Adds the mixer blocks of a segment, whose parameters are stacked."""
        nodes = self.nodes
        blocks = self.params.get(name, {})
        for number in range(len(blocks["near"]["bias"]) if blocks else 0):
            block = jax.tree.map(lambda leaf, number=number: leaf[number], blocks)
            residual = x
            x = self._depthwise(x, block["near"], dilation=1)
            x = self._depthwise(x, block["far"], self.config.dilation)
            x = nodes.add("Add", residual, self._norm(nodes.add("Gelu", x), block["spatial_norm"]))
            product = block["pointwise"]
            x = nodes.add("Gelu", nodes.convolution(x, product["kernel"][None, None], product["bias"]))
            x = self._norm(x, block["pointwise_norm"])
        return x

    def _norm(self, x: str, norm: Any) -> str:
        """Adds a folded batch norm, as a depthwise 1x1 convolution; with Mul and Add, ONNX Runtime takes a tenth longer."""
        return self._depthwise(x, {"kernel": norm["factor"][None, None, None], "bias": norm["summand"]}, dilation=1)

    def _depthwise(self, x: str, params: Any, dilation: int) -> str:
        kernel = params["kernel"]  # [rows, columns, 1, d]
        pads = [dilation * (side // 2) for side in kernel.shape[:2]] * 2
        return self.nodes.convolution(x, kernel, params["bias"], group=kernel.shape[-1], pads=pads, dilations=[dilation] * 2)
