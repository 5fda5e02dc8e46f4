"""Makes `stlight_jax/inference/shipped/tiny.stlight` from a run, with its recipe and its measured errors.

The run: python train.py --config=configs/moving_mnist.py:tiny --config.data.root=FOLDER --config.train.epochs=60 --workdir=RUN,
where FOLDER holds MNIST's idx files; then python eval.py --workdir=RUN, and python benchmarks/shipped_tiny.py --workdir=RUN.
"""

from __future__ import annotations

import dataclasses
import json
import pathlib

from absl import flags

from stlight_jax import InputError
from stlight_jax.commands.run_command import run_script
from stlight_jax.console.messages import print_message
from stlight_jax.inference import trained

_WORKDIR = flags.DEFINE_string("workdir", None, "Folder of an evaluated run.")
_FILE = pathlib.Path(__file__).parent.parent / "stlight_jax" / "inference" / "shipped" / "tiny.stlight"
_RECIPE = "python train.py --config=configs/moving_mnist.py:tiny --config.data.root=FOLDER_WITH_MNIST --config.train.epochs={}"


def main() -> None:
    """Writes the file."""
    model = trained.load(_WORKDIR.value, "best")
    results = json.loads((pathlib.Path(_WORKDIR.value) / "eval" / "metrics.json").read_text())
    if results["checkpoint_step"] != model.description["step"]:
        raise InputError(f"{_WORKDIR.value} was evaluated at another step than its best one; run eval.py again")
    config = model.description["config"]
    recipe = _RECIPE.format(config["train"]["epochs"])
    config = {**config, "data": {**config["data"], "root": ""}}  # the folder of MNIST differs between machines
    description = {
        **model.description,
        "config": config,
        "name": "tiny",
        "recipe": recipe,
        "seed": config["train"]["seed"],
        "measured": {key: results[key] for key in ("test_set", "overall", "per_lead_time")},
    }
    trained.write(_FILE, dataclasses.replace(model, description=description))
    print_message(f"wrote {_FILE}, {_FILE.stat().st_size:,} bytes")


if __name__ == "__main__":
    flags.mark_flag_as_required("workdir")
    run_script(main)
