"""Where a config comes from: the name of a shipped one, a Python file, or a run or a trained network, which stores its own."""

import difflib
import json
import pathlib
import runpy
import traceback
from collections.abc import Callable
from typing import Any

import ml_collections
from absl import flags
from etils import epath

from stlight_jax.errors import InputError, StlightError
from stlight_jax.inference.shipped_networks import ONNX_SUFFIX, SUFFIX, shipped
from stlight_jax.storage.paths import is_remote

_PACKAGE = "stlight_jax.configs"
_STORED = "config.json"


class ConfigFileError(Exception):
    """A config could not be loaded. Not a ValueError, whose message absl would put into a longer one."""


class ConfigParser(flags.ArgumentParser):
    """Parses NAME:SIZE, PATH:SIZE and RUN."""

    def parse(self, source: str) -> ml_collections.ConfigDict:
        """Returns the locked config.

        Args:
          source: see `load_config`.

        Raises:
          ConfigFileError: if the config is not found or its file fails.
        """
        try:
            return load_config(source).lock()
        except StlightError as error:
            raise ConfigFileError(str(error)) from error


def load_config(source: str) -> ml_collections.ConfigDict:
    """Loads a config.

    Args:
      source: NAME:SIZE or PATH:SIZE, with everything after the first colon for the function `get_config` of the config's Python
        file; or a run's folder, its `config.json`, one of its checkpoints, a `.stlight` file or the name of a shipped network,
        unless a config has this name.

    Returns:
      A config that can be changed.

    Raises:
      InputError: if the config is not found, or its file fails or is damaged.
    """
    name, *size = [source] if is_remote(source) else source.split(":", 1)
    shipped_configs = _shipped_configs()
    if name not in shipped_configs and _is_stored(name):
        if size:
            raise InputError(f"--config={source}: {name} has one config; leave out :{size[0]}")
        try:
            return stored_config(name)
        except InputError as error:
            raise InputError(f"--config={name}: {error}") from error
    file = shipped_configs.get(name, pathlib.Path(name).expanduser())
    if not file.is_file():
        raise InputError(_not_found(name, list(shipped_configs)))
    return _from_python(file, name, size)


def stored_description(source: str) -> dict[str, Any]:
    """Returns what a run or a trained network has stored about its training; nothing for a config of another kind.

    Args:
      source: see `load_config`.

    Returns:
      The description of its best checkpoint, see `TrainedModel`; {} for a run without a complete checkpoint.

    Raises:
      InputError: if a checkpoint or a file of a network is damaged.
    """
    if source.split(":", 1)[0] in _shipped_configs() or not _is_stored(source):
        return {}
    path = epath.Path(source).expanduser()
    if path.suffix == ".json" and path.name != _STORED:
        return {}
    from stlight_jax.inference.trained import describe

    run = path.parent if path.name == _STORED else path
    is_checkpoint = run.name.isdigit() and not (run / "checkpoints").exists()
    if source not in shipped() and run.suffix != SUFFIX and not is_checkpoint:
        from stlight_jax.runs import checkpoint

        if checkpoint.latest_valid_step(run / "checkpoints") is None:
            return {}
    return describe(source if run is path else run)


def _shipped_configs() -> dict[str, pathlib.Path]:
    return {path.stem: path for path in sorted(epath.resource_path(_PACKAGE).glob("[!_]*.py"))}


def _is_stored(name: str) -> bool:
    if name in shipped() or is_remote(name):
        return True
    path = pathlib.Path(name).expanduser()
    return path.is_dir() or (path.suffix in (".json", SUFFIX, ONNX_SUFFIX) and path.exists())


def stored_config(name: str) -> ml_collections.ConfigDict:
    """Returns the config of a run or of a trained network.

    Args:
      name: a run's folder, its `config.json`, one of its checkpoints, a `.stlight` or an ONNX file or the name of a shipped
        network.

    Returns:
      A config that can be changed.

    Raises:
      InputError: if there is no such network, or it is damaged.
    """
    from stlight_jax.data.load import check_config

    path = epath.Path(name).expanduser()
    if name not in shipped() and path.suffix not in (SUFFIX, ONNX_SUFFIX):
        path = path if path.suffix == ".json" else path / _STORED
    content = _read_json(path) if path.suffix == ".json" and path.exists() else _described_config(name)
    return check_config(content).to_config_dict()


def _read_json(path: epath.Path) -> dict[str, Any]:
    try:
        content = json.loads(path.read_text())
    except ValueError as error:
        raise InputError(f"{path.name} is no JSON file ({error}); give a run or its {_STORED}") from None
    if not isinstance(content, dict) or "dataset" not in content:
        raise InputError(f"{path.name} holds no config; expected the {_STORED} of a run")
    return content


def _described_config(name: str) -> dict[str, Any]:
    from stlight_jax.inference.trained import describe

    return describe(name)["config"]


def _not_found(name: str, shipped_configs: list[str]) -> str:
    """Returns the message on a config that does not exist, with the names that do."""
    beside = [str(path) for path in sorted(pathlib.Path(name).parent.glob("[!_]*.py"))] if name.endswith(".py") else []
    known = {pathlib.Path(each).stem: each for each in [*shipped_configs, *beside]}
    close = difflib.get_close_matches(pathlib.Path(name).stem, list(known), 1)
    hint = f" (did you mean {known[close[0]]}?)" if close else ""
    names = ", ".join([*shipped_configs, *beside])
    return (
        f"--config={name} is neither a shipped config nor a file{hint}; choose one of {names}, or give the "
        "path of a file, such as ./mine.py, or of a run"
    )


def _from_python(file: pathlib.Path, name: str, size: list[str]) -> ml_collections.ConfigDict:
    """Calls the function `get_config` of a Python file.

    Args:
      file: the file.
      name: as the user wrote it, for messages.
      size: the argument of the function, if any.
    """
    try:
        config = _function(file, name)(*size)
    except StlightError:
        raise
    except Exception as error:
        frames = [frame for frame in traceback.extract_tb(error.__traceback__) if frame.filename == str(file)]
        at = error if isinstance(error, SyntaxError) else frames[-1] if frames else None
        place = f"({at.filename}, line {at.lineno})" if at and at.lineno else f"({name}); expected a program in Python"
        raise InputError(f"the config file failed with {type(error).__name__}: {_reason(error)} {place}") from error
    if not isinstance(config, ml_collections.ConfigDict):
        raise InputError(f"{name}: get_config returns {type(config).__name__}; expected a ConfigDict, as base_config makes it")
    return config


def _function(file: pathlib.Path, name: str) -> Callable[..., Any]:
    found = runpy.run_path(str(file))
    if "get_config" not in found:
        raise InputError(f"{name}: the file of --config has no function get_config")
    return found["get_config"]


def _reason(error: Exception) -> str:
    """Returns the text of an error on one line; ml_collections wraps the error on an unknown key several times."""
    reason: object = error.strerror if isinstance(error, OSError) else error.args[0] if error.args else error
    while isinstance(reason, BaseException) and reason.args:
        reason = reason.args[0]
    return " ".join(str(reason).split())
