"""Writes a trained network to one file that predicts: `stlight export --workdir=RUN --out=model.stlight`.

The file contains the weights, the description of the training data, and a program for CPUs, NVIDIA GPUs and TPUs that takes any
batch, and frames of any size that the patch size divides. `Forecaster.load("model.stlight")` runs it. With `--format=onnx
--out=model.onnx`, it is a graph of ONNX operators (extra `[onnx]`), which ONNX Runtime and others run without JAX.
"""

import functools
from collections.abc import Sequence

from absl import flags

from stlight_jax.commands.command import Command
from stlight_jax.commands.network_flags import chosen_network, define_network_flags
from stlight_jax.commands.shared_flags import BEST
from stlight_jax.errors import InputError
from stlight_jax.inference.shipped_networks import ONNX_SUFFIX, SUFFIX


def _define_flags(values: flags.FlagValues, arguments: Sequence[str]) -> None:
    text = functools.partial(flags.DEFINE_string, flag_values=values)
    define_network_flags(values)
    text("checkpoint", "best", f"Checkpoint of a run: {BEST}, last, or a step.")
    text("out", None, f"File to write; its name ends in {SUFFIX}, or in {ONNX_SUFFIX} with --format=onnx.", required=True)
    flags.DEFINE_enum("format", "stlight", ["stlight", "onnx"], "Format of the file.", values)
    flags.DEFINE_enum("dtype", None, ["float32", "bfloat16"], "Type of the activations; model.dtype by default.", values)
    help_text = "Type of the frames that an ONNX file takes, in the data's units."
    flags.DEFINE_enum("input_dtype", "float32", ["float32", "uint8"], help_text, values)
    flags.DEFINE_bool("overwrite", False, "Replace the file if it exists.", values)


def _check(values: flags.FlagValues) -> None:
    chosen_network(values)
    if values.format == "onnx" and values.dtype == "bfloat16":
        raise InputError("--dtype is bfloat16; --format=onnx computes in float32: leave --dtype out")
    if values.format != "onnx" and values.input_dtype != "float32":
        raise InputError(f"--input_dtype is {values.input_dtype}, which an ONNX file only takes; add --format=onnx")


def _run(values: flags.FlagValues) -> None:
    from stlight_jax.inference.export import export_file

    export_file(
        chosen_network(values),
        values.out,
        file_format=values.format,
        checkpoint=values.checkpoint,
        dtype=values.dtype,
        input_dtype=values.input_dtype,
        overwrite=values.overwrite,
    )


COMMAND = Command(__doc__, _define_flags, _run, _check)
