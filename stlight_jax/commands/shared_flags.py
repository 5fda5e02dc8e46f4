"""The flags that several commands share: --config, the sizes of frames, the processes of a run; and the checks of paths.

The checks need no large library, so that a typo is reported at once.

The value of --config is a shipped config by its name, or a file by its path, with single keys replaced.
"""

import math
import pathlib
import runpy
import traceback
from collections.abc import Callable, Sequence

import ml_collections
from absl import flags
from etils import epath
from ml_collections import config_flags

from stlight_jax.config import RunConfig
from stlight_jax.errors import InputError, StlightError
from stlight_jax.inference.shipped_networks import shipped

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
        except Exception as error:
            at = error if isinstance(error, SyntaxError) else traceback.extract_tb(error.__traceback__)[-1]
            reason = error.strerror if isinstance(error, OSError) else error.args[0] if error.args else error
            text = " ".join(str(reason).split())
            place = f"({at.filename}, line {at.lineno})" if at.lineno else f"({name}); expected a program in Python"
            failure = f"the config file failed with {type(error).__name__}: {text} {place}"
            raise ConfigFileError(failure) from error
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


def _function(name: str) -> Callable[..., ml_collections.ConfigDict]:
    shipped_configs = {path.stem: path for path in sorted(epath.resource_path(_PACKAGE).glob("[!_]*.py"))}
    path = shipped_configs.get(name, pathlib.Path(name))
    if not path.is_file():
        raise InputError(
            f"--config={name} is neither a shipped config nor a file; choose one of {', '.join(shipped_configs)}, or give the "
            "path of a file, such as ./mine.py"
        )
    found = runpy.run_path(str(path))
    if "get_config" not in found:
        raise InputError(f"{name}: the file of --config has no function get_config")
    return found["get_config"]


def check_exists(path: str | None, flag: str) -> None:
    """Refuses a local path that does not exist. Paths in a bucket are looked up when they are opened.

    Args:
      path: the value of the flag, or None.
      flag: name of the flag.

    Raises:
      InputError: if the path does not exist.
    """
    from stlight_jax.storage.paths import is_remote

    if path and not is_remote(path) and not pathlib.Path(path).expanduser().exists():
        raise InputError(f"--{flag}={path}: no such file or folder")


def check_network(path: str | None, flag: str) -> None:
    """Refuses a local path that does not exist, unless it is the name of a shipped network.

    Args:
      path: the value of the flag, or None.
      flag: name of the flag.

    Raises:
      InputError: if no such network exists.
    """
    if path not in shipped():
        check_exists(path, flag)


class _FrameSizeParser(flags.ArgumentParser):
    """Parses HEIGHTxWIDTH."""

    def parse(self, text: str) -> tuple[int, int]:
        """Returns (height, width)."""
        sides = text.split("x")
        if len(sides) != 2 or not all(side.isascii() and side.isdecimal() and int(side) for side in sides):
            raise ValueError("expected HEIGHTxWIDTH, such as 64x64")
        return int(sides[0]), int(sides[1])


class _ValueRangeParser(flags.ArgumentParser):
    """Parses LOW,HIGH."""

    def parse(self, text: str) -> tuple[float, float]:
        """Returns the two numbers."""
        try:
            low, high = map(float, text.split(","))
        except ValueError:
            low = high = math.nan
        if not (math.isfinite(low) and math.isfinite(high)):
            raise ValueError("expected LOW,HIGH, two numbers such as 0,1")
        return low, high


def define_frame_size_flag(
    values: flags.FlagValues, help_text: str = "HEIGHTxWIDTH of the frames in pixels, if the config does not fix it."
) -> None:
    """Defines --frame_size, whose value is (height, width)."""
    flags.DEFINE(_FrameSizeParser(), "frame_size", None, help_text, values)


def define_value_range_flag(values: flags.FlagValues, help_text: str) -> None:
    """Defines --value_range, whose value is (low, high)."""
    flags.DEFINE(_ValueRangeParser(), "value_range", None, help_text, values)


def chosen_frame_size(config: RunConfig, given: tuple[int, int] | None) -> tuple[int, int]:
    """Returns the height and the width of the frames in pixels.

    Args:
      config: a checked config.
      given: value of --frame_size, which wins over the config's.

    Raises:
      InputError: if neither the flag nor the config fixes a size.
    """
    if given:
        return given
    from stlight_jax.data.load import frame_size

    known = frame_size(config)
    if known is None:
        raise InputError("the config does not fix the size of the frames; give --frame_size=HEIGHTxWIDTH")
    return known


def define_process_flags(values: flags.FlagValues) -> None:
    """Defines the flags; `join_processes` reads them."""
    flags.DEFINE_string("coordinator", None, "Address HOST:PORT of the first process, for several started by hand.", values)
    flags.DEFINE_integer("processes", None, "Number of processes of such a run.", flag_values=values)
    flags.DEFINE_integer("process", None, "Number of this process, from 0.", flag_values=values)


def join_processes(values: flags.FlagValues, *, preemptible: bool = False) -> None:
    """Connects this process to the others of its run, if it has others. No other function of JAX may be called before.

    Args:
      values: the parsed flags.
      preemptible: whether the run finishes its step and saves when any of its processes receives SIGTERM.

    Raises:
      InputError: for flags that contradict each other, or if the other processes are not found.
    """
    from stlight_jax.parallel import distributed

    distributed.start(values.coordinator, values.processes, values.process, preemptible=preemptible)
