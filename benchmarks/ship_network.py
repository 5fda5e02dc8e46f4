"""Makes `stlight_jax/inference/shipped/NAME.stlight` from a run, with its recipe and its measured errors.

    python train.py --config=configs/moving_mnist.py:plus --config.data.root=FOLDER --workdir=RUN
    python eval.py --workdir=RUN --dtype=float32
    python benchmarks/ship_network.py --name=moving_mnist --workdir=RUN
    python benchmarks/shipped_pictures.py --name=moving_mnist
    python benchmarks/gallery.py

FOLDER holds MNIST's idx files. The network `tiny` comes from the config of that name. The recipe lists all keys of the run that
differ from the config. A network may train in bfloat16; it ships in float32, which every processor has. Tables and pictures of
the evaluation are copied to `benchmarks/results/shipped/NAME`.
"""

from __future__ import annotations

import dataclasses
import itertools
import json
import pathlib
import shlex
import shutil
from typing import Any

from absl import flags

from stlight_jax import InputError
from stlight_jax.commands.config_source import load_config
from stlight_jax.commands.run_command import run_script
from stlight_jax.config.run_config import key_values
from stlight_jax.console.messages import print_message
from stlight_jax.data.load import check_config
from stlight_jax.inference import trained
from stlight_jax.inference.shipped_networks import FOLDER, SUFFIX
from stlight_jax.runs.metrics_log import read_lines
from stlight_jax.storage.atomic import write_json

SIZES = {"tiny": "tiny", "moving_mnist": "plus"}  # of configs/moving_mnist.py
MAX_BYTES = 12_000_000  # of a file: a repository keeps every version of it
_TRAIN = "python train.py --config=configs/moving_mnist.py:{} --config.data.root=FOLDER_WITH_MNIST"
_RECORDS = pathlib.Path(__file__).parent / "results" / "shipped"
_COPIED = ("table.txt", "prediction.png", "loss_curve.png")
_NAME = flags.DEFINE_enum("name", None, list(SIZES), "Name of the shipped network.", required=True)
_WORKDIR = flags.DEFINE_string("workdir", None, "Folder of an evaluated run.", required=True)


def recipe(name: str, config: dict[str, Any]) -> str:
    """Returns the command that trains a network again.

    Args:
      name: A key of `SIZES`.
      config: The config of the run; keys that it lacks take the values that it stands for.
    """
    run, named = (dict(_values(each)) for each in (config, load_config(f"moving_mnist:{SIZES[name]}")))
    changes = [shlex.quote(f"--config.{key}={value}") for key, value in run.items() if value != named[key]]
    return " ".join([_TRAIN.format(SIZES[name]), *changes])


def _values(config: Any) -> list[tuple[str, Any]]:
    """Lists the keys of a config with their values, without the folder of MNIST, which differs between machines."""
    return [(key.path, value) for key, value in key_values(check_config(config)) if key.path != "data.root"]


def shipped_model(name: str, workdir: pathlib.Path, results: dict[str, Any]) -> trained.TrainedModel:
    """Makes the network to ship of the best checkpoint of a run.

    Args:
      name: A key of `SIZES`.
      workdir: The run's folder.
      results: The results of the evaluation, see `evaluate_workdir`.

    Returns:
      The network, with the recipe, the seed and the measured errors in its description.

    Raises:
      InputError: The run was not evaluated at its best checkpoint in float32.
    """
    model = trained.load(workdir, "best")
    if results["checkpoint_step"] != model.description["step"]:
        raise InputError(f"{workdir} was evaluated at another step than its best one; run eval.py again")
    if results["dtype"] != "float32":
        raise InputError(f"{workdir} was evaluated in {results['dtype']}; run eval.py --dtype=float32")
    config: dict[str, Any] = model.description["config"]
    shipped = {"data": {**config["data"], "root": ""}, "model": {**config["model"], "dtype": "float32"}}
    description = {
        **model.description,
        "config": {**config, **shipped},
        "name": name,
        "recipe": recipe(name, config),
        "seed": config["train"]["seed"],
        "measured": {key: results[key] for key in ("test_set", "overall", "per_lead_time", "sharpness")},
    }
    return dataclasses.replace(model, description=description)


def record(workdir: pathlib.Path, results: dict[str, Any], folder: pathlib.Path) -> None:
    """Copies the results of a run, with the minutes of its training.

    Args:
      workdir: The run's folder.
      results: The results of the evaluation.
      folder: To copy to.
    """
    folder.mkdir(parents=True, exist_ok=True)
    for name in _COPIED:
        shutil.copy(workdir / "eval" / name, folder)
    shutil.copy(workdir / "environment.json", folder)
    write_json(folder / "metrics.json", {**results, "minutes": round(minutes(workdir))})


def minutes(workdir: pathlib.Path) -> float:
    """Sums the minutes of the processes of a training, which may have been stopped and resumed, without the pauses."""
    lines = list(read_lines(workdir))
    starts = [index for index, line in enumerate(lines) if line["kind"] == "started"]
    processes = itertools.pairwise([*starts, len(lines)])
    return sum(lines[stop - 1]["time"] - lines[start]["time"] for start, stop in processes) / 60


def main() -> None:
    """Writes the file and the record."""
    workdir, file = pathlib.Path(_WORKDIR.value), FOLDER / f"{_NAME.value}{SUFFIX}"
    results = json.loads((workdir / "eval" / "metrics.json").read_text())
    written = file.with_name(f"new_{file.name}")
    trained.write(written, shipped_model(_NAME.value, workdir, results))
    size = written.stat().st_size
    if size > MAX_BYTES:
        written.unlink()
        raise InputError(f"{file} would have {size:,} bytes; expected at most {MAX_BYTES:,}; train a smaller network")
    written.replace(file)
    print_message(f"wrote {file}, {size:,} bytes")
    record(workdir, results, _RECORDS / _NAME.value)
    print_message(f"wrote {_RECORDS / _NAME.value}")


if __name__ == "__main__":
    run_script(main)
