"""`python -m stlight_jax export --workdir=RUN --out=model.stlight`: one file that predicts, anywhere JAX runs.

It holds the weights, what is known of the data they were trained on, and a program for CPUs, NVIDIA GPUs and TPUs that takes
any batch, and any frames that the patch divides. `Forecaster.load("model.stlight")` runs it without this package's network.
"""

from __future__ import annotations

import dataclasses

from absl import flags
from etils import epath

from stlight_jax.console.messages import print_message
from stlight_jax.errors import InputError
from stlight_jax.inference import trained
from stlight_jax.inference.export import _comparison, exported
from stlight_jax.storage import paths
from stlight_jax.storage.paths import create_folder


def define_flags() -> None:
    flags.DEFINE_string("workdir", None, "Folder of a run, or of a checkpoint; or the name of a shipped network.")
    flags.DEFINE_string("checkpoint", "best", "Of a run: best (lowest validation MSE), last, or a step.")
    flags.DEFINE_string("out", None, f"The file to write; its name ends in {trained.SUFFIX}.")
    flags.DEFINE_enum("dtype", None, ["float32", "bfloat16"], "Of activations, if not the config's model.dtype.")
    flags.DEFINE_bool("overwrite", False, "Replace the file if it is there.")
    flags.mark_flags_as_required(["workdir", "out"])


def main() -> None:
    given = flags.FLAGS
    paths.connect(given.out)
    out = epath.Path(given.out).expanduser()
    if out.suffix != trained.SUFFIX or out.is_dir():
        raise InputError(f"--out={given.out}: expected the name of a file that ends in {trained.SUFFIX}")
    if out.exists() and not given.overwrite:
        raise InputError(f"--out={given.out} exists; name another file, or give --overwrite")
    model = trained.load(given.workdir, given.checkpoint)
    if given.dtype:
        model = dataclasses.replace(model, config=dataclasses.replace(model.config, dtype=given.dtype))
    create_folder(out.parent)
    print_message(f"exporting {model.source} ...")
    file = exported(model)
    trained.write(out, file)
    print(_comparison(model, out))
    print(
        f"{out} was made by JAX {file.exported['jax']} for {', '.join(file.exported['platforms'])}. JAX promises to read it "
        f"until {file.exported['expires']}; after that, export it anew. Its weights do not expire."
    )
