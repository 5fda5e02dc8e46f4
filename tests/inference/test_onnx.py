"""ONNX files: the same predictions as the live network by ONNX Runtime alone, and by a `Forecaster` without JAX."""

import dataclasses
import json
import re
import subprocess
import sys

import jax
import numpy as np
import pytest
from etils import epath

from stlight_jax import Forecaster, InputError, STLightConfig
from stlight_jax.data.covariates import Covariates
from stlight_jax.data.scaling import Scaling
from stlight_jax.inference import export, trained
from stlight_jax.inference.trained_model import TrainedModel
from stlight_jax.model.context import context_of_pass, plan_context
from tests.commands import run
from tests.conftest import ROOT
from tests.networks import trained_variables

onnx = pytest.importorskip("onnx")
onnxruntime = pytest.importorskip("onnxruntime")

from stlight_jax.inference import onnx_file, onnx_graph  # noqa: E402

pytestmark = pytest.mark.compiled_fast

WITHOUT_JAX = """
import sys
class Blocked:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in ("jax", "jaxlib", "flax", "tensorflow", "orbax", "torch"):
            raise ImportError(f"{name} is blocked")
sys.meta_path.insert(0, Blocked())
"""
RUN = """
import numpy as np
from stlight_jax import Forecaster
forecaster = Forecaster.load("model.onnx")
np.save("predicted.npy", forecaster(np.load("frames.npy"), horizon=5, dtype="float64"))
forecaster.warmup((3, 8, 12))
"""


def python(code, folder):
    environment = {"PYTHONPATH": str(ROOT)}
    result = subprocess.run(
        [sys.executable, "-c", code], cwd=folder, capture_output=True, text=True, timeout=200, check=False, env=environment
    )
    assert result.returncode == 0, result.stderr


def by_runtime(content, **inputs):
    """The predictions by ONNX Runtime alone."""
    session = onnxruntime.InferenceSession(content, providers=["CPUExecutionProvider"])
    return session.run(["predictions"], inputs)[0]


def with_gaps(frames):
    """Misses single values, and one pixel in all frames; frames are `[b, t, h, w, c]`."""
    frames = frames.astype(np.float32)
    frames[np.random.default_rng(1).random(frames.shape) < 0.2] = np.nan
    frames[0, :, 3, 2] = np.nan
    frames[1, 0, 1, 1, 0] = np.inf
    return frames


def network(scaling=None, **changes):
    base = {"in_frames": 3, "out_frames": 2, "in_channels": 1, "out_channels": 1, "hidden_dim": 8, "depth": 3, "far_kernel": 3}
    config = STLightConfig(**{**base, "patch_size": 2, **changes})
    scaling = scaling or Scaling("float32", (200.0,), (300.0,), missing=True, filling=(0.25,))
    return TrainedModel(config, trained_variables(config), {"scaling": scaling.as_json()}, "the small network")


TWO = {"in_channels": 2, "out_channels": 2}
RAIN = Scaling("float32", (0.0,), (80.0,), missing=True, transform="log", offset=(0.1,), clip_low=(0.0,), clip_high=(60.0,))
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
    found = by_runtime(onnx_graph.make_onnx(model), frames=frames, covariates=beside)
    np.testing.assert_allclose(found / 10, live / 10, rtol=0, atol=1e-5)


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


@pytest.fixture
def folder(grey, tmp_path):
    """Frames, their forecast by the live network, and the network as an ONNX file."""
    model = dataclasses.replace(grey, config=dataclasses.replace(grey.config, shortcut="last"))
    model = dataclasses.replace(model, variables=trained_variables(model.config))
    (tmp_path / "model.onnx").write_bytes(onnx_graph.make_onnx(model))
    frames = with_gaps(np.random.default_rng(0).uniform(0, 255, (2, 3, 7, 9, 1)))
    np.save(tmp_path / "frames.npy", frames)
    np.save(tmp_path / "live.npy", Forecaster(model)(frames, horizon=5, dtype="float64", survey=False))
    return tmp_path


def test_a_forecaster_runs_a_file_in_a_process_without_jax(folder):
    python(WITHOUT_JAX + RUN, folder)
    live = np.load(folder / "live.npy")
    assert np.isfinite(live).any()
    np.testing.assert_allclose(np.load(folder / "predicted.npy") / 255, live / 255, rtol=1e-5, atol=1e-5)


def test_the_page_runs_a_file_with_onnx_runtime_alone(folder):
    (block,) = [
        block
        for block in re.findall(r"```python\n(.*?)```", (ROOT / "docs/how_to/deploy.md").read_text(), re.DOTALL)
        if "onnxruntime" in block
    ]
    assert len(block.splitlines()) <= 8
    python(WITHOUT_JAX.replace('"torch"', '"torch", "stlight_jax", "onnx"') + block, folder)
    live = np.load(folder / "live.npy")[:, :2]
    np.testing.assert_allclose(np.load(folder / "predictions.npy") / 255, live / 255, rtol=1e-5, atol=1e-5)


def test_tiles_predict_what_whole_frames_predict(folder):
    frames = np.random.default_rng(0).uniform(0, 255, (3, 96, 8)).astype(np.float32)
    whole, tiled = (Forecaster.load(folder / "model.onnx", tile=tile)(frames) for tile in (0, 80))
    np.testing.assert_allclose(tiled / 255, whole / 255, rtol=1e-5, atol=1e-5)


def test_a_network_that_was_trained_on_crops_predicts_in_tiles_with_a_forecaster_alone(tmp_path, capsys):
    model = network(shortcut="last")
    description = {**model.description, "config": {"data": {"crop": 8}}}  # less than the receptive field
    model, file = dataclasses.replace(model, description=description), tmp_path / "model.onnx"
    file.write_bytes(onnx_graph.make_onnx(model))
    frames = with_gaps(np.random.default_rng(0).uniform(200, 300, (2, 3, 20, 22, 1)))
    live, whole = (Forecaster(model, tile=tile)(frames, dtype="float32", survey=False) for tile in (None, 0))
    assert "cut into" in capsys.readouterr().err
    found = Forecaster.load(file)(frames, dtype="float32", survey=False)
    np.testing.assert_allclose(found / 100, live / 100, rtol=0, atol=1e-5)
    alone = by_runtime(file.read_bytes(), frames=frames)
    np.testing.assert_allclose(alone / 100, whole / 100, rtol=0, atol=1e-5)
    assert np.nanmax(np.abs(whole - live)) > 0.1  # so the file alone differs from the run
    remark = "the network was trained on crops (data.crop=8) and predicts in tiles of 8 x 8; model.onnx alone predicts"
    assert export.remark_on_tiles(model, file).startswith(remark)
    assert not export.remark_on_tiles(network(), file)


def test_the_motion_is_refused(grey):
    model = dataclasses.replace(grey, config=dataclasses.replace(grey.config, shortcut="flow"))
    with pytest.raises(InputError, match="the grey network has model.shortcut=flow, which --format=onnx does not export"):
        onnx_graph.make_onnx(model)


def test_other_files_are_refused(folder, monkeypatch):
    file, content = folder / "other.onnx", (folder / "model.onnx").read_bytes()
    graph = onnx.load_model_from_string(content)
    graph.graph.initializer[-1].raw_data = bytes(len(graph.graph.initializer[-1].raw_data))
    changed = graph.SerializeToString()
    del graph.metadata_props[:]
    newer = onnx.load_model_from_string(content)
    newer.metadata_props[0].value = newer.metadata_props[0].value.replace('"format": 1', '"format": 9')
    for damaged, message in (
        (b"no protocol buffer", "is damaged, or no ONNX file"),
        (content[:-100], "is damaged"),
        (changed, "was changed after its export: its checksum differs"),
        (graph.SerializeToString(), "has no description of a network; expected a file of `stlight export"),
        (newer.SerializeToString(), "has format 9"),
    ):
        file.write_bytes(damaged)
        with pytest.raises(InputError, match=message) as error:
            Forecaster.load(file)
        assert "\n" not in str(error.value)
    with pytest.raises(InputError, match="missing.onnx cannot be read .No such file"):
        Forecaster.load(folder / "missing.onnx")
    for setting in ({"checkpoint": "last"}, {"compute_dtype": "bfloat16"}, {"use_program": False}):
        with pytest.raises(InputError, match="leave checkpoint, compute_dtype and use_program out"):
            Forecaster.load(folder / "model.onnx", **setting)
    with pytest.raises(InputError, match="device is .* leave device out"):
        Forecaster.load(folder / "model.onnx", device=jax.devices()[0])
    with pytest.raises(InputError, match="is an ONNX file, which predict and Forecaster.load can run only"):
        trained.load(folder / "model.onnx")
    assert trained.describe(folder / "model.onnx")["frame_size"] == [8, 12]
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    with pytest.raises(InputError, match="onnxruntime is not installed; an ONNX file needs pip install"):
        onnx_file.load(folder / "model.onnx")
    assert trained.describe(folder / "model.onnx")["frame_size"] == [8, 12]  # which no program needs
    monkeypatch.setitem(sys.modules, "onnx", None)
    with pytest.raises(InputError, match="onnx is not installed; an ONNX file needs pip install"):
        trained.describe(folder / "model.onnx")


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


def test_commands_write_a_file_and_predict_with_it(tmp_path):
    export = ["-m", "stlight_jax", "export", "--model=tiny", f"--out={tmp_path}/tiny.onnx", "--format=onnx"]
    result = run(*export)
    assert result.returncode == 0, result.stderr
    (row,) = [line for line in result.stdout.splitlines() if line.startswith("│ file")]
    assert float(row.split("│")[-2]) < 1e-5
    for flags, message in (
        (["--dtype=bfloat16", "--overwrite"], "--dtype is bfloat16; --format=onnx computes in float32"),
        ([f"--out={tmp_path}/tiny.stlight"], "expected the name of a file that ends in .onnx"),
        (["--format=stlight", "--input_dtype=uint8"], "--input_dtype is uint8"),
    ):
        refused = run(*export, *flags)
        assert (refused.returncode, refused.stderr.count("\n")) == (2, 1)
        assert message in refused.stderr
    np.save(tmp_path / "frames.npy", np.random.default_rng(0).integers(0, 256, (10, 32, 32), np.uint8))
    predict = ["-m", "stlight_jax", "predict", f"{tmp_path}/frames.npy", "--report=none"]
    for name, model in (("onnx", f"{tmp_path}/tiny.onnx"), ("live", "tiny")):
        result = run(*predict, f"--model={model}", f"--out={tmp_path}/{name}.npy", "--dtype=float32")
        assert result.returncode == 0, result.stderr
    found, live = (np.load(tmp_path / f"{name}.npy") / 255 for name in ("onnx", "live"))
    np.testing.assert_allclose(found, live, rtol=0, atol=1e-5)
