"""Which files, frames or times of a data set are for training, validation and test."""

from typing import Any

import numpy as np
from etils import epath

from stlight_jax.data.covariates import unpacked
from stlight_jax.data.prepared import read_metadata

_LABELS = {"train": "Training", "validation": "Validation", "test": "Test"}
_MOST_NAMES = 5


def division(description: dict[str, Any]) -> list[str]:
    """Describes the splits of prepared data: their files, the frames of each, and their times if these are known.

    Args:
      description: of sequences of the data.

    Returns:
      A sentence for each split; none for data that are not prepared from files.
    """
    if "folder" not in description:
        return []
    metadata = read_metadata(epath.Path(description["folder"]))
    splits, times = metadata["splits"], metadata.get("times") or {}
    sequences = {clip["name"] for split in splits.values() for clip in split["clips"]}
    return [
        f"{_LABELS.get(name, name)}: {_described(split, times.get(name), len(sequences) == 1)}."
        for name, split in splits.items()
    ]


def _described(split: dict[str, Any], times: str | None, of_one: bool) -> str:
    clips = split["clips"]
    names = list(dict.fromkeys(clip["name"] for clip in clips))
    more = f" and {len(names) - _MOST_NAMES:,} more" if len(names) > _MOST_NAMES else ""
    text = f"{', '.join(names[:_MOST_NAMES])}{more}, {split['frames']:,} frames"
    if times:
        moments = unpacked(times, np.dtype("M8[us]"))
        return f"{text} from {_moment(moments.min())} to {_moment(moments.max())}"
    if of_one:  # frames are numbered from 0, with their gaps in time
        runs = [f"{tick:,} to {tick + frames - 1:,}" for clip in clips for _, frames, tick in clip["runs"]]
        return f"{text}, numbers {', '.join(runs[:_MOST_NAMES])}{' ...' * (len(runs) > _MOST_NAMES)}"
    return text


def _moment(moment: np.datetime64) -> str:
    """Returns a moment in ISO 8601, without zeros at its end."""
    text = str(moment.astype("M8[s]"))
    return text.removesuffix(":00").removesuffix("T00:00")
