"""A user's own frames: videos, pictures and arrays, read once and stored as clips."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Iterator
from typing import Any

import numpy as np
import tensorflow_datasets as tfds
from etils import epath

from stlight_jax.console.messages import print_message
from stlight_jax.data.clips_builder import Clip, ClipsBuilder, Split
from stlight_jax.data.formats.input_files import open_sequences
from stlight_jax.data.formats.types import FrameSource, ReadOptions
from stlight_jax.data.resize import bilinear
from stlight_jax.data.splits import SPLITS, Candidate, Part, split
from stlight_jax.data.statistics import is_missing
from stlight_jax.data.windows import Run, runs_of
from stlight_jax.errors import InputError


@dataclasses.dataclass(frozen=True)
class FramesOptions(ReadOptions):
    """How frames are read and divided; the keys of `configs/frames.py`'s section `data`.

    Attributes:
      value_low, value_high: the declared range of values, both or neither; a value outside is an error. Without, the range of
        the training frames is measured (0..255 for uint8).
      height, width: frames are resized to this, antialiased; 0 leaves them as they are.
      split, validation_fraction, test_fraction, gap, group: see `stlight_jax.data.splits.split`.
    """

    value_low: float | None = None
    value_high: float | None = None
    height: int = 0
    width: int = 0
    split: str = "auto"
    validation_fraction: float = 0.1
    test_fraction: float = 0.2
    gap: int = 0
    group: str = ""

    def __post_init__(self) -> None:
        if (self.value_low is None) != (self.value_high is None):
            raise InputError("data.value_low and data.value_high belong together: give both or neither")
        if self.value_low is not None and not self.value_low < self.value_high:
            raise InputError(
                f"data.value_low is {self.value_low} and data.value_high {self.value_high}; the second must be larger"
            )
        if (self.height < 1) != (self.width < 1) or min(self.height, self.width) < 0:
            raise InputError(f"data.height is {self.height} and data.width {self.width}; give both or neither")


class Frames(ClipsBuilder):
    """Frames of the user's own: a file, or a folder, of videos, pictures or arrays.

    Args:
      raw: where they are.
      options: how they are read and divided.
      **builder: of TFDS, such as data_dir and file_format.

    Raises InputError for what cannot be read or does not fit together.
    """

    name = "frames"

    def __init__(self, *, raw: epath.PathLike, options: FramesOptions | None = None, **builder: Any):
        self._options = options or FramesOptions()
        self._raw = epath.Path(raw)
        self._sequences = open_sequences(self._raw, self._options)
        first = self._sequences[0]
        for sequence in self._sequences[1:]:
            for what in ("shape", "dtype", "fill", "step"):
                if getattr(sequence, what) != getattr(first, what) and not (what == "shape" and self._resized(sequence, first)):
                    hint = "; data.height and data.width bring all to one size" if what == "shape" else ""
                    raise InputError(
                        f"{sequence.name} has {what} {getattr(sequence, what)}, {first.name} {getattr(first, what)}; all "
                        f"sequences must agree{hint}"
                    )
        height, width, channels = first.shape
        self.FRAME_SHAPE = (self._options.height or height, self._options.width or width, channels)
        self.FRAME_DTYPE = first.dtype.type
        self._parts, self.how_divided = split(
            [Candidate(s.name, self._runs(s), s.ticks is not None) for s in self._sequences],
            self._options.split,
            self._options.validation_fraction,
            self._options.test_fraction,
            self._options.gap,
            self._options.group,
        )
        super().__init__(**builder)

    @property
    def sequences_found(self) -> str:
        """How many sequences there are, and which, for people."""
        names = [sequence.name for sequence in self._sequences]
        more = f" and {len(names) - 5} more" if len(names) > 5 else ""
        return f"{len(names)} sequence(s): {', '.join(names[:5])}{more}"

    def _resized(self, a: FrameSource, b: FrameSource) -> bool:
        return self._options.height > 0 and a.shape[-1] == b.shape[-1]

    def metadata(self) -> dict[str, Any]:
        """As every builder's, with the options, what the readers have to say, and the declared range."""
        options, first = self._options, self._sequences[0]
        declared = None if options.value_low is None else [options.value_low, options.value_high]
        remarks = list(dict.fromkeys(f"{s.name}: {remark}" for s in self._sequences for remark in s.remarks))
        return {
            **super().metadata(),
            "value_range": declared,
            "fill": first.fill,
            "step": first.step,
            "options": dataclasses.asdict(options),
            "remarks": [self.how_divided, *remarks],
        }

    def open_raw(self, root: epath.Path) -> dict[str, Split]:
        """Its sequences were opened when it was made; `root` makes no difference."""
        del root
        return {
            name: Split(
                functools.partial(self._clips, self._parts[name]),
                sum(run.frames for part in self._parts[name] for run in part.runs),
            )
            for name in SPLITS
        }

    def _split_generators(self, dl_manager: tfds.download.DownloadManager) -> dict[str, Iterator]:
        del dl_manager  # there is no manual folder: the frames lie where the user said
        return {name: self._generate_examples(name, of) for name, of in self.open_raw(self._raw).items()}

    def check_statistics(self, split: str, statistics: dict[str, Any]) -> None:
        """Raises InputError if a channel has no values, or the training frames have the same value everywhere."""
        empty = [channel for channel, mean in enumerate(statistics["mean"]) if mean is None]
        if empty:
            what = "training" if split == "train" else split
            raise InputError(f"{self._raw}: channel {empty[0] + 1} of the {what} frames has no values, all are missing")
        if split != "train":
            return
        low, high = min(statistics["min"]), max(statistics["max"])
        if high - low > np.finfo(np.float32).max / 2:
            raise InputError(
                f"{self._raw}: values lie between {low:g} and {high:g}, too far apart for float32; are they missing ones?"
            )
        if low == high and self._options.value_low is None:
            raise InputError(
                f"{self._raw}: all values of the training frames are {low:g}: there is nothing to learn from constant data; "
                "check the data, or declare their range with data.value_low and data.value_high"
            )

    @staticmethod
    def _runs(sequence: FrameSource) -> list[Run]:
        return [Run(0, sequence.frames)] if sequence.ticks is None else runs_of(sequence.ticks)

    def _clips(self, parts: list[Part]) -> Iterator[Clip]:
        for part in parts:
            sequence = self._sequences[part.sequence]
            ends = np.cumsum([run.frames for run in part.runs])
            runs = tuple(Run(int(end) - run.frames, run.frames, run.tick) for end, run in zip(ends, part.runs, strict=True))
            yield Clip(sequence.name, self._blocks(sequence, part.runs), runs)

    def _blocks(self, sequence: FrameSource, runs: list[Run]) -> Iterator[np.ndarray]:
        wanted = np.zeros(sequence.frames, bool)
        for run in runs:
            wanted[run.first : run.first + run.frames] = True
        last, seen = int(np.flatnonzero(wanted)[-1]), 0
        for block in sequence.blocks():
            places = seen + np.flatnonzero(wanted[seen : seen + len(block)])
            chosen = block[places - seen]
            seen += len(block)
            if len(chosen):
                self._check_range(sequence, chosen, places)
                yield self._fitted(sequence, chosen)
            if seen > last:
                return
        if seen <= last:
            raise InputError(f"{sequence.name}: {sequence.frames} frames were announced, {seen} came; is the file whole?")

    def _check_range(self, sequence: FrameSource, block: np.ndarray, places: np.ndarray) -> None:
        low, high = self._options.value_low, self._options.value_high
        if low is None:
            return
        missing = is_missing(block, sequence.fill)
        outside = (block < low) | (block > high)
        if missing is not None:
            outside &= ~missing
        if outside.any():
            frame = places[outside.any(axis=(1, 2, 3)).argmax()]
            raise InputError(
                f"{self._raw}: {sequence.name}, frame {frame}: value {block[outside].flat[0]:g} lies outside the declared "
                f"range {low:g} to {high:g} (data.value_low, data.value_high)"
            )

    def _fitted(self, sequence: FrameSource, block: np.ndarray) -> np.ndarray:
        height, width, _ = self.FRAME_SHAPE
        if block.shape[1:3] == (height, width):
            return block
        return resized_where_known(block, sequence.fill, height, width)


def resized_where_known(block: np.ndarray, fill: float | None, height: int, width: int) -> np.ndarray:
    """Antialiased: every value is the weighted mean of those that are there, and missing where these weigh less than half.

    Args:
      block: `[n, h, w, c]`.
      fill: integers of this value are missing; in floats NaN are.

    Returns:
      `[n, height, width, c]` of the same dtype; whole numbers are rounded.
    """
    missing = is_missing(block, fill)
    if missing is None or not missing.any():
        resized, weight = bilinear(block, height, width, antialias=True), None
    else:
        weight = bilinear(~missing, height, width, antialias=True)
        resized = bilinear(np.where(missing, 0, block), height, width, antialias=True) / np.maximum(weight, 0.5)
    if block.dtype.kind != "f":
        resized = np.rint(resized)
    if weight is not None:
        resized = np.where(weight < 0.5, np.nan if fill is None else fill, resized)
    return resized.astype(block.dtype)


def describe(metadata: dict[str, Any]) -> None:
    """Shows range, mean and spread of every channel of the training frames."""
    statistics = metadata["splits"]["train"]["statistics"]
    for channel in range(metadata["frame_shape"][-1]):
        values = {name: of[channel] for name, of in statistics.items()}
        print_message(
            f"  channel {channel + 1}: {values['min']:g} to {values['max']:g}, mean {values['mean']:.4g}, standard deviation "
            f"{values['std']:.4g}, missing {100 * values['missing']:.2g} %"
        )
