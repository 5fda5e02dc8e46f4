"""One sequence of several files or arrays: its frames, times, name and remarks."""

from __future__ import annotations

import dataclasses
import itertools
import re
from collections import defaultdict
from collections.abc import Iterator, Sequence

import numpy as np
from etils import epath

from stlight_jax.data.dates_in_names import with_plain_dates, with_year_first
from stlight_jax.data.formats.types import FrameSource, frames_per_block
from stlight_jax.data.joined_times import join_times
from stlight_jax.data.numbers_in_names import NameTicks, numbered_order, ticks_of_numbers
from stlight_jax.data.statistics import with_nan
from stlight_jax.data.times import TimeAxis


@dataclasses.dataclass(frozen=True, eq=False)
class JoinedSequence:
    """A sequence of several files or arrays.

    Attributes:
      parts: in their order.
      with_gaps: whether numbers that are missing in the names of files without times are gaps.
    """

    parts: list[FrameSource]
    with_gaps: bool

    def as_source(self) -> FrameSource:
        """Returns the sequence; its continuation is written like that of the last part."""
        frames = sum(part.frames for part in self.parts)
        last = self.parts[-1]
        like = next(part for part in reversed(self.parts) if part.dtype == self._dtype)
        order = "names" if last.times is None else "times"
        number = f"{len(self.parts):,} {parts_word(self.parts)}"
        remark = f"{number} with {frames:,} frames are one sequence, in the order of their {order}"
        ticks, remarks = self._ticks()
        prefix, span, suffix = _joined_name([part.name for part in self.parts])
        return dataclasses.replace(
            like,
            name=f"{prefix}{span}{suffix}",
            info=dataclasses.replace(like.info, span=span),
            frames=frames,
            blocks=self._blocks,
            ticks=ticks,
            remarks=(remark, *remarks, *_joined_remarks(self.parts)),
            times=self._times(),
        )

    def _ticks(self) -> NameTicks:
        if not self.with_gaps or self.parts[0].times is not None:
            return NameTicks(None, ())
        found = numbered_order(with_year_first(list(map(own_name, self.parts)))[0])
        return NameTicks(None, ()) if found is None else ticks_of_numbers([part.name for part in self.parts], found[1])

    @property
    def _dtype(self) -> np.dtype:
        dtypes = {part.dtype for part in self.parts}
        return dtypes.pop() if len(dtypes) == 1 else np.dtype(np.float32)

    def _times(self) -> TimeAxis | None:
        axes = [part.times for part in self.parts if part.times is not None]
        return join_times(axes) if axes else None

    def _blocks(self, first: int = 0) -> Iterator[np.ndarray]:
        size = frames_per_block(self.parts[0].shape, self._dtype)
        waiting: list[np.ndarray] = []
        frames = 0
        for part in self.parts:
            if first >= part.frames:
                first -= part.frames
                continue
            for block in part.blocks(first):
                waiting.append(block if block.dtype == self._dtype else with_nan(block, part.fill).astype(np.float32))
                frames += len(block)
                if frames >= size:
                    yield waiting[0] if len(waiting) == 1 else np.concatenate(waiting)
                    waiting, frames = [], 0
            first = 0
        if waiting:
            yield np.concatenate(waiting)


def _joined_name(names: Sequence[str]) -> tuple[str, str, str]:
    """Returns the parts of a name such as rain_000..023.nc, for rain_000.nc to rain_023.nc; the second is 000..023."""
    low, high = names[0], names[-1]
    prefix = re.sub("[0-9]+$", "", _common_start(low, high))
    tails = low[len(prefix) :], high[len(prefix) :]
    suffix = re.sub("^[0-9]+", "", _common_start(*(tail[::-1] for tail in tails))[::-1])
    return prefix, "..".join(tail[: len(tail) - len(suffix)] for tail in tails), suffix


def _common_start(first: str, second: str) -> str:
    same = itertools.takewhile(lambda pair: pair[0] == pair[1], zip(first, second, strict=False))
    return "".join(character for character, _ in same)


def _joined_remarks(parts: Sequence[FrameSource]) -> list[str]:
    """Returns the parts' remarks, each once; the first of several remarks that differ in numbers only."""
    found: dict[str, list[tuple[epath.Path, str]]] = defaultdict(list)
    for part in parts:
        for remark in part.remarks:
            found[re.sub("[0-9]+", "#", remark)].append((part.info.path, remark))
    remarks = []
    for alike in found.values():
        (path, remark), more = alike[0], len({path for path, _ in alike}) - 1
        if len(alike) == len(parts) and len({text for _, text in alike}) == 1:
            remarks.append(remark)
        else:
            remarks.append(f"{path.name}: {remark}" + (f" (and {more:,} files more)" if more else ""))
    return remarks


def own_name(source: FrameSource) -> str:
    """Returns the name of a source's file without its ending, with the array if it is a frame."""
    return with_plain_dates(source.info.path.stem) + (f"#{source.info.key}" if source.info.key and source.frames == 1 else "")


def parts_word(parts: Sequence[FrameSource]) -> str:
    """Returns what the parts of a sequence are, in messages."""
    return "files" if len({part.info.path for part in parts}) > 1 else "arrays"
