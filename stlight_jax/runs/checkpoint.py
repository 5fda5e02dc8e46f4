"""Checkpoints of a run: which exist, which one to use, and their content.

A checkpoint is a folder named by its step. It holds two Orbax trees, `model` (parameters and batch statistics) and
`optimizer`, a description (config, data, value range) in Orbax's own metadata, and a seal, see `stlight_jax.runs.seals`.
`model` holds the variables for prediction. In a run that keeps a moving average of its weights, these are the average, and
`optimizer` holds the raw parameters and statistics. Checkpoints of weights alone have no `optimizer`.
"""

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
from stlight_jax.runs.seals import UNSEALED, find_damage
from stlight_jax.storage import paths


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
    if valid is None and damages and list(damages.values()) != [UNSEALED]:
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
      which: "best" (lowest validation MSE), "last" or a step number.

    Raises:
      InputError: No such checkpoint exists, or that of a step number is damaged.
    """
    available = steps(directory)
    if not available:
        raise InputError(f"{directory}: no checkpoint here; train first, or check --workdir")
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
    """Returns {step: validation MSE} of the checkpoints that were saved with a finite one, the best first."""
    found = {}
    for step in steps(directory):
        try:
            mse = float(json.loads((epath.Path(directory) / str(step) / "metrics" / "metrics").read_text())["mse"])
        except (OSError, ValueError, KeyError, TypeError) as error:
            if paths.is_bucket_error(error):
                raise
            continue
        if math.isfinite(mse):
            found[step] = mse
    return dict(sorted(found.items(), key=lambda item: item[1]))


def absolute(directory: epath.PathLike) -> epath.Path:
    """Returns the absolute path that Orbax needs; a bucket's is absolute already."""
    directory = epath.Path(directory)
    return directory if directory.is_absolute() else directory.absolute()


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
