"""ONNX files in a `Forecaster` without JAX, on the page of the documentation and in commands, and files that are refused."""

import dataclasses
import re
import subprocess
import sys
from types import SimpleNamespace

import jax
import numpy as np
import pytest

from stlight_jax import Forecaster, InputError
from stlight_jax.inference import export, trained
from tests.commands import run
from tests.conftest import ROOT
from tests.inference.onnx_checks import by_runtime, network, with_gaps
from tests.networks import trained_variables

onnx = pytest.importorskip("onnx")
pytest.importorskip("onnxruntime")

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
    running, describing = [
        block
        for block in re.findall(r"```python\n(.*?)```", (ROOT / "docs/how_to/deploy.md").read_text(), re.DOTALL)
        if "onnxruntime" in block
    ]
    assert len(running.splitlines()) <= 8
    python(WITHOUT_JAX.replace('"torch"', '"torch", "stlight_jax", "onnx"') + running + describing, folder)
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


def test_damaged_and_other_files_are_refused(folder):
    file, content = folder / "other.onnx", (folder / "model.onnx").read_bytes()
    graph = onnx.load_model_from_string(content)
    graph.graph.initializer[-1].raw_data = bytes(len(graph.graph.initializer[-1].raw_data))
    changed = graph.SerializeToString()
    del graph.metadata_props[:]

    def described(old, new):
        other = onnx.load_model_from_string(content)
        assert old in other.metadata_props[0].value
        other.metadata_props[0].value = other.metadata_props[0].value.replace(old, new)
        return other.SerializeToString()

    for damaged, message in (
        (b"no protocol buffer", "is damaged, or no ONNX file"),
        (content[:-100], "is damaged"),
        (changed, "was changed after its export: its checksum differs"),
        (b"", "is empty"),
        (graph.SerializeToString(), "has no description of a network; expected a file of `stlight export"),
        (described('"high": [255.0]', '"high": [155.0]'), "was changed after its export: its checksum differs"),
        (described('"format": 1', '"format": 9'), "has format 9"),
        (described('"description"', '"other"'), "its description is incomplete"),
    ):
        file.write_bytes(damaged)
        with pytest.raises(InputError, match=message) as error:
            Forecaster.load(file)
        assert "\n" not in str(error.value)
    with pytest.raises(InputError, match="missing.onnx cannot be read .No such file"):
        Forecaster.load(folder / "missing.onnx")


def test_settings_of_other_networks_are_refused(folder):
    for setting in ({"checkpoint": "last"}, {"compute_dtype": "bfloat16"}, {"use_program": False}):
        with pytest.raises(InputError, match="leave checkpoint, compute_dtype and use_program out"):
            Forecaster.load(folder / "model.onnx", **setting)
    with pytest.raises(InputError, match="device is .* leave device out"):
        Forecaster.load(folder / "model.onnx", device=SimpleNamespace(platform="gpu"))
    Forecaster.load(folder / "model.onnx", device=jax.devices("cpu")[0])
    with pytest.raises(InputError, match="is an ONNX file, which predict and Forecaster.load can run only"):
        trained.load(folder / "model.onnx")


def test_packages_that_are_missing_are_named(folder, monkeypatch):
    assert trained.describe(folder / "model.onnx")["frame_size"] == [8, 12]
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    with pytest.raises(InputError, match="onnxruntime is not installed; an ONNX file needs pip install"):
        onnx_file.load(folder / "model.onnx")
    assert trained.describe(folder / "model.onnx")["frame_size"] == [8, 12]  # which no program needs
    monkeypatch.setitem(sys.modules, "onnx", None)
    with pytest.raises(InputError, match="onnx is not installed; an ONNX file needs pip install"):
        trained.describe(folder / "model.onnx")


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
