"""The folder of a run: its subfolders, and the lock that lets only one process train in it."""

from contextlib import AbstractContextManager

from etils import epath

from stlight_jax.errors import InputError
from stlight_jax.storage import paths
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

    def create(self) -> None:
        """Creates the folder.

        Raises:
          InputError: It cannot be created or written to.
        """
        paths.create_folder(self.path)

    def locked(self) -> AbstractContextManager[Lock]:
        """Returns a context manager that keeps a second process from training in the folder.

        Raises:
          InputError: On entering, if another process trains in the folder.
        """
        return locked(self.path, f"--workdir={self.path} is in use by process {{process}}, which trains in it")
