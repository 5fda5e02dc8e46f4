"""The folder of one run: what lies where, and that only one process trains in it."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator

from absl import logging
from etils import epath

from stlight_jax import remote
from stlight_jax.errors import InputError
from stlight_jax.progress import say
from stlight_jax.training import lease

try:
    import fcntl
except ImportError:  # Windows has no advisory locks of this kind
    fcntl = None


class Workdir:
    """Paths below one folder; made when `create` is called.

    Attributes:
      path: the folder, local or remote.

    Raises InputError if it is remote and cannot be reached.
    """

    def __init__(self, path: epath.PathLike):
        if not str(path):
            raise InputError("--workdir is empty; name a folder for the run, such as runs/my_run")
        remote.ready(path, checkpoints=True)
        self.path = epath.Path(path)

    @property
    def checkpoints(self) -> epath.Path:
        """One folder per checkpoint, named by its step."""
        return self.path / "checkpoints"

    @property
    def rejected(self) -> epath.Path:
        """Checkpoints that turned out incomplete or damaged."""
        return self.path / "rejected_checkpoints"

    @property
    def evaluation(self) -> epath.Path:
        """Tables and pictures."""
        return self.path / "eval"

    @property
    def profile(self) -> epath.Path:
        """Traces of training steps."""
        return self.path / "profile"

    def create(self) -> None:
        """Makes the folder. Raises InputError if it cannot be made or written to."""
        make_writable(self.path)

    @contextlib.contextmanager
    def locked(self) -> Iterator[lease.Lock]:
        """Keeps a second process from training in the same folder. Raises InputError if one already does."""
        with locked(self.path, f"--workdir={self.path} is in use by process {{process}}, which trains in it") as lock:
            yield lock


@contextlib.contextmanager
def locked(folder: epath.Path, message: str, wait: bool = False) -> Iterator[lease.Lock]:
    """Keeps a second process out of a folder while the block runs.

    Args:
      message: said if another one is in it; `{process}` becomes its number.
      wait: until that one is out of it.

    Raises InputError if one is in it, and `wait` is off.
    """
    if remote.is_remote(folder):
        with lease.held(folder, message, wait) as lock:
            yield lock
        return
    if fcntl is None:
        yield lease.Lock()
        return
    with contextlib.ExitStack() as until_the_end:
        with remote.writing(folder / ".lock"):
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


def make_writable(folder: epath.Path) -> None:
    """Makes a folder and tries it, before hours of work are to be written there. Raises InputError if that fails."""
    remote.ready(folder)
    if folder.exists() and not folder.is_dir():
        raise InputError(f"{folder} is a file; a folder is wanted")
    try:
        folder.mkdir(parents=True, exist_ok=True)
        probe = folder / f".writable-{os.getpid()}"
        probe.write_text("")
        probe.unlink(missing_ok=True)  # another machine's process may have the same number
    except Exception as error:
        if not isinstance(error, OSError) and not remote.is_failure(error):
            raise
        raise InputError(f"{folder} cannot be written to: {error}") from None
