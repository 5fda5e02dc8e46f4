"""Trains small networks on small real data sets for a few minutes each, and compares them with the best of all baselines.

    python benchmarks/real_data.py --data=FOLDER [--minutes=5] [--seeds=1,2,3] [--only=taxinyc,kth]
        [--out=benchmarks/results/real_data]

FOLDER holds taxinyc/, kth_openstl_clips/, kitti_odometry_clips/, radar_knmi/, radar_fmi/ and climate_a1b/. Each run is
`train.py --minutes` and `eval.py` with `configs/frames.py:tiny`, as a user starts them: only the data and the sizes of the
frames are set, all else is left to its default, except for the shortcut where the title names one. The minutes are the wall
time of the whole training command; give the runs a machine of their own. A run whose record exists is not repeated.
"""

from __future__ import annotations

import json
import pathlib
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping
from typing import Any

from absl import flags
from real_data_sets import RUNS

from stlight_jax.commands.run_command import run_script
from stlight_jax.console.text_table import text_table
from stlight_jax.errors import InputError

_ROOT = pathlib.Path(__file__).parent.parent

_KEPT = ("table.txt", "prediction.png", "loss_curve.png")
_ANIMATED = "knmi"  # animations are large, so one is enough

_DATA = flags.DEFINE_string("data", None, "Folder with the data sets.", required=True)
_MINUTES = flags.DEFINE_float("minutes", 5, "Wall time of each training command.", lower_bound=0.1)
_SEEDS = flags.DEFINE_list("seeds", ["1", "2", "3"], "Seeds of the trainings.")
_ONLY = flags.DEFINE_list("only", list(RUNS), "Names of the runs.")
_OUT = flags.DEFINE_string("out", str(_ROOT / "benchmarks" / "results" / "real_data"), "Folder for the results.")


def run(name: str, data: pathlib.Path, workdir: pathlib.Path, minutes: float = 5, seed: int = 1) -> dict[str, Any]:
    """Trains and evaluates.

    Args:
      name: a key of `RUNS`.
      data: the folder with the data sets.
      workdir: the folder of the run.
      minutes: wall time of the training command.
      seed: seed of the training.

    Returns:
      The content of `metrics.json`, with the "seconds" of training, the "seed", and the "shortcut" and "steps" of the run.
    """
    chosen = RUNS[name]
    root = chosen.root(data, workdir.with_name(f"{workdir.name}_data"))
    keys = {**chosen.keys, "data.root": root, "train.seed": seed}
    settings = [f"--config.{key}={value}" for key, value in keys.items()]
    begun = time.monotonic()
    train = ["train.py", "--config=configs/frames.py:tiny", *settings, f"--workdir={workdir}", f"--minutes={minutes}"]
    subprocess.run([sys.executable, *train], cwd=_ROOT, check=True)
    seconds = time.monotonic() - begun
    evaluate = ["eval.py", f"--workdir={workdir}", "--checkpoint=best", *chosen.evaluation]
    subprocess.run([sys.executable, *evaluate], cwd=_ROOT, check=True)
    config = json.loads((workdir / "config.json").read_text())
    facts = {"seconds": seconds, "minutes": minutes, "seed": seed}
    facts |= {"shortcut": config["model"]["shortcut"], "steps": config["train"]["steps"]}
    return {**json.loads((workdir / "eval" / "metrics.json").read_text()), **facts}


def summary(results: Mapping[str, list[dict[str, Any]]]) -> str:
    """Formats a row per run: the network's errors over the seeds, and those of the best baseline of each kind.

    Args:
      results: name of a run -> the results of its seeds, as from `run`.
    """
    headings = (
        "", "shortcut", "MSE", "at lead 1", "MAE", "best baseline", "its MSE", "at lead 1", "lowest MAE of a baseline", "steps",
    )  # fmt: skip
    rows = []
    for name, of_seeds in results.items():
        first = of_seeds[0]
        baselines = {key: first["overall"][key] for key in first["baselines"] if first["overall"][key].get("mse") is not None}
        best = min(baselines, key=lambda key: baselines[key]["mse"])
        mae = {key: value["mae"] for key, value in baselines.items() if value.get("mae") is not None}
        lowest = min(mae, key=mae.__getitem__)
        rows.append(
            [
                RUNS[name].title,
                ", ".join(sorted({each["shortcut"] for each in of_seeds})),
                _spread([each["overall"]["stlight"]["mse"] for each in of_seeds]),
                _spread([each["per_lead_time"]["stlight"]["mse"][0] for each in of_seeds]),
                _spread([each["overall"]["stlight"]["mae"] for each in of_seeds]),
                best,
                f"{baselines[best]['mse']:.4g}",
                f"{first['per_lead_time'][best]['mse'][0]:.4g}",
                f"{mae[lowest]:.4g} ({lowest})",
                _spread([each["steps"] for each in of_seeds]),
            ]
        )
    minutes = sorted({each["minutes"] for of_seeds in results.values() for each in of_seeds})
    title = f"test split, summed over pixels, after {', '.join(f'{each:g}' for each in minutes)} minutes of training"
    note = "Mean over the seeds, with the lowest and the highest value in brackets.\n"
    return text_table(headings, rows, title, width=190) + note


def _spread(values: list[float]) -> str:
    mean = f"{statistics.fmean(values):.4g}"
    return mean if len(values) == 1 else f"{mean} ({min(values):.4g}..{max(values):.4g})"


def main() -> None:
    """Carries out the runs that have no record yet, and writes the summary of all records in the folder."""
    out, data = pathlib.Path(_OUT.value), pathlib.Path(_DATA.value)
    for name in _ONLY.value:
        if name not in RUNS:
            raise InputError(f"--only: no run {name}; choose among {', '.join(RUNS)}")
    for seed in map(int, _SEEDS.value):
        for name in _ONLY.value:
            record = out / name / f"seed_{seed}.json"
            if record.exists():
                continue
            with tempfile.TemporaryDirectory() as folder:
                workdir = pathlib.Path(folder) / name
                result = run(name, data, workdir, _MINUTES.value, seed)
                result["test_set"].pop("folder", None)
                record.parent.mkdir(parents=True, exist_ok=True)
                record.write_text(json.dumps(result, indent=1) + "\n")
                for file in (*_KEPT, *(["prediction.gif"] if name == _ANIMATED else [])):
                    shutil.copy(workdir / "eval" / file, out / name / file)
            _write_summary(out)
    print(_write_summary(out))


def _write_summary(out: pathlib.Path) -> str:
    records = {name: [json.loads(file.read_text()) for file in sorted((out / name).glob("seed_*.json"))] for name in RUNS}
    text = summary({name: of_seeds for name, of_seeds in records.items() if of_seeds})
    (out / "summary.txt").write_text(text)
    return text


if __name__ == "__main__":
    run_script(main)
