"""Trains small networks on small real data sets and compares them with predictions that need no training.

    python benchmarks/real_data.py --data=FOLDER [--only=taxinyc,kth] [--out=benchmarks/results/real_data]

FOLDER holds taxinyc/, kth_openstl_clips/, kitti_odometry_clips/ and radar_knmi/. Each run is
`train.py` and `eval.py` with `configs/frames.py`, as a user starts them; all runs take about twenty minutes on two cores.
"""

from __future__ import annotations

import json
import pathlib
import shutil
import subprocess
import sys
import tempfile
import time
from typing import Any

from absl import app, flags

from stlight_jax.console.text_table import text_table

_ROOT = pathlib.Path(__file__).parent.parent
# name: (title, path below FOLDER, keys for train.py, flags of eval.py)
RUNS: dict[str, tuple[str, str, dict[str, Any], list[str]]] = {
    "taxinyc": (
        "TaxiNYC 4 -> 4 hours",
        "taxinyc/taxinyc_2012_2014_16x8.npz",
        {
            "model.in_frames": 4, "model.out_frames": 4, "model.patch_size": 1,
            "train.batch_size": 16, "train.epochs": 10,
        },
        ["--cycle=168"],
    ),
    "taxinyc_raw": (
        "TaxiNYC 2014 as published, 4 -> 4 hours",
        "taxinyc/NYC14_Taxi_M16x8_T60_InOut.h5",
        {
            "data.layout": "tchw", "model.in_frames": 4, "model.out_frames": 4, "model.patch_size": 1,
            "train.batch_size": 16, "train.epochs": 20,
        },
        ["--cycle=168"],
    ),
    "kth": (
        "KTH clips 10 -> 10 frames",
        "kth_openstl_clips",
        {"data.flips": True, "optimizer.weight_decay": 0.05, "train.epochs": 80},
        [],
    ),
    "kth20": (
        "KTH clips 10 -> 20 frames",
        "kth_openstl_clips",
        {"data.flips": True, "optimizer.weight_decay": 0.05, "train.epochs": 80, "model.out_frames": 20},
        [],
    ),
    "kitti": (
        "KITTI clips 10 -> 1 frame",
        "kitti_odometry_clips/kitti_odometry_128x160_gray.npz",
        {
            "data.validation_fraction": 0.22, "data.test_fraction": 0.28, "data.crop": 96, "data.flips": True,
            "model.out_frames": 1, "optimizer.weight_decay": 0.05, "train.batch_size": 4, "train.epochs": 70,
        },
        [],
    ),
    "radar": (
        "KNMI radar with its mask, 6 -> 6 frames of 5 minutes, at 4 km",
        "radar_knmi/knmi_5min_20100826.npz",
        {
            "data.fill_value": 65535.0, "data.validation_fraction": 0.2, "data.test_fraction": 0.25, "data.height": 104,
            "data.width": 104, "data.crop": 80, "data.flips": True, "model.in_frames": 6, "model.out_frames": 6,
            "model.depth": 4, "optimizer.weight_decay": 0.1, "train.epochs": 200,
        },
        [],
    ),
}  # fmt: skip
_KEPT = ("table.txt", "metrics.json", "prediction.png", "loss_curve.png")

_DATA = flags.DEFINE_string("data", None, "Folder with the data sets.", required=True)
_ONLY = flags.DEFINE_list("only", list(RUNS), "Names of the runs.")
_OUT = flags.DEFINE_string("out", str(_ROOT / "benchmarks" / "results" / "real_data"), "Folder for the results.")


def run(name: str, data: pathlib.Path, workdir: pathlib.Path) -> dict:
    """Trains and evaluates.

    Args:
      name: a key of `RUNS`.
      data: the folder with the data sets.
      workdir: the folder of the run.

    Returns:
      The content of `metrics.json`, with the "seconds" of training.
    """
    _, path, keys, evaluation = RUNS[name]
    settings = [f"--config.{key}={value}" for key, value in keys.items()]
    begun = time.monotonic()
    for command in (
        ["train.py", "--config=configs/frames.py", f"--config.data.root={data / path}", *settings, f"--workdir={workdir}"],
        ["eval.py", f"--workdir={workdir}", *evaluation],
    ):
        subprocess.run([sys.executable, *command], cwd=_ROOT, check=True)
        if command[0] == "train.py":
            seconds = time.monotonic() - begun
    return {**json.loads((workdir / "eval" / "metrics.json").read_text()), "seconds": seconds}


def summary(results: dict[str, dict]) -> str:
    """Formats a row per run: MSE of the network and of each prediction without training."""
    headings = (
        "",
        "STLight",
        "copy last frame",
        "mean of inputs",
        "168 h before",
        "best constant image",
        "minutes of training",
    )
    rows = []
    for name, result in results.items():
        overall = result["overall"]
        values = [overall[key]["mse"] for key in ("stlight", "copy_last_frame", "mean_of_inputs")]
        values += [overall[key]["mse"] if key in overall else None for key in ("period_168", "best_constant_image")]
        cells = ["-" if value is None else f"{value:.4g}" for value in values]
        rows.append([RUNS[name][0], *cells, f"{result['seconds'] / 60:.1f}"])
    note = "The best constant image is the mean of the test frames, which no forecast knows.\n"
    return text_table(headings, rows, "MSE on the test split, summed over pixels", width=150) + note


def main(_: list[str]) -> None:
    """Carries out the runs and writes the summary of all results in the folder."""
    out = pathlib.Path(_OUT.value)
    for name in _ONLY.value:
        if name not in RUNS:
            raise app.UsageError(f"--only: no run {name}; choose among {', '.join(RUNS)}")
        with tempfile.TemporaryDirectory() as folder:
            workdir = pathlib.Path(folder) / name
            result = run(name, pathlib.Path(_DATA.value), workdir)
            result["test_set"].pop("folder")
            (out / name).mkdir(parents=True, exist_ok=True)
            for file in (*_KEPT, *(["prediction.gif"] if name == "radar" else [])):  # large, so one is enough
                shutil.copy(workdir / "eval" / file, out / name / file)
            (out / name / "metrics.json").write_text(json.dumps(result, indent=1) + "\n")
    results = {name: json.loads((out / name / "metrics.json").read_text()) for name in RUNS if (out / name).exists()}
    text = summary(results)
    (out / "summary.txt").write_text(text)
    print(text)


if __name__ == "__main__":
    app.run(main)
