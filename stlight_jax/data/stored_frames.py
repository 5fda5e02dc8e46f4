"""Frames and clips of prepared data, with random access."""

import dataclasses
import functools
import hashlib
import json
import math
import threading
from collections.abc import Sequence
from typing import Any

import numpy as np
from etils import epath

from stlight_jax.data.clip_bounds import parse_clip
from stlight_jax.data.covariates import MEAN, Covariates, unpacked
from stlight_jax.data.prepared import open_prepared, read_metadata
from stlight_jax.data.scaling import Scaling
from stlight_jax.data.statistics import is_constant
from stlight_jax.data.value_transforms import TransformName
from stlight_jax.data.windows import Segment
from stlight_jax.errors import InputError

_FRAMES_AT_A_TIME = 4096
_MIB = 2**20


class StoredFrames:
    """The frames of one split, by their index.

    Attributes:
      split: name of the split.
      metadata: of the data set.
      table: of the split: "frames", "sha256", "statistics" and "clips".
      shape: of a frame, `[h, w, c]`, with its covariates.
      dtype: of a value.
    """

    def __init__(self, folder: epath.Path, split: str, memory: int, covariates: Covariates | None = None):
        """Opens a split.

        Args:
          folder: of the prepared data set; the split's files are fetched first from a bucket, once per machine.
          split: name of the split.
          memory: largest number of bytes to keep in memory; larger splits are read from disk, frame by frame.
          covariates: channels to append to the frames; None for none.

        Raises:
          InputError: the data have no such split, or are damaged.
        """
        self.split, self.metadata = split, read_metadata(folder)
        if split not in self.metadata.get("splits", {}):
            raise InputError(f"{folder} has no split {split}; prepare the data anew")
        self.table: dict[str, Any] = self.metadata["splits"][split]
        self._stored = tuple(self.metadata["frame_shape"]), np.dtype(self.metadata["dtype"])
        self.shape: tuple[int, int, int]
        self.shape, self.dtype = self._stored
        self._covariates = covariates
        if covariates is not None:
            self.shape, self.dtype = (*self.shape[:2], self.shape[2] + len(covariates.names)), np.dtype(np.float32)
        self._memory = memory
        self._reading = threading.Lock()
        self._source = open_prepared(folder, split).as_data_source(split)
        if len(self._source) != self.table["frames"]:
            raise InputError(
                f"{folder}: split {split} has {len(self._source)} frames, its table has {self.table['frames']}; prepare anew"
            )

    def __len__(self) -> int:
        """Returns the number of frames."""
        return self.table["frames"]

    def __getitem__(self, indices: np.ndarray) -> np.ndarray:
        """Reads frames by their indices, int `[n]`: `[n, h, w, c]`."""
        with self._reading:  # several threads make batches, and only one of them may fill the memory
            in_memory = self._in_memory
        frames = self._read(indices) if in_memory is None else in_memory[indices]
        return frames if self._covariates is None else self._covariates.beside(frames, self._moments[indices])

    @functools.cached_property
    def _moments(self) -> np.ndarray:
        """The moments of all frames, datetime64 `[frames]`; NaT where they are unknown."""
        times = self.metadata.get("times")
        if times is None:
            return np.full(len(self), np.datetime64("NaT", "us"))
        return unpacked(times[self.split], np.dtype(np.int64)).astype("M8[us]")

    @functools.cached_property
    def _in_memory(self) -> np.ndarray | None:
        shape, dtype = self._stored
        if len(self) * math.prod(shape) * dtype.itemsize > self._memory:
            return None
        frames = np.empty((len(self), *shape), dtype)
        for first in range(0, len(self), _FRAMES_AT_A_TIME):
            indices = np.arange(first, min(first + _FRAMES_AT_A_TIME, len(self)))
            frames[indices] = self._read(indices)
        return frames

    def _read(self, indices: np.ndarray) -> np.ndarray:
        unique, inverse = np.unique(indices, return_inverse=True)  # overlapping windows share frames
        records = self._source.__getitems__(unique.tolist())
        return np.stack([record["frame"] for record in records])[inverse]


@dataclasses.dataclass(frozen=True)
class StoredClips:
    """Some clips of a split.

    Attributes:
      frames: the split's frames.
      table: {"name", "runs"} of each clip, as in the split's table; "runs" are its segments.
    """

    frames: StoredFrames
    table: Sequence[dict[str, Any]]

    @property
    def segments(self) -> list[Segment]:
        """The segments of all clips, one after another."""
        return [Segment(*segment) for clip in self.table for segment in clip["runs"]]

    @property
    def names(self) -> list[str]:
        """The name of each segment's clip."""
        return [clip["name"] for clip in self.table for _ in clip["runs"]]


@dataclasses.dataclass(frozen=True)
class PreparedData:
    """A prepared data set.

    Attributes:
      folder: of the data set, local or remote.
      memory: MiB of frames to keep in memory per split; larger splits are read from disk.
      covariates: channels to append to the frames; None for none.
    """

    folder: epath.Path
    memory: int
    covariates: Covariates | None = None

    def clips(self, split: str) -> StoredClips:
        """Returns all clips of a split, as they were prepared. The split is opened once.

        Args:
          split: name of the split.

        Returns:
          The clips.

        Raises:
          InputError: the data have no such split, or are damaged.
        """
        if split not in self._opened:
            self._opened[split] = StoredFrames(self.folder, split, self.memory * _MIB, self.covariates)
        frames = self._opened[split]
        return StoredClips(frames, frames.table["clips"])

    @functools.cached_property
    def _opened(self) -> dict[str, StoredFrames]:
        return {}

    def all_clips(self) -> list[StoredClips]:
        """Returns the clips of all splits."""
        return [self.clips(split) for split in self.clips("train").frames.metadata["splits"]]

    def description(self, clips: StoredClips) -> dict[str, Any]:
        """Returns the facts about clips for `Sequences.description`, without the name.

        Args:
          clips: of this data set.

        Returns:
          The facts, as JSON.
        """
        table, metadata = clips.frames.table, clips.frames.metadata
        digest = "" if self.covariates is None else self.covariates.digest
        return {
            "sha256": _checksum(table, digest),
            "training_sha256": _checksum(self.clips("train").frames.table, digest),
            "statistics": table["statistics"],
            "raw": epath.Path(metadata.get("raw", self.folder)).name,
            # Unknown in frames that earlier versions have kept.
            "units": metadata.get("units", ""),
            "rows_go_north": metadata.get("rows_go_north", False),
            "folder": str(self.folder),
        }

    def scaling(self, per_channel: bool = False, transform: TransformName = "none", clip: str = "none") -> Scaling:
        """Returns the scaling by the declared range, or else by the range that was measured on the training frames.

        Args:
          per_channel: whether each channel has a range of its own, if none is declared.
          transform: of the values, see `stlight_jax.data.value_transforms`.
          clip: bounds of the output: "LOW,HIGH"; "auto": at least 0 if the least training value is 0; or "none".

        Returns:
          The scaling.

        Raises:
          InputError: a channel has no values, the range is empty, the transform does not suit the values, or `clip` is no such
            text.
        """
        train = self.clips("train").frames
        metadata, statistics = train.metadata, train.table["statistics"]
        files = metadata.get("raw", self.folder)
        if None in statistics["mean"]:
            raise InputError(f"{files}: a channel of the training frames has no values, all are missing")
        low, high = _value_range(metadata, statistics, per_channel)
        missing = any(fraction > 0 for split in metadata["splits"].values() for fraction in split["statistics"]["missing"])
        lowest = _lowest(metadata["splits"])
        if transform != "none" and lowest < 0:
            raise InputError(
                f"{files}: values go down to {lowest:g}; data.transform={transform} expects values of at least 0; set "
                "data.transform=none"
            )
        clip_low, clip_high = parse_clip(clip) or (0.0 if min(statistics["min"]) == 0 else None, None)
        try:
            scaling = Scaling(
                metadata["dtype"],
                low,
                high,
                missing,
                metadata["fill"],
                transform=transform,
                offset=_offset(low, statistics["mean"]) if transform == "log" else (0.0,),
                clip_low=(clip_low,),
                clip_high=(clip_high,),
                data_fill=metadata.get("data_fill"),
            )
        except InputError as error:
            raise InputError(f"{files}: {error}") from None
        filling = scaling.to_network_float64(np.asarray(statistics["mean"]))[0]
        # Stored even if no value is missing: other data that the network is evaluated on can lack some.
        scaling = dataclasses.replace(scaling, filling=tuple(filling.tolist()))
        if self.covariates is None:
            return scaling
        count = len(self.covariates.names)
        filled = (*scaling.filling, *(MEAN,) * count)
        data_fill = scaling.fill_in_data
        return dataclasses.replace(scaling, dtype="float32", fill=None, data_fill=data_fill, filling=filled, covariates=count)


def _value_range(
    metadata: dict[str, Any], statistics: dict[str, Any], per_channel: bool
) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Returns the values that become 0 and 1."""
    if metadata["value_range"] is not None:
        low, high = metadata["value_range"]
        return (low,), (high,)
    if metadata["dtype"] == "uint8" and max(statistics["max"]) > 1:
        return (0.0,), (255.0,)
    if per_channel:
        lows, highs = statistics["min"], statistics["max"]
        highs = [low if is_constant(low, high) else high for low, high in zip(lows, highs, strict=True)]
        return tuple(lows), tuple(highs)
    return (min(statistics["min"]),), (max(statistics["max"]),)


def _lowest(splits: dict[str, Any]) -> float:
    return min(value for split in splits.values() for value in split["statistics"]["min"] if value is not None)


def _offset(low: tuple[float, ...], means: list[float]) -> tuple[float, ...]:
    """Returns the offset of the transform `log`: 0 where all values are positive, else the mean of the training values."""
    own = means if len(low) > 1 else [sum(means) / len(means)]
    return tuple(0.0 if least > 0 else mean if mean > 0 else 1.0 for least, mean in zip(low, own, strict=True))


def _checksum(table: dict[str, Any], digest: str) -> str:
    """Returns a SHA-256 of a split's frames, of the indices where its clips begin and jump, and of its covariates."""
    return hashlib.sha256((table["sha256"] + json.dumps(table["clips"]) + digest).encode()).hexdigest()
