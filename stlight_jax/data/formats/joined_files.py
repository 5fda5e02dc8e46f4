"""Sequences across files and arrays: which files or arrays are successive parts of one sequence."""

from __future__ import annotations

import dataclasses
import itertools
import os
import re
from collections import defaultdict
from collections.abc import Callable, Hashable, Iterator, Sequence

import numpy as np

from stlight_jax.data.dates_in_names import with_year_first
from stlight_jax.data.formats.frame_grids import by_grid, grid_of, unlike_coordinate
from stlight_jax.data.formats.joined_sequence import JoinedSequence, own_name, parts_word
from stlight_jax.data.formats.types import FrameSource, ReadOptions
from stlight_jax.data.joined_times import time_kind, with_units_of
from stlight_jax.data.numbers_in_names import number_value, split_names, without_numbers
from stlight_jax.data.splits import split_in_name
from stlight_jax.data.ticks import sampling_step
from stlight_jax.data.times import TimeAxis, time_text
from stlight_jax.data.times_in_names import times_in_names

_NUMBERS = re.compile("([0-9]+)")
NOT_JOINED = "are not joined to one sequence"  # in remarks
_MAX_STEP_RATIO = 1.25  # months have 28 to 31 days

_Key = Callable[[FrameSource], Hashable]


def join_files(sources: Sequence[FrameSource], options: ReadOptions) -> list[FrameSource]:
    """Joins the sequences of array files, or of the arrays of a file, that are successive parts of one sequence.

    Parts agree in the array's name, the frames' shape, element type and meaning, and in the split that their names name.

    - With times: the parts follow each other in time, have one sampling step and do not overlap. They lie in one folder, or in
      folders whose names are numbers, such as 2020/01.
    - Without times: each file or array holds one frame, they lie in one folder, and their names differ in one number, which is
      their order, or in a date with a time, which is the time of the frame.

    Args:
      sources: sequences of all files, in natural order of their names.
      options: the user's options.

    Returns:
      The sequences, each joined one in the place of its first part.
    """
    sources = _in_common_units(sources if options.time == "none" else _with_times_in_names(sources))
    joined: dict[int, FrameSource] = {}
    absorbed: set[int] = set()
    places = {id(source): number for number, source in enumerate(sources)}
    for group in _grouped(list(filter(_is_array, sources)), _thing):
        for parts in _successions(group):
            numbers = sorted(places[id(part)] for part in parts)
            joined[numbers[0]] = JoinedSequence(parts, options.time != "none").as_source()
            absorbed.update(numbers[1:])
    remaining = [joined.get(number, source) for number, source in enumerate(sources) if number not in absorbed]
    return _explain_separate(remaining)


def _in_common_units(sources: Sequence[FrameSource]) -> list[FrameSource]:
    """Returns the sources with times that can be compared by their values."""
    first: dict[Hashable, TimeAxis] = {}
    results = []
    for source in sources:
        if source.times is not None:
            reference = first.setdefault(time_kind(source.times), source.times)
            source = dataclasses.replace(source, times=with_units_of(reference, source.times))
        results.append(source)
    return results


def _thing(source: FrameSource) -> Hashable:
    """Returns what the parts of one sequence have in common."""
    info = source.info
    axes = "".join(letter for letter in info.axes if letter in "hwc")
    times = None if source.times is None else time_kind(source.times)
    # Integers become floats in the files that declare missing values or scale them, which differs from file to file.
    stored = source.dtype if info.array is None else info.array.dtype
    key = _NUMBERS.sub("#", info.key) if source.frames == 1 else info.key
    content = (key, axes, info.item, source.shape, stored, info.meaning)
    return (*content, info.format, times, split_in_name(source.name))


def _with_times_in_names(sources: Sequence[FrameSource]) -> list[FrameSource]:
    """Returns the sources; single frames without times have those in the names of their files, if each name has one."""
    results = {id(source): source for source in sources}
    single = [source for source in filter(_is_array, sources) if source.times is None and source.frames == 1]
    for alike in _grouped(single, lambda source: (_thing(source), _name_pattern(source))):
        in_one_file = len({source.info.path for source in alike}) == 1
        names, message = with_year_first([source.info.key if in_one_file else source.info.path.stem for source in alike])
        times = times_in_names(names) if len(alike) > 1 else None
        if times is None or len(np.unique(times.values)) < len(alike):
            if message and len(alike) > 1:
                results[id(alike[0])] = dataclasses.replace(alike[0], remarks=(*alike[0].remarks, message))
            continue
        remark = f"the names of its {parts_word(alike)} give their times; --config.data.time=none ignores them"
        messages = tuple(filter(None, (message, remark)))
        for place, source in enumerate(alike):
            own = dataclasses.replace(times, values=times.values[[place]], stored=times.stored[[place]])
            results[id(source)] = dataclasses.replace(source, times=own, remarks=(*source.remarks, *messages))
    return list(results.values())


def _is_array(source: FrameSource) -> bool:
    return not source.info.is_pictures


def _folder(source: FrameSource) -> str:
    return os.path.dirname(source.info.path)


def _dated_folder(source: FrameSource) -> str:
    """Returns the folder, with the same text for all folders whose names are numbers."""
    parts = _folder(source).split(os.sep)
    return os.sep.join(_NUMBERS.sub("#", part) if re.fullmatch("[0-9_.-]+", part) else part for part in parts)


def _name_pattern(source: FrameSource) -> Hashable:
    return _folder(source), without_numbers(own_name(source)), source.info.path.suffix


def _grouped(sources: Sequence[FrameSource], key: _Key) -> list[list[FrameSource]]:
    groups: dict[Hashable, list[FrameSource]] = defaultdict(list)
    for source in sources:
        groups[key(source)].append(source)
    return list(groups.values())


def _successions(group: list[FrameSource]) -> Iterator[list[FrameSource]]:
    """Yields the parts of each sequence, in order, of sources that are of one thing."""
    if group[0].times is None:
        for alike in _grouped([source for source in group if source.frames == 1], _name_pattern):
            yield from (parts for parts in _counted(alike) if len(parts) > 1)
        return
    for near in _grouped(group, _dated_folder):
        for same_grid in by_grid(near):
            for same_step in _with_one_step(same_grid):
                yield from _in_time(same_step, [_folder, _name_pattern])


def _counted(alike: list[FrameSource]) -> list[list[FrameSource]]:
    """Divides sources whose names differ in numbers only, so that in each part one number differs: the last one that does."""
    if len(alike) < 2:
        return []
    names = split_names(with_year_first(list(map(own_name, alike)))[0])
    if len(set(names.pattern)) > 1:
        return []
    columns = [list(map(number_value, column)) for column in zip(*names.numbers, strict=True)]
    # The number of a file can occur in the name of its array, too.
    *others, order = dict.fromkeys(tuple(column) for column in columns if len(set(column)) > 1) or [()]
    if not order:
        return []
    places = {id(source): place for place, source in enumerate(alike)}
    parts = _grouped(alike, lambda source: tuple(column[places[id(source)]] for column in others))
    return [sorted(part, key=lambda source: order[places[id(source)]]) for part in parts]


def _with_one_step(group: list[FrameSource]) -> list[list[FrameSource]]:
    """Divides sources by their sampling steps; a single frame fits any step, if there is only one."""
    clusters: list[tuple[float, list[FrameSource]]] = []
    single = []
    for source in group:
        assert source.times is not None
        step = sampling_step([source.times.values])
        if step is None:
            single.append(source)
            continue
        for first, members in clusters:
            if step <= _MAX_STEP_RATIO * first and first <= _MAX_STEP_RATIO * step:
                members.append(source)
                break
        else:
            clusters.append((step, [source]))
    if len(clusters) == 1:
        return [group]
    return [members for _, members in clusters] + [single]


def _in_time(group: list[FrameSource], finer: list[_Key]) -> Iterator[list[FrameSource]]:
    """Yields the group in the order of time; if times overlap, its subgroups by the finer keys."""
    if len(group) < 2:
        return
    spans = sorted(((*_span(source), source) for source in group), key=lambda span: span[:2])
    if all(earlier[1] < later[0] for earlier, later in itertools.pairwise(spans)):
        yield [source for _, _, source in spans]
    elif finer:
        for subgroup in _grouped(group, finer[0]):
            yield from _in_time(subgroup, finer[1:])
    elif len(parts := _counted(group)) > 1:
        for part in parts:
            yield from _in_time(part, [])


def _span(source: FrameSource) -> tuple[float, float]:
    assert source.times is not None
    return source.times.values.min().item(), source.times.values.max().item()


def _explain_separate(sources: list[FrameSource]) -> list[FrameSource]:
    """Adds to the first of several files of one thing, of one frame each or of times that overlap, why they are no sequence."""
    for alike in _grouped(list(filter(_is_array, sources)), _thing):
        number, remark = len(alike), ""
        if number == 1:
            continue
        if alike[0].times is not None and (reason := _unlike_grids(alike)):
            remark = f"{number:,} {parts_word(alike)} {NOT_JOINED}: {reason}"
        elif {source.frames for source in alike} == {1}:
            reason = "their names differ in more than a number" if alike[0].times is None else _repeated_time(alike)
            remark = f"{number:,} {parts_word(alike)} of one frame {NOT_JOINED}: {reason}"
        elif alike[0].times is not None and (pair := _first_overlap(alike)) is not None:
            first, second = (source.name for source in pair)
            remark = (
                f"{number:,} files {NOT_JOINED}: the times of {first} and {second} overlap; leave out frames of one of them"
            )
        if remark:
            place = next(number for number, source in enumerate(sources) if source is alike[0])
            sources[place] = dataclasses.replace(alike[0], remarks=(*alike[0].remarks, remark))
    return sources


def _unlike_grids(group: list[FrameSource]) -> str:
    """Names two sources in one folder that follow each other in time on different grids; "" if there are none."""
    for near in _grouped(group, _dated_folder):
        for earlier, later in itertools.pairwise(sorted(near, key=_span)):
            if _span(earlier)[1] >= _span(later)[0] or (earlier.info.grid and earlier.info.grid == later.info.grid):
                continue
            if key := unlike_coordinate(grid_of(earlier), grid_of(later)):
                return f"the coordinate {key!r} of {later.name} differs from that of {earlier.name}; bring them to one grid"
    return ""


def _repeated_time(group: list[FrameSource]) -> str:
    """Names a time that two sources of one frame share."""
    for earlier, later in itertools.pairwise(sorted(group, key=_span)):
        assert later.times is not None
        if _span(earlier) == _span(later):
            time = time_text(later.times, 0)
            return f"their times overlap, {earlier.name} and {later.name} have the time {time}; leave out one of them"
    return "they lie in different folders, or are not one sampling step apart"


def _first_overlap(group: list[FrameSource]) -> tuple[FrameSource, FrameSource] | None:
    """Returns the first two sources of which the second begins within the times of the first and ends after them."""
    for alike in _grouped(group, _name_pattern):
        for earlier, later in itertools.pairwise(sorted(alike, key=_span)):
            (start, end), (next_start, next_end) = _span(earlier), _span(later)
            if start < next_start <= end < next_end:
                return earlier, later
    return None
