"""The flags that several commands share, and the checks of paths.

The checks need no library, so that a typo is reported at once.
"""

from __future__ import annotations

import math
import pathlib
from typing import TYPE_CHECKING

from absl import flags

from stlight_jax.errors import InputError
from stlight_jax.inference.shipped_networks import shipped

if TYPE_CHECKING:
    from stlight_jax.config import RunConfig


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


def define_frame_size_flag(values: flags.FlagValues) -> None:
    """Defines --frame_size."""
    flags.DEFINE_string("frame_size", None, "HEIGHTxWIDTH of the frames in pixels, if the config does not fix it.", values)


def chosen_frame_size(config: RunConfig, given: str | None) -> tuple[int, int]:
    """Returns the height and the width of the frames in pixels.

    Args:
      config: a checked config.
      given: value of --frame_size, which wins over the config's.

    Raises:
      InputError: if the flag is no size, or neither the flag nor the config fixes one.
    """
    if given:
        return parse_frame_size(given)
    from stlight_jax.data.load import frame_size

    known = frame_size(config)
    if known is None:
        raise InputError("the config does not fix the size of the frames; give --frame_size=HEIGHTxWIDTH")
    return known


def parse_frame_size(text: str) -> tuple[int, int]:
    """Returns (height, width) of HEIGHTxWIDTH.

    Raises:
      InputError: if the text is not of this form.
    """
    sides = text.split("x")
    if len(sides) != 2 or not all(side.isascii() and side.isdecimal() and int(side) for side in sides):
        raise InputError(f"--frame_size={text[:40]}: expected HEIGHTxWIDTH, such as 64x64")
    return int(sides[0]), int(sides[1])


def parse_value_range(text: str) -> tuple[float, float]:
    """Returns the two numbers of LOW,HIGH.

    Raises:
      InputError: if the text is not of this form.
    """
    try:
        low, high = map(float, text.split(","))
    except ValueError:
        low = high = math.nan
    if not (math.isfinite(low) and math.isfinite(high)):
        raise InputError(f"--value_range={text[:40]}: expected LOW,HIGH, two numbers such as 0,1")
    return low, high


def define_process_flags(values: flags.FlagValues) -> None:
    """Defines the flags; `join_processes` reads them."""
    flags.DEFINE_string(
        "coordinator", None, "Address of the first process, HOST:PORT, for a run of several processes started by hand.", values
    )
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
