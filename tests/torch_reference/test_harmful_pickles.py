"""No code in files of `torch.save` ever runs, and no module that they name is imported."""

import collections
import functools
import io
import os
import pathlib
import pickle
import subprocess
import sys
import types
import zipfile

import numpy as np
import pytest

from stlight_jax import InputError
from stlight_jax.torch_reference.torch_pickle import read_torch_file
from stlight_jax.torch_reference.weight_files import read_weights
from tests.torch_reference.torch_files import HEADER, NO_STORAGES, WEIGHT, saved

pytestmark = pytest.mark.torch
torch = pytest.importorskip("torch")


def test_no_module_that_a_file_names_is_imported(read, tmp_path, monkeypatch):
    (tmp_path / "mylab_losses.py").write_text(f"open({str(tmp_path / 'harm')!r}, 'w')\n\nclass FocalLoss:\n    pass\n")
    monkeypatch.syspath_prepend(tmp_path)
    module = types.ModuleType("mylab_losses")
    module.FocalLoss = type("FocalLoss", (), {"__module__": "mylab_losses"})
    monkeypatch.setitem(sys.modules, "mylab_losses", module)
    content = {"state_dict": {"weight": WEIGHT}, "loss": module.FocalLoss()}
    data = [saved(content), saved(content, is_archive=False)]
    monkeypatch.delitem(sys.modules, "mylab_losses")
    for file in data:
        np.testing.assert_array_equal(read_torch_file(file)["state_dict"]["weight"], WEIGHT)
    assert "mylab_losses" not in sys.modules
    assert not (tmp_path / "harm").exists()


class Harmful:
    """Its unpickling calls a function."""

    def __init__(self, *call, state=None):
        self.call, self.state = call, state

    def __reduce__(self):
        function, *arguments = self.call
        return (function, tuple(arguments)) if self.state is None else (function, tuple(arguments), self.state)


def harmful_calls(path):
    code = f"open({str(path)!r}, 'w')"
    return [
        Harmful(open, str(path), "w"),
        Harmful(os.system, f"touch {path}"),
        Harmful(eval, code),
        Harmful(exec, code),
        Harmful(subprocess.call, ["touch", str(path)]),
        Harmful(functools.partial, eval, code),
        Harmful(map, eval, [code]),
        Harmful(list, Harmful(map, eval, [code])),
        Harmful(pathlib.Path.touch, pathlib.Path(path)),
        Harmful(torch.load, str(path)),
        Harmful(np.load, str(path)),
        Harmful(pickle.loads, pickle.dumps(Harmful(open, str(path), "w"))),
        Harmful(collections.OrderedDict, state={"__setstate__": Harmful(eval, code)}),
        Harmful(torch._utils._rebuild_parameter, Harmful(eval, code), True, collections.OrderedDict()),
        Harmful(torch._tensor._rebuild_from_type_v2, eval, torch.Tensor, (code,), {}),
    ]


@pytest.mark.parametrize("number", range(15))
def test_code_in_a_file_is_never_run(read, tmp_path, number):
    harmful = harmful_calls(tmp_path / "harm")
    assert len(harmful) == 15
    found = read({"first": harmful[number], "state_dict": {"weight": WEIGHT}})
    assert found.keys() == {"state_dict"}
    np.testing.assert_array_equal(found["state_dict"]["weight"], WEIGHT)
    assert not (tmp_path / "harm").exists()


@pytest.mark.parametrize(
    "attack",
    [
        *(f"protocol {protocol}" for protocol in range(pickle.HIGHEST_PROTOCOL + 1)),
        b"cos\nsystem\n(S'touch {}'\ntR.",
        b"(S'touch {}'\nios\nsystem\n.",
        b"(cos\nsystem\nS'touch {}'\no.",
    ],
)
def test_no_protocol_and_no_opcode_runs_code(tmp_path, attack):
    path = tmp_path / "harm"
    if isinstance(attack, str):
        attack = pickle.dumps(Harmful(os.system, f"touch {path}"), protocol=int(attack[-1]))
    attack = attack.replace(b"{}", str(path).encode())
    files = [HEADER + attack + NO_STORAGES, b"\x80\x02" + attack, b"\x80\x02" + attack + HEADER]
    with zipfile.ZipFile(io.BytesIO(saved({"weight": WEIGHT}))) as source, io.BytesIO() as target:
        with zipfile.ZipFile(target, "w") as changed:
            for name in source.namelist():
                changed.writestr(name, attack if name.endswith("data.pkl") else source.read(name))
        files.append(target.getvalue())
    for content in files:
        (tmp_path / "w.pt").write_bytes(content)
        with pytest.raises(InputError, match=r"w\.pt (holds no tensors|is a pickle, but not|is damaged)"):
            read_weights(tmp_path / "w.pt")
    assert not path.exists()
