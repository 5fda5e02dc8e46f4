"""The folder of a run: its subfolders, and the lock that lets only one process train in it."""

import json
from contextlib import AbstractContextManager

from etils import epath

from stlight_jax.console.messages import print_message
from stlight_jax.errors import InputError
from stlight_jax.storage import paths
from stlight_jax.storage.atomic import write_atomic
from stlight_jax.storage.locks import Lock, locked


class Workdir:
    """The folder of a run, local or in a bucket. `create` makes it.

    Attributes:
      path: The folder.
      checkpoints: Folder with one subfolder per checkpoint, named by its step.
      config: File with the config that the run was started with.
      rejected: Folder for incomplete and damaged checkpoints.
      evaluation: Folder for the tables and pictures of an evaluation.
      profile: Folder for traces of training steps.

    Raises:
      InputError: The path is empty, or its bucket cannot be reached.
    """

    def __init__(self, path: epath.PathLike):
        if not str(path):
            raise InputError("--workdir is empty; name a folder for the run, such as runs/my_run")
        paths.connect(path, checkpoints=True)
        self.path = epath.Path(path)
        self.checkpoints, self.rejected = self.path / "checkpoints", self.path / "rejected_checkpoints"
        self.config = self.path / "config.json"
        self.evaluation, self.profile = self.path / "eval", self.path / "profile"

    def check_contents(self) -> None:
        """Prints a remark if the folder, which holds no run yet, holds other files. A folder in a bucket is not checked.

        Raises:
          InputError: The run would replace the `config.json` of another program.
        """
        if paths.is_remote(self.path) or self.checkpoints.is_dir() or not self.path.is_dir():
            return
        if self.config.exists():
            if not _is_config(self.config):
                raise InputError(f"{self.config} is of another program; name another --workdir, such as runs/my_run")
            return
        foreign = sorted(item.name for item in self.path.iterdir() if not item.name.startswith("."))
        if foreign:
            s = "s" * (len(foreign) > 1)
            names = ", ".join([*foreign[:3], *(["..."] if len(foreign) > 3 else [])])
            print_message(
                f"--workdir={self.path} holds no run, but {len(foreign)} other file{s} or folder{s} "
                f"({names}), which stay as they are; name a new folder to keep the run apart, such as runs/my_run"
            )

    def create(self) -> None:
        """Creates the folder.

        Raises:
          InputError: It cannot be created or written to.
        """
        paths.create_folder(self.path)

    def static_field(self, path: str) -> epath.Path:
        """Returns the path of the run's own copy of a file of `data.static`."""
        return self.path / f"static_field{epath.Path(path).suffix}"

    def keep_static_field(self, path: str) -> None:
        """Copies the file of `data.static`, so that the run can be evaluated on another machine.

        Args:
          path: The file; "" for none. A folder is not copied.
        """
        source, copy = epath.Path(path).expanduser(), self.static_field(path)
        if path and source.is_file() and not copy.exists():
            write_atomic(copy, source.read_bytes())

    def locked(self) -> AbstractContextManager[Lock]:
        """Returns a context manager that keeps a second process from training in the folder.

        Raises:
          InputError: On entering, if another process trains in the folder.
        """
        return locked(self.path, f"--workdir={self.path} is in use by process {{process}}, which trains in it")


def _is_config(file: epath.Path) -> bool:
    """Returns whether a file is the config of a run."""
    try:
        content = json.loads(file.read_text())
    except (ValueError, OSError):
        return False
    return isinstance(content, dict) and "dataset" in content
