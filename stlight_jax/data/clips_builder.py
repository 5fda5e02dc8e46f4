"""What all builders of stored clips share: one frame a record, in order, and a table of clips beside them.

A prepared data set is an ordinary TFDS folder. Its `metadata.json` says which records follow each other in time, so that a
window of any length is found by arithmetic (`stlight_jax.data.windows`).
"""

from __future__ import annotations

import abc
import dataclasses
import hashlib
from collections.abc import Callable, Iterable, Iterator
from typing import Any, ClassVar, Literal

import numpy as np
import tensorflow_datasets as tfds
from etils import epath

from stlight_jax.console.progress import Progress
from stlight_jax.data.statistics import ChannelStatistics
from stlight_jax.data.windows import Run
from stlight_jax.errors import InputError

_KEY_RANGE = 2**128  # TFDS spreads keys of this range over its buckets on disk


@dataclasses.dataclass(frozen=True)
class Clip:
    """Frames that belong together.

    Attributes:
      name: for people, and to find the clip's other parts in other splits.
      blocks: arrays `[n, h, w, c]` of the builder's dtype, made as they are asked for.
      runs: where frames follow each other; `first` counts from the clip's first frame. None: all of them do.
    """

    name: str
    blocks: Iterable[np.ndarray]
    runs: tuple[Run, ...] | None = None


@dataclasses.dataclass(frozen=True)
class Split:
    """Clips, made as they are asked for, and how many frames they have (an upper bound will do)."""

    clips: Callable[[], Iterator[Clip]]
    frames: int


class ClipsBuilder(tfds.core.GeneratorBasedBuilder, skip_registration=True):
    """A TFDS builder of clips.

    A subclass names its frames and implements `open_raw`. Prepared by `python -m stlight_jax prepare NAME`, or by
    `download_and_prepare` with a manual folder, as any builder of TFDS.

    Attributes:
      FRAME_SHAPE: `[h, w, c]`.
      FRAME_DTYPE: of a stored value.
      VALUE_RANGE: of stored values, (what is 0 for the network, what is 1).
      COLOUR_ORDER: by split, of frames with three channels.
      ANCHOR: where in a run OpenSTL begins to count its windows, see `Windows`.
      RUNS_THAT_SHARE_FRAMES: how far apart two runs are that have no frame in common.
      DOCUMENTED: window length -> split -> {source: number of windows}, as others have published them.
    """

    VERSION = tfds.core.Version("1.0.0")
    FRAME_SHAPE: ClassVar[tuple[int, int, int]]
    FRAME_DTYPE: ClassVar[type] = np.uint8
    VALUE_RANGE: ClassVar[tuple[float, float]] = (0.0, 255.0)
    COLOUR_ORDER: ClassVar[dict[str, Literal["rgb", "bgr"]]] = {}
    ANCHOR: ClassVar[Literal["start", "end"]] = "start"
    RUNS_THAT_SHARE_FRAMES: ClassVar[int] = 1
    DOCUMENTED: ClassVar[dict[int, dict[str, dict[str, int]]]] = {}

    @abc.abstractmethod
    def open_raw(self, root: epath.Path) -> dict[str, Split]:
        """Looks for the raw files below `root`; reads frames later. Raises InputError naming what is not as it should be."""

    @classmethod
    def strides(cls, clip: str, length: int) -> int:
        """From one window of `length` frames to the next one, as OpenSTL has it; `clip` is the clip's name."""
        del clip
        return length

    @classmethod
    def group(cls, clip: str) -> str:
        """What must stay on one side when some training clips are held out for validation; `clip` is the clip's name."""
        return clip

    def frame_features(self) -> tfds.features.FeatureConnector:
        """How a frame is stored."""
        encoding = tfds.features.Encoding.BYTES
        return tfds.features.Tensor(shape=self.FRAME_SHAPE, dtype=self.FRAME_DTYPE, encoding=encoding)

    def metadata(self) -> dict[str, Any]:
        """What is known before the frames are read; `frames` are the splits' own, filled in while they are."""
        return {
            "frame_shape": list(self.FRAME_SHAPE),
            "dtype": np.dtype(self.FRAME_DTYPE).name,
            "value_range": list(self.VALUE_RANGE),
            "fill": None,
            "colour_order": self.COLOUR_ORDER,
            "remarks": [],
            "splits": {},
        }

    def _info(self) -> tfds.core.DatasetInfo:
        return tfds.core.DatasetInfo(
            builder=self,
            description=self.__doc__,
            features=tfds.features.FeaturesDict({"frame": self.frame_features()}),
            metadata=tfds.core.MetadataDict(self.metadata()),
            disable_shuffling=True,
        )

    def _split_generators(self, dl_manager: tfds.download.DownloadManager) -> dict[str, Iterator]:
        splits = self.open_raw(epath.Path(dl_manager.manual_dir))
        return {name: self._generate_examples(name, split) for name, split in splits.items()}

    def _generate_examples(self, name: str, split: Split) -> Iterator[tuple[int, dict[str, np.ndarray]]]:
        shape, dtype = self.FRAME_SHAPE, np.dtype(self.FRAME_DTYPE)
        statistics = ChannelStatistics(shape[-1], self.info.metadata["fill"])
        checksum = hashlib.sha256()
        table, written = [], 0
        # Keys grow with the place, and fill TFDS's buckets evenly: what does not fit into memory is sorted through them.
        spacing = _KEY_RANGE // max(split.frames, 1)
        with Progress(f"preparing {self.name}, {name}", split.frames, unit="frame") as progress:
            for clip in split.clips():
                first = written
                for block in clip.blocks:
                    if block.shape[1:] != shape or block.dtype != dtype:
                        raise InputError(
                            f"{clip.name}: expected frames {dtype} {list(shape)}, found {block.dtype} {list(block.shape[1:])}"
                        )
                    statistics.add(block)
                    block = np.ascontiguousarray(block)
                    checksum.update(block)
                    for frame in block:
                        yield written * spacing, {"frame": frame}
                        written += 1
                    progress.advance(min(written, split.frames))
                frames = written - first
                runs = (Run(0, frames),) if clip.runs is None else clip.runs
                if any(run.first < 0 or run.frames < 1 or run.first + run.frames > frames for run in runs):
                    raise InputError(f"{clip.name}: it has {frames} frames, too few for the windows that are said to lie in it")
                placed = [[first + run.first, run.frames, run.tick] for run in runs if frames]
                table.append({"name": clip.name, "runs": placed})
        if not written:
            raise InputError(f"{self.name}: there are no frames for the split {name}")
        self.check_statistics(name, statistics.as_json())
        self.info.metadata["splits"][name] = {
            "frames": written,
            "sha256": checksum.hexdigest(),
            "statistics": statistics.as_json(),
            "clips": table,
        }

    def check_statistics(self, split: str, statistics: dict[str, Any]) -> None:
        """Raises InputError for a split of which nothing can be learnt. Args: statistics: of its values, by channel."""
