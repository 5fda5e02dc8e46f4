"""Files of PyTorch weights, read without running any code in them, and written whole or not at all."""

import io
import json
from types import ModuleType
from typing import Any

import numpy as np
from etils import epath

from stlight_jax.console.messages import one_line
from stlight_jax.errors import InputError
from stlight_jax.optional_packages import import_optional
from stlight_jax.storage import paths
from stlight_jax.storage.atomic import write_atomic
from stlight_jax.torch_reference.torch_pickle import DTYPES, UnsupportedTensor, read_torch_file

SUFFIXES = (".pt", ".pth", ".ckpt", ".safetensors")


def require(module: str) -> ModuleType:
    """Imports an optional module.

    Args:
      module: name of the module.

    Raises:
      InputError: the module is not installed, and the message has the command that installs it; or it cannot be imported.
    """
    package = module.partition(".")[0]
    return import_optional(module, f"{package} is not installed; install it with pip install 'stlight_jax[torch]'")


def read_weights(path: epath.PathLike) -> dict[str, dict[str, Any]]:
    """Reads all tensors of a file; its content tells the format, not its name.

    Args:
      path: a file of `torch.save`, `torch.jit.save` or safetensors.

    Returns:
      {path of a container in the file, "" for the outermost: {name: array or `UnsupportedTensor`}}.

    Raises:
      InputError: the file does not exist, is damaged or of another kind.
    """
    paths.connect(path)
    path = epath.Path(path)
    if path.is_dir():
        raise InputError(f"{path} is a folder; expected a file of weights (zero_to_fp32.py joins DeepSpeed's checkpoints)")
    try:
        content = path.read_bytes()
    except FileNotFoundError:
        raise InputError(f"{path}: no such file") from None
    except OSError as error:
        raise InputError(f"{path} cannot be read: {one_line(error)}") from None
    if not content:
        raise InputError(f"{path} is not a file of PyTorch weights, but empty")
    try:
        is_safetensors = path.suffix == ".safetensors" or content[8:9] == b"{"  # after the length of the header
        found = {"": _read_safetensors(content)} if is_safetensors else read_torch_file(content)
    except InputError as error:
        raise InputError(f"{path} {error}") from None
    except Exception as error:  # zipfile and pickle raise any error for a damaged file
        raise InputError(f"{path} is damaged, or not a file of PyTorch weights: {one_line(error)}") from None
    if not any(found.values()):
        raise InputError(f"{path} holds no tensors; expected a state_dict or a checkpoint")
    return found


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


def _read_safetensors(content: bytes) -> dict[str, Any]:
    return {
        name: np.frombuffer(tensor["data"], DTYPES[tensor["dtype"]]).reshape(tensor["shape"])
        if tensor["dtype"] in DTYPES
        else UnsupportedTensor(f"tensor of {tensor['dtype']}")
        for name, tensor in require("safetensors").deserialize(content)
    }
