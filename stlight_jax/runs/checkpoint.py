"""Checkpoints of a run: which exist, which one to use, and their content.

A checkpoint is a folder named by its step. It holds two Orbax trees, `model` (parameters and batch statistics) and
`optimizer`, a description (config, data, value range) in Orbax's own metadata, and a seal: the checksums of all
other files, written last. Orbax restores flipped bits without an error, so a checkpoint whose files do not match its seal, or
that has none, is never used.

`model` holds the variables for prediction. In a run that keeps a moving average of its weights, these are the average, and
`optimizer` holds the raw parameters and statistics. Checkpoints of weights alone have no `optimizer`.
"""

import hashlib
import itertools
import json
import math
from typing import Any

import flax.traverse_util
import jax
from absl import logging
from etils import epath
from orbax.checkpoint import v1 as ocp

from stlight_jax.console.messages import one_line
from stlight_jax.console.signals import DeferInterrupts
from stlight_jax.errors import InputError
from stlight_jax.storage import paths
from stlight_jax.storage.atomic import write_atomic
from stlight_jax.storage.locks import Lock

SCORE = "score"  # of the metrics that are saved with a checkpoint
_CHECKSUMS = "checksums.json"
_UNSEALED = "it is incomplete (it was never sealed)"


def steps(directory: epath.PathLike) -> list[int]:
    """Returns the steps of the checkpoints in `directory`, ascending, valid or not."""
    return sorted(int(name) for name in paths.folders_in(directory) if _is_step(name))


def latest_valid_step(directory: epath.PathLike, move_damaged_to: epath.PathLike | None = None) -> int | None:
    """Returns the step of the newest checkpoint without damage, None if no checkpoint was ever completed.

    Args:
      directory: Folder of the checkpoints. A warning is logged for each newer checkpoint that is damaged.
      move_damaged_to: Folder to which these are moved, so that training can write their steps anew.

    Raises:
      InputError: Checkpoints exist, none is valid, and one interrupted first save does not explain that. They all stay where
        they are, so that the next start does not begin a new run.
    """
    damages: dict[int, str] = {}
    valid = None
    for step in reversed(steps(directory)):
        damage = _logged_damage(directory, step)
        if damage is None:
            valid = step
            break
        damages[step] = damage
    if valid is None and damages and list(damages.values()) != [_UNSEALED]:
        raise InputError(
            f"{directory}: no valid checkpoint is left (damaged: {', '.join(map(str, damages))}); "
            "choose another --workdir to start anew"
        )
    if move_damaged_to is not None:
        for step in damages:
            _move(epath.Path(directory) / str(step), epath.Path(move_damaged_to))
    return valid


def choose_step(directory: epath.PathLike, which: str) -> int:
    """Returns the step of a valid checkpoint.

    Args:
      directory: Folder of the checkpoints.
      which: "best" (lowest score, see `scores`), "last" or a step number.

    Raises:
      InputError: No such checkpoint exists, or that of a step number is damaged.
    """
    available = steps(directory)
    if not available:
        raise InputError(f"{directory}: no checkpoint here; train first, or name the folder of a run")
    if which == "best":
        return _best_step(directory)
    if which == "last":
        step = latest_valid_step(directory)
        if step is None:
            raise InputError(f"{directory}: no complete checkpoint here")
        return step
    if not _is_step(which) or int(which) not in available:
        raise InputError(
            f"--checkpoint={which}: expected best, last or one of {', '.join(map(str, available))} (in {directory})"
        )
    damage = find_damage(epath.Path(directory) / which)
    if damage is not None:
        raise InputError(f"checkpoint {which} in {directory} cannot be used: {damage}")
    return int(which)


def locate(path: epath.PathLike, which: str = "last") -> tuple[epath.Path, int]:
    """Returns folder and step of the checkpoint that a user's path stands for.

    Args:
      path: The checkpoint's own folder, or a workdir.
      which: Checkpoint of a workdir, as for `choose_step`.

    Raises:
      InputError: No such checkpoint exists there, or it is damaged.
    """
    paths.connect(path, checkpoints=True)
    path = epath.Path(path)
    if _is_step(path.name) and not (path / "checkpoints").exists():
        return path.parent, choose_step(path.parent, path.name)
    directory = path / "checkpoints"
    return directory, choose_step(directory, which)


def load_description(directory: epath.PathLike, step: int) -> dict[str, Any]:
    """Returns the description that was saved with a checkpoint."""
    return json.loads((epath.Path(directory) / str(step) / "_CHECKPOINT_METADATA").read_text())["custom_metadata"]


@DeferInterrupts(wait=True)  # Orbax takes an interrupt for a sign of another kind of checkpoint
def stored_shapes(directory: epath.PathLike, step: int) -> dict[str, Any]:
    """Returns the trees of a checkpoint, {"model": ..., "optimizer": ...}, with shapes and dtypes in place of arrays."""
    return dict(ocp.checkpointables_metadata(absolute(directory) / str(step)).metadata)


@DeferInterrupts(wait=True)
def load_trees(directory: epath.PathLike, step: int, like: dict[str, Any]) -> dict[str, Any]:
    """Restores trees of a checkpoint.

    Args:
      directory: Folder of the checkpoints.
      step: Step of the checkpoint.
      like: {name: tree} of arrays or of `jax.ShapeDtypeStruct` with shardings: structure, shapes, dtypes and placement.

    Returns:
      {name: tree of arrays}.

    Raises:
      InputError: The checkpoint does not fit `like`.
    """
    abstract = jax.tree.map(lambda x: jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=x.sharding), like)
    path = absolute(directory) / str(step)
    _check_fit(path, stored_shapes(directory, step), abstract)
    try:
        return ocp.load_checkpointables(path, abstract)
    except (ValueError, KeyError, TypeError) as error:
        raise InputError(f"checkpoint {path} does not fit this model and optimizer: {one_line(error)}") from error


def load_variables(directory: epath.PathLike, step: int, like: dict[str, Any]) -> dict[str, Any]:
    """Restores the variables for prediction, {"params", "batch_stats"}; arguments and errors as `load_trees`."""
    return load_trees(directory, step, {"model": like})["model"]


def scores(directory: epath.PathLike) -> dict[int, float]:
    """Returns {step: score} of the checkpoints that were saved with a finite one, the best first.

    The score is the validation MSE, less `train.least_gain` for the shortcut alone.
    """
    found = {}
    for step in steps(directory):
        try:
            metrics = json.loads((epath.Path(directory) / str(step) / "metrics" / "metrics").read_text())
            score = float(metrics[SCORE] if SCORE in metrics else metrics["mse"])
        except (OSError, ValueError, KeyError, TypeError) as error:
            if paths.is_bucket_error(error):
                raise
            continue
        if math.isfinite(score):
            found[step] = score
    return dict(sorted(found.items(), key=lambda item: item[1]))


def absolute(directory: epath.PathLike) -> epath.Path:
    """Returns the absolute path that Orbax needs; a bucket's is absolute already."""
    directory = epath.Path(directory)
    return directory if directory.is_absolute() else directory.absolute()


def write_seal(folder: epath.Path, lock: Lock | None = None) -> None:
    """Seals a checkpoint: writes the SHA-256 of each of its files, as they can be read now.

    Args:
      folder: Folder of the checkpoint.
      lock: Lock of the run; checked after all files are read.

    Raises:
      LockLostError: The lock is lost.
    """
    checksums = _checksums(folder)
    if lock is not None:
        lock.check(refresh=True)
    write_atomic(folder / _CHECKSUMS, json.dumps(checksums, indent=1))


def remove_seal(folder: epath.Path) -> None:
    """Makes a checkpoint invalid, before its files are deleted."""
    (folder / _CHECKSUMS).unlink(missing_ok=True)


def find_damage(folder: epath.PathLike) -> str | None:
    """Returns a description of the damage to a checkpoint, None if every file is as it was written."""
    folder = epath.Path(folder)
    try:
        expected = dict(json.loads((folder / _CHECKSUMS).read_text()))
    except FileNotFoundError:
        return _UNSEALED
    except (ValueError, TypeError, OSError) as error:
        if paths.is_bucket_error(error):
            raise
        return f"its {_CHECKSUMS} is damaged"
    try:
        found = _checksums(folder)
    except FileNotFoundError:
        return "it was deleted meanwhile"
    except OSError as error:
        if paths.is_bucket_error(error):  # the files themselves may be valid
            raise
        return f"it cannot be read ({error})"
    for name in sorted(expected.keys() | found.keys()):
        if name not in found:
            return f"{name} is missing"
        if name not in expected:
            return f"{name} does not belong to it"
        if found[name] != expected[name]:
            return f"{name} is damaged (its checksum differs)"
    return None


def fingerprint(folder: epath.Path) -> str:
    """Returns the SHA-256 of a checkpoint's list of checksums, which identifies the checkpoint."""
    return hashlib.sha256((folder / _CHECKSUMS).read_bytes()).hexdigest()


def _best_step(directory: epath.PathLike) -> int:
    scored = scores(directory)
    for step in scored:
        if _logged_damage(directory, step) is None:
            return step
    if scored:
        raise InputError(f"{directory}: no valid checkpoint with a validation score; use --checkpoint=last")
    logging.warning("no checkpoint in %s has a validation score: the last one is used as the best", directory)
    return choose_step(directory, "last")


def _logged_damage(directory: epath.PathLike, step: int) -> str | None:
    damage = find_damage(epath.Path(directory) / str(step))
    if damage is not None:
        logging.warning("checkpoint %d is not used: %s", step, damage)
    return damage


def _move(path: epath.Path, folder: epath.Path) -> None:
    """Moves a checkpoint into `folder`, under its name with the first free number."""
    with paths.write_errors(folder):
        names = (folder / f"{path.name}-{number}" for number in itertools.count(1))
        paths.move_folder(path, next(name for name in names if not name.exists()))


def _check_fit(path: epath.Path, stored: dict[str, Any], wanted: dict[str, Any]) -> None:
    """Raises InputError that names an array which is missing, or has another shape; Orbax's error has pages."""
    for item, tree in wanted.items():
        arrays = flax.traverse_util.flatten_dict(stored.get(item, {}), sep="/")
        for name, array in flax.traverse_util.flatten_dict(tree, sep="/").items():
            found = list(arrays[name].shape) if name in arrays else "missing"
            if found != list(array.shape):
                raise InputError(
                    f"checkpoint {path} does not fit this model and optimizer: {item}/{name} should be {list(array.shape)}, "
                    f"it is {found}"
                )


def _is_step(name: str) -> bool:
    return name.isascii() and name.isdigit() and name == str(int(name))


def _checksums(folder: epath.Path) -> dict[str, str]:
    """Returns {name: SHA-256} of all files but the seal."""
    # A killed process of version 0.1 may have left the second name.
    names = [name for name in paths.files_below(folder) if name not in (_CHECKSUMS, f"{_CHECKSUMS}.tmp")]
    return {name: hashlib.sha256(paths.read_bytes(folder / name)).hexdigest() for name in names}
