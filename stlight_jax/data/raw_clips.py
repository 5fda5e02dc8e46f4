"""Raw files as clips: the interface between a data set's own files and their preparation.

Preparation stores one frame per record, in order, and a table of clips beside the frames. The table lists which records follow
each other in time, so that a window of any length is found by arithmetic (`stlight_jax.data.windows`).
"""

import abc
import dataclasses
from collections.abc import Callable, Iterable, Iterator
from typing import Any, ClassVar, Literal

import numpy as np
from etils import epath

from stlight_jax.data.windows import Segment


@dataclasses.dataclass(frozen=True)
class RawClip:
    """Frames that belong together, such as one video.

    Attributes:
      name: shown in messages; the parts of a clip in other splits have the same name.
      blocks: arrays `[n, h, w, c]` of the reader's dtype, read on iteration.
      segments: stretches without a jump; `first` counts from the clip's first frame. None: the whole clip is one.
    """

    name: str
    blocks: Iterable[np.ndarray]
    segments: tuple[Segment, ...] | None = None


@dataclasses.dataclass(frozen=True)
class RawSplit:
    """The clips of one split.

    Attributes:
      clips: returns an iterator over the clips.
      frames: number of frames, or an upper bound.
    """

    clips: Callable[[], Iterator[RawClip]]
    frames: int


def first_names(paths: Iterable[epath.Path]) -> str:
    """Returns the first eight names of paths, for messages."""
    return ", ".join(sorted(path.name for path in paths)[:8]) or "nothing"


class ClipReader(abc.ABC):
    """Reads the raw files of one data set as clips.

    Attributes:
      name: of the data set, also in TFDS.
      version: of the stored form; another version is prepared anew.
      instructions: which files the user provides, and where they come from.
      frame_shape: `[h, w, c]`.
      frame_dtype: of a stored value.
      value_range: of stored values: the value that is 0 for the network, and the value that is 1.
      colour_order: by split, of frames with three channels.
      anchor: end of a segment at which OpenSTL begins to count its windows, see `Windows`.
      published_windows: window length -> split -> {source: number of windows}, for the table that `prepare` prints.
    """

    name: ClassVar[str]
    version: ClassVar[str] = "1.0.0"
    instructions: ClassVar[str] = ""
    frame_shape: tuple[int, int, int]
    frame_dtype: type = np.uint8
    value_range: ClassVar[tuple[float, float]] = (0.0, 255.0)
    colour_order: ClassVar[dict[str, Literal["rgb", "bgr"]]] = {}
    anchor: ClassVar[Literal["start", "end"]] = "start"
    published_windows: ClassVar[dict[int, dict[str, dict[str, int]]]] = {}

    @abc.abstractmethod
    def open_raw(self, root: epath.Path, remarks: list[str]) -> dict[str, RawSplit]:
        """Finds the raw files; frames are read later.

        Args:
          root: folder with the raw files.
          remarks: receives sentences for the user about the files.

        Returns:
          {split: clips}.

        Raises:
          InputError: a file is missing, or not as expected.
        """

    def stride(self, clip: str, length: int) -> int:
        """Returns OpenSTL's stride between windows of a clip.

        Args:
          clip: name of the clip.
          length: frames in a window.

        Returns:
          Frames from the start of one window to the start of the next one.
        """
        del clip
        return length

    def metadata(self) -> dict[str, Any]:
        """Returns the metadata that are known before the frames are read, as JSON; preparation fills in "splits"."""
        return {
            "frame_shape": list(self.frame_shape),
            "dtype": np.dtype(self.frame_dtype).name,
            "value_range": list(self.value_range),
            "fill": None,
            "colour_order": self.colour_order,
            "remarks": [],
            "splits": {},
        }

    def check_statistics(self, split: str, statistics: dict[str, Any]) -> None:
        """Refuses a split that a network cannot learn from.

        Args:
          split: name of the split.
          statistics: of its values, see `ChannelStatistics.as_json`.

        Raises:
          InputError: the values do not permit training.
        """
        del split, statistics
