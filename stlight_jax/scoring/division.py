"""Which files, frames or times of a data set are for training, validation and test."""

import collections
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
    counts = collections.Counter(name for split in splits.values() for name in {clip["name"] for clip in split["clips"]})
    is_by_time = max(counts.values()) > 1
    return [f"{_LABELS.get(name, name)}: {_described(split, times.get(name), is_by_time)}." for name, split in splits.items()]


def _described(split: dict[str, Any], times: str | None, is_by_time: bool) -> str:
    clips = split["clips"]
    names = list(dict.fromkeys(clip["name"] for clip in clips))
    more = f" and {len(names) - _MOST_NAMES:,} more" if len(names) > _MOST_NAMES else ""
    text = f"{', '.join(names[:_MOST_NAMES])}{more}, {split['frames']:,} frames"
    if times:
        moments = unpacked(times, np.dtype("M8[us]"))
        return f"{text} from {_moment(moments.min())} to {_moment(moments.max())}"
    # Frames are numbered from 0, with their gaps in time.
    runs = {tuple((tick, tick + frames - 1) for _, frames, tick in clip["runs"]) for clip in clips}
    if not is_by_time or len(runs) > 1:
        return text
    numbers = [f"{first:,} to {last:,}" for first, last in runs.pop()]
    ellipsis = " ..." * (len(numbers) > _MOST_NAMES)
    return f"{text}, numbers {', '.join(numbers[:_MOST_NAMES])}{ellipsis}{' of each' * (len(names) > 1)}"


def _moment(moment: np.datetime64) -> str:
    """Returns a moment in ISO 8601, without zeros at its end."""
    text = str(moment.astype("M8[s]"))
    return text.removesuffix(":00").removesuffix("T00:00")
