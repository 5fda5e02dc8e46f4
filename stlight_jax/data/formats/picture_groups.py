"""Which pictures are one sequence: those of day folders together, those of each camera in a folder apart."""

import itertools
import os
import re
from collections import defaultdict
from collections.abc import Sequence

import numpy as np
from etils import epath

from stlight_jax.data.dates_in_names import with_year_first
from stlight_jax.data.numbers_in_names import split_names
from stlight_jax.data.times_in_names import times_in_names

_NUMBERED_FOLDER = re.compile("[0-9_.-]+")
_CLOCK = re.compile(r"(?<!\d)([01]\d|2[0-3])([-_.]?)([0-5]\d)(?:\2([0-5]\d))?(?!\d)")
_PART_OF_TIME = re.compile(r"(d|day|h|hour|m|min|minute|s|sec|second|w|week|month|y|year|t|time)$", re.IGNORECASE)


def join_day_folders(folders: dict[str, list[epath.Path]]) -> dict[str, list[epath.Path]]:
    """Joins folders of pictures whose paths and names give each picture one date and time, such as 2026/06/01/0005.png.

    Args:
      folders: the pictures of each folder by the folder's name, in natural order.

    Returns:
      The same, with the folders of a sequence as one entry in the place of the first.
    """
    groups: dict[str, list[str]] = defaultdict(list)
    for name, files in folders.items():
        groups[_before_date(os.path.dirname(os.path.abspath(files[0])))].append(name)
    results = {}
    for name, files in folders.items():
        group = groups[_before_date(os.path.dirname(os.path.abspath(files[0])))]
        together = [file for member in group for file in folders[member]]
        times = times_in_names(names_with_dates(together)) if len(group) > 1 else None
        if times is None or len(np.unique(times.values)) < len(together):
            results[name] = files
        elif name == group[0]:
            results[f"{name}..{group[-1]}"] = together
    return results


def names_with_dates(files: Sequence[epath.Path]) -> list[str]:
    """Returns the names of pictures without endings, or YYYYMMDD_HHMM[SS] if their folders have the date and names the time."""
    stems = [file.stem for file in files]
    names, consecutive = [], True
    for folder, members in itertools.groupby(files, key=lambda file: os.path.dirname(os.path.abspath(file))):
        date, numbers = _date(folder), []
        for file in members:
            clocks = [match.groups() for match in _CLOCK.finditer(file.stem)]
            if date is None or len(clocks) != 1:
                return stems
            hour, _, minute, second = clocks[0]
            names.append(f"{date}_{hour}{minute}{second or ''}")
            numbers.append(int(f"{hour}{minute}{second or ''}"))
        consecutive &= numbers[0] in (0, 1) and set(np.diff(sorted(numbers))) <= {1}
    one_each = len({file.parent for file in files}) == len(files)
    return stems if consecutive and not one_each else names  # 0000, 0001, ... count pictures


def split_cameras(files: Sequence[epath.Path]) -> dict[str, list[epath.Path]]:
    """Divides the pictures of a folder whose names differ in a word, or in a number behind a word, at equal other numbers.

    Examples are cam0_0001, cam0_0002, cam1_0001, cam1_0002, and the same with left and right.

    Args:
      files: the pictures in natural order.

    Returns:
      The pictures by the part of the name that differs; by "" if they are one sequence.
    """
    names, _ = with_year_first([file.stem for file in files])
    patterns, numbers = split_names(names)
    if len(set(map(len, numbers))) > 1 or not numbers[0]:
        return {"": list(files)}
    columns = list(zip(*numbers, strict=True))
    before = re.split("#", patterns[0])
    varying = [place for place, column in enumerate(columns) if len(set(column)) > 1]
    labels = [place for place in varying if _is_label(before[place])]
    if labels == varying and labels:  # the number with the most values counts frames
        labels.remove(max(reversed(labels), key=lambda place: len(set(columns[place]))))
    groups: dict[tuple[str, ...], dict[tuple[str, ...], epath.Path]] = defaultdict(dict)
    for file, pattern, own in zip(files, patterns, numbers, strict=True):
        label = (pattern, *(own[place] for place in labels))
        groups[label][tuple(text for place, text in enumerate(own) if place in varying and place not in labels)] = file
    frames = [frozenset(group) for group in groups.values()]
    if len(groups) < 2 or len(set(frames)) > 1 or len(frames[0]) < 2 or len(frames) * len(frames[0]) < len(files):
        return {"": list(files)}
    return {_label(label, groups, before, labels): list(group.values()) for label, group in groups.items()}


def _label(
    label: tuple[str, ...],
    groups: dict[tuple[str, ...], dict[tuple[str, ...], epath.Path]],
    before: list[str],
    labels: list[int],
) -> str:
    """Returns the part of the names of a group that differs from the others, such as cam0 and left."""
    words = [_word(before[place]) + text for place, text in zip(labels, label[1:], strict=True)]
    if len({pattern for pattern, *_ in groups}) > 1:
        words.insert(0, label[0].replace("#", "").strip("-_. "))
    return "_".join(words)


def _word(text: str) -> str:
    found = re.search("[A-Za-z]+$", text)
    return found[0] if found else ""


def _is_label(text: str) -> bool:
    word = _word(text)
    return bool(word) and not _PART_OF_TIME.fullmatch(word)


def _before_date(folder: str) -> str:
    """Returns the folder above those whose names are numbers."""
    parts = folder.split(os.sep)
    while parts and _NUMBERED_FOLDER.fullmatch(parts[-1]):
        parts.pop()
    return os.sep.join(parts)


def _date(folder: str) -> str | None:
    """Returns the date YYYYMMDD that the last parts of a path are, such as 2026/06/01 and 2026-06-01."""
    digits = ""
    for part in reversed(folder.split(os.sep)):
        if not _NUMBERED_FOLDER.fullmatch(part):
            return None
        digits = re.sub("[^0-9]", "", part) + digits
        if len(digits) >= 8:
            return digits if times_in_names([f"{digits}_0000"]) is not None else None
    return None
