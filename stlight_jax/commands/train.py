"""Trains a network, or resumes a run: `stlight train --config=moving_mnist:L --workdir=runs/mmnist_l`.

Every key of the config is a flag, such as --config.train.batch_size=32. The same command on the same workdir resumes the run.
"""

import math
import pathlib
import shlex
import time
from collections.abc import Sequence

from absl import flags

from stlight_jax.commands.command import Command
from stlight_jax.commands.shared_flags import (
    check_exists,
    check_folder,
    define_config_flag,
    define_process_flags,
    join_processes,
)
from stlight_jax.console.messages import print_message
from stlight_jax.errors import InputError

_STARTED = time.monotonic()  # about a fifth of a second after the process
_FEWEST_MINUTES = 0.25  # in which libraries load, data are read and programs are compiled


def _define_flags(values: flags.FlagValues, arguments: Sequence[str]) -> None:
    define_config_flag(values, arguments, required=True)
    flags.DEFINE_string("workdir", None, "Folder of the run, for all that it writes; local or gs://.", values, required=True)
    flags.DEFINE_bool("allow_changes", False, "Resume the run even if keys of the config have changed.", values)
    minutes = (
        "Wall time of the whole command: sets train.steps of a new run by measuring steps, to at most 300 passes over the "
        "training data; 0 keeps its length."
    )
    flags.DEFINE_float("minutes", 0, minutes, lower_bound=0, flag_values=values)
    define_process_flags(values)


def _check(values: flags.FlagValues) -> None:
    if values.minutes and not _FEWEST_MINUTES <= values.minutes < math.inf:
        raise InputError(
            f"--minutes is {values.minutes:g}; expected at least {_FEWEST_MINUTES}, the time of a start; give 5 or more, or 0 "
            "for the length of the config"
        )
    data = values.config.get("data", {})
    check_exists(data.get("root"), "config.data.root")
    check_exists(data.get("static"), "config.data.static")
    check_folder(values.workdir, "workdir")
    if not pathlib.Path(values.workdir, "checkpoints").is_dir():  # else the run resumes
        check_exists(values.config.get("train", {}).get("init_from"), "config.train.init_from")


def _run(values: flags.FlagValues) -> None:
    from stlight_jax.training.kept_memory import keep_freed_memory

    keep_freed_memory()
    join_processes(values, preemptible=True)
    print_message("loading libraries ...")
    import jax

    from stlight_jax.training.loop import train

    deadline = _STARTED + 60 * values.minutes if values.minutes else None
    train(values.config, values.workdir, values.allow_changes, deadline)
    if jax.process_index() == 0:
        workdir = shlex.quote(values.workdir)
        print_message(f"next: stlight evaluate --workdir={workdir}, or stlight predict FILE --workdir={workdir}")


COMMAND = Command(__doc__, _define_flags, _run, _check)
