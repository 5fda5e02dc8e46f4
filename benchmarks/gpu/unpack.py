"""Adds the files of a visit to the results: `python -m benchmarks.gpu.unpack --visit=FOLDER`. Writes tables and charts.

`FOLDER` holds the files that `start.py` wrote to its `--out`. When the training has ended, the network is written as a
`.stlight` file, which all commands take.
"""

from __future__ import annotations

import pathlib
import shutil

import jax
from absl import flags

from benchmarks.gpu import flat_state
from benchmarks.gpu.records import Records
from benchmarks.gpu.report import as_text, draw_contest, draw_curve
from benchmarks.gpu.training_run import ITEM, STAGE
from stlight_jax.commands.run_command import run_script
from stlight_jax.console.messages import print_message
from stlight_jax.data.load import check_config, network_config, open_training
from stlight_jax.errors import InputError
from stlight_jax.inference import trained
from stlight_jax.model.stlight import STLight
from stlight_jax.training.state import TrainState, create_state, make_optimizer

_VISIT = flags.DEFINE_string("visit", None, "Folder with the files of a visit.", required=True)
_RESULTS = flags.DEFINE_string("results", "runs/gpu/results", "Folder of the results of all visits.")


def main() -> None:
    """Adds a visit and prints the tables."""
    visit, results = pathlib.Path(_VISIT.value), pathlib.Path(_RESULTS.value)
    unpack(visit, results)
    print((results / "table.txt").read_text())
    print_message(f"wrote table.txt and charts to {results}")


def unpack(visit: pathlib.Path, results: pathlib.Path) -> None:
    """Adds the files of a visit to the results of all visits, and writes tables, charts and the trained network.

    Args:
      visit: folder with the files of a visit.
      results: folder of all results.

    Raises:
      InputError: the visit has no results, or its state is damaged.
    """
    if not (visit / "results.json").exists():
        raise InputError(f"{visit} has no results.json; expected the folder that start.py wrote to; see --visit")
    results.mkdir(parents=True, exist_ok=True)
    records = Records(results / "results.json")
    for stage, items in Records(visit / "results.json").content.items():
        for item, record in items.items():
            if "error" not in record or not records.is_done(stage, item):
                records.write(stage, item, record)
    parts = flat_state.find(visit)
    old = flat_state.find(results)
    for path in parts:
        shutil.copyfile(path, results / path.name)
    for path in old:
        if flat_state.find(results) and path not in flat_state.find(results):
            path.unlink()
    (results / "table.txt").write_text(as_text(records.content))
    draw_contest(results / "contest.png", records.content)
    draw_curve(results / "curve.png", records.content)
    if records.is_done(STAGE, ITEM):
        write_network(flat_state.find(results), records, results / "network.stlight")


def write_network(parts: list[pathlib.Path], records: Records, path: pathlib.Path) -> None:
    """Writes a trained network with the description that a checkpoint has.

    Args:
      parts: files of the state.
      records: results, for the description of the test set's evaluation.
      path: the `.stlight` file.
    """
    settings = flat_state.read_header(parts)["settings"]
    config = check_config(settings["config"] | {"data": settings["config"]["data"] | {"root": ""}})
    model_config = network_config(config)
    model, training = STLight(model_config), open_training(config)[0]

    def fresh() -> TrainState:
        return create_state(model, make_optimizer(config.optimizer), 0, training.shape[1:])

    state = flat_state.load(parts, jax.eval_shape(fresh))
    description = {
        "config": config.to_dict(),
        "data": training.description | {"digits": records.content[STAGE].get("test", {}).get("data", {}).get("digits", "")},
        "total_steps": int(state.step),
        "step": int(state.step),
        "value_range": {"stored": [0, 255], "network": [0.0, 1.0]},
        "scaling": training.scaling.as_json(),
        "frame_size": list(training.shape[1:3]),
        "channels": ["intensity"],
        "averaged": False,
        "test": records.content[STAGE].get("test", {}),
    }
    trained.write(path, trained.TrainedModel(model_config, state.variables, description))


if __name__ == "__main__":
    run_script(main)
