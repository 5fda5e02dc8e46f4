"""Makes `stlight_jax/inference/shipped/NAME.stlight` from a run, with its recipe and its measured errors.

    python train.py --config=configs/moving_mnist.py:tiny --config.data.root=FOLDER --config.train.epochs=60 --workdir=RUN
    python eval.py --workdir=RUN
    python benchmarks/ship_network.py --name=tiny --workdir=RUN

FOLDER holds MNIST's idx files. The network `moving_mnist` comes from `configs/moving_mnist.py:plus` with
`--config.model.dtype=bfloat16`. Shipped networks compute in float32, on which every processor is fast.
"""

from __future__ import annotations

import dataclasses
import json
import pathlib
from typing import Any

from absl import flags

from stlight_jax import InputError
from stlight_jax.commands.run_command import run_script
from stlight_jax.console.messages import print_message
from stlight_jax.inference import trained

_TRAIN = "python train.py --config=configs/moving_mnist.py:{} --config.data.root=FOLDER_WITH_MNIST"
RECIPES = {
    "tiny": _TRAIN.format("tiny") + " --config.train.epochs={train[epochs]}",
    "moving_mnist": _TRAIN.format("plus") + " --config.train.steps={train[steps]} --config.model.dtype={model[dtype]}",
}
_NAME = flags.DEFINE_enum("name", None, list(RECIPES), "Name of the shipped network.", required=True)
_WORKDIR = flags.DEFINE_string("workdir", None, "Folder of an evaluated run.", required=True)
_FOLDER = pathlib.Path(__file__).parent.parent / "stlight_jax" / "inference" / "shipped"


def shipped_model(name: str, workdir: str) -> trained.TrainedModel:
    """Makes the network to ship of the best checkpoint of a run.

    Args:
      name: A key of `RECIPES`.
      workdir: The run's folder.

    Returns:
      The network, with the recipe, the seed and the measured errors in its description.

    Raises:
      InputError: The run was not evaluated at its best checkpoint.
    """
    model = trained.load(workdir, "best")
    results = json.loads((pathlib.Path(workdir) / "eval" / "metrics.json").read_text())
    if results["checkpoint_step"] != model.description["step"]:
        raise InputError(f"{workdir} was evaluated at another step than its best one; run eval.py again")
    config: dict[str, Any] = model.description["config"]
    description = {
        **model.description,
        "config": {
            **config,
            "data": {**config["data"], "root": ""},  # the folder of MNIST differs between machines
            "model": {**config["model"], "dtype": "float32"},
        },
        "name": name,
        "recipe": RECIPES[name].format(**config),
        "seed": config["train"]["seed"],
        "measured": {key: results[key] for key in ("test_set", "overall", "per_lead_time")},
    }
    return dataclasses.replace(model, config=dataclasses.replace(model.config, dtype="float32"), description=description)


def main() -> None:
    """Writes the file."""
    file = _FOLDER / f"{_NAME.value}.stlight"
    trained.write(file, shipped_model(_NAME.value, _WORKDIR.value))
    print_message(f"wrote {file}, {file.stat().st_size:,} bytes")


if __name__ == "__main__":
    run_script(main)
