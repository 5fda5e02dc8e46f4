"""The state that a training run starts from, and how states are stored in checkpoints, as the trees `model` and `optimizer`."""

import dataclasses
from typing import Any

import flax.serialization
import jax
from etils import epath

from stlight_jax.config.run_config import course_differences
from stlight_jax.console.messages import print_message
from stlight_jax.data.scaling import Scaling
from stlight_jax.errors import InputError
from stlight_jax.parallel import agreement
from stlight_jax.runs import checkpoint
from stlight_jax.runs.workdir import Workdir
from stlight_jax.training.setup import TrainingSetup
from stlight_jax.training.state import TrainState


def starting_state(setup: TrainingSetup, workdir: Workdir, allow_changes: bool) -> TrainState:
    """Returns the state to train from, on all devices.

    The newest valid checkpoint of `workdir` comes first, then the weights that `train.init_from` names, then random weights.

    Args:
      setup: The run.
      workdir: Its folder. Damaged checkpoints are moved to `workdir.rejected`.
      allow_changes: Whether to resume although config or data have changed since the start of the run.

    Returns:
      The state; its `step` is the number of completed steps.

    Raises:
      InputError: All checkpoints are damaged, a checkpoint does not fit the network, or config or data have changed.
    """
    step = None
    if setup.launcher.is_first:
        step = checkpoint.latest_valid_step(workdir.checkpoints, move_damaged_to=workdir.rejected)
    step = agreement.broadcast_from_first(step)
    if step is not None:
        _check_changes(setup, checkpoint.load_description(workdir.checkpoints, step), workdir, allow_changes)
        print_message(f"resuming {workdir.path} at step {step} of {setup.total_steps}")
        abstract = setup.launcher.abstract(jax.eval_shape(setup.fresh_state))
        return setup.launcher.from_checkpoint(load_state(workdir.checkpoints, step, abstract))
    state = setup.fresh_state()
    if setup.config.train.init_from:
        directory, step = checkpoint.locate(setup.config.train.init_from)
        print_message(f"starting from the weights of {directory / str(step)}")
        saved = checkpoint.load_variables(directory, step, setup.launcher.abstract(state.variables))
        state = state.with_variables(setup.launcher.from_checkpoint(saved), setup.keeps_average)
    return setup.launcher.replicate(state)


def check_init_from(setup: TrainingSetup, workdir: Workdir) -> None:
    """Checks that `train.init_from` names a checkpoint, if this run will start from one.

    Raises:
      InputError: No checkpoint is stored there.
    """
    if setup.config.train.init_from and not checkpoint.steps(workdir.checkpoints):
        try:
            checkpoint.locate(setup.config.train.init_from)
        except InputError as error:
            raise InputError(f"train.init_from: {error}") from None


def to_trees(state: TrainState) -> dict[str, Any]:
    """Returns plain nested dictionaries, so that a checkpoint can be read without the classes of this package or of Optax.

    Args:
      state: A state of arrays or of `jax.ShapeDtypeStruct`.

    Returns:
      {"model", "optimizer"}. `model` holds the variables for prediction. If these are a moving average, `optimizer` holds the
      raw parameters and statistics.
    """
    plain = flax.serialization.to_state_dict(state)
    model = plain.pop("ema")
    if model is None:
        model = {name: plain.pop(name) for name in ("params", "batch_stats")}
    return {"model": model, "optimizer": plain}


def load_state(directory: epath.PathLike, step: int, like: TrainState) -> TrainState:
    """Restores a whole state. If only one of checkpoint and `like` has a moving average, it starts anew or is dropped.

    Args:
      directory: Folder of the checkpoints.
      step: The checkpoint's step.
      like: A state of arrays or of `jax.ShapeDtypeStruct` with shardings: structure, shapes, dtypes and placement.

    Returns:
      The state.

    Raises:
      InputError: The checkpoint holds weights only, or does not fit `like`.
    """
    optimizer = checkpoint.stored_shapes(directory, step).get("optimizer")
    if optimizer is None:
        raise InputError(
            f"{directory}/{step} holds weights only, without the optimizer that a run needs to resume; start a new run in "
            f"another --workdir with --config.train.init_from={directory}/{step}"
        )
    averaged = "params" in optimizer
    stored = dataclasses.replace(like, ema=like.raw_variables if averaged else None)
    trees = checkpoint.load_trees(directory, step, to_trees(stored))
    average = {"ema": trees["model"] if averaged else None}
    state = flax.serialization.from_state_dict(stored, {**trees["model"], **trees["optimizer"], **average})
    keeps_average = like.ema is not None
    return state if averaged == keeps_average else state.with_variables(state.raw_variables, averaged=keeps_average)


def _check_changes(setup: TrainingSetup, saved: dict[str, Any], workdir: Workdir, allow_changes: bool) -> None:
    """Compares config and data of a checkpoint with those of this run; prints or refuses differences."""
    differences = course_differences(saved["config"], setup.config)
    # The first checkpoints, of Moving MNIST only, have the checksum under another name.
    checksum = saved["data"].get("sha256", saved["data"].get("digits_sha256"))
    if checksum != setup.training.description["sha256"]:
        differences.append("data.root: the training data differ")
    if "scaling" in saved and Scaling.from_json(saved["scaling"]) != setup.training.scaling:
        differences.append("data.root: the value range or the type of the training data differs")
    if not differences:
        return
    listed = "; ".join(differences)
    if not allow_changes:
        raise InputError(
            f"{workdir.path} was started with a different config ({listed}). Change it back, choose another --workdir, or "
            "pass --allow_changes to continue anyway"
        )
    print_message(f"continuing with a changed config: {listed}")
