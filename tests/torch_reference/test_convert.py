"""`convert` as a user runs it: weights in, evaluation, training on, weights out again."""

import json
import subprocess
import sys

import chex
import numpy as np
import pytest

from stlight_jax import InputError, STLightConfig
from stlight_jax.commands import convert
from stlight_jax.inference.trained import describe, load
from stlight_jax.runs import checkpoint
from stlight_jax.scoring.evaluate import evaluate_workdir
from stlight_jax.torch_reference.convert import checkpoint_from_torch, torch_from_checkpoint
from stlight_jax.torch_reference.weight_files import read_weights, write_weights
from stlight_jax.torch_reference.weights import network_arguments
from tests.conftest import ROOT
from tests.torch_reference.test_weights import listing_names

pytestmark = pytest.mark.torch
torch = pytest.importorskip("torch")
from stlight_jax.torch_reference.network import NetworkConfig, STLight  # noqa: E402


def network(config):
    torch.manual_seed(0)
    model = STLight(NetworkConfig(**network_arguments(STLightConfig(**config.model))))
    for module in model.modules():
        if isinstance(module, torch.nn.BatchNorm2d):
            module.num_batches_tracked += 12
            module.running_mean.uniform_(-0.1, 0.1)
            module.running_var.uniform_(0.5, 1.5)
    return model


def run(*arguments):
    return subprocess.run(
        [sys.executable, "-m", "stlight_jax", "convert", *map(str, arguments)], cwd=ROOT, capture_output=True, text=True
    )


def test_weights_come_in_are_evaluated_and_go_out_bit_for_bit(small_run, tmp_path):
    model = network(small_run)
    write_weights(tmp_path / "in.pth", listing_names(model.state_dict()))
    path = checkpoint_from_torch(
        small_run, tmp_path / "in.pth", tmp_path / "run", training={"value_range": {"stored": [0, 1], "network": [0, 1]}}
    )
    assert path.name == "12"
    description = checkpoint.load_description(tmp_path / "run" / "checkpoints", 12)
    assert description["value_range"]["stored"] == [0, 1]
    assert description["frame_size"] == [16, 16]

    results = evaluate_workdir(tmp_path / "run")
    assert results["checkpoint_step"] == 12
    assert np.isfinite(results["overall"]["stlight"]["mse"])

    torch_from_checkpoint(tmp_path / "run", "last", tmp_path / "out.safetensors")
    found, expected = read_weights(tmp_path / "out.safetensors")[""], model.state_dict()
    assert found.keys() == expected.keys()
    for name, tensor in expected.items():
        assert found[name].dtype == tensor.numpy().dtype
        np.testing.assert_array_equal(found[name], tensor, err_msg=name)


def test_the_command_both_ways_and_its_refusals(tmp_path):
    flags = ("--config=configs/moving_mnist.py:tiny", f"--weights={tmp_path}/in.safetensors")
    from tests.conftest import load_config

    write_weights(tmp_path / "in.safetensors", network(load_config("tiny")).state_dict())
    done = run(*flags, f"--out={tmp_path}/run")
    assert done.returncode == 0, done.stderr
    again = run(*flags, f"--out={tmp_path}/run")
    assert again.returncode == 2
    assert "holds checkpoints already; name a new folder" in again.stderr
    out = run(f"--workdir={tmp_path}/run", f"--out={tmp_path}/out.pt")
    assert out.returncode == 0, out.stderr
    assert read_weights(tmp_path / "out.pt")[""].keys() == read_weights(tmp_path / "in.safetensors")[""].keys()

    for arguments, message in (
        ((f"--out={tmp_path}/x",), "give --weights=FILE with --config"),
        ((*flags[1:], f"--out={tmp_path}/x"), "--weights needs --config="),
        (("--config=configs/moving_mnist.py:XS", flags[1], f"--out={tmp_path}/x"), "in.safetensors is not of this network"),
        ((*flags, f"--out={tmp_path}/x", "--frame_size=big"), "--frame_size=big: expected HEIGHTxWIDTH"),
        ((*flags, f"--out={tmp_path}/x", "--value_range=1,0"), "the first value must be less than the second"),
        ((*flags, f"--out={tmp_path}/x", "--value_range=0,1e999"), "--value_range=0,1e999: expected LOW,HIGH"),
        ((*flags, f"--out={tmp_path}/x", "--checkpoint=last"), "--checkpoint has no meaning with --weights"),
        ((f"--workdir={tmp_path}/run", f"--out={tmp_path}/x.onnx"), "ends in one of .pt"),
        ((f"--workdir={tmp_path}/nowhere", f"--out={tmp_path}/x.pt"), "nowhere: no such file or folder"),
    ):
        refused = run(*arguments)
        assert refused.returncode == 2, refused.stderr
        *_, error = refused.stderr.splitlines()
        assert error.startswith("error: ")
        assert message in error
    assert not list(tmp_path.glob("x*"))


def test_a_checkpoint_keeps_the_description_of_a_runs_data_or_the_lack_of_one_is_printed(small_run, tmp_path, capsys):
    write_weights(tmp_path / "in.pt", network(small_run).state_dict())
    checkpoint_from_torch(small_run, tmp_path / "in.pt", tmp_path / "plain")
    assert "it has no description of its training data" in " ".join(capsys.readouterr().err.split())
    data = {"sha256": "0123", "sequences": 5}
    scaling = {"dtype": "uint8", "low": [0.0], "high": [255.0]}
    training = {"data": data, "scaling": scaling, "channels": ["rain"], "total_steps": 9}
    checkpoint_from_torch(small_run, tmp_path / "in.pt", tmp_path / "run", training=training)
    message = " ".join(capsys.readouterr().err.split())
    assert "no description" not in message
    assert f"stlight evaluate --workdir={tmp_path}/run" in message
    stored = describe(tmp_path / "run")
    assert stored["data"].items() >= data.items()
    assert (stored["scaling"], stored["channels"]) == (scaling, ["rain"])


def test_a_shipped_network_goes_out_and_comes_in_again(tmp_path):
    torch_from_checkpoint("tiny", "best", tmp_path / "tiny.safetensors")
    arguments = ["--config=tiny", f"--weights={tmp_path}/tiny.safetensors", f"--out={tmp_path}/run"]
    convert.COMMAND.run(convert.COMMAND.parse(["stlight convert", *arguments]))
    again, shipped = (load(source) for source in (tmp_path / "run", "tiny"))
    assert again.config == shipped.config
    assert again.description["frame_size"] == [32, 32]
    chex.assert_trees_all_equal(again.variables, shipped.variables)


def test_a_key_map_brings_other_names(small_run, tmp_path):
    state = {name.replace("mixers", "layers"): tensor for name, tensor in network(small_run).state_dict().items()}
    write_weights(tmp_path / "in.pt", state)
    with pytest.raises(InputError, match="unexpected: layers"):
        checkpoint_from_torch(small_run, tmp_path / "in.pt", tmp_path / "run")
    assert not (tmp_path / "run").exists()
    key_map = {name: name.replace("layers", "mixers") for name in state if name.startswith("layers")}
    (tmp_path / "map.json").write_text(json.dumps(key_map))
    checkpoint_from_torch(small_run, tmp_path / "in.pt", tmp_path / "run", key_map)
    assert checkpoint.steps(tmp_path / "run" / "checkpoints") == [12]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda tensor: tensor * float("nan"), "holds values that are not finite"),
        (lambda tensor: tensor.double() * 1e300, "not finite in float32"),
        (lambda tensor: tensor.to(torch.complex64), "weights are floating-point numbers"),
        (lambda tensor: tensor.to_sparse(), r"1 not plain dense: patch_encoder.norm.weight \(sparse_tensor\)"),
    ],
)
def test_weights_that_cannot_be_used_are_refused(small_run, tmp_path, change, message):
    state = network(small_run).state_dict()
    state["patch_encoder.norm.weight"] = change(state["patch_encoder.norm.weight"])
    torch.save(state, tmp_path / "in.pt")
    with pytest.raises(InputError, match=message):
        checkpoint_from_torch(small_run, tmp_path / "in.pt", tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_nothing_is_left_behind_when_sealing_fails(small_run, tmp_path, monkeypatch):
    write_weights(tmp_path / "in.pt", network(small_run).state_dict())

    def fail(directory):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("stlight_jax.runs.checkpoint_writer.write_seal", fail)
    with pytest.raises(InputError, match="No space left on device"):
        checkpoint_from_torch(small_run, tmp_path / "in.pt", tmp_path / "run")
    assert not (tmp_path / "run").exists()
