"""Which of a user's frames are for training, validation and test. No frame is in two of them."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable, Sequence
from typing import NamedTuple

import numpy as np

from stlight_jax.data.windows import Run
from stlight_jax.errors import InputError

SPLITS = ("train", "validation", "test")
WAYS = ("auto", "name", "sequence", "time")
_FEWEST_FOR_WHOLE_SEQUENCES = 5
_NAMES = re.compile(r"(?:^|/|#)(?:(train)(?:ing)?|(val)(?:id|idation)?|(test)(?:ing)?)(?![a-z])", re.IGNORECASE)


class Candidate(NamedTuple):
    """A sequence to be split: its name, its runs (`first` counts from its first frame), and whether the ticks are moments
    in time that sequences share."""

    name: str
    runs: list[Run]
    timed: bool


class Part(NamedTuple):
    """What a split takes of one sequence: its number, and runs of the sequence's own frames."""

    sequence: int
    runs: list[Run]


def split(
    candidates: Sequence[Candidate], way: str, validation: float, test: float, gap: int, group: str = ""
) -> tuple[dict[str, list[Part]], str]:
    """Divides sequences.

    Args:
      way: "name" (the path has a folder, or begins with, train, val or test), "sequence" (whole sequences, drawn by a fixed
        seed), "time" (the last part of each is for testing, the part before for validation), or "auto": by name where all
        have such a name, by sequence where there are at least five (groups), by time otherwise.
      validation, test: fractions of the sequences, or of the time.
      gap: by time, how many frames before validation and test are in no split.
      group: a regular expression; sequences for which it finds the same text stay together.

    Returns:
      {split: parts}, and a sentence about what was done.

    Raises:
      InputError: a split or a sequence is empty, or a key has an impossible value.
    """
    if way not in WAYS:
        raise InputError(f"data.split is {way!r}; choose one of {', '.join(WAYS)}")
    if not (0 < validation < 1 and 0 < test < 1 and validation + test < 1):
        raise InputError(
            f"data.validation_fraction is {validation} and data.test_fraction {test}; each must be more than 0, and both "
            "together less than 1"
        )
    if gap < 0:
        raise InputError(f"data.gap is {gap}; it must be at least 0")
    for candidate in candidates:
        if not candidate.runs:
            raise InputError(f"{candidate.name} has no frames; remove it")
    groups = _groups(candidates, group)
    named = [_split_of(candidate.name) for candidate in candidates]
    if way == "auto":
        if all(named) and {"train", "test"} <= set(named):
            way = "name"
        else:
            way = "sequence" if len(set(groups)) >= _FEWEST_FOR_WHOLE_SEQUENCES else "time"
    if way == "name":
        parts = _by_name(candidates, named, validation, gap)
        told = "by name"
    elif way == "sequence":
        parts = _by_sequence(candidates, groups, validation, test)
        told = "by sequence"
    else:
        parts = _by_time(candidates, range(len(candidates)), {"validation": validation, "test": test}, gap)
        told = f"by time, with {gap} frames left out between splits"
    for name in SPLITS:
        if not any(part.runs for part in parts[name]):
            raise InputError(
                f"there are no frames for the split {name} (divided {told}); change data.split, data.validation_fraction, "
                "data.test_fraction or data.gap"
            )
    counts = {name: sum(run.frames for part in parts[name] for run in part.runs) for name in SPLITS}
    return parts, f"divided {told}: " + ", ".join(f"{name} {count:,} frames" for name, count in counts.items())


def _groups(candidates: Sequence[Candidate], pattern: str) -> list[str]:
    if not pattern:
        return [candidate.name for candidate in candidates]
    try:
        compiled = re.compile(pattern)
    except re.error as error:
        raise InputError(f"data.group is {pattern!r}, which is no regular expression ({error})") from None
    found = [compiled.search(candidate.name) for candidate in candidates]
    for candidate, match in zip(candidates, found, strict=True):
        if match is None:
            raise InputError(f"data.group is {pattern!r}, which finds nothing in {candidate.name}")
    return [match.group() for match in found]


def in_fixed_disorder(names: Iterable[str]) -> list[str]:
    """Names in an order that has nothing to do with them, and in which one name more leaves the others in place."""
    return sorted(names, key=lambda name: hashlib.sha256(name.encode()).digest())


def _split_of(name: str) -> str | None:
    match = _NAMES.search(name)
    return None if match is None else SPLITS[next(i for i, text in enumerate(match.groups()) if text)]


def _by_name(candidates: Sequence[Candidate], named: list[str | None], validation: float, gap: int) -> dict[str, list[Part]]:
    for candidate, name in zip(candidates, named, strict=True):
        if name is None:
            raise InputError(f"data.split is 'name', but {candidate.name} is neither in nor begins with train, val or test")
    parts = {name: [Part(i, candidates[i].runs) for i, of in enumerate(named) if of == name] for name in SPLITS}
    if not parts["validation"]:
        training = [part.sequence for part in parts["train"]]
        cut = _by_time(candidates, training, {"validation": validation}, gap)
        parts |= {name: cut[name] for name in ("train", "validation")}
    return parts


def _by_sequence(candidates: Sequence[Candidate], groups: list[str], validation: float, test: float) -> dict[str, list[Part]]:
    names = sorted(set(groups))
    if len(names) < 3:
        raise InputError(
            f"there are {len(names)} sequences (or groups of them), too few to divide by sequence; set data.split=time"
        )
    order = in_fixed_disorder(names)
    tested = max(1, round(test * len(names)))
    validated = max(1, min(round(validation * len(names)), len(names) - tested - 1))
    of = {name: "test" if i < tested else "validation" if i < tested + validated else "train" for i, name in enumerate(order)}
    return {
        split: [Part(i, candidate.runs) for i, candidate in enumerate(candidates) if of[groups[i]] == split] for split in SPLITS
    }


def _by_time(
    candidates: Sequence[Candidate], chosen: Sequence[int], fractions: dict[str, float], gap: int
) -> dict[str, list[Part]]:
    """Cuts at the same moments in all sequences whose ticks are moments, and at the same fractions of the others."""
    parts: dict[str, list[Part]] = {split: [] for split in SPLITS}
    shared = [_ticks(candidates[i].runs) for i in chosen if candidates[i].timed]
    shared = np.sort(np.concatenate(shared)) if shared else None
    for number in chosen:
        candidate = candidates[number]
        ticks = shared if candidate.timed else np.sort(_ticks(candidate.runs))
        start, begins = 1.0 - sum(fractions.values()), int(ticks[0])
        bounds = {"train": (begins, None)}
        for name, fraction in fractions.items():
            cut = int(ticks[min(round(start * len(ticks)), len(ticks) - 1)])
            previous = list(bounds)[-1]
            bounds[previous] = (bounds[previous][0], cut)
            bounds[name] = (cut + gap, None)
            start += fraction
        for name, (low, high) in bounds.items():
            runs = _within(candidate.runs, low, int(ticks[-1]) + 1 if high is None else high)
            if runs:
                parts[name].append(Part(number, runs))
    return parts


def _ticks(runs: list[Run]) -> np.ndarray:
    return np.concatenate([run.tick + np.arange(run.frames) for run in runs])


def _within(runs: list[Run], low: int, high: int) -> list[Run]:
    cut = []
    for run in runs:
        begin, end = max(run.tick, low), min(run.tick + run.frames, high)
        if begin < end:
            cut.append(Run(run.first + begin - run.tick, end - begin, begin))
    return cut
