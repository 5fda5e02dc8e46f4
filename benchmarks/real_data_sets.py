"""The real data sets of `real_data.py` and `few_windows.py`, with the config keys that describe them."""

from __future__ import annotations

import dataclasses
import pathlib
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np


@dataclasses.dataclass(frozen=True)
class Run:
    """A data set and the keys that describe it.

    Attributes:
      title: for the table.
      path: of the data, below FOLDER.
      keys: config keys of the data and the numbers of frames.
      evaluation: flags of eval.py.
      prepare: makes the data in a folder from the files in FOLDER, and returns its path; None if they can be read as they are.
    """

    title: str
    path: str
    keys: Mapping[str, Any]
    evaluation: tuple[str, ...] = ()
    prepare: Callable[[pathlib.Path, pathlib.Path], pathlib.Path] | None = None

    def root(self, data: pathlib.Path, out: pathlib.Path) -> pathlib.Path:
        """Returns the path of the data: below FOLDER, or in a new folder that is prepared."""
        return self.prepare(data, out) if self.prepare else data / self.path


def _fmi(train: str, test: str) -> Callable[[pathlib.Path, pathlib.Path], pathlib.Path]:
    """Makes folders train, val and test: all but the last 14 frames of one event, these, and the whole other event."""

    def prepare(data: pathlib.Path, out: pathlib.Path) -> pathlib.Path:
        parts = {"train": (train, slice(0, -14)), "val": (train, slice(-14, None)), "test": (test, slice(None))}
        for split, (event, frames) in parts.items():
            with np.load(data / "radar_fmi" / f"fmi_5min_{event}.npz") as file:
                (out / split).mkdir(parents=True)
                np.savez(out / split / f"{event}.npz", **{name: file[name][frames] for name in file})
        return out

    return prepare


_TAXI = {"model.in_frames": 4, "model.out_frames": 4}
_KNMI = {
    "data.fill_value": 65535.0, "data.validation_fraction": 0.2, "data.test_fraction": 0.25, "data.height": 104,
    "data.width": 104, "model.in_frames": 6, "model.out_frames": 6,
}  # fmt: skip
_FMI = {"data.fill_value": 255.0, "data.variable": "level", "model.in_frames": 6, "model.out_frames": 6}
_KITTI = {"data.validation_fraction": 0.22, "data.test_fraction": 0.28, "model.out_frames": 1}
RUNS: dict[str, Run] = {
    "taxinyc": Run("TaxiNYC 4 -> 4 hours", "taxinyc/taxinyc_2012_2014_16x8.npz", _TAXI, ("--cycle=168",)),
    "taxinyc_raw": Run(
        "TaxiNYC 2014 as published, 4 -> 4 hours",
        "taxinyc/NYC14_Taxi_M16x8_T60_InOut.h5",
        {"data.layout": "tchw", **_TAXI},
        ("--cycle=168",),
    ),
    "kth": Run("KTH clips 10 -> 10 frames", "kth_openstl_clips", {}),
    "kth20": Run("KTH clips 10 -> 20 frames", "kth_openstl_clips", {"model.out_frames": 20}),
    "kitti": Run("KITTI clips 10 -> 1 frame", "kitti_odometry_clips/kitti_odometry_128x160_gray.npz", _KITTI),
    "knmi": Run("KNMI radar 6 -> 6 x 5 minutes", "radar_knmi/knmi_5min_20100826.npz", _KNMI),
    "knmi_linear": Run(
        "KNMI radar 6 -> 6 x 5 minutes, linear", "radar_knmi/knmi_5min_20100826.npz", {**_KNMI, "model.shortcut": "linear"}
    ),
    "knmi_flow": Run(
        "KNMI radar 6 -> 6 x 5 minutes, flow", "radar_knmi/knmi_5min_20100826.npz", {**_KNMI, "model.shortcut": "flow"}
    ),
    "fmi_2017": Run("FMI radar 6 -> 6 x 5 minutes, 2016 -> 2017", "", _FMI, prepare=_fmi("20160928", "20170509")),
    "fmi_2016": Run("FMI radar 6 -> 6 x 5 minutes, 2017 -> 2016", "", _FMI, prepare=_fmi("20170509", "20160928")),
    "climate": Run(
        "yearly temperature 10 -> 5 years",
        "climate_a1b/A1B_north_america.nc",
        {"data.variable": "air_temperature", "data.split": "time", "model.in_frames": 10, "model.out_frames": 5},
    ),
}
