"""The folder of one run: what lies where, and that only one process trains in it."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

from etils import epath

from stlight_jax.errors import InputError
from stlight_jax.storage import lease, paths
from stlight_jax.storage.locks import locked
from stlight_jax.storage.paths import make_writable


class Workdir:
    """Paths below one folder; made when `create` is called.

    Attributes:
      path: the folder, local or remote.

    Raises InputError if it is remote and cannot be reached.
    """

    def __init__(self, path: epath.PathLike):
        if not str(path):
            raise InputError("--workdir is empty; name a folder for the run, such as runs/my_run")
        paths.ready(path, checkpoints=True)
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
