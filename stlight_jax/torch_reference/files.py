"""PyTorch weight files, read without running any code in them, and written whole or not at all."""

from __future__ import annotations

import contextlib
import importlib
import io
import json
import pickle
from collections.abc import Mapping
from types import ModuleType
from typing import Any

from etils import epath

from stlight_jax.errors import InputError
from stlight_jax.storage import paths

SUFFIXES = (".pt", ".pth", ".ckpt", ".safetensors")
# Where training frameworks keep the weights among other things.
_WRAPPERS = ("state_dict", "model_state_dict", "model")


def require(module: str) -> ModuleType:
    """Imports an optional package. Raises InputError saying how to install it."""
    try:
        return importlib.import_module(module)
    except ModuleNotFoundError as error:
        raise InputError(f"{error.name} is not installed; pip install -e '.[torch]' brings it") from None


def read_weights(path: epath.PathLike) -> dict[str, Any]:
    """The tensors of a `.pt`, `.pth`, `.ckpt` or `.safetensors` file, bare or under `state_dict` / `model`.

    Raises InputError if there is no such file, or it is damaged, of another kind, or holds anything but data.
    """
    paths.connect(path)
    path = epath.Path(path)
    if path.suffix not in SUFFIXES:
        raise InputError(f"{path}: expected a file of PyTorch weights, {', '.join(SUFFIXES)}")
    if not path.is_file():
        raise InputError(f"{path}: there is no such file")
    found = _read_safetensors(path) if path.suffix == ".safetensors" else _read_pickle(path)
    for wrapper in _WRAPPERS:
        if isinstance(found, Mapping) and isinstance(found.get(wrapper), Mapping):
            found = found[wrapper]
            break
    if not isinstance(found, Mapping):
        raise InputError(f"{path} holds a {type(found).__name__}; expected a state_dict, that is names with tensors")
    others = [name for name, value in found.items() if not hasattr(value, "detach")]
    if others or not found:
        held = f"{', '.join(map(str, others[:5]))} beside the tensors" if others else "nothing"
        raise InputError(f"{path} holds {held}; expected a state_dict, bare or under {' / '.join(_WRAPPERS)}")
    return dict(found)


def write_weights(path: epath.PathLike, state_dict: dict[str, Any]) -> None:
    """Writes a `state_dict`; the kind of file follows from the suffix. Raises InputError for an unknown one."""
    paths.connect(path)
    path = epath.Path(path)
    check_suffix(path)
    partial = path.with_name(f".{path.name}.partial")
    try:
        if path.suffix == ".safetensors":
            content = require("safetensors.torch").save(state_dict)
        else:
            with io.BytesIO() as file:
                require("torch").save(state_dict, file)
                content = file.getvalue()
        if paths.is_remote(path):  # there it is written at once, or not at all
            path.write_bytes(content)
            return
        path.parent.mkdir(parents=True, exist_ok=True)
        partial.write_bytes(content)
        partial.replace(path)
    except OSError as error:
        raise InputError(f"{path} cannot be written: {error}") from None
    finally:
        with contextlib.suppress(OSError):
            partial.unlink(missing_ok=True)


def check_suffix(path: epath.PathLike) -> None:
    """Raises InputError unless `path` ends as a file of weights does."""
    if epath.Path(path).suffix not in SUFFIXES:
        raise InputError(f"{path}: a file of PyTorch weights ends in one of {', '.join(SUFFIXES)}")


def read_key_map(path: epath.PathLike) -> dict[str, str]:
    """A JSON object, their name -> ours. Raises InputError if it is anything else."""
    paths.connect(path)
    try:
        found = json.loads(epath.Path(path).read_text())
    except (OSError, ValueError) as error:
        raise InputError(f"key map {path} cannot be read: {error}") from None
    if not isinstance(found, dict) or not all(isinstance(name, str) for name in found.values()):
        raise InputError(
            f'key map {path}: expected a JSON object of names, such as {{"blocks.{{i}}.dw.weight": "mixers.{{i}}.near.weight"}}'
        )
    return found


def _read_safetensors(path: epath.Path) -> Any:
    safetensors = require("safetensors.torch")
    try:
        return safetensors.load(path.read_bytes())
    except Exception as error:
        raise InputError(f"{path} is not a whole safetensors file: {_first_line(error)}") from None


def _read_pickle(path: epath.Path) -> Any:
    torch = require("torch")
    try:
        with path.open("rb") as file:
            return torch.load(file, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError:
        raise InputError(
            f"{path} holds more than tensors and plain data, or is damaged; save model.state_dict() alone"
        ) from None
    except Exception as error:  # torch raises whatever its zip and pickle readers met
        raise InputError(f"{path} is not a whole file of PyTorch weights: {_first_line(error)}") from None


def _first_line(error: Exception) -> str:
    return (str(error) or type(error).__name__).splitlines()[0]
