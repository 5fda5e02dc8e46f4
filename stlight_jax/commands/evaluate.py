"""Evaluates a run on its test set: `stlight evaluate --workdir=runs/mmnist_l`.

Tables, pictures and the page `report.html` are written to the folder `eval` of the run.
"""

import functools
from collections.abc import Sequence

from absl import flags

from stlight_jax.commands.command import Command
from stlight_jax.commands.shared_flags import BEST, check_exists, check_folder, define_process_flags, join_processes
from stlight_jax.console.messages import print_message


def _define_flags(values: flags.FlagValues, arguments: Sequence[str]) -> None:
    text, integer = (functools.partial(define, flag_values=values) for define in (flags.DEFINE_string, flags.DEFINE_integer))
    text("workdir", None, "Folder of the run, as given to `stlight train`.", required=True)
    text("checkpoint", "both", f"Checkpoint: {BEST}, last, both, or the number of a step.")
    text("data_root", None, "Folder of the data, if they have moved since the training.")
    integer("horizon", None, "Number of frames to predict; evaluation.horizon of the config by default.", lower_bound=1)
    cycle = "Steps of a daily or weekly cycle that a baseline repeats, 0 for none; evaluation.cycle by default."
    integer("cycle", None, cycle, lower_bound=0)
    text("thresholds", None, "Thresholds of forecasters' scores, such as 0.1,1,5; evaluation.thresholds by default.")
    tile = "Side in pixels of the tiles of a frame, 0 for whole frames; data.crop of the run by default."
    integer("tile", None, tile, lower_bound=0)
    dtype = "Type of the activations; model.dtype by default, such as that of a training on other processors."
    flags.DEFINE_enum("dtype", None, ["float32", "bfloat16"], dtype, values)
    define_process_flags(values)


def _check(values: flags.FlagValues) -> None:
    check_exists(values.workdir, "workdir")
    check_exists(values.data_root, "data_root")
    check_folder(values.workdir, "workdir")
    if values.thresholds:
        from stlight_jax.metrics.threshold_scores import parse_thresholds

        parse_thresholds(values.thresholds, "--thresholds")


def _run(values: flags.FlagValues) -> None:
    join_processes(values)
    print_message("loading libraries ...")
    from stlight_jax.scoring.evaluate import evaluate_workdir

    changes = {name: values[name].value for name in ("data_root", "horizon", "cycle", "thresholds", "tile", "dtype")}
    evaluate_workdir(values.workdir, values.checkpoint, **changes)


COMMAND = Command(__doc__, _define_flags, _run, _check)
