"""The run that `evaluate` evaluates: its config, the checkpoints and their weights, the same in all processes."""

import dataclasses
import functools
from typing import Any

import jax
from etils import epath

from stlight_jax.config import RunConfig
from stlight_jax.console.messages import print_message
from stlight_jax.data.load import check_config, network_config
from stlight_jax.data.sequences import Sequences
from stlight_jax.errors import InputError
from stlight_jax.model.context import check_horizon
from stlight_jax.model.stlight import STLight, STLightConfig, init_variables
from stlight_jax.parallel import agreement, distributed
from stlight_jax.parallel.launchers import Launcher, make_launcher
from stlight_jax.runs import checkpoint
from stlight_jax.runs.workdir import Workdir
from stlight_jax.storage.copies import local_file


@dataclasses.dataclass(frozen=True)
class RunToEvaluate:
    """A run, its checkpoints to evaluate, and the devices.

    Attributes:
      workdir: its folder.
      checkpoints: "best", "last" or a number's text -> the step; pictures show the first one.
      fingerprints: "best", "last" or a number's text -> the SHA-256 of the checkpoint, which a training can replace meanwhile.
      description: of the first checkpoint.
      config: of the run, with the changes asked for.
      network: of the run.
      launcher: of the devices.
    """

    workdir: Workdir
    checkpoints: dict[str, int]
    fingerprints: dict[str, str]
    description: dict[str, Any]
    config: RunConfig
    network: STLightConfig
    launcher: Launcher


def load_run(
    workdir: Workdir, which: str, data_root: str | None, changes: dict[str, int | str | None], dtype: str | None
) -> RunToEvaluate:
    """Loads a run's config and finds its checkpoints, the same in all processes.

    Args:
      workdir: of the run.
      which: checkpoints, as for `evaluate_workdir`.
      data_root: as for `evaluate_workdir`.
      changes: key of the config's section `evaluation` -> value; None keeps the config's.
      dtype: as for `evaluate_workdir`.
    """
    distributed.check_layout()
    for flag, value in {"checkpoint": which, "data_root": data_root, "dtype": dtype, **changes}.items():
        agreement.assert_same_on_all_processes(f"--{flag}", value)
    # In the workdir of a run that still trains, each process might find other checkpoints.
    checkpoints = agreement.broadcast_from_first(agreement.call_in_first(functools.partial(_choose, workdir, which)))
    agreement.assert_shared_folder(workdir.path)
    try:
        description = checkpoint.load_description(workdir.checkpoints, next(iter(checkpoints.values())))
        fingerprints = {name: checkpoint.fingerprint(workdir.checkpoints / str(step)) for name, step in checkpoints.items()}
    except FileNotFoundError as error:
        raise InputError(
            f"{error.filename} was removed meanwhile: a training in {workdir.path} has replaced the checkpoint; evaluate again"
        ) from None
    sections = dict(description["config"])
    if data_root is not None:
        sections["data"] = {**sections["data"], "root": data_root}
    if dtype is not None:
        sections["model"] = {**sections["model"], "dtype": dtype}
    static = sections["data"].get("static")
    if static and not epath.Path(static).expanduser().exists() and workdir.static_field(static).exists():
        sections["data"] = {**sections["data"], "static": str(local_file(workdir.static_field(static)))}
    sections["evaluation"] = sections["evaluation"] | {key: value for key, value in changes.items() if value is not None}
    config = check_config(sections)
    network = network_config(config)
    covariates = description.get("scaling", {}).get("covariates", 0)
    check_horizon("evaluation.horizon", config.evaluation.horizon, network, covariates)
    launcher = make_launcher(config.parallel.launcher)
    return RunToEvaluate(workdir, checkpoints, fingerprints, description, config, network, launcher)


def _choose(workdir: Workdir, which: str) -> dict[str, int]:
    """Finds the steps of checkpoints; "both" gives the best one first, and the last one unless it is the best."""
    if which != "both":
        return {which: checkpoint.choose_step(workdir.checkpoints, which)}
    best, last = (checkpoint.choose_step(workdir.checkpoints, name) for name in ("best", "last"))
    return {"best": best} if best == last else {"best": best, "last": last}


def load_models(run: RunToEvaluate, source: Sequences, tile: int) -> dict[str, Any]:
    """Loads the checkpoints: name -> variables, on all devices."""
    listed = ", ".join(f"{name} (step {step})" for name, step in run.checkpoints.items())
    decay = run.config.train.ema_decay
    averaged = f", moving averages of decay {decay}," if decay else ""
    cut = f", in tiles of {tile} x {tile} pixels" if tile else ""
    print_message(f"evaluating {listed} of {run.workdir.path}{averaged} on {len(source):,} sequences{cut}")
    variables = jax.eval_shape(functools.partial(init_variables, STLight(run.network), 0, source.shape[1:]))
    return {
        name: run.launcher.from_checkpoint(
            checkpoint.load_variables(run.workdir.checkpoints, step, run.launcher.abstract(variables))
        )
        for name, step in run.checkpoints.items()
    }
