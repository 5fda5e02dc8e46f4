"""The flag --config: a shipped config by its name, or a file by its path, with single keys replaced."""

import pathlib
import pkgutil
import runpy
import traceback
from collections.abc import Callable, Sequence
from importlib import util

import ml_collections
from absl import flags
from ml_collections import config_flags

from stlight_jax.errors import InputError, StlightError

_HELP = (
    "The config: the name of a shipped one with a size, such as moving_mnist:L, or the path of a file, such as ./mine.py:L. "
    "--config.SECTION.KEY=VALUE replaces the value of one key."
)
_PACKAGE = "stlight_jax.configs"


class ConfigFileError(Exception):
    """A config could not be loaded. Not a ValueError, whose message absl would put into a longer one."""


class _ConfigParser(flags.ArgumentParser):
    """Parses NAME:SIZE and PATH:SIZE."""

    def parse(self, path: str) -> ml_collections.ConfigDict:
        """Returns the locked config.

        Args:
          path: name or path, with everything after the first colon for the file's function `get_config`.

        Raises:
          ConfigFileError: if the config is not found or its file fails.
        """
        name, *size = path.split(":", 1)
        try:
            config = _function(name)(*size)
        except StlightError as error:
            raise ConfigFileError(str(error)) from error
        except SyntaxError as error:
            raise ConfigFileError(_failure(error, f"{error.filename}, line {error.lineno}")) from error
        except Exception as error:
            frame = traceback.extract_tb(error.__traceback__)[-1]
            raise ConfigFileError(_failure(error, f"{frame.filename}, line {frame.lineno}")) from error
        return config.lock()


def define_config_flag(
    values: flags.FlagValues,
    arguments: Sequence[str],
    *,
    default: str | None = None,
    required: bool = False,
    help_text: str = _HELP,
) -> None:
    """Defines --config.

    Args:
      values: gets the flag.
      arguments: the command line, with the flags --config.SECTION.KEY.
      default: name or path of the config that is used without the flag.
      required: whether the command cannot run without the flag.
      help_text: for `--help`.
    """
    config_flags.DEFINE_config_file("config", None, help_text, values, sys_argv=list(arguments))
    values["config"].parser = _ConfigParser()
    if default is not None:
        values.set_default("config", default)
    if required:
        flags.mark_flag_as_required("config", values)


def shipped_configs() -> list[str]:
    """Returns the names of the configs that are part of the package."""
    spec = util.find_spec(_PACKAGE)
    return sorted(module.name for module in pkgutil.iter_modules(spec.submodule_search_locations if spec else None))


def _function(name: str) -> Callable[..., ml_collections.ConfigDict]:
    path = pathlib.Path(name)
    if path.suffix != ".py" and len(path.parts) == 1:
        spec = util.find_spec(f"{_PACKAGE}.{name}") if name in shipped_configs() else None
        if spec is None or spec.origin is None:
            raise InputError(
                f"--config={name} is not a shipped config; choose one of {', '.join(shipped_configs())}, or give the path of a "
                "file, such as ./mine.py"
            )
        path = pathlib.Path(spec.origin)
    elif not path.is_file():
        raise InputError(
            f"--config={name}: No such file or directory: {name!r}; shipped configs are {', '.join(shipped_configs())}"
        )
    found = runpy.run_path(str(path))
    if "get_config" not in found:
        raise InputError(f"{name}: the file of --config has no function get_config")
    return found["get_config"]


def _failure(error: Exception, place: str) -> str:
    text = " ".join(str(error.args[0] if error.args else error).split())
    return f"the config file failed with {type(error).__name__}: {text} ({place})"
