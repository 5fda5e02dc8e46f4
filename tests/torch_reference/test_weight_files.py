"""Files of PyTorch weights: reading, refusals, and that no code in a file ever runs."""

import sys

import numpy as np
import pytest

from stlight_jax import InputError
from stlight_jax.torch_reference.weight_files import read_key_map, read_weights, write_weights

pytestmark = pytest.mark.torch
torch = pytest.importorskip("torch")

STATE = {"a.weight": torch.arange(6.0).reshape(2, 3), "a.num_batches_tracked": torch.tensor(7)}


@pytest.mark.parametrize("suffix", [".pt", ".pth", ".ckpt", ".safetensors"])
def test_what_is_written_is_read_back(tmp_path, suffix):
    path = tmp_path / "folder" / f"weights{suffix}"
    write_weights(path, STATE)
    found = read_weights(path)[""]
    assert found.keys() == STATE.keys()
    for name, tensor in STATE.items():
        np.testing.assert_array_equal(found[name], tensor)
        assert found[name].dtype == tensor.numpy().dtype
    assert [file.name for file in path.parent.iterdir()] == [path.name]


@pytest.mark.parametrize("wrapper", ["state_dict", "model_state_dict", "model"])
def test_wrapped_weights_are_found(tmp_path, wrapper):
    torch.save({wrapper: STATE, "epoch": 3}, tmp_path / "w.pt")
    found = read_weights(tmp_path / "w.pt")
    assert found.keys() == {wrapper}
    assert found[wrapper].keys() == STATE.keys()


def test_the_content_tells_the_format_not_the_name(tmp_path):
    write_weights(tmp_path / "w.safetensors", STATE)
    write_weights(tmp_path / "w.pt", STATE)
    for source, name in (("w.safetensors", "pytorch_model.bin"), ("w.safetensors", "a.ckpt"), ("w.pt", "best.pth.tar")):
        (tmp_path / name).write_bytes((tmp_path / source).read_bytes())
        assert read_weights(tmp_path / name)[""].keys() == STATE.keys()


def test_half_precisions_of_safetensors_are_read(tmp_path):
    half = {str(dtype): (torch.arange(6.0) / 3).to(dtype) for dtype in (torch.bfloat16, torch.float16, torch.float8_e4m3fn)}
    write_weights(tmp_path / "w.safetensors", half)
    for name, array in read_weights(tmp_path / "w.safetensors")[""].items():
        np.testing.assert_array_equal(array.astype(np.float32), half[name].float().numpy())


def test_weights_are_read_without_torch(tmp_path, monkeypatch):
    for suffix in (".pt", ".safetensors"):
        write_weights(tmp_path / f"w{suffix}", STATE)
    monkeypatch.setitem(sys.modules, "torch", None)
    for suffix in (".pt", ".safetensors"):
        assert read_weights(tmp_path / f"w{suffix}")[""].keys() == STATE.keys()


@pytest.mark.parametrize("suffix", [".pt", ".safetensors"])
@pytest.mark.parametrize("keep", [0, 40, -20])
def test_truncated_files_are_refused(tmp_path, suffix, keep):
    path = tmp_path / f"w{suffix}"
    write_weights(path, STATE)
    path.write_bytes(path.read_bytes()[:keep])
    with pytest.raises(InputError, match=f"w{suffix} "):
        read_weights(path)


def test_other_contents_are_refused(tmp_path):
    for content in ([1, 2], {"lr": 0.1}, {}):
        torch.save(content, tmp_path / "w.pt")
        with pytest.raises(InputError, match=r"w\.pt holds no tensors; expected a state_dict"):
            read_weights(tmp_path / "w.pt")
    with pytest.raises(InputError, match="gone.pt: no such file"):
        read_weights(tmp_path / "gone.pt")
    (tmp_path / "w.h5").write_bytes(b"\x89HDF\r\n\x1a\n")
    with pytest.raises(InputError, match=r"w\.h5 is not a file of PyTorch weights"):
        read_weights(tmp_path / "w.h5")
    with pytest.raises(InputError, match="is a folder; expected a file of weights"):
        read_weights(tmp_path)
    with pytest.raises(InputError, match="ends in one of"):
        write_weights(tmp_path / "w.bin", STATE)
    (tmp_path / "file").write_text("")
    with pytest.raises(InputError, match="could not be written"):
        write_weights(tmp_path / "file" / "w.pt", STATE)


def test_key_maps_are_json_objects_of_names(tmp_path):
    (tmp_path / "map.json").write_text('{"a.{i}": "b.{i}"}')
    assert read_key_map(tmp_path / "map.json") == {"a.{i}": "b.{i}"}
    for content in ("[1]", '{"a": 1}', "{"):
        (tmp_path / "map.json").write_text(content)
        with pytest.raises(InputError, match="key map"):
            read_key_map(tmp_path / "map.json")
