"""Locks that keep a second process out of a folder, on local disks and in buckets."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator

from absl import logging
from etils import epath

from stlight_jax.console.messages import say
from stlight_jax.errors import InputError
from stlight_jax.storage import lease, paths

try:
    import fcntl
except ImportError:  # Windows has no advisory locks of this kind
    fcntl = None


@contextlib.contextmanager
def locked(folder: epath.Path, message: str, wait: bool = False) -> Iterator[lease.Lock]:
    """Keeps a second process out of a folder while the block runs.

    Args:
      message: said if another one is in it; `{process}` becomes its number.
      wait: until that one is out of it.

    Raises InputError if one is in it, and `wait` is off.
    """
    if paths.is_remote(folder):
        with lease.held(folder, message, wait) as lock:
            yield lock
        return
    if fcntl is None:
        yield lease.Lock()
        return
    with contextlib.ExitStack() as until_the_end:
        with paths.writing(folder / ".lock"):
            file = until_the_end.enter_context(open(folder / ".lock", "a+"))
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            file.seek(0)
            said = message.replace("{process}", file.read().strip() or "unknown")
            if not wait:
                raise InputError(f"{said}; wait for it, or name another folder") from None
            say(f"{said}; waiting for it ...")
            fcntl.flock(file, fcntl.LOCK_EX)
        except OSError as error:
            logging.warning("%s is not protected against a second process: no locks there (%s)", folder, error)
            yield lease.Lock()
            return
        with contextlib.suppress(OSError):  # the number is for people; that the disk is full will show elsewhere
            file.truncate(0)
            os.write(file.fileno(), str(os.getpid()).encode())
        yield lease.Lock()
