"""Files of PyTorch weights, read without running any code in them, and written whole or not at all."""

import importlib
import io
import json
import pickle
from collections.abc import Mapping
from types import ModuleType
from typing import Any

from etils import epath

from stlight_jax.console.messages import one_line
from stlight_jax.errors import InputError
from stlight_jax.storage import paths
from stlight_jax.storage.atomic import write_atomic

SUFFIXES = (".pt", ".pth", ".ckpt", ".safetensors")
# Keys under which training frameworks store the weights among other entries.
_WRAPPERS = ("state_dict", "model_state_dict", "model")


def require(module: str) -> ModuleType:
    """Imports an optional module.

    Args:
      module: name of the module.

    Raises:
      InputError: the module is not installed; the message has the command that installs it.
    """
    try:
        return importlib.import_module(module)
    except ModuleNotFoundError as error:
        raise InputError(f"{error.name} is not installed; install it with pip install -e '.[torch]'") from None


def read_weights(path: epath.PathLike) -> dict[str, Any]:
    """Reads the tensors of a file, bare or under `state_dict`, `model_state_dict` or `model`.

    Args:
      path: a `.pt`, `.pth`, `.ckpt` or `.safetensors` file.

    Returns:
      name -> torch tensor, on the CPU.

    Raises:
      InputError: the file does not exist, is damaged or of another kind, or contains more than data.
    """
    paths.connect(path)
    path = epath.Path(path)
    if path.suffix not in SUFFIXES:
        raise InputError(f"{path}: expected a file of PyTorch weights, {', '.join(SUFFIXES)}")
    if not path.is_file():
        raise InputError(f"{path}: no such file")
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
    """Writes a `state_dict` to a file.

    Args:
      path: the file, whose suffix chooses its format; missing folders are made.
      state_dict: name -> torch tensor.

    Raises:
      InputError: the suffix is unknown or the file cannot be written.
    """
    paths.connect(path)
    path = epath.Path(path)
    check_suffix(path)
    if path.suffix == ".safetensors":
        content = require("safetensors.torch").save(state_dict)
    else:
        with io.BytesIO() as file:
            require("torch").save(state_dict, file)
            content = file.getvalue()
    with paths.write_errors(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        write_atomic(path, content)


def check_suffix(path: epath.PathLike) -> None:
    """Checks that a file's suffix is in `SUFFIXES`.

    Raises:
      InputError: the suffix is unknown.
    """
    if epath.Path(path).suffix not in SUFFIXES:
        raise InputError(f"{path}: a file of PyTorch weights ends in one of {', '.join(SUFFIXES)}")


def read_key_map(path: epath.PathLike) -> dict[str, str]:
    """Reads a key map for `weights.variables_from_torch`.

    Args:
      path: a file with a JSON object, name in the weights -> name in `torch_reference.network`.

    Raises:
      InputError: the file cannot be read or contains anything else.
    """
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
        raise InputError(f"{path} is not a whole safetensors file: {one_line(error)}") from None


def _read_pickle(path: epath.Path) -> Any:
    torch = require("torch")
    try:
        with path.open("rb") as file:
            return torch.load(file, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError:
        raise InputError(
            f"{path} holds more than tensors and plain data, or is damaged; save model.state_dict() alone"
        ) from None
    except Exception as error:  # torch raises any error of its zip and pickle readers
        raise InputError(f"{path} is not a whole file of PyTorch weights: {one_line(error)}") from None
