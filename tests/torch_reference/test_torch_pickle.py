"""Files of `torch.save`: their tensors without torch, and foreign objects in them."""

import argparse
import collections
import contextlib
import dataclasses
import enum
import functools
import io
import os
import pathlib
import pickle
import tarfile
import types

import numpy as np
import pytest

from stlight_jax import InputError
from stlight_jax.torch_reference.torch_pickle import UnsupportedTensor, read_torch_file
from stlight_jax.torch_reference.weight_files import read_weights
from tests.torch_reference.torch_files import HEADER, NO_STORAGES, WEIGHT, saved

pytestmark = pytest.mark.torch
torch = pytest.importorskip("torch")


class Colour(enum.Enum):
    RED = 1


class Flags(enum.Flag):
    A = 1
    B = 2


class OrderedSubclass(collections.OrderedDict):
    pass


class DictWithArguments(dict):
    def __reduce__(self):
        return DictWithArguments, (dict(self),)


class TensorSubclass(torch.Tensor):
    pass


class ListSubclass(list):
    pass


@dataclasses.dataclass(slots=True)
class Settings:
    rate: float
    schedule: list


class Unusual:
    """Pickled with a state that is no dict, and restored by a method of its own."""

    def __getstate__(self):
        return (1, {"a": Settings(0.1, [1])})

    def __setstate__(self, state):
        raise AssertionError("ran")


def test_foreign_objects_are_passed_over(read):
    model = torch.nn.Linear(3, 2)
    optimizer = torch.optim.Adam(model.parameters())
    model(torch.ones(1, 3)).sum().backward()
    optimizer.step()
    found = read(
        {
            "hyper_parameters": argparse.Namespace(
                loss=torch.nn.MSELoss(), lr=np.float64(1e-3), path=pathlib.PurePosixPath("/d")
            ),
            "objects": [
                Colour.RED,
                Flags.A | Flags.B,
                functools.partial(print, 1, end=""),
                Settings(0.1, [Unusual()]),
                Unusual(),
            ],
            "classes": {Settings: (Settings, print, os.getcwd, np.float32), np.dtype("f4"): np.arange(3), Colour.RED: {1, 2}},
            "python": [1, 2**70, 1.5, 1j, None, b"bytes", bytearray(b"x"), "text", frozenset({1}), slice(1, 2), range(3)],
            "state_dict": OrderedSubclass({"weight": WEIGHT}),
            "a": DictWithArguments({"weight": WEIGHT + 1}),
            "b": ListSubclass([WEIGHT + 2]),
            "c": collections.defaultdict(list, {"weight": WEIGHT + 3}),
            "d": types.SimpleNamespace(weight=WEIGHT + 4),
            "optimizer": optimizer.state_dict(),
            "rng": torch.get_rng_state(),
        }
    )
    np.testing.assert_array_equal(found["state_dict"]["weight"], WEIGHT)
    for path, name, added in (("a", "weight", 1), ("b", "0", 2), ("c", "weight", 3), ("d", "weight", 4)):
        np.testing.assert_array_equal(found[path][name], WEIGHT + added)
    assert found["optimizer.state.0"].keys() == {"step", "exp_avg", "exp_avg_sq"}
    assert found[""].keys() == {"rng"}


def test_every_type_and_layout_gives_its_numbers(read):
    base = torch.arange(24.0).reshape(4, 6)
    tensors = {
        "slice": base[1:, 2:],
        "other slice of the same storage": base[:2, :1],
        "transposed": base.T,
        "expanded": base[:1].expand(3, 6),
        "parameter": torch.nn.Parameter(base + 1),
        "scalar": torch.tensor(7),
        "empty": torch.zeros(0, 3),
        **{
            str(dtype): (base * 3).to(dtype)
            for dtype in (torch.float64, torch.float16, torch.bfloat16, torch.int64, torch.uint8, torch.bool, torch.complex64)
        },
        "subclass": WEIGHT.as_subclass(TensorSubclass),
        "uint16": torch.arange(5, dtype=torch.int32).to(torch.uint16)[1:],
    }
    found = read(tensors)[""]
    assert found.keys() == tensors.keys()
    for name, tensor in tensors.items():
        expected = tensor.detach().float() if tensor.dtype == torch.bfloat16 else tensor.detach()
        np.testing.assert_array_equal(found[name].astype(expected.numpy().dtype), expected.numpy(), err_msg=name)
        assert tensor.dtype == torch.bfloat16 or found[name].dtype == expected.numpy().dtype


@pytest.mark.parametrize("protocol", [2, 4, 5])
def test_numpy_arrays_are_tensors(protocol):
    base = np.arange(24.0).reshape(4, 6)
    arrays = {
        "float64": base,
        "float16": base.astype(np.float16),
        "big-endian": base.astype(">f4"),
        "columns first": np.asfortranarray(base),
        "slice": base[1:, ::2],
        "scalar": np.array(7),
        "bool": base > 3,
        "empty": base[:0],
    }
    file = io.BytesIO()
    torch.save({"state_dict": arrays, "names": np.array(["a"]), "any": np.array([{}])}, file, pickle_protocol=protocol)
    found = read_torch_file(file.getvalue())
    assert found["state_dict"].keys() == arrays.keys()
    for name, array in arrays.items():
        np.testing.assert_array_equal(found["state_dict"][name], array, err_msg=name)
    assert found[""] == dict.fromkeys(("names", "any"), UnsupportedTensor("NumPy array of an unusual type"))


@pytest.mark.filterwarnings("ignore")  # torch warns of quantization
def test_tensors_of_other_kinds_are_named(read):
    found = read(
        {
            "sparse": WEIGHT.to_sparse(),
            "quantized": torch.quantize_per_tensor(WEIGHT, 0.1, 0, torch.quint8),
            "meta": WEIGHT.to("meta"),
            "negated": torch._neg_view(WEIGHT),
            "conjugated": torch.complex(WEIGHT, WEIGHT).conj(),
            "dense": WEIGHT,
        }
    )[""]
    assert found["sparse"] == UnsupportedTensor("sparse_tensor")
    assert found["quantized"] == UnsupportedTensor("qtensor")
    assert isinstance(found["meta"], UnsupportedTensor)
    for name in ("negated", "conjugated"):  # stored are the values before that
        assert found[name] == UnsupportedTensor("tensor whose negation or conjugation is pending")
    np.testing.assert_array_equal(found["dense"], WEIGHT)


class Network(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.encoder = torch.nn.Sequential(torch.nn.Linear(3, 2), torch.nn.BatchNorm1d(2))
        self.register_buffer("table", torch.ones(2), persistent=False)
        self.loss = torch.nn.MSELoss()

    def forward(self, x):
        return self.encoder(x)


@pytest.mark.filterwarnings("ignore")  # torch warns of the source code of classes, and that TorchScript is old
def test_whole_modules_give_their_state_dict(read):
    model = Network()
    expected = model.state_dict()
    scripted = io.BytesIO()
    torch.jit.save(torch.jit.script(model), scripted)
    for path, found in (
        ("", read(model)),
        ("ema", read({"ema": model, "epoch": 3})),
        ("ema", read({"ema": torch.nn.DataParallel(model)})),
        ("", read_torch_file(scripted.getvalue())),
    ):
        flat = {".".join((home, name)).strip("."): array for home, arrays in found.items() for name, array in arrays.items()}
        prefix = f"{path}." if path else ""
        flat = {name.removeprefix(prefix).removeprefix("module."): array for name, array in flat.items()}
        flat.pop("table", None)  # TorchScript has it, a state_dict has not
        assert flat.keys() == expected.keys()
        for name, array in flat.items():
            np.testing.assert_array_equal(array, expected[name].numpy())


@pytest.mark.parametrize("is_archive", [True, False])
def test_damaged_files_are_refused(tmp_path, is_archive):
    weight = np.arange(2000, dtype=np.float32)
    content = saved({"weight": torch.from_numpy(weight)}, is_archive=is_archive)
    files = [content[:length] for length in range(0, len(content), 97)]
    if is_archive:
        changed = bytearray(content)
        changed[content.index(weight[500:].tobytes()[:64])] ^= 1
        files.append(bytes(changed))
    for file in files:
        (tmp_path / "w.pt").write_bytes(file)
        with pytest.raises(InputError, match=r"w\.pt is (damaged, or not|not) a file of PyTorch weights"):
            read_weights(tmp_path / "w.pt")


def test_files_without_checksums_are_read():
    torch.serialization.set_crc32_options(False)
    try:
        content = saved({"weight": WEIGHT})
    finally:
        torch.serialization.set_crc32_options(True)
    np.testing.assert_array_equal(read_torch_file(content)[""]["weight"], WEIGHT)


def test_tensors_outside_their_storage_are_refused(tmp_path):
    content = saved({"weight": WEIGHT}, is_archive=False)
    shape = b"K\x02K\x03\x86"  # the pickle's (2, 3)
    assert content.count(shape) == 1
    (tmp_path / "w.pt").write_bytes(content.replace(shape, b"K\x02K\x04\x86"))
    with pytest.raises(InputError, match="is damaged"):
        read_weights(tmp_path / "w.pt")


def test_other_files_are_named():
    tar = io.BytesIO()
    with tarfile.open(fileobj=tar, mode="w") as archive:
        archive.addfile(tarfile.TarInfo("storages"))
    arrays = io.BytesIO()
    np.savez(arrays, a=np.zeros(2))
    for content, message in (
        (tar.getvalue(), "is a tar archive"),
        (arrays.getvalue(), "is a ZIP archive without PyTorch's data.pkl, with a.npy"),
        (pickle.dumps({"a": 1}), "is a pickle, but not one of torch.save"),
        (b"\x89HDF\r\n\x1a\n" + bytes(600), "is not a file of PyTorch weights"),
    ):
        with pytest.raises(InputError, match=message):
            read_torch_file(content)


@pytest.mark.filterwarnings("ignore")
def test_deep_and_endless_structures_end(read):
    content = [WEIGHT]
    for _ in range(60):
        content = [content, content]
    endless = {"weight": WEIGHT}
    endless["self"] = endless
    assert len(read({"deep": content})) == 1
    assert read(endless)[""].keys() == {"weight"}
    nested = b"\x80\x02" + b"]" * 100_000 + b"a" * 99_999 + b"."
    assert read_torch_file(HEADER + nested + NO_STORAGES) == {}
    for content in (b"]r\xff\xff\xff\x7f.", b"\x96" + (2**40).to_bytes(8, "little")):  # 32 GiB and 1 TiB in pickle's own reader
        with contextlib.suppress(EOFError):
            assert read_torch_file(HEADER + b"\x80\x02" + content + NO_STORAGES) == {}
