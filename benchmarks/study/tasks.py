"""The tasks: data, and the length of a training on them."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any, Literal


@dataclasses.dataclass(frozen=True)
class Task:
    """Data, and the length of a training on them.

    Attributes:
      title: For tables.
      dataset: "moving_mnist" or "frames".
      folder: Folder or file of the data, below the folder of all data.
      steps: Optimizer steps.
      keys: Config keys.
    """

    title: str
    dataset: Literal["moving_mnist", "frames"]
    folder: str
    steps: int
    keys: Mapping[str, Any]


_SMALL = {"data.image_size": 32, "data.digit_size": 14}
_GENERATED = {"data.sequences_per_epoch": 1_600, "data.validation_sequences": 200, "data.test_sequences": 1_000}
_FRAMES = {
    "model.in_channels": 0, "model.out_channels": 0, "model.patch_size": 0, "data.validation_fraction": 0.0,
    "data.test_fraction": 0.0, "data.clip": "auto",
}  # fmt: skip
TASKS: dict[str, Task] = {
    "mnist32": Task("Moving MNIST, 32 x 32, 10 -> 10 frames", "moving_mnist", "mnist", 3_000, {**_SMALL, **_GENERATED}),
    "mnist64": Task("Moving MNIST, 64 x 64, 10 -> 10 frames", "moving_mnist", "mnist", 1_500, {**_GENERATED}),
    "taxi": Task(
        "TaxiNYC, 4 -> 4 hours", "frames", "taxinyc/taxinyc_2012_2014_16x8.npz", 2_000,
        {**_FRAMES, "model.in_frames": 4, "model.out_frames": 4, "data.stride": 1},
    ),
    "radar": Task(
        "KNMI rain radar, 6 -> 6 frames", "frames", "radar_knmi/knmi_5min_20100826.npz", 300,
        {
            **_FRAMES, "model.in_frames": 6, "model.out_frames": 6, "data.fill_value": 65535.0, "data.height": 104,
            "data.width": 104, "data.validation_fraction": 0.2, "data.test_fraction": 0.25, "train.batch_size": 8,
        },
    ),
    "kth": Task(
        "KTH clips, 10 -> 10 frames", "frames", "kth_openstl_clips", 600,
        {**_FRAMES, "data.height": 64, "data.width": 64, "train.batch_size": 8},
    ),
}  # fmt: skip
