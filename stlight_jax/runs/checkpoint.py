"""Checkpoints with Orbax: asynchronous, atomic, the last few and the best kept, every file checksummed.

A checkpoint is a folder named by its step. It holds two Orbax trees, `model` (parameters and batch statistics) and
`optimizer`, and a description (config, data, value range) in Orbax's own metadata. `model` is what predicts: the moving
average in a run that keeps one, whose raw parameters and statistics are in `optimizer` then. `checksums.json` is written last;
Orbax restores flipped bits without a word, so a folder whose files do not fit it, or that lacks it, is never used.
"""

from __future__ import annotations

import contextlib
import hashlib
import itertools
import json
import logging as python_logging
import math
import shutil
import threading
from collections.abc import Iterator
from typing import Any

import flax.serialization
import flax.traverse_util
import jax
from absl import logging
from etils import epath
from orbax.checkpoint import v1 as ocp

from stlight_jax.console.signals import DeferInterrupts
from stlight_jax.errors import InputError, NonFiniteLossError, PreemptedError
from stlight_jax.storage import paths
from stlight_jax.storage.atomic import write_atomic
from stlight_jax.storage.locks import Lock
from stlight_jax.training.state import TrainState

_CHECKSUMS = "checksums.json"
_UNSEALED = "it is incomplete (it was never sealed)"
# Orbax gives a save 20 minutes by the machine's clock, which may be put forward, or stand still while the machine sleeps.
_SAVE_SECONDS = 10 * 365 * 86_400
# How long a process that stops on its own waits for a save that takes all of them.
_PATIENCE_SECONDS = 5


class CheckpointWriter:
    """Writes the checkpoints of one run; a context manager that waits for the last one.

    Args:
      directory: one folder per step goes here.
      keep: how many of the newest to keep, beside the one with the lowest validation MSE; the others go when the newest is
        sealed.
      lock: of the run's folder, asked before anything is sealed or deleted: who stood still in the middle of a save may have
        lost it.

    All methods raise InputError where checkpoints cannot be written, LockLostError where the lock is lost; those before stay.
    """

    def __init__(self, directory: epath.PathLike, keep: int, lock: Lock | None = None):
        self._directory, self._keep, self._lock = _absolute(directory), keep, lock or Lock()
        context = ocp.Context()
        context.asynchronous.timeout_secs = _SAVE_SECONDS
        context.asynchronous.create_directories_asynchronously = False  # it waits for them by the clock, too
        with _writing(self._directory):
            self._checkpointer = ocp.training.Checkpointer(
                self._directory,
                context=context,
                save_decision_policy=ocp.training.save_decision_policies.FixedIntervalPolicy(1),
                preservation_policy=ocp.training.preservation_policies.PreserveAll(),  # it would delete without asking
                cleanup_tmp_directories=True,
            )
        self._sealing: threading.Thread | None = None
        _failures.reset()
        logging.get_absl_logger().addFilter(_failures)

    def save(self, state: TrainState, description: dict[str, Any], metrics: dict[str, float] | None = None) -> None:
        """Copies the state off the devices and returns; the rest happens behind.

        Args:
          description: JSON; all that prediction needs beside the weights.
          metrics: "mse" decides which checkpoint is best; None where there was no validation.
        """
        self.wait()
        directory = self._directory
        if not paths.is_remote(directory) and not directory.is_dir():  # Orbax would wait many minutes for it
            raise InputError(f"{directory} is gone; checkpoints cannot be written, training stops at step {int(state.step)}")
        step = int(state.step)
        with _writing(directory):
            response = self._checkpointer.save_checkpointables_async(
                step, _to_trees(state), force=True, metrics=metrics, custom_metadata=description
            )

        def seal() -> None:
            try:
                response.result()
                if jax.process_index() == 0:
                    write_checksums(directory / str(step), self._lock)
                _failures.succeeded()
                if jax.process_index() == 0:
                    self._delete_old()
            except BaseException as error:  # shown by the next `check`, in the main thread
                _failures.first = _failures.first or error

        self._sealing = threading.Thread(target=seal, name=f"seal checkpoint {step}")
        self._sealing.start()

    def _delete_old(self) -> None:
        available = steps(self._directory)
        scores = {step: _score(self._directory / str(step)) for step in available}
        scored = [step for step in available if scores[step] is not None]
        kept = {*available[-self._keep :], *sorted(scored, key=lambda step: scores[step])[:1]}
        for step in available:
            if step not in kept:
                self._lock.check(refresh=True)
                try:
                    _delete(self._directory / str(step))
                except Exception as error:  # it only takes room, and the next save tries again
                    logging.warning("checkpoint %d in %s could not be deleted: %s", step, self._directory, error)

    def check(self) -> None:
        """Raises what has gone wrong in saving, as soon as it is known."""
        if _failures.first is not None:
            with _writing(self._directory):
                raise _failures.first

    def wait(self) -> None:
        """Returns when the save in progress is complete; raises what went wrong in it."""
        while self._sealing is not None and self._sealing.is_alive() and _failures.first is None:
            self._sealing.join(1)
        self.check()

    def __enter__(self) -> CheckpointWriter:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, _: Any) -> None:
        try:
            if kind is None:
                self.wait()
        finally:
            # All processes meet a loss that is not finite, or agree to stop. Anything else may be this one's alone.
            self._close(together=kind is None or issubclass(kind, NonFiniteLossError | PreemptedError))
        if _failures.first is None:
            logging.get_absl_logger().removeFilter(_failures)
        if _failures.first is not None and error is not None and error.__cause__ is not _failures.first:
            logging.warning("the checkpoint in %s could not be written: %s", self._directory, _failures.first)

    def _close(self, together: bool) -> None:
        """Waits for the save in progress, but not long for processes that may be gone, or wait for this one."""
        together = jax.process_count() == 1 or (together and _failures.first is None)
        try:
            if self._sealing is not None:
                self._sealing.join(None if together else _PATIENCE_SECONDS)
                if self._sealing.is_alive():
                    return
            self._checkpointer.close()
        except Exception:
            if _failures.first is None:  # else this is it again
                raise


class _Failures(python_logging.Filter):
    """What goes wrong in saving, taken from absl's log: Orbax raises it only when all processes have done their part.

    It stays after the last checkpoint, for some threads of a failed save go on until they fail, too.

    Attributes:
      first: None if nothing has gone wrong.
    """

    def __init__(self) -> None:
        super().__init__()
        self.reset()

    def reset(self) -> None:
        """Forgets everything."""
        self.first: BaseException | None = None
        self._others: list[str] = []

    def filter(self, record: python_logging.LogRecord) -> bool:
        """Keeps back what Orbax says of errors: of a failed save a line is told in the end, not what led to it."""
        if not record.exc_info or "orbax" not in record.pathname:
            return True
        error = record.exc_info[1]
        if record.filename in ("async_checkpointer.py", "future.py"):
            self.first = self.first or error
        else:
            self._others.append(f"{record.getMessage()} ({error})")
        return False

    def succeeded(self) -> None:
        """A save is complete: tells of the errors in spite of which it is."""
        others, self._others = self._others, []
        for told in others:
            logging.warning("%s", told)


_failures = _Failures()


def save_variables(directory: epath.PathLike, step: int, variables: dict[str, Any], description: dict[str, Any]) -> epath.Path:
    """Writes a checkpoint that holds weights only, sealed, and returns its folder. Raises InputError if it cannot.

    Args:
      variables: {"params", "batch_stats"}.
      description: as in `CheckpointWriter.save`.
    """
    path = _absolute(directory) / str(step)
    with _writing(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        ocp.save_checkpointables(path, {"model": variables}, custom_metadata=description)
        write_checksums(path)
    return path


def steps(directory: epath.PathLike) -> list[int]:
    """Steps of the committed checkpoints in `directory`, ascending, sound or not."""
    directory = epath.Path(directory)
    if paths.is_remote(directory):
        return sorted(int(name) for name in paths.folders_in(directory) if _is_step(name))
    if not directory.exists():
        return []
    return sorted(int(path.name) for path in directory.iterdir() if _is_step(path.name) and path.is_dir())


def write_checksums(directory: epath.Path, lock: Lock | None = None) -> None:
    """Seals a checkpoint: the SHA-256 of each of its files, as they can be read from there, written atomically.

    Args:
      lock: asked when all is read. Raises LockLostError if it is lost.
    """
    checksums = _checksums(directory)
    if lock is not None:
        lock.check(refresh=True)
    write_atomic(directory / _CHECKSUMS, json.dumps(checksums, indent=1))


def find_damage(directory: epath.PathLike) -> str | None:
    """What is wrong with a checkpoint folder, in a few words; None if every file is as it was written."""
    directory = epath.Path(directory)
    try:
        wanted = json.loads((directory / _CHECKSUMS).read_text())
    except FileNotFoundError:
        return _UNSEALED
    except (ValueError, OSError) as error:
        if paths.is_bucket_error(error):
            raise
        return f"its {_CHECKSUMS} is damaged"
    if not isinstance(wanted, dict):
        return f"its {_CHECKSUMS} is damaged"
    try:
        found = _checksums(directory)
    except FileNotFoundError:
        return "it was deleted meanwhile"
    except OSError as error:
        if paths.is_bucket_error(error):  # of the network; the files may be as they were
            raise
        return f"it cannot be read ({error})"
    for name in sorted(wanted.keys() | found.keys()):
        if name not in found:
            return f"{name} is missing"
        if name not in wanted:
            return f"{name} does not belong to it"
        if found[name] != wanted[name]:
            return f"{name} is damaged (its checksum differs)"
    return None


def latest_valid_step(directory: epath.PathLike, move_damaged_to: epath.PathLike | None = None) -> int | None:
    """The newest checkpoint whose files are all as they were written; None if nothing was ever completed.

    Every faulty one met on the way is reported and, given a folder, moved there, so that training can write its step anew.

    Raises:
      InputError: there are checkpoints, none of them sound, and one interrupted first save does not explain that. They all
        stay where they are, so that the next start does not take the run for a new one.
    """
    faulty, sound = {}, None
    for step in reversed(steps(directory)):
        problem = find_damage(epath.Path(directory) / str(step))
        if problem is None:
            sound = step
            break
        logging.warning("checkpoint %d is not used: %s", step, problem)
        faulty[step] = problem
    if sound is None and faulty and list(faulty.values()) != [_UNSEALED]:
        raise InputError(
            f"{directory}: no sound checkpoint is left (faulty: {', '.join(map(str, faulty))}); "
            "choose another --workdir to start anew"
        )
    if move_damaged_to is not None:
        for step in faulty:
            _move(epath.Path(directory) / str(step), epath.Path(move_damaged_to))
    return sound


def choose_step(directory: epath.PathLike, which: str) -> int:
    """Resolves "best" (lowest validation MSE), "last" or a step number to the step of a sound checkpoint.

    Raises InputError where there is no such checkpoint, or the one asked for by number is faulty.
    """
    available = steps(directory)
    if not available:
        raise InputError(f"{directory}: no checkpoint here; train first, or check --workdir")
    if which == "last":
        step = latest_valid_step(directory)
        if step is None:
            raise InputError(f"{directory}: no complete checkpoint here")
        return step
    if which == "best":
        scores = {step: _score(epath.Path(directory) / str(step)) for step in available}
        for step in sorted((step for step in available if scores[step] is not None), key=lambda step: scores[step]):
            problem = find_damage(epath.Path(directory) / str(step))
            if problem is None:
                return step
            logging.warning("checkpoint %d is not used: %s", step, problem)
        if any(score is not None for score in scores.values()):
            raise InputError(f"{directory}: no sound checkpoint with a validation score; use --checkpoint=last")
        logging.warning("no checkpoint in %s has a validation score: the last one is taken for the best", directory)
        return choose_step(directory, "last")
    if not _is_step(which) or int(which) not in available:
        raise InputError(
            f"--checkpoint={which}: expected best, last or one of {', '.join(map(str, available))} (in {directory})"
        )
    problem = find_damage(epath.Path(directory) / which)
    if problem is not None:
        raise InputError(f"checkpoint {which} in {directory} cannot be used: {problem}")
    return int(which)


def locate(path: epath.PathLike) -> tuple[epath.Path, int]:
    """Folder and step of the checkpoint that `path` means: a checkpoint's own folder, or a workdir's newest sound one.

    Raises InputError where there is none.
    """
    paths.connect(path, checkpoints=True)
    path = epath.Path(path)
    if _is_step(path.name) and not (path / "checkpoints").exists():
        return path.parent, choose_step(path.parent, path.name)
    directory = path / "checkpoints"
    return directory, choose_step(directory, "last")


def fingerprint(directory: epath.PathLike, step: int) -> str:
    """The SHA-256 of the list of a checkpoint's checksums, which no other checkpoint has."""
    return hashlib.sha256((epath.Path(directory) / str(step) / _CHECKSUMS).read_bytes()).hexdigest()


def load_description(directory: epath.PathLike, step: int) -> dict[str, Any]:
    """The description that was saved with a checkpoint."""
    return _metadata(epath.Path(directory) / str(step))["custom_metadata"]


@DeferInterrupts(wait=True)  # Orbax takes an interrupt for a checkpoint of another kind
def load_state(directory: epath.PathLike, step: int, like: TrainState) -> TrainState:
    """Restores a whole state. Where only one of checkpoint and `like` has a moving average, it begins anew or is left out.

    Args:
      like: a state of arrays or of `jax.ShapeDtypeStruct` with shardings; gives structure, shapes, dtypes and placement.

    Raises InputError if the checkpoint does not fit it.
    """
    if not (epath.Path(directory) / str(step) / "optimizer").exists():
        raise InputError(
            f"{directory}/{step} holds weights only, no run to go on with; start a new one in another --workdir with "
            f"--config.train.init_from={directory}/{step}"
        )
    averaged = _has_average(_absolute(directory) / str(step))
    stored = like.replace(ema=like.raw_variables if averaged else None)
    trees = _load(directory, step, _to_trees(stored))
    average = {"ema": trees["model"] if averaged else None}
    state = flax.serialization.from_state_dict(stored, {**trees["model"], **trees["optimizer"], **average})
    wanted = like.ema is not None
    return state if averaged == wanted else state.with_variables(state.raw_variables, averaged=wanted)


@DeferInterrupts(wait=True)
def load_variables(directory: epath.PathLike, step: int, like: dict[str, Any]) -> dict[str, Any]:
    """Restores {"params", "batch_stats"} only. `like` is as in `load_state`."""
    return _load(directory, step, {"model": like})["model"]


def _move(path: epath.Path, folder: epath.Path) -> None:
    """Into `folder`, with a number behind its name that is free there."""
    with paths.write_errors(folder):
        names = (folder / f"{path.name}-{number}" for number in itertools.count(1))
        paths.move_folder(path, next(name for name in names if not name.exists()))


def _delete(path: epath.Path) -> None:
    """Its seal first: what is left if this is interrupted shall be taken for nothing else."""
    (path / _CHECKSUMS).unlink(missing_ok=True)
    if paths.is_remote(path):
        paths.remove_folder(path)
    else:
        shutil.rmtree(path)


def _to_trees(state: TrainState) -> dict[str, Any]:
    """Plain nested dicts, so that a checkpoint can be read without our classes or optax's."""
    plain = flax.serialization.to_state_dict(state)
    model = plain.pop("ema")
    if model is None:
        model = {name: plain.pop(name) for name in ("params", "batch_stats")}
    return {"model": model, "optimizer": plain}


def _has_average(path: epath.Path) -> bool:
    return "params" in ocp.checkpointables_metadata(path).metadata["optimizer"]


def _load(directory: epath.PathLike, step: int, like: dict[str, Any]) -> dict[str, Any]:
    abstract = jax.tree.map(lambda x: jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=x.sharding), like)
    path = _absolute(directory) / str(step)
    _check_fit(path, abstract)
    try:
        return ocp.load_checkpointables(path, abstract)
    except (ValueError, KeyError, TypeError) as error:
        raise InputError(f"checkpoint {path} does not fit this model and optimizer: {_summary(error)}") from error


def _check_fit(path: epath.Path, wanted: dict[str, Any]) -> None:
    """Raises InputError that names an array which is missing, or of another shape; Orbax would fail at length."""
    stored = ocp.checkpointables_metadata(path).metadata
    for item, tree in wanted.items():
        here = flax.traverse_util.flatten_dict(stored.get(item, {}), sep="/")
        for name, array in flax.traverse_util.flatten_dict(tree, sep="/").items():
            found = list(here[name].shape) if name in here else "not there"
            if found != list(array.shape):
                raise InputError(
                    f"checkpoint {path} does not fit this model and optimizer: {item}/{name} should be {list(array.shape)}, "
                    f"it is {found}"
                )


def _is_step(name: str) -> bool:
    return name.isascii() and name.isdigit() and name == str(int(name))


def _summary(error: Exception) -> str:
    """What Orbax found, on one line; it goes on for pages."""
    text = " ".join(str(error).split())
    return text if len(text) <= 300 else f"{text[:300]} ..."


def _absolute(directory: epath.PathLike) -> epath.Path:
    """Orbax wants absolute paths; a bucket's is absolute already."""
    directory = epath.Path(directory)
    return directory if paths.is_remote(directory) else directory.absolute()


def _checksums(directory: epath.Path) -> dict[str, str]:
    if paths.is_remote(directory):
        names = [name for name in paths.files_below(directory) if name != _CHECKSUMS]
        return {name: hashlib.sha256(paths.read_bytes(directory / name)).hexdigest() for name in names}
    files = {}
    folders = [directory]
    while folders:
        for path in folders.pop().iterdir():
            if path.is_dir():
                folders.append(path)
            elif path.name not in (_CHECKSUMS, f"{_CHECKSUMS}.tmp"):
                files[str(path.relative_to(directory))] = hashlib.sha256(path.read_bytes()).hexdigest()
    return files


@contextlib.contextmanager
def _writing(path: epath.Path) -> Iterator[None]:
    """As `paths.write_errors`; TensorStore reports what a disk does as a ValueError."""
    try:
        with paths.write_errors(f"the checkpoint in {path}"):
            yield
    except ValueError as error:
        if isinstance(error, InputError):
            raise
        told = " ".join(str(error).split())
        raise InputError(f"the checkpoint in {path} could not be written: {told}") from error


def _metadata(directory: epath.Path) -> dict[str, Any]:
    return json.loads((directory / "_CHECKPOINT_METADATA").read_text())


def _score(directory: epath.Path) -> float | None:
    try:
        metrics = json.loads((directory / "metrics" / "metrics").read_text())
        score = float(metrics["mse"])
        return score if math.isfinite(score) else None
    except (OSError, ValueError, KeyError, TypeError) as error:
        if paths.is_bucket_error(error):
            raise
        return None
