"""Checks of paths on a command line that need no library, so that a typo is reported at once."""

from __future__ import annotations

import pathlib

from stlight_jax.errors import InputError


def check_exists(path: str | None, flag: str) -> None:
    """Refuses a local path that does not exist. Paths in a bucket are looked up when they are opened.

    Args:
      path: the value of the flag, or None.
      flag: name of the flag for the message; an empty string leaves it out.

    Raises:
      InputError: if the path does not exist.
    """
    if path and "://" not in path and not pathlib.Path(path).expanduser().exists():
        raise InputError(f"{f'--{flag}=' if flag else ''}{path}: no such file or folder")
