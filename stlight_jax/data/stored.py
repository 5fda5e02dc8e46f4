"""Prepared clips: found, opened, and cut into windows."""

from __future__ import annotations

import dataclasses
import functools
import math
import threading
from collections.abc import Sequence
from typing import Any

import numpy as np
import tensorflow_datasets as tfds
from etils import epath

from stlight_jax.data.scaling import Scaling
from stlight_jax.data.windows import Run, Windows, permutation
from stlight_jax.errors import InputError
from stlight_jax.storage import paths
from stlight_jax.storage.copies import local_folder

_FRAMES_AT_A_TIME = 4096
_INFO = "dataset_info.json"  # written last


def find_prepared(name: str, root: str, how: str) -> epath.Path | None:
    """The folder of a prepared data set in, or below, `root` (TFDS's default folder if empty); None if it is not there.

    Args:
      name: of its builder.
      how: told to the user whose data are prepared in another format.

    Raises InputError for data that are there in a format that has no random access.
    """
    place = root or tfds.core.constants.DATA_DIR
    paths.connect(place)
    folder = epath.Path(place).expanduser()
    for place in (folder, *versions(name, folder)):
        if (place / _INFO).exists():
            found = tfds.builder_from_directory(str(_described(place)))
            if found.info.name != name:
                raise InputError(f"{place} holds the data set {found.info.name}; {name} is wanted")
            if found.info.file_format is not tfds.core.FileFormat.ARRAY_RECORD:
                raise InputError(f"{place} is stored as {found.info.file_format.value}, array_record is wanted: {how}")
            return place
    return None


def versions(name: str, folder: epath.Path) -> list[epath.Path]:
    """The folders of a data set's prepared versions below `folder`, the newest one first."""
    infos = list(folder.glob(f"{name}/*/{_INFO}")) if folder.is_dir() else []
    # A process that writes, or was killed while it did, has a folder of its own beside them.
    whole = [info.parent for info in infos if tfds.core.Version.is_valid(info.parent.name)]
    return sorted(whole, key=lambda place: tfds.core.Version(place.name), reverse=True)


def read_metadata(folder: epath.Path) -> dict[str, Any]:
    """The metadata of a prepared data set, see `stlight_jax.data.clips_builder`."""
    return dict(tfds.builder_from_directory(str(_described(folder))).info.metadata or {})


def _described(folder: epath.Path) -> epath.Path:
    """A local folder with the files that describe the data."""
    return local_folder(folder, _INFO, lambda name: name.endswith(".json"))


class StoredFrames:
    """The frames of one split, by their place.

    Args:
      folder: of the prepared data set; from one in a bucket the split's files are fetched first, once per machine.
      split: its name.
      memory: up to how many bytes of frames are kept in memory; larger splits are read from disk, frame by frame.
    """

    def __init__(self, folder: epath.Path, split: str, memory: int):
        builder = tfds.builder_from_directory(str(_described(folder)))
        metadata = builder.info.metadata
        if not metadata or split not in metadata.get("splits", {}):
            raise InputError(f"{folder} has no split {split}; prepare the data anew")
        self.metadata = dict(metadata)
        self.table = metadata["splits"][split]
        self.shape = tuple(metadata["frame_shape"])
        self.dtype = np.dtype(metadata["dtype"])
        self._memory = memory
        self._reading = threading.Lock()
        local_folder(folder, _INFO, set(builder.info.splits[split].filenames).__contains__)  # beside what describes them
        self._source = builder.as_data_source(split)
        if len(self._source) != self.table["frames"]:
            raise InputError(
                f"{folder}: split {split} has {len(self._source)} frames, its table says {self.table['frames']}; prepare anew"
            )

    def __len__(self) -> int:
        return self.table["frames"]

    def __getitem__(self, places: np.ndarray) -> np.ndarray:
        """`[n]` places -> `[n, h, w, c]`."""
        with self._reading:  # several threads make batches, and one of them shall do it
            everything = self._all
        return self._read(places) if everything is None else everything[places]

    @functools.cached_property
    def _all(self) -> np.ndarray | None:
        if len(self) * math.prod(self.shape) * self.dtype.itemsize > self._memory:
            return None
        frames = np.empty((len(self), *self.shape), self.dtype)
        for first in range(0, len(self), _FRAMES_AT_A_TIME):
            places = np.arange(first, min(first + _FRAMES_AT_A_TIME, len(self)))
            frames[places] = self._read(places)
        return frames

    def _read(self, places: np.ndarray) -> np.ndarray:
        unique, where = np.unique(places, return_inverse=True)  # overlapping windows share frames
        records = self._source.__getitems__([int(place) for place in unique])
        return np.stack([record["frame"] for record in records])[where]


@dataclasses.dataclass(frozen=True)
class Clips:
    """Some clips of a split: {"name", "runs"} each, as they stand in its table."""

    frames: StoredFrames
    clips: Sequence[dict[str, Any]]

    @property
    def runs(self) -> list[Run]:
        """Of all clips, one after the other."""
        return [Run(*run) for clip in self.clips for run in clip["runs"]]


class ClipWindows:
    """Windows of clips: a `stlight_jax.data.sequences.Sequences`.

    Args:
      clips: what they are cut from.
      windows: how; made of `clips.runs`.
      scaling: from stored values to the network's.
      description: of the data, see `Sequences`; "folder" is where they lie.
      seed: of the order in which an epoch shows them; None keeps the order of the clips, as evaluations do.
      reverse_channels: whether channels are given back in reverse order (BGR as RGB).
      past: clips, of any splits, in which `frames_before` may look beyond a window's run; their ticks must be moments in time.
    """

    def __init__(
        self,
        clips: Clips,
        windows: Windows,
        scaling: Scaling,
        description: dict[str, Any],
        seed: int | None = None,
        reverse_channels: bool = False,
        past: Sequence[Clips] = (),
    ):
        if not len(windows):
            longest = max((run.frames for run in clips.runs), default=0)
            raise InputError(
                f"{description['name']}, in {description['folder']}: a window spans {windows.span} frames (model.in_frames, "
                f"and those to predict), but the longest stretch without a jump has {longest}; lower these, or divide the "
                "data otherwise (data.validation_fraction, data.test_fraction, data.split)"
            )
        self.scaling = scaling
        self.description = {**description, "sequences": len(windows), "shape": [windows.length, *clips.frames.shape]}
        self._clips, self._windows, self._seed = clips, windows, seed
        self._channels = slice(None, None, -1 if reverse_channels else None)
        self._past = tuple(past)
        self._order_of_epoch = functools.lru_cache(maxsize=2)(self._order)

    def __len__(self) -> int:
        return len(self._windows)

    @property
    def shape(self) -> tuple[int, int, int, int]:
        """Of one sequence, `[t, h, w, c]`."""
        return (self._windows.length, *self._clips.frames.shape)

    def frames(self, indices: np.ndarray, epoch: int = 0) -> np.ndarray:
        """`[n, t, h, w, c]`: the windows that come at the places `indices` of `epoch`."""
        indices = np.asarray(indices)
        if self._seed is not None:
            indices = self._order_of_epoch(epoch)[indices]
        places = self._windows.frames(indices)
        frames = self._clips.frames[places.ravel()].reshape(*places.shape, *self._clips.frames.shape)
        return np.ascontiguousarray(frames[..., self._channels])

    def frames_before(self, indices: np.ndarray, steps: int, targets: int) -> tuple[np.ndarray, np.ndarray]:
        """See `Sequences`. Beyond a window's run the past may lie in another split of the same clip, found by its ticks."""
        run, ticks = self._windows.ticks(np.asarray(indices))
        wanted = ticks[:, -targets:] - steps  # [n, t']
        result = np.zeros((*wanted.shape, *self._clips.frames.shape), self._clips.frames.dtype)
        there = np.ones(len(wanted), bool)
        for row, (number, moments) in enumerate(zip(run, wanted, strict=True)):
            clip, (first, count, begin) = self._runs[number]
            for column, tick in enumerate(moments.tolist()):
                if 0 <= tick - begin < count:
                    frames, place = self._clips.frames, first + tick - begin
                elif (clip, tick) in self._places_by_tick:
                    frames, place = self._places_by_tick[clip, tick]
                else:
                    there[row] = False
                    break
                result[row, column] = frames[np.array([place])][0]
        return np.ascontiguousarray(result[..., self._channels]), there

    @functools.cached_property
    def _runs(self) -> list[tuple[str, Sequence[int]]]:
        """With the names of their clips."""
        return [(clip["name"], run) for clip in self._clips.clips for run in clip["runs"]]

    @functools.cached_property
    def _places_by_tick(self) -> dict[tuple[str, int], tuple[StoredFrames, int]]:
        """Of several frames of one moment, the last one that is stored."""
        places = {}
        for clips in self._past:
            for clip in clips.clips:
                for first, count, tick in clip["runs"]:
                    places.update({(clip["name"], tick + i): (clips.frames, first + i) for i in range(count)})
        return places

    def _order(self, epoch: int) -> np.ndarray:
        return permutation(len(self._windows), self._seed, epoch)
