"""Writes a trained network to one file that predicts: `stlight export --workdir=RUN --out=model.stlight`.

The file contains the weights, the description of the training data, and a program for CPUs, NVIDIA GPUs and TPUs that takes any
batch, and frames of any size that the patch size divides. `Forecaster.load("model.stlight")` runs it.
"""

import functools
from collections.abc import Sequence

from absl import flags

from stlight_jax.commands.command import Command
from stlight_jax.commands.network_flags import chosen_network, define_network_flags
from stlight_jax.inference.shipped_networks import SUFFIX


def _define_flags(values: flags.FlagValues, arguments: Sequence[str]) -> None:
    text = functools.partial(flags.DEFINE_string, flag_values=values)
    define_network_flags(values)
    text("checkpoint", "best", "Checkpoint of a run: best (lowest validation MSE), last, or a step.")
    text("out", None, f"File to write; its name ends in {SUFFIX}.", required=True)
    flags.DEFINE_enum("dtype", None, ["float32", "bfloat16"], "Type of the activations; model.dtype by default.", values)
    flags.DEFINE_bool("overwrite", False, "Replace the file if it exists.", values)


def _check(values: flags.FlagValues) -> None:
    chosen_network(values)


def _run(values: flags.FlagValues) -> None:
    from stlight_jax.inference.export import export_file

    export_file(
        chosen_network(values), values.out, checkpoint=values.checkpoint, dtype=values.dtype, overwrite=values.overwrite
    )


COMMAND = Command(__doc__, _define_flags, _run, _check)
