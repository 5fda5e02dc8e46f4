"""Reader of a user's own frames: any files of `stlight_jax.data.formats`, divided into splits."""

import dataclasses
import functools
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
from etils import epath

from stlight_jax.data.covariates import packed
from stlight_jax.data.formats.input_files import open_sequences
from stlight_jax.data.formats.types import FrameSource, ReadOptions
from stlight_jax.data.formats.unlike_quantities import common_units
from stlight_jax.data.moments import moment_on_axis
from stlight_jax.data.raw_clips import ClipReader, RawClip, RawSplit
from stlight_jax.data.resize import resize_valid
from stlight_jax.data.splits import MOMENT_KEYS, SPLITS, Candidate, SplitPart, SplitRule, split
from stlight_jax.data.statistics import is_constant, is_missing
from stlight_jax.data.suspicion import FILL_OPTION, ValueSurvey, remarks_on_empty_frames
from stlight_jax.data.times import TimeAxis, other_calendar, time_text
from stlight_jax.data.windows import Segment, split_at_jumps
from stlight_jax.errors import InputError

# What all sequences must share, and what to do where they differ.
_SHARED = {
    "shape": "data.height and data.width bring all to one size",
    "dtype": "save all with one type",
    "fill": "save all with one type",
    "step": "bring all to one step, or ignore times with --config.data.time=none",
}


@dataclasses.dataclass(frozen=True)
class FramesOptions(ReadOptions, SplitRule):
    """How frames are read and divided, by the keys of the section `data` of `configs/frames.py`.

    Attributes:
      value_low: low end of the declared range of values; a value outside is an error. None, with `value_high`: the range of
        the training frames is measured (0..255 for uint8).
      value_high: high end of the declared range.
      height: of the stored frames, resized with antialiasing; 0, with `width`, keeps their size.
      width: of the stored frames.
    """

    value_low: float | None = None
    value_high: float | None = None
    height: int = 0
    width: int = 0

    def __post_init__(self) -> None:
        """Checks that keys do not contradict each other."""
        super().__post_init__()
        if (self.value_low is None) != (self.value_high is None):
            raise InputError("data.value_low and data.value_high belong together: give both or neither")
        if self.value_range is not None and not self.value_range[0] < self.value_range[1]:
            raise InputError(
                f"data.value_low is {self.value_low} and data.value_high {self.value_high}; the second must be larger"
            )
        if (self.height < 1) != (self.width < 1) or min(self.height, self.width) < 0:
            raise InputError(f"data.height is {self.height} and data.width {self.width}; give both or neither")

    def as_json(self) -> dict[str, Any]:
        """Returns the options as JSON, without the moments that are not given: version 0.1 has no such keys."""
        return {key: value for key, value in dataclasses.asdict(self).items() if key not in MOMENT_KEYS or value}

    @property
    def value_range(self) -> tuple[float, float] | None:
        """The declared range of values, None if it is measured."""
        return None if self.value_low is None or self.value_high is None else (self.value_low, self.value_high)


class FramesReader(ClipReader):
    """Frames of the user's own: a file, or a folder, of videos, pictures or arrays."""

    name = "frames"

    def __init__(self, raw: epath.PathLike, options: FramesOptions | None = None):
        """Opens all sequences and divides them.

        Args:
          raw: the file or folder.
          options: how frames are read and divided.

        Raises:
          InputError: a file cannot be read, or the sequences do not fit together.
        """
        self._options = options or FramesOptions()
        self._raw = epath.Path(raw)
        self._sequences = open_sequences(self._raw, self._options)
        first = self._sequences[0]
        for sequence in self._sequences[1:]:
            self._check_agreement(sequence, first)
        height, width, channels = first.shape
        self.frame_shape = (self._options.height or height, self._options.width or width, channels)
        self.frame_dtype = first.dtype.type
        self._parts, self._division = split(*candidates(self._sequences, self._options))
        self._survey = ValueSurvey(channels, first.dtype, first.fill)
        self._remarks: list[str] = []
        self._statistics: dict[str, dict[str, Any]] = {}  # by split

    @property
    def sequences_found(self) -> str:
        """The number of sequences and the first names, for a message."""
        names = [sequence.name for sequence in self._sequences]
        more = f" and {len(names) - 5} more" if len(names) > 5 else ""
        return f"{len(names)} sequence(s): {', '.join(names[:5])}{more}"

    def metadata(self) -> dict[str, Any]:
        """Returns every reader's metadata, with the options, the readers' remarks, and the declared range."""
        first, declared = self._sequences[0], self._options.value_range
        remarks = list(dict.fromkeys(f"{s.name}: {remark}" for s in self._sequences for remark in s.remarks))
        return {
            **super().metadata(),
            "value_range": None if declared is None else list(declared),
            "fill": first.fill,
            "data_fill": next((s.data_fill for s in self._sequences if s.data_fill is not None), None),
            "step": first.step,
            "units": common_units(self._sequences),
            "rows_go_north": all(sequence.info.rows_go_north for sequence in self._sequences),
            "sizes": sorted({sequence.shape[:2] for sequence in self._sequences}),
            "times": self._times(),
            "calendar": next(filter(None, (other_calendar(sequence.times) for sequence in self._sequences)), ""),
            "options": self._options.as_json(),
            "remarks": [self._division, *remarks],
        }

    def _times(self) -> dict[str, str] | None:
        """Returns the moments of the stored frames of each split, see `packed`; None if a sequence has no dates."""
        if not all(sequence.times is not None and sequence.times.dated for sequence in self._sequences):
            return None
        packed_times = {}
        for name, parts in self._parts.items():
            runs = [np.arange(run.first, run.first + run.frames) for part in parts for run in part.segments]
            sources = [self._sequences[part.sequence].times for part in parts for _ in part.segments]
            moments = [times.values[run] for times, run in zip(sources, runs, strict=True) if times is not None]
            packed_times[name] = packed(np.concatenate([np.zeros(0, np.int64), *moments]))
        return packed_times

    def open_raw(self, root: epath.Path, remarks: list[str]) -> dict[str, RawSplit]:
        """Returns the splits, and adds remarks on their values once all are read.

        The sequences are already open, so `root` makes no difference.
        """
        self._remarks = remarks
        return {
            name: RawSplit(
                functools.partial(self._clips, self._parts[name]),
                sum(segment.frames for part in self._parts[name] for segment in part.segments),
            )
            for name in SPLITS
        }

    def check_statistics(self, split: str, statistics: dict[str, Any]) -> None:
        """Refuses a channel without values, and training frames whose channels are all constant; see `ClipReader`.

        After the last split, it adds the remarks on suspicious values.
        """
        empty = [channel for channel, mean in enumerate(statistics["mean"]) if mean is None]
        if empty:
            label = "training" if split == "train" else split
            which = "" if len(empty) == len(statistics["mean"]) else f" of channel {empty[0] + 1}"
            fill = "" if self._options.fill_value is None else f"data.fill_value={self._options.fill_value:g} and "
            mask = f"data.mask={self._options.mask} and " if self._options.mask else ""
            raise InputError(
                f"{self._raw}: all values{which} of the {label} frames are missing; expected values; check "
                f"{fill}{mask}the files" + (", or divide the data otherwise (data.split)" if split != "train" else "")
            )
        if split == "train":
            self._check_training(statistics["min"], statistics["max"])
        self._statistics[split] = statistics
        if len(self._statistics) == len(SPLITS):
            survey = self._survey
            self._remarks += survey.remarks(FILL_OPTION, per_channel_option="--config.data.per_channel")
            self._remarks += remarks_on_empty_frames(survey.empty, survey.frames)
            self._remarks += self._constant_channels()

    def _check_training(self, lows: list[float], highs: list[float]) -> None:
        low, high = min(lows), max(highs)
        if high - low > np.finfo(np.float32).max / 2:
            marks = self._survey.marks()
            advice = (
                f"{marks[0]} missing, give {FILL_OPTION}={marks[0].text}" if marks else "if one is a mark, give data.fill_value"
            )
            raise InputError(f"{self._raw}: values lie between {low:g} and {high:g}, too far apart for float32; {advice}")
        if self._options.value_range is None and all(map(is_constant, lows, highs)):
            levels = " and ".join(f"{level:g}" for level in dict.fromkeys(lows))
            raise InputError(
                f"{self._raw}: all values of the training frames are {levels}, and a network cannot learn from constant data; "
                "check the data, or declare their range with data.value_low and data.value_high"
            )

    def _constant_channels(self) -> list[str]:
        """Names the channels that are constant, everywhere or in the training frames."""
        remarks = []
        for channel in range(self.frame_shape[-1]):
            lows, highs = ({name: own[end][channel] for name, own in self._statistics.items()} for end in ("min", "max"))
            if is_constant(lows["train"], highs["train"]):
                everywhere = is_constant(min(lows.values()), max(highs.values()))
                where = "everywhere" if everywhere else "in all training frames, but not in the others"
                remarks.append(f"channel {channel + 1} is {lows['train']:g} {where}; a network cannot learn from it")
        return remarks

    def _check_agreement(self, sequence: FrameSource, first: FrameSource) -> None:
        for name, advice in _SHARED.items():
            value, expected = getattr(sequence, name), getattr(first, name)
            resized = name == "shape" and self._options.height > 0 and value[-1] == expected[-1]
            if name == "shape" and value[-1] != expected[-1]:
                raise InputError(self._unlike_channels(sequence, first))
            if value != expected and not resized:
                raise InputError(
                    f"{sequence.name} has {name} {value or 'none'}, {first.name} {expected or 'none'}; all sequences must "
                    f"agree; {advice}"
                )

    def _unlike_channels(self, sequence: FrameSource, first: FrameSource) -> str:
        """Names two sequences with different numbers of channels, and what to do."""
        numbers = [f"{s.name} has {s.shape[-1]} channel{'s' * (s.shape[-1] > 1)}" for s in (first, sequence)]
        advice = "train on files of one kind, in a folder of their own, or save all with the same channels"
        if first.info.is_pictures != sequence.info.is_pictures:
            (pictures,) = (s for s in (first, sequence) if s.info.is_pictures)
            (other,) = (s for s in (first, sequence) if not s.info.is_pictures)
            for choice, count in (("grey", 1), ("rgb", 3)):
                if other.shape[-1] == count:
                    advice = f"read {pictures.name} like it with --config.data.channels={choice}, or {advice}"
        return f"{self._raw}: {' and '.join(numbers)}; expected the same number in all; {advice}"

    def _clips(self, parts: list[SplitPart]) -> Iterator[RawClip]:
        for part in parts:
            sequence = self._sequences[part.sequence]
            ends = np.cumsum([segment.frames for segment in part.segments]).tolist()
            # The clip consists of the segments' frames only.
            moved = (Segment(end - frames, frames, tick) for end, (_, frames, tick) in zip(ends, part.segments, strict=True))
            yield RawClip(sequence.name, self._read_blocks(sequence, part.segments), tuple(moved))

    def _read_blocks(self, sequence: FrameSource, segments: list[Segment]) -> Iterator[np.ndarray]:
        """Yields the frames of segments, `[n, h, w, c]`, checked and resized."""
        wanted = np.zeros(sequence.frames, bool)
        for segment in segments:
            wanted[segment.first : segment.first + segment.frames] = True
        last, seen = int(np.flatnonzero(wanted)[-1]), 0
        for block in sequence.blocks():
            indices = seen + np.flatnonzero(wanted[seen : seen + len(block)])
            chosen = block[indices - seen]
            seen += len(block)
            if len(chosen):
                self._check_range(sequence, chosen, indices)
                self._survey.add(sequence.name, chosen)
                height, width, _ = self.frame_shape
                same_size = chosen.shape[1:3] == (height, width)
                yield chosen if same_size else resize_valid(chosen, sequence.fill, height, width)
            if seen > last:
                return
        if seen <= last:
            raise InputError(f"{sequence.name}: expected {sequence.frames} frames, found {seen}; is the file whole?")

    def _check_range(self, sequence: FrameSource, block: np.ndarray, indices: np.ndarray) -> None:
        if self._options.value_range is None:
            return
        low, high = self._options.value_range
        missing = is_missing(block, sequence.fill)
        outside = (block < low) | (block > high)
        if missing is not None:
            outside &= ~missing
        if outside.any():
            frame = indices[np.flatnonzero(outside.any(axis=(1, 2, 3)))[0]]
            raise InputError(
                f"{self._raw}: {sequence.name}, frame {frame}: value {block[outside].flat[0]:g} lies outside the declared "
                f"range {low:g} to {high:g} (data.value_low, data.value_high)"
            )


def candidates(sequences: Sequence[FrameSource], rule: SplitRule) -> tuple[list[Candidate], SplitRule, dict[str, int]]:
    """Returns the arguments of `split` that divide sequences.

    Args:
      sequences: the sequences.
      rule: how to divide them.

    Raises:
      InputError: `rule` names moments, and a sequence has no times, or no sequence has such moments.
    """
    found = [Candidate(sequence.name, _segments(sequence), sequence.times is not None) for sequence in sequences]
    return found, rule, {key: _cut(sequences, f"data.{key}", moment) for key, moment in rule.moments.items()}


def _cut(sequences: Sequence[FrameSource], key: str, moment: str) -> int:
    """Returns the first tick of all sequences from a moment on."""
    earlier, later = [], []
    for sequence in sequences:
        if sequence.times is None or sequence.ticks is None:
            raise InputError(
                f"{key} is {moment!r}, and {sequence.name} has no times; expected frames with times; divide by "
                "data.validation_fraction and data.test_fraction instead"
            )
        from_moment = sequence.times.values >= moment_on_axis(sequence.times, moment, key, sequence.name)
        earlier.append(sequence.ticks[~from_moment])
        later.append(sequence.ticks[from_moment])
    before, after = np.concatenate(earlier), np.concatenate(later)
    if not len(after if key.endswith("_from") else before):
        axes = [sequence.times for sequence in sequences if sequence.times is not None]
        ends = [(axis.values[index], time_text(axis, index)) for axis in axes for index in _ends(axis)]
        raise InputError(
            f"{key} is {moment!r}, and the frames reach from {min(ends)[1]} to {max(ends)[1]}; expected a moment between them"
        )
    return int(after.min() if len(after) else before.max() + 1)


def _ends(times: TimeAxis) -> tuple[int, int]:
    return int(np.argmin(times.values)), int(np.argmax(times.values))


def _segments(sequence: FrameSource) -> list[Segment]:
    return [Segment(0, sequence.frames)] if sequence.ticks is None else split_at_jumps(sequence.ticks)
