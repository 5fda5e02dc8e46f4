"""A refusal of what a disk cannot hold, before time is spent on it."""

import os
import shutil

from rich import filesize

from stlight_jax.errors import InputError


def check_space(folder: str | os.PathLike[str], size: int, what: str, remedy: str) -> None:
    """Checks that a disk can hold new files.

    Args:
      folder: An existing folder on the disk.
      size: Their size in bytes.
      what: Subject of the message, the files that are to be written.
      remedy: Advice to the user, at the end of the message.

    Raises:
      InputError: Less is free.
    """
    disk = shutil.disk_usage(folder)
    if disk.total and size > disk.free:  # some file systems report 0
        raise InputError(
            f"{what} would take {filesize.decimal(size)}, and {filesize.decimal(disk.free)} are free in {folder}; {remedy}"
        )
