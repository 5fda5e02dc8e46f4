"""Files of PyTorch weights: reading, refusals, and that no code in a file ever runs."""

import pickle

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
    found = read_weights(path)
    assert found.keys() == STATE.keys()
    assert all(torch.equal(found[name], STATE[name]) for name in STATE)
    assert [file.name for file in path.parent.iterdir()] == [path.name]


@pytest.mark.parametrize("wrapper", ["state_dict", "model_state_dict", "model"])
def test_wrapped_weights_are_unwrapped(tmp_path, wrapper):
    torch.save({wrapper: STATE, "epoch": 3}, tmp_path / "w.pt")
    assert read_weights(tmp_path / "w.pt").keys() == STATE.keys()


class Harmful:
    """Its unpickling would leave a file behind."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return (open, (str(self.path), "w"))


def test_code_in_a_file_is_never_run(tmp_path):
    torch.save({"a": Harmful(tmp_path / "harm")}, tmp_path / "w.pt")
    (tmp_path / "plain.pth").write_bytes(pickle.dumps(Harmful(tmp_path / "harm")))
    for name in ("w.pt", "plain.pth"):
        with pytest.raises(InputError, match="holds more than tensors and plain data|is not a whole file"):
            read_weights(tmp_path / name)
    assert not (tmp_path / "harm").exists()


@pytest.mark.parametrize("suffix", [".pt", ".safetensors"])
@pytest.mark.parametrize("keep", [0, 40, -20])
def test_truncated_files_are_refused(tmp_path, suffix, keep):
    path = tmp_path / f"w{suffix}"
    write_weights(path, STATE)
    path.write_bytes(path.read_bytes()[:keep])
    with pytest.raises(InputError, match=f"w{suffix} "):
        read_weights(path)


def test_other_contents_are_refused(tmp_path):
    for content, message in (
        ([1, 2], "holds a list; expected a state_dict"),
        ({"lr": 0.1, "w": torch.ones(2)}, "holds lr beside the tensors"),
        ({}, "holds nothing; expected a state_dict"),
    ):
        torch.save(content, tmp_path / "w.pt")
        with pytest.raises(InputError, match=message):
            read_weights(tmp_path / "w.pt")
    with pytest.raises(InputError, match="gone.pt: no such file"):
        read_weights(tmp_path / "gone.pt")
    with pytest.raises(InputError, match="expected a file of PyTorch weights, .pt, .pth"):
        read_weights(tmp_path / "w.npz")
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
