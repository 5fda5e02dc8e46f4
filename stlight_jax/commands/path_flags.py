"""Checks of paths on a command line that need no library, so that a typo is reported at once."""

from __future__ import annotations

import pathlib

from stlight_jax.errors import InputError
from stlight_jax.inference.shipped_networks import shipped


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
