"""The pipeline of `export`: a trained network in; one file that predicts, and its comparison with the live network, out."""

from __future__ import annotations

import dataclasses
from typing import Literal

from etils import epath

from stlight_jax.console.messages import print_message
from stlight_jax.errors import InputError
from stlight_jax.inference import trained
from stlight_jax.inference.export import compare_with_live, export_model
from stlight_jax.inference.shipped_networks import SUFFIX
from stlight_jax.storage import paths
from stlight_jax.storage.paths import create_folder


def export_file(
    network: epath.PathLike,
    out: epath.PathLike,
    *,
    checkpoint: str = "best",
    dtype: Literal["float32", "bfloat16"] | None = None,
    overwrite: bool = False,
) -> None:
    """Writes a trained network with a program for several platforms, and prints a table.

    Args:
      network: folder of a run or of a checkpoint, or the name of a shipped network.
      out: the file to write; its name ends in .stlight.
      checkpoint: of a run: "best" (lowest validation MSE), "last" or a step.
      dtype: type of the activations; None for the config's.
      overwrite: whether to replace the file if it exists.

    Raises:
      InputError: the network cannot be loaded, or the file cannot be written.
    """
    paths.connect(out)
    file = epath.Path(out).expanduser()
    if file.suffix != SUFFIX or file.is_dir():
        raise InputError(f"--out={out}: expected the name of a file that ends in {SUFFIX}")
    if file.exists() and not overwrite:
        raise InputError(f"--out={out} exists; name another file, or give --overwrite")
    model = trained.load(network, checkpoint)
    if dtype:
        model = dataclasses.replace(model, config=dataclasses.replace(model.config, dtype=dtype))
    create_folder(file.parent)
    print_message(f"exporting {model.source} ...")
    exported = export_model(model)
    trained.write(file, exported)
    print(compare_with_live(model, file))
    program = exported.program
    assert program is not None  # `export_model` makes it
    print(
        f"{file} was made by JAX {program.jax} for {', '.join(program.platforms)}. JAX promises to read it until "
        f"{program.expires}; after that, export it again. Its weights do not expire."
    )
