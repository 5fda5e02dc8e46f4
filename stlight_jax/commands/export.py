"""Writes a trained network to one file that predicts: `stlight export --workdir=RUN --out=model.stlight`.

The file contains the weights, the description of the training data, and a program for CPUs, NVIDIA GPUs and TPUs that takes any
batch, and frames of any size that the patch size divides. `Forecaster.load("model.stlight")` runs it.
"""

from __future__ import annotations

from collections.abc import Sequence

from absl import flags

from stlight_jax.commands.command import Command
from stlight_jax.commands.path_flags import check_network
from stlight_jax.console.messages import print_message
from stlight_jax.errors import InputError
from stlight_jax.inference.shipped_networks import SUFFIX


def _define_flags(values: flags.FlagValues, arguments: Sequence[str]) -> None:
    flags.DEFINE_string(
        "workdir",
        None,
        "Folder of a run or of a checkpoint, or the name of a shipped network such as tiny.",
        values,
        required=True,
    )
    flags.DEFINE_string("checkpoint", "best", "Checkpoint of a run: best (lowest validation MSE), last, or a step.", values)
    flags.DEFINE_string("out", None, f"File to write; its name ends in {SUFFIX}.", values, required=True)
    flags.DEFINE_enum(
        "dtype", None, ["float32", "bfloat16"], "Type of the activations; model.dtype of the config by default.", values
    )
    flags.DEFINE_bool("overwrite", False, "Replace the file if it exists.", values)


def _check(values: flags.FlagValues) -> None:
    check_network(values.workdir, "workdir")
    if not values.out.endswith(SUFFIX):
        raise InputError(f"--out={values.out}: expected the name of a file that ends in {SUFFIX}")


def _run(values: flags.FlagValues) -> None:
    import dataclasses

    from etils import epath

    from stlight_jax.inference import trained
    from stlight_jax.inference.export import compare_with_live, export_model
    from stlight_jax.storage import paths
    from stlight_jax.storage.paths import create_folder

    paths.connect(values.out)
    out = epath.Path(values.out).expanduser()
    if out.is_dir():
        raise InputError(f"--out={values.out} is a folder; expected the name of a file that ends in {SUFFIX}")
    if out.exists() and not values.overwrite:
        raise InputError(f"--out={values.out} exists; name another file, or give --overwrite")
    model = trained.load(values.workdir, values.checkpoint)
    if values.dtype:
        model = dataclasses.replace(model, config=dataclasses.replace(model.config, dtype=values.dtype))
    create_folder(out.parent)
    print_message(f"exporting {model.source} ...")
    file = export_model(model)
    trained.write(out, file)
    print(compare_with_live(model, out))
    program = file.program
    assert program is not None  # `export_model` makes it
    print(
        f"{out} was made by JAX {program.jax} for {', '.join(program.platforms)}. JAX promises to read it until "
        f"{program.expires}; after that, export it again. Its weights do not expire."
    )


COMMAND = Command(__doc__, _define_flags, _run, _check)
