"""ONNX files alone: ONNX Runtime predicts what the live network predicts, from and to the data's units."""

import dataclasses
import json

import numpy as np
import pytest
from etils import epath

from stlight_jax import Forecaster, InputError, STLightConfig
from stlight_jax.data.covariates import Covariates
from stlight_jax.data.scaling import Scaling
from stlight_jax.inference import export
from stlight_jax.inference.trained_model import TrainedModel
from stlight_jax.model.context import context_of_pass, plan_context
from tests.inference.onnx_checks import RAIN, by_runtime, network, with_gaps
from tests.networks import trained_variables

onnx = pytest.importorskip("onnx")
onnxruntime = pytest.importorskip("onnxruntime")

from stlight_jax.inference import onnx_graph  # noqa: E402

pytestmark = pytest.mark.compiled_fast

TWO = {"in_channels": 2, "out_channels": 2}
NETWORKS = {
    "patches of two pixels": network(),
    "patches of one pixel": network(patch_size=1, hidden_dim=4),
    "patches that overlap": network(patch_size=3, hidden_dim=9, overlap=3, dilation=2),
    "the last frame": network(shortcut="last"),
    "changes": network(shortcut="linear", input="changes"),
    "smoothed copies": network(shortcut="linear", shortcut_scales=3),
    "smoothed copies of two channels": network(shortcut="linear", shortcut_scales=2, **TWO),
    "two channels, one of them constant": network(
        Scaling("float32", (0.0, 5.0), (9.0, 5.0), missing=True, filling=(0.5, 0.0)), shortcut="linear", **TWO
    ),
    "one channel of two": network(Scaling("float32", (0.0, -5.0), (9.0, 5.0)), shortcut="last", in_channels=2),
    "more channels than are seen": network(Scaling("float32", (0.0,), (9.0,), filling=(0.5,)), out_channels=2),
    "logarithms": network(RAIN, shortcut="last"),
    "logarithms from the lowest value on": network(dataclasses.replace(RAIN, low=(0.2,), offset=(0.0,))),
    "roots": network(dataclasses.replace(RAIN, transform="sqrt", clip_high=(None,))),
    "decibels": network(dataclasses.replace(RAIN, transform="dbz")),
}  # fmt: skip


@pytest.mark.parametrize("name", NETWORKS)
def test_onnx_runtime_predicts_what_the_live_network_predicts(name):
    model = NETWORKS[name]
    low, high = np.array(model.scaling.low), np.array(model.scaling.high)
    unit = np.random.default_rng(0).random((3, 3, 7, 11, model.config.in_channels))
    frames = with_gaps(low + unit * np.where(high > low, high - low, 1.0))
    live = Forecaster(model, memory=2**40)(frames, dtype="float32", survey=False)
    found = by_runtime(onnx_graph.make_onnx(model), frames=frames)
    np.testing.assert_array_equal(np.isnan(found), np.isnan(live))
    assert np.isnan(live).any()
    span = np.where(high > low, high - low, 1.0)
    scale = np.maximum(span[: live.shape[-1]], np.nanmax(np.abs(live)) if model.scaling.transform != "none" else 0.0)
    np.testing.assert_allclose(found / scale, live / scale, rtol=0, atol=1e-5)


def test_a_file_has_standard_operators_only(grey):
    graph = onnx.load_model_from_string(onnx_graph.make_onnx(grey))
    onnx.checker.check_model(graph, full_check=True)
    assert [(opset.domain, opset.version) for opset in graph.opset_import] == [("", 20)]
    operators = {node.op_type for node in graph.graph.node}
    assert {"Conv", "Gelu", "DepthToSpace", "Pad", "Shape", "Slice"} <= operators
    assert {node.domain for node in graph.graph.node} == {""}
    assert not operators & {"BatchNormalization", "Loop", "Scan", "If"}
    (frames,), (predictions,) = graph.graph.input, graph.graph.output
    shapes = [
        [side.dim_param or side.dim_value for side in value.type.tensor_type.shape.dim] for value in (frames, predictions)
    ]
    assert shapes == [["batch", 3, "height", "width", 1], ["batch", 2, "height", "width", 1]]


def test_a_file_describes_its_network(grey):
    graph = onnx.load_model_from_string(onnx_graph.make_onnx(grey))
    content = json.loads({entry.key: entry.value for entry in graph.metadata_props}["stlight_jax"])
    assert content["description"] == grey.description
    assert STLightConfig(**content["model"]) == grey.config


@pytest.mark.parametrize("means", [(), (3, 4)])
def test_periods_are_a_second_input(means):
    model = network(shortcut="linear", input="changes", periods=(2, 3, 6), mean_periods=means)
    forecaster = Forecaster(model)
    history = forecaster.history()
    given = with_gaps(np.random.default_rng(0).uniform(200, 300, (2, len(history) + 3, 7, 6, 1)))
    live = forecaster(given, dtype="float32", history_first=True, survey=False)
    assert np.isnan(live).any()
    seen = given[:, list(plan_context(model.config, 2).passes[0])]
    count = len(context_of_pass(model.config))
    content = onnx_graph.make_onnx(model)
    found = by_runtime(content, context=seen[:, :count], frames=seen[:, count:])
    np.testing.assert_allclose(found / 100, live / 100, rtol=0, atol=1e-5)
    context = next(value for value in onnx.load_model_from_string(content).graph.input if value.name == "context")
    assert ("the mean of the frames at -3, -6, ..., -90" in context.doc_string) == bool(means)


def test_the_clock_and_static_fields_are_an_input_in_the_networks_range():
    config = dataclasses.replace(network().config, in_channels=4, covariates=3, shortcut="linear", input="changes")
    scaling = Scaling("float32", (0.0,), (10.0,), filling=(0.5,) * 4, covariates=3)
    covariates = Covariates(("day",), np.random.default_rng(2).random((8, 6, 1), np.float32))
    description = {"scaling": scaling.as_json(), "covariates": covariates.as_json()}
    model = TrainedModel(config, trained_variables(config), description, "the clock")
    times = np.datetime64("2024-05-13T03") + np.arange(3)
    frames = with_gaps(np.random.default_rng(0).uniform(0, 10, (2, 3, 8, 6, 1)))
    live = Forecaster(model)(frames, times=times, dtype="float32", survey=False)
    beside = np.stack([covariates.at(times, 8, 6)] * 2)
    content = onnx_graph.make_onnx(model)
    found = by_runtime(content, frames=frames, covariates=beside)
    np.testing.assert_allclose(found / 10, live / 10, rtol=0, atol=1e-5)
    metadata = onnxruntime.InferenceSession(content).get_modelmeta().custom_metadata_map
    described = json.loads(metadata["inputs_and_outputs"])
    assert described.keys() == {"frames", "covariates", "predictions"}
    assert described["covariates"].startswith("sine of the day, cosine of the day, static field 1, of the input frames;")


def with_fill(model, fill, missing):
    scaling = {**model.description["scaling"], "missing": missing, "fill": fill}
    return dataclasses.replace(model, description={**model.description, "scaling": scaling})


@pytest.mark.parametrize(("fill", "missing"), [(None, False), (255.0, True), (65535.0, False)])
def test_bytes_are_taken_in_the_datas_units(grey, fill, missing):
    model = with_fill(grey, fill, missing)
    frames = np.random.default_rng(0).integers(0, 255, (2, 3, 7, 9, 1), np.uint8)
    frames[:, :, 2, 2] = 255
    live = Forecaster(model)(frames, dtype="float32")
    assert np.isnan(live).any() == (fill == 255)
    found = by_runtime(onnx_graph.make_onnx(model, "uint8"), frames=frames)
    np.testing.assert_allclose(found / 255, live / 255, rtol=0, atol=1e-5)


@pytest.mark.parametrize("fill", [None, -1.0, 65535.0])
def test_bytes_without_a_mark_are_refused_where_values_can_be_missing(grey, fill):
    message = "--input_dtype is uint8, and {} can be missing; expected data with a fill value of 0 to 255"
    gaps = message.format("the grey network was trained on values of which some")
    with pytest.raises(InputError, match=gaps):
        onnx_graph.make_onnx(with_fill(grey, fill, missing=True), "uint8")
    earlier = message.format(r"the small network sees earlier frames .data.periods., any of which")
    with pytest.raises(InputError, match=earlier):
        onnx_graph.make_onnx(with_fill(network(periods=(6,)), fill, missing=False), "uint8")


def test_bytes_mark_missing_earlier_frames_by_the_fill_value():
    scaling = Scaling("uint8", (0.0,), (255.0,), missing=True, fill=255.0, filling=(0.25,))
    model = network(scaling, shortcut="linear", shortcut_scales=2, periods=(6,))
    forecaster = Forecaster(model)
    frames = np.random.default_rng(0).integers(0, 255, (2, 3, 8, 6, 1), np.uint8)
    live = forecaster(frames, dtype="float32")  # no frame of the history is known
    context = np.full((2, model.config.context_frames, 8, 6, 1), 255, np.uint8)
    found = by_runtime(onnx_graph.make_onnx(model, "uint8"), context=context, frames=frames)
    np.testing.assert_allclose(found / 255, live / 255, rtol=0, atol=1e-5)


def test_more_weights_than_a_file_can_hold_are_refused(grey, monkeypatch):
    monkeypatch.setattr(onnx_graph, "MOST_BYTES", 1000)
    with pytest.raises(InputError, match="the grey network has .* bytes of weights; an ONNX file holds 2 GiB"):
        onnx_graph.make_onnx(grey)


def test_the_motion_is_refused(grey):
    model = dataclasses.replace(grey, config=dataclasses.replace(grey.config, shortcut="flow"))
    with pytest.raises(InputError, match="the grey network has model.shortcut=flow, which --format=onnx does not export"):
        onnx_graph.make_onnx(model)


def difference(model, content, folder):
    """The largest difference in the table of `export`, as a fraction of the trained range."""
    (folder / "compared.onnx").write_bytes(content)
    table = export.compare_with_live(model, epath.Path(folder / "compared.onnx"))
    (row,) = [line for line in table.splitlines() if line.startswith("│ file")]
    return float(row.split("│")[-2])


def of_clock_and_periods():
    config = dataclasses.replace(
        network(periods=(2, 6)).config, in_channels=3, covariates=2, shortcut="linear", shortcut_scales=2
    )
    scaling = Scaling("float32", (200.0,), (300.0,), filling=(0.5,) * 3, covariates=2)
    description = {"scaling": scaling.as_json(), "covariates": Covariates(("day",)).as_json(), "frame_size": [8, 6]}
    return TrainedModel(config, trained_variables(config), description, "clock and periods")


@pytest.mark.parametrize(
    "model",
    [network(), network(RAIN, shortcut="last"), of_clock_and_periods()],
    ids=["kelvins", "logarithms", "clock and periods"],
)
def test_the_table_compares_files_from_units_to_units(model, tmp_path):
    content = onnx_graph.make_onnx(model)
    assert difference(model, content, tmp_path) < 1e-5
    for end in ("input", "output"):  # a hundredth of the range too low
        scaled = onnx.load_model_from_string(content)
        nodes = scaled.graph.node
        if end == "input":
            nodes.insert(0, onnx.helper.make_node("Sub", ["frames", "wrong"], ["lower"]))
            for node in list(nodes)[1:]:
                node.input[:] = ["lower" if name == "frames" else name for name in node.input]
        else:
            (last,) = [node for node in nodes if "predictions" in node.output]
            last.output[:] = ["higher"]
            nodes.append(onnx.helper.make_node("Sub", ["higher", "wrong"], ["predictions"]))
        wrong = np.float32((model.scaling.high[0] - model.scaling.low[0]) / 100)
        scaled.graph.initializer.append(onnx.numpy_helper.from_array(wrong, "wrong"))
        assert difference(model, scaled.SerializeToString(), tmp_path) > 1e-3


def test_the_table_compares_files_of_bytes(grey, tmp_path):
    assert difference(grey, onnx_graph.make_onnx(grey, "uint8"), tmp_path) < 1e-5
