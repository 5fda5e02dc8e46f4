"""The flags that several commands share: --config, ranges of values, the processes of a run; and the checks of paths.

The checks need no large library, so that a typo is reported at once.
"""

import math
import os
import pathlib
from collections.abc import Sequence

from absl import flags
from ml_collections import config_flags

from stlight_jax.commands.config_source import ConfigParser
from stlight_jax.errors import InputError

BEST = "best (lowest validation MSE; see train.least_gain)"  # for help texts of flags that choose a checkpoint
_HELP = (
    "The config: the name of a shipped one with a size, such as moving_mnist:L, the path of a file, such as ./mine.py:L, or a "
    "run, whose config is taken. --config.SECTION.KEY=VALUE replaces the value of one key; stlight config lists all keys."
)


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
    values["config"].parser = ConfigParser()
    if default is not None:
        values.set_default("config", default)
    if required:
        flags.mark_flag_as_required("config", values)


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


def check_folder(path: str | None, flag: str) -> None:
    """Refuses a local path at which there can be no folder to write to. Paths in a bucket are tried when they are opened.

    Args:
      path: the value of the flag, or None.
      flag: name of the flag.

    Raises:
      InputError: if the path, or a folder above it, is a file, or cannot be written to.
    """
    from stlight_jax.storage.paths import is_remote

    if not path or is_remote(path):
        return
    folder = pathlib.Path(path)
    existing = next((item for item in (folder, *folder.parents) if item.exists()), folder)
    if existing.exists() and not existing.is_dir():
        raise InputError(f"--{flag}={path}: {existing} is a file; expected a folder")
    if not os.access(existing, os.W_OK):
        raise InputError(f"--{flag}={path}: {existing} cannot be written to: permission denied; get the right to write to it")


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


def define_value_range_flag(values: flags.FlagValues, help_text: str) -> None:
    """Defines --value_range, whose value is (low, high)."""
    flags.DEFINE(_ValueRangeParser(), "value_range", None, help_text, values)


def parse_fill_value(text: str) -> float | None:
    """Returns the number in a flag --fill_value; None for "none"."""
    if text == "none":
        return None
    try:
        return float(text)
    except ValueError:
        raise InputError(f"--fill_value={text}: give a number, or none") from None


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
