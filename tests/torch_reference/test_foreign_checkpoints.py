"""`convert` on checkpoints as users have them: Lightning's, with unknown classes, averaged, and with a loss in them."""

import io
import os
import pathlib
import sys
import types

import numpy as np
import pytest

from stlight_jax import InputError
from stlight_jax.torch_reference.convert import torch_from_checkpoint
from stlight_jax.torch_reference.weight_files import read_weights
from tests import commands

pytestmark = pytest.mark.torch
torch = pytest.importorskip("torch")
from safetensors.torch import save_file  # noqa: E402

from stlight_jax.torch_reference.network import NetworkConfig, STLight  # noqa: E402

NETWORK = NetworkConfig(10, 10, 1, 1, hidden_dim=8, depth=2, patch_size=2, near_kernel=3, far_kernel=5)
FLAGS = (
    "--config=configs/moving_mnist.py:tiny",
    "--config.model.hidden_dim=8",
    "--config.model.depth=2",
    "--config.model.shortcut=none",
)
FIRST = "patch_encoder.conv.weight"


def state_dict(seed, prefix=""):
    """Random weights, with the variances of the norms positive."""
    generator = np.random.default_rng(seed)
    found = {}
    for name, tensor in STLight(NETWORK).state_dict().items():
        if not name.endswith("num_batches_tracked"):
            array = generator.normal(size=tensor.shape).astype(np.float32)
            found[prefix + name] = torch.from_numpy(np.abs(array) + 0.5 if name.endswith("running_var") else array)
    return found


def converted(tmp_path, weights, *flags):
    """The weights after the command; the first of them is `patch_encoder.conv.weight[0,0,0,0]`."""
    commands.call("convert", *FLAGS, f"--weights={weights}", f"--out={tmp_path}/converted", *flags)
    torch_from_checkpoint(tmp_path / "converted", "last", tmp_path / "out.safetensors")
    return read_weights(tmp_path / "out.safetensors")[""]


def assert_equal(found, expected):
    for name, tensor in expected.items():
        np.testing.assert_array_equal(found[name], tensor.numpy(), err_msg=name)


class Harmful:
    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return os.system, (f"touch {self.path}",)


@pytest.fixture
def focal_loss(monkeypatch):
    """An object of a class that nobody has who reads the file."""
    module = types.ModuleType("mylab_losses")
    module.FocalLoss = type("FocalLoss", (torch.nn.Module,), {"__module__": "mylab_losses"})
    monkeypatch.setitem(sys.modules, "mylab_losses", module)
    return module.FocalLoss()


@pytest.mark.parametrize("is_archive", [True, False])
def test_lightning_checkpoints_give_their_weights_and_run_nothing(tmp_path, is_archive, focal_loss, monkeypatch):
    content = {
        "epoch": 3,
        "pytorch-lightning_version": "2.4.0",
        "state_dict": state_dict(10, "model."),
        "hyper_parameters": {"loss": torch.nn.MSELoss(), "lr": np.float64(1e-3), "path": pathlib.PurePosixPath("/data")},
        "callbacks": {"focal": focal_loss, "harm": Harmful(tmp_path / "harm")},
    }
    torch.save(content, tmp_path / "lightning.ckpt", _use_new_zipfile_serialization=is_archive)
    monkeypatch.delitem(sys.modules, "mylab_losses")
    found = converted(tmp_path, tmp_path / "lightning.ckpt")
    assert found[FIRST].ravel()[0] == pytest.approx(-1.103338, abs=1e-6)
    assert_equal(found, state_dict(10))
    assert not (tmp_path / "harm").exists()
    assert "mylab_losses" not in sys.modules


def test_checkpoints_of_openstl_give_their_weights(tmp_path, focal_loss):
    content = {
        "state_dict": state_dict(10, "model.") | {"criterion.weight": torch.ones(3)},
        "hparams_name": "kwargs",
        "hyper_parameters": {"method": "STLight", "in_shape": (10, 1, 64, 64), "dataloaders": focal_loss},
        "optimizer_states": [torch.optim.Adam(STLight(NETWORK).parameters()).state_dict()],
    }
    torch.save(content, tmp_path / "best.ckpt")
    assert_equal(converted(tmp_path, tmp_path / "best.ckpt"), state_dict(10))


def test_the_dict_of_an_averaged_model_is_converted(tmp_path, capsys):
    torch.save({"n_averaged": torch.tensor(7), **state_dict(14, "module.")}, tmp_path / "averaged.pt")
    found = converted(tmp_path, tmp_path / "averaged.pt")
    assert found[FIRST].ravel()[0] == pytest.approx(0.695520, abs=1e-6)
    assert "left out" not in capsys.readouterr().err


@pytest.mark.parametrize(
    ("flags", "first", "seed"), [((), 0.695520, 14), (("--weights_key=state_dict",), -1.430873, 15)], ids=["average", "raw"]
)
def test_a_line_names_averaged_and_raw_weights_and_a_flag_chooses(tmp_path, capsys, flags, first, seed):
    content = {"epoch": 9, "state_dict": state_dict(15), "state_dict_ema": state_dict(14)}
    torch.save(content, tmp_path / "with_ema.pth")
    found = converted(tmp_path, tmp_path / "with_ema.pth", *flags)
    assert found[FIRST].ravel()[0] == pytest.approx(first, abs=1e-6)
    assert_equal(found, state_dict(seed))
    line = "the average, state_dict_ema, is taken; --weights_key=state_dict takes the raw ones"
    assert (line in capsys.readouterr().err) != bool(flags)


def save_as_torch(content, path):
    torch.save({"state_dict": content}, path)


@pytest.mark.parametrize(("save", "name"), [(save_as_torch, "criterion.ckpt"), (save_file, "criterion.safetensors")])
def test_a_loss_beside_the_network_is_named_and_left_out(tmp_path, capsys, save, name):
    save(state_dict(14, "model.") | {"criterion.weight": torch.ones(3)}, tmp_path / name)
    found = converted(tmp_path, tmp_path / name)
    assert found[FIRST].ravel()[0] == pytest.approx(0.695520, abs=1e-6)
    assert_equal(found, state_dict(14))
    assert "criterion.weight\n" in capsys.readouterr().err


@pytest.mark.parametrize(("save", "name"), [(save_as_torch, "bare.ckpt"), (save_file, "bare.safetensors")])
def test_a_loss_among_the_weights_is_refused_and_a_flag_ignores_it(tmp_path, save, name):
    save(state_dict(14) | {"criterion.weight": torch.ones(3)}, tmp_path / name)
    with pytest.raises(InputError, match=r"1 unexpected: (state_dict\.)?criterion.weight; --ignore_unexpected leaves them out"):
        converted(tmp_path, tmp_path / name)
    assert_equal(converted(tmp_path, tmp_path / name, "--ignore_unexpected"), state_dict(14))


def test_a_whole_model_and_half_precision_are_converted(tmp_path, monkeypatch):
    model = STLight(NETWORK)
    model.load_state_dict(state_dict(10), strict=False)
    torch.save(torch.nn.DataParallel(model).bfloat16(), tmp_path / "model.pt")
    expected = {name: tensor.bfloat16().float() for name, tensor in state_dict(10).items()}
    assert_equal(converted(tmp_path, tmp_path / "model.pt"), expected)


def test_numbers_of_another_network_are_refused_in_a_short_line(tmp_path):
    torch.save(torch.nn.Transformer(16, 2, 2, 2).state_dict(), tmp_path / "other.pt")
    with pytest.raises(InputError, match=r"other.pt is not of this network; its \d+ tensors are .* and \d+ more") as caught:
        converted(tmp_path, tmp_path / "other.pt")
    assert len(str(caught.value)) < 500
    file = io.BytesIO()
    torch.save({"state_dict": {name: tensor for name, tensor in state_dict(10).items() if "near" not in name}}, file)
    (tmp_path / "part.pt").write_bytes(file.getvalue())
    with pytest.raises(InputError, match="part.pt is not of this network; 4 missing: mixers.0.near.weight, .* and 1 more$"):
        converted(tmp_path, tmp_path / "part.pt")
