"""The state that a run starts from: its newest checkpoint, the weights of another run, or random weights."""

import contextlib
import functools
import json
from typing import Any

import jax
import jax.numpy as jnp

from stlight_jax.config.run_config import course_differences
from stlight_jax.console.messages import print_message
from stlight_jax.data.scaling import Scaling
from stlight_jax.errors import InputError
from stlight_jax.model.stlight_config import FITTED_SHORTCUTS
from stlight_jax.parallel import agreement
from stlight_jax.runs import checkpoint
from stlight_jax.runs.workdir import Workdir
from stlight_jax.training.saved_state import load_state
from stlight_jax.training.setup import TrainingSetup
from stlight_jax.training.state import TrainState

_SIZES = ("in_frames", "out_frames", "in_channels", "out_channels", "hidden_dim", "depth", "patch_size", "overlap")
_KEYS_OF_THE_SHAPE = {f"model.{key}" for key in (*_SIZES, "near_kernel", "far_kernel")}


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
    latest = functools.partial(checkpoint.latest_valid_step, workdir.checkpoints, move_damaged_to=workdir.rejected)
    step = agreement.broadcast_from_first(agreement.call_in_first(latest))
    if step is not None:
        _check_changes(setup, checkpoint.load_description(workdir.checkpoints, step), workdir, allow_changes, step)
        print_message(f"resuming {workdir.path} at step {step} of {setup.total_steps}")
        abstract = setup.launcher.abstract(jax.eval_shape(setup.fresh_state))
        return setup.launcher.from_checkpoint(load_state(workdir.checkpoints, step, abstract))
    state = setup.fresh_state()
    if setup.config.train.init_from:
        directory, step = checkpoint.locate(setup.config.train.init_from)
        print_message(f"starting from the weights of {directory / str(step)}")
        saved = checkpoint.load_variables(directory, step, setup.launcher.abstract(state.variables))
        state = state.with_variables(setup.launcher.from_checkpoint(saved), setup.keeps_average)
    elif setup.config.model.shortcut in FITTED_SHORTCUTS:
        params = {**state.params, "shortcut": {"linear": jax.tree.map(jnp.asarray, setup.linear_fit)}}
        state = state.with_variables({**state.raw_variables, "params": params}, setup.keeps_average)
    return setup.launcher.replicate(state)


def started_with(workdir: Workdir) -> dict[str, Any] | None:
    """Reads the config that a run was started with, in the first process.

    Returns:
      The content of the run's `config.json`; None if the run has no checkpoint yet, or the file is lost or damaged.

    Raises:
      InputError: On all processes, if the folder belongs to another program.
    """

    def read() -> dict[str, Any] | None:
        workdir.check_contents()
        if checkpoint.steps(workdir.checkpoints):
            with contextlib.suppress(FileNotFoundError, ValueError):
                return json.loads(workdir.config.read_text())
        return None

    return agreement.broadcast_from_first(agreement.call_in_first(read))


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


def _check_changes(setup: TrainingSetup, saved: dict[str, Any], workdir: Workdir, allow_changes: bool, step: int) -> None:
    """Compares config and data of a checkpoint with those of this run; prints or refuses differences."""
    ignored = () if step else ("train.steps",)  # a run that has not begun may have another length
    differences = course_differences(saved["config"], setup.config, ignored)
    # The first checkpoints, of Moving MNIST only, have the checksum under another name.
    checksum = saved["data"].get("sha256", saved["data"].get("digits_sha256"))
    if checksum != setup.training.description["sha256"]:
        differences.append("data.root: the training data differ")
    if "scaling" in saved and Scaling.from_json(saved["scaling"]) != setup.training.scaling:
        differences.append("data.root: the value range or the type of the training data differs")
    if not differences:
        return
    listed = "; ".join(differences)
    is_fitted = setup.config.model.shortcut in FITTED_SHORTCUTS
    of_shape = _KEYS_OF_THE_SHAPE | ({"model.shortcut_scales"} if is_fitted else set())
    # Of the inputs, only that with the flow has further channels.
    if any(difference.split(":")[0] in of_shape or "frames_and_flow" in difference for difference in differences):
        raise InputError(
            f"{workdir.path} was started with a network of another shape ({listed}), whose weights do not fit. Change it back, "
            "or choose another --workdir"
        )
    if not allow_changes:
        raise InputError(
            f"{workdir.path} was started with a different config ({listed}). Change it back, choose another --workdir, or "
            "pass --allow_changes to continue anyway"
        )
    print_message(f"continuing with a changed config: {listed}")
