"""One file that predicts without the network's code."""

import dataclasses
import datetime
import subprocess
import sys

import jax
import numpy as np
import pytest

from stlight_jax import Forecaster, InputError
from stlight_jax.inference import export, predictor, trained
from tests.commands import run
from tests.conftest import ROOT
from tests.networks import trained_variables

pytestmark = pytest.mark.compiled_fast

FRESH = """
import sys
import numpy as np
from stlight_jax.model.stlight import STLight

def gone(*_, **__):
    raise AssertionError("the network's code ran")

STLight.__call__ = gone
from stlight_jax import Forecaster
frames = np.load(sys.argv[2])
forecaster = Forecaster.load(sys.argv[1])
np.save(sys.argv[3], forecaster(frames, horizon=5, dtype="float64"))
forecaster(frames[0])
forecaster(frames[:, :, :7, :9])
"""


def test_a_fresh_process_predicts_the_same_without_the_networks_code(grey, tmp_path):
    frames = np.random.default_rng(0).integers(0, 256, (3, 3, 8, 12, 1), np.uint8)
    np.save(tmp_path / "frames.npy", frames)
    trained.write(tmp_path / "model.stlight", export.export_model(grey))
    arguments = [tmp_path / "model.stlight", tmp_path / "frames.npy", tmp_path / "predicted.npy"]
    result = subprocess.run(
        [sys.executable, "-c", FRESH, *arguments], cwd=ROOT, capture_output=True, text=True, timeout=200, check=False
    )
    assert result.returncode == 0, result.stderr
    live = Forecaster(grey)(frames, horizon=5, dtype="float64")
    # In the network's range, of which 255 is the end.
    np.testing.assert_allclose(np.load(arguments[2]) / 255, live / 255, rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize("shortcut", [{"shortcut": "last"}, {"shortcut": "linear", "shortcut_scales": 3}])
def test_a_program_with_a_shortcut_fills_missing_values_as_the_network_does(grey, tmp_path, shortcut):
    config = dataclasses.replace(grey.config, **shortcut, input="changes")
    variables = trained_variables(config)
    network = dataclasses.replace(grey, config=config, variables=variables)
    trained.write(tmp_path / "model.stlight", export.export_model(network))
    frames = np.random.default_rng(0).uniform(0, 255, (2, 3, 8, 12, 1)).astype(np.float32)
    frames[:, 1:][np.random.default_rng(2).random((2, 2, 8, 12, 1)) < 0.2] = np.nan
    for given in (frames, np.nan_to_num(frames)):
        exported = Forecaster.load(tmp_path / "model.stlight")(given, horizon=5, dtype="float64")
        live = Forecaster(network)(given, horizon=5, dtype="float64")
        assert np.isfinite(live).all()
        assert np.abs(live - np.nan_to_num(given[:, -1:])).max() > 10
        np.testing.assert_allclose(exported / 255, live / 255, rtol=1e-5, atol=1e-5)


def test_the_program_is_for_all_platforms_and_any_batch(grey):
    program = jax.export.deserialize(bytearray(export.export_model(grey).program.content))
    assert program.platforms == ("cpu", "cuda", "tpu")
    assert [str(size) for size in program.in_avals[-1].shape] == ["batch", "3", "2*height", "2*width", "1"]


def test_a_program_that_jax_cannot_read_any_more_is_refused_and_its_weights_still_predict(grey, tmp_path, monkeypatch):
    def expired(_):
        raise ValueError(
            "Exported being deserialized seems to be older than the 6-month backward-compatibility window\nand more"
        )

    model = export.export_model(grey)
    created, expires = map(datetime.date.fromisoformat, (model.program.created, model.program.expires))
    assert expires - created == datetime.timedelta(days=182)
    trained.write(tmp_path / "model.stlight", model)
    monkeypatch.setattr(predictor.export, "deserialize", expired)
    with pytest.raises(InputError, match=f"to be read until {expires}; JAX .* cannot read it .*6-month") as error:
        Forecaster.load(tmp_path / "model.stlight")
    assert "\n" not in str(error.value)
    frames = np.zeros((3, 8, 12), np.uint8)
    by_weights = Forecaster.load(tmp_path / "model.stlight", use_program=False)
    np.testing.assert_array_equal(by_weights(frames), Forecaster(grey)(frames))


def test_other_programs_are_refused(grey, tmp_path):
    file = export.export_model(grey)
    program = jax.export.deserialize(bytearray(file.program.content))
    unknown = bytes(dataclasses.replace(program, mlir_module_serialized=b"operations of a newer JAX").serialize())
    for change, message in (
        ({"program": dataclasses.replace(file.program, content=b"no program")}, "cannot read it"),
        ({"program": dataclasses.replace(file.program, content=unknown)}, "cannot read it"),
        ({"program": export.export_model(grey, ("tpu",)).program}, "its program is for tpu, this device is cpu"),
        ({"variables": {"params": {}, "batch_stats": {}}}, "its weights are not those of its program"),
    ):
        trained.write(tmp_path / "model.stlight", dataclasses.replace(file, **change))
        with pytest.raises(InputError, match=message):
            Forecaster.load(tmp_path / "model.stlight")


def test_a_description_that_is_not_its_programs_is_refused(grey, tmp_path):
    file = export.export_model(grey, ("cpu",))
    changes = {"in_frames": 4}, {"out_frames": 3}, {"in_channels": 2}, {"patch_size": 1, "overlap": 0}, {"dtype": "float64"}
    for change in changes:
        trained.write(tmp_path / "model.stlight", dataclasses.replace(file, config=dataclasses.replace(file.config, **change)))
        message = r"is damaged: its program takes float32\[batch,3,2\*height,2\*width,1\] and gives .*, its description has "
        with pytest.raises(InputError, match=message) as error:
            Forecaster.load(tmp_path / "model.stlight")
        assert "\n" not in str(error.value)


def test_bfloat16_is_chosen_when_it_is_exported(grey, tmp_path):
    narrow = dataclasses.replace(grey, config=dataclasses.replace(grey.config, dtype="bfloat16"))
    trained.write(tmp_path / "narrow.stlight", export.export_model(narrow))
    frames = np.random.default_rng(0).integers(0, 256, (3, 8, 12), np.uint8)
    np.testing.assert_allclose(
        Forecaster.load(tmp_path / "narrow.stlight")(frames).astype(int), Forecaster(narrow)(frames), atol=3
    )
    with pytest.raises(InputError, match="was exported with dtype bfloat16; export it with --dtype=float32"):
        Forecaster.load(tmp_path / "narrow.stlight", compute_dtype="float32")


def test_an_exported_file_names_no_folder_of_the_machine(grey, tmp_path):
    frames = {"root": "/home/me/storms.nc", "static": "~/maps/hills.nc#z", "group": "/a/b"}
    sections = {"data": frames, "train": {"init_from": "runs/old"}}
    data = {"folder": "/home/me/.cache/storms.nc-0", "raw": "storms.nc"}
    network = dataclasses.replace(grey, description={**grey.description, "config": sections, "data": data})
    found = export.without_folders(network).description
    assert found["config"]["data"] == {"root": "storms.nc", "static": "hills.nc#z", "group": "/a/b"}
    assert found["config"]["train"] == {"init_from": "old"}
    assert found["data"] == {"raw": "storms.nc"}
    assert network.description["config"]["data"]["root"] == "/home/me/storms.nc"

    tiny = trained.load("tiny")
    trained.write(tmp_path / "here.stlight", dataclasses.replace(tiny, description={**tiny.description, "data": data}))
    export.export_file(tmp_path / "here.stlight", tmp_path / "there.stlight")
    assert trained.describe(tmp_path / "there.stlight")["data"] == {"raw": "storms.nc"}


def command(*arguments):
    return run("-m", "stlight_jax", "export", *map(str, arguments))


def test_the_command_exports_in_another_dtype(grey, tmp_path):
    trained.write(tmp_path / "plain.stlight", grey)
    result = command(f"--workdir={tmp_path}/plain.stlight", f"--out={tmp_path}/narrow.stlight", "--dtype=bfloat16")
    assert result.returncode == 0, result.stderr
    assert trained.load(tmp_path / "narrow.stlight").config.dtype == "bfloat16"
    assert (
        "xbf16>" in jax.export.deserialize(bytearray(trained.load(tmp_path / "narrow.stlight").program.content)).mlir_module()
    )
    frames = np.random.default_rng(0).integers(0, 256, (3, 8, 12), np.uint8)
    narrow, wide = (
        of(frames, dtype="float32") / 255 for of in (Forecaster.load(tmp_path / "narrow.stlight"), Forecaster(grey))
    )
    assert 2**-10 < np.abs(narrow - wide).max() < 0.05 * np.abs(wide).max()


def test_the_command_writes_a_file_and_says_how_it_compares(grey, tmp_path):
    trained.write(tmp_path / "plain.stlight", grey)
    arguments = [f"--workdir={tmp_path}/plain.stlight", f"--out={tmp_path}/model.stlight"]
    result = command(*arguments)
    assert result.returncode == 0, result.stderr
    assert "JAX promises to read it until" in " ".join(result.stdout.split())
    (row,) = [line for line in result.stdout.splitlines() if line.startswith("│ file")]
    assert float(row.split("│")[-2]) < 1e-6
    again = command(*arguments)
    assert (again.returncode, again.stderr.count("\n")) == (2, 1)
    assert "model.stlight exists; name another file, or give --overwrite" in again.stderr
    assert "expected the name of a file that ends in .stlight" in command(arguments[0], f"--out={tmp_path}/model.bin").stderr


def test_a_file_that_another_process_writes_during_an_export_is_kept(tmp_path, monkeypatch):
    file = tmp_path / "model.stlight"

    def meanwhile(model):
        file.write_bytes(b"of another process")
        return model

    monkeypatch.setattr(export, "export_model", meanwhile)
    with pytest.raises(InputError, match="model.stlight exists; name another file, or give --overwrite"):
        export.export_file("tiny", file)
    assert file.read_bytes() == b"of another process"
