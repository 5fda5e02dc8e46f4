"""Writing of checkpoints: asynchronous, complete or invalid, the last few and the best kept."""

import logging as python_logging
import threading
from contextlib import AbstractContextManager
from types import TracebackType
from typing import Any, Self

import jax
from absl import logging
from etils import epath
from orbax.checkpoint import v1 as ocp

from stlight_jax.errors import InputError, NonFiniteLossError, PreemptedError
from stlight_jax.runs.checkpoint import absolute, remove_seal, scores, steps, write_seal
from stlight_jax.storage import paths
from stlight_jax.storage.locks import Lock

# Orbax limits a save to 20 minutes of the machine's clock, which may be set forward, or stand still while the machine sleeps.
_SAVE_SECONDS = 10 * 365 * 86_400
# How long a process that stops alone waits for a save that needs all processes.
_PATIENCE_SECONDS = 5


class CheckpointWriter:
    """Writes the checkpoints of one run; a context manager that waits for the last one.

    All methods raise InputError if checkpoints cannot be written, and LockLostError if the lock is lost. Earlier checkpoints
    stay valid.

    Args:
      directory: Folder of the checkpoints; each gets a subfolder.
      keep: Number of newest checkpoints to keep, in addition to the one with the lowest score. The others are
        deleted when the newest is sealed.
      lock: Lock of the workdir; checked before every seal and deletion, because a process that was paused during a save may
        have lost it.
    """

    def __init__(self, directory: epath.PathLike, keep: int, lock: Lock | None = None):
        self._directory, self._keep, self._lock = absolute(directory), keep, lock or Lock()
        context = ocp.Context()
        context.asynchronous.timeout_secs = _SAVE_SECONDS
        context.asynchronous.create_directories_asynchronously = False  # waiting for them depends on the clock, too
        with _write_errors(self._directory):
            self._checkpointer = ocp.training.Checkpointer(
                self._directory,
                context=context,
                save_decision_policy=ocp.training.save_decision_policies.FixedIntervalPolicy(1),
                preservation_policy=ocp.training.preservation_policies.PreserveAll(),  # Orbax would not check the lock
                cleanup_tmp_directories=True,
            )
        self._sealing: threading.Thread | None = None
        _failures.reset()
        logging.get_absl_logger().addFilter(_failures)

    @property
    def lock(self) -> Lock:
        """The lock of the workdir."""
        return self._lock

    def save(
        self, step: int, trees: dict[str, Any], description: dict[str, Any], metrics: dict[str, float] | None = None
    ) -> None:
        """Copies trees off the devices and returns; threads write them.

        Args:
          step: Number of optimizer steps done.
          trees: {"model": ..., "optimizer": ...}, nested dictionaries of arrays.
          description: JSON; everything beside the weights that prediction needs.
          metrics: `checkpoint.SCORE`, or else "mse", decides which checkpoint is the best; None without a validation.
        """
        self.wait()
        if not paths.folder_exists(self._directory):  # Orbax would wait many minutes for it
            raise InputError(f"{self._directory} is gone; checkpoints cannot be written, training stops at step {step}")
        with _write_errors(self._directory):
            response = self._checkpointer.save_checkpointables_async(
                step, trees, force=True, metrics=metrics, custom_metadata=description
            )
        self._sealing = threading.Thread(target=self._seal, args=(step, response), name=f"seal checkpoint {step}")
        self._sealing.start()

    def check(self) -> None:
        """Raises the error of a save in progress, as soon as it is known."""
        if _failures.first is not None:
            with _write_errors(self._directory):
                raise _failures.first

    def wait(self) -> None:
        """Waits until the save in progress is complete; raises its error."""
        while self._sealing is not None and self._sealing.is_alive() and _failures.first is None:
            self._sealing.join(1)
        self.check()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, _: TracebackType | None) -> None:
        try:
            if kind is None:
                self.wait()
        finally:
            # All processes have a loss that is not finite, or agree to stop. Other errors may be of this process alone.
            self._close(on_all=kind is None or issubclass(kind, NonFiniteLossError | PreemptedError))
        if _failures.first is None:
            logging.get_absl_logger().removeFilter(_failures)
        elif error is not None and error.__cause__ is not _failures.first:
            logging.warning("the checkpoint in %s could not be written: %s", self._directory, _failures.first)

    def _seal(self, step: int, response: Any) -> None:
        """Waits for Orbax, seals the checkpoint and deletes old ones, in a thread; `check` raises its errors."""
        try:
            response.result()
            if jax.process_index() == 0:
                write_seal(self._directory / str(step), self._lock)
            _failures.log_others()
            if jax.process_index() == 0:
                self._delete_old()
        except BaseException as error:
            _failures.first = _failures.first or error

    def _delete_old(self) -> None:
        available = steps(self._directory)
        kept = {*available[-self._keep :], *list(scores(self._directory))[:1]}
        for step in available:
            if step in kept:
                continue
            self._lock.check(refresh=True)
            folder = self._directory / str(step)
            try:
                remove_seal(folder)  # an interruption then leaves no checkpoint that looks valid
                paths.remove_folder(folder)
            except Exception as error:  # it only takes space, and the next save tries again
                logging.warning("checkpoint %d in %s could not be deleted: %s", step, self._directory, error)

    def _close(self, on_all: bool) -> None:
        """Waits for the save in progress, but only briefly if other processes may have ended or wait for this one."""
        on_all = jax.process_count() == 1 or (on_all and _failures.first is None)
        try:
            if self._sealing is not None:
                self._sealing.join(None if on_all else _PATIENCE_SECONDS)
                if self._sealing.is_alive():
                    return
            self._checkpointer.close()
        except Exception:
            if _failures.first is None:  # otherwise it is the same error
                raise


def save_variables(directory: epath.PathLike, step: int, variables: dict[str, Any], description: dict[str, Any]) -> epath.Path:
    """Writes a sealed checkpoint of weights alone.

    Args:
      directory: Folder of the checkpoints.
      step: Name of the checkpoint.
      variables: {"params", "batch_stats"}.
      description: See `CheckpointWriter.save`.

    Returns:
      The folder of the checkpoint.

    Raises:
      InputError: It cannot be written.
    """
    path = absolute(directory) / str(step)
    with _write_errors(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        ocp.save_checkpointables(path, {"model": variables}, custom_metadata=description)
        write_seal(path)
    return path


class _Failures(python_logging.Filter):
    """Errors of saves, taken from absl's log: Orbax raises them only after all processes have done their part.

    The filter stays installed after a failed save, because some of Orbax's threads continue until they fail, too.

    Attributes:
      first: The error that made a save fail, None without one.
    """

    def __init__(self) -> None:
        super().__init__()
        self.reset()

    def reset(self) -> None:
        """Forgets all errors."""
        self.first: BaseException | None = None
        self._others: list[str] = []

    def filter(self, record: python_logging.LogRecord) -> bool:
        """Returns False for the errors that Orbax logs: a failed save ends with one line, not with their tracebacks."""
        if not record.exc_info or "orbax" not in record.pathname:
            return True
        error = record.exc_info[1]
        if record.filename in ("async_checkpointer.py", "future.py"):
            self.first = self.first or error
        else:
            self._others.append(f"{record.getMessage()} ({error})")
        return False

    def log_others(self) -> None:
        """Logs the errors that did not make the save fail; called after its completion."""
        others, self._others = self._others, []
        for message in others:
            logging.warning("%s", message)


_failures = _Failures()


def _write_errors(path: epath.Path) -> AbstractContextManager[None]:
    """Returns `paths.write_errors` for a checkpoint; TensorStore reports the errors of a disk as ValueError."""
    return paths.write_errors(f"the checkpoint in {path}", ValueError)
