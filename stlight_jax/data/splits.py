"""Division of a user's frames into training, validation and test; no frame is in two splits."""

import dataclasses
import hashlib
import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Literal, NamedTuple

import numpy as np

from stlight_jax.data.windows import Segment
from stlight_jax.errors import InputError

SPLITS = ("train", "validation", "test")
MOMENT_KEYS = ("test_from", "test_before", "validation_from", "validation_before")
_FEWEST_GROUPS_BY_SEQUENCE = 5
_NAMES = re.compile(r"(?:^|/|#)(?:(train)(?:ing)?|(val)(?:id|idation)?|(test)(?:ing)?)(?![a-z])", re.IGNORECASE)


class Candidate(NamedTuple):
    """A sequence to divide.

    Attributes:
      name: path of the sequence, and its key in the file.
      segments: stretches without a jump; `first` counts from the sequence's first frame.
      timed: whether the ticks are moments in time that sequences share.
    """

    name: str
    segments: list[Segment]
    timed: bool


class SplitPart(NamedTuple):
    """The part of one sequence that a split takes.

    Attributes:
      sequence: number of the sequence.
      segments: segments of the sequence's own frames.
    """

    sequence: int
    segments: list[Segment]


Parts = dict[str, list[SplitPart]]  # by split


@dataclasses.dataclass(frozen=True)
class SplitRule:
    """How to divide sequences.

    Attributes:
      split: "name" (the path has a folder, or begins with, train, val or test), "sequence" (whole sequences, drawn by a fixed
        seed), "time" (the last part of each sequence is for testing, the part before it for validation), or "auto": by name if
        all sequences have such a name, by sequence if there are at least five (groups), by time otherwise.
      validation_fraction: fraction of the sequences, or of the time, for validation.
      test_fraction: fraction for testing.
      gap: by time, number of frames that are in no split, after each border between two splits.
      group: a regular expression; sequences in which it matches the same text stay together.
      test_from: by time, the first moment of the test set; "" takes the last `test_fraction` of the time.
      test_before: the moment that ends the test set; "" is the end of the data.
      validation_from: the first moment of the validation set; "" takes the last `validation_fraction` before its end.
      validation_before: the moment that ends the validation set; "" is the beginning of the test set, or the end of the data if
        the validation set follows the test set.

    Raises:
      InputError: a key has an impossible value, or moments are given for a division that is not by time.
    """

    split: Literal["auto", "name", "sequence", "time"] = "auto"
    validation_fraction: float = 0.1
    test_fraction: float = 0.2
    gap: int = 0
    group: str = ""
    test_from: str = ""
    test_before: str = ""
    validation_from: str = ""
    validation_before: str = ""

    def __post_init__(self) -> None:
        """Checks the values."""
        if self.moments and self.split not in ("auto", "time"):
            key, moment = next(iter(self.moments.items()))
            raise InputError(f"data.{key} is {moment!r} and data.split {self.split!r}; set data.split=time")
        validation, test = self.validation_fraction, self.test_fraction
        if not (0 < validation < 1 and 0 < test < 1 and validation + test < 1):
            raise InputError(
                f"data.validation_fraction is {validation} and data.test_fraction {test}; each must be more than 0, and both "
                "together less than 1"
            )

    @property
    def moments(self) -> dict[str, str]:
        """The moments that are given, by the names of their keys."""
        return {key: moment for key in MOMENT_KEYS if (moment := getattr(self, key))}


def split(candidates: Sequence[Candidate], rule: SplitRule, cuts: Mapping[str, int] | None = None) -> tuple[Parts, str]:
    """Divides sequences.

    Args:
      candidates: the sequences.
      rule: how to divide them.
      cuts: the first tick from each of `rule.moments` on, by the names of their keys.

    Returns:
      {split: parts}, and a sentence that reports the division.

    Raises:
      InputError: a split or a sequence is empty, or a key does not fit the sequences.
    """
    for candidate in candidates:
        if not candidate.segments:
            raise InputError(f"{candidate.name} has no frames; remove it")
    way = chosen_way(candidates, rule)
    label = f"by {way}"
    if way == "name":
        parts = _by_name(candidates, rule)
    elif way == "sequence":
        parts = _by_sequence(candidates, _groups(candidates, rule.group), rule)
    else:
        fractions = {"validation": rule.validation_fraction, "test": rule.test_fraction}
        parts = _by_time(candidates, range(len(candidates)), fractions, rule.gap, cuts)
        moments = "".join(f"{key} {moment}, " for key, moment in rule.moments.items())
        label = f"by time, {moments}with {rule.gap} frames left out between splits"
    for name in SPLITS:
        if not any(part.segments for part in parts[name]):
            longest = max((sum(segment.frames for segment in candidate.segments) for candidate in candidates), default=0)
            raise InputError(
                f"there are no frames for the split {name} (divided {label}; the longest sequence has {longest:,} frames); "
                "give more frames, or change data.split, data.validation_fraction, data.test_fraction or data.gap"
            )
    counts = {name: sum(segment.frames for part in parts[name] for segment in part.segments) for name in SPLITS}
    return parts, f"divided {label}: " + ", ".join(f"{name} {count:,} frames" for name, count in counts.items())


def chosen_way(candidates: Sequence[Candidate], rule: SplitRule) -> str:
    """Returns how sequences are divided: by "name", "sequence" or "time".

    Args:
      candidates: the sequences.
      rule: how to divide them.

    Raises:
      InputError: `rule.group` does not fit the sequences.
    """
    if rule.split != "auto" or rule.moments:
        return "time" if rule.moments else rule.split
    named = [split_in_name(candidate.name) for candidate in candidates]
    if all(named) and {"train", "test"} <= set(named):
        return "name"
    return "sequence" if len(set(_groups(candidates, rule.group))) >= _FEWEST_GROUPS_BY_SEQUENCE else "time"


def hash_order(names: Iterable[str]) -> list[str]:
    """Sorts names by their SHA-256: an arbitrary order, in which an additional name leaves the others in order.

    Args:
      names: the names, without repetitions.

    Returns:
      The sorted names.
    """
    return sorted(names, key=lambda name: hashlib.sha256(name.encode()).digest())


def parse_group(pattern: str) -> re.Pattern[str]:
    """Reads the key `data.group`.

    Raises:
      InputError: the text is no regular expression.
    """
    try:
        return re.compile(pattern)
    except re.error as error:
        raise InputError(f"data.group is {pattern!r}, which is no regular expression ({error})") from None


def _groups(candidates: Sequence[Candidate], pattern: str) -> list[str]:
    if not pattern:
        return [candidate.name for candidate in candidates]
    compiled = parse_group(pattern)
    groups = []
    for candidate in candidates:
        match = compiled.search(candidate.name)
        if match is None:
            raise InputError(f"data.group is {pattern!r}, which finds nothing in {candidate.name}")
        groups.append(match.group())
    return groups


def split_in_name(name: str) -> str | None:
    """Returns the split that a path names by a folder in it, or by its beginning; None if it names none."""
    match = _NAMES.search(name)
    return None if match is None else SPLITS[next(i for i, text in enumerate(match.groups()) if text)]


def _by_name(candidates: Sequence[Candidate], rule: SplitRule) -> Parts:
    named = [split_in_name(candidate.name) for candidate in candidates]
    for candidate, name in zip(candidates, named, strict=True):
        if name is None:
            raise InputError(f"data.split is 'name', but {candidate.name} is neither in nor begins with train, val or test")
    parts = {split: [SplitPart(i, candidates[i].segments) for i, name in enumerate(named) if name == split] for split in SPLITS}
    if not parts["validation"]:
        training = [part.sequence for part in parts["train"]]
        by_time = _by_time(candidates, training, {"validation": rule.validation_fraction}, rule.gap)
        parts |= {name: by_time[name] for name in ("train", "validation")}
    return parts


def _by_sequence(candidates: Sequence[Candidate], groups: list[str], rule: SplitRule) -> Parts:
    names = sorted(set(groups))
    if len(names) < 3:
        raise InputError(
            f"there are {len(names)} sequences (or groups of them), too few to divide by sequence; set data.split=time"
        )
    tested = max(1, round(rule.test_fraction * len(names)))
    validated = max(1, min(round(rule.validation_fraction * len(names)), len(names) - tested - 1))
    order = hash_order(names)
    chosen = {"test": order[:tested], "validation": order[tested : tested + validated], "train": order[tested + validated :]}
    return {
        split: [
            SplitPart(i, candidate.segments)
            for i, (candidate, group) in enumerate(zip(candidates, groups, strict=True))
            if group in chosen[split]
        ]
        for split in SPLITS
    }


def _by_time(
    candidates: Sequence[Candidate],
    chosen: Sequence[int],
    fractions: dict[str, float],
    gap: int,
    cuts: Mapping[str, int] | None = None,
) -> Parts:
    """Cuts timed sequences at common moments, and each of the others at the same fractions of its frames."""
    parts: Parts = {split: [] for split in SPLITS}
    timed = [_ticks(candidates[i].segments) for i in chosen if candidates[i].timed]
    shared = np.sort(np.concatenate(timed)) if timed else np.empty(0, np.int64)
    for number in chosen:
        candidate = candidates[number]
        ticks = shared if candidate.timed else np.sort(_ticks(candidate.segments))
        stretches = _stretches_at(ticks, fractions, cuts) if cuts else _stretches(ticks, fractions)
        segments: dict[str, list[Segment]] = {split: [] for split in SPLITS}
        for index, (name, low, high) in enumerate(stretches):
            segments[name] += _within(candidate.segments, low + gap * (index > 0), high)
        for name in SPLITS:
            if segments[name]:
                parts[name].append(SplitPart(number, segments[name]))
    return parts


def _stretches(ticks: np.ndarray, fractions: dict[str, float]) -> list[tuple[str, int, int]]:
    """Returns each split with its first tick and the tick after its last one, from the sorted ticks of all frames."""
    start, low = 1.0 - sum(fractions.values()), int(ticks[0])
    stretches, name = [], "train"
    for next_name, fraction in fractions.items():
        cut = int(ticks[min(round(start * len(ticks)), len(ticks) - 1)])
        stretches.append((name, low, cut))
        name, low = next_name, cut
        start += fraction
    return [*stretches, (name, low, int(ticks[-1]) + 1)]


def _stretches_at(ticks: np.ndarray, fractions: dict[str, float], cuts: Mapping[str, int]) -> list[tuple[str, int, int]]:
    """Returns the stretches of the splits in time, where some of their borders are given; see `_stretches`.

    Raises:
      InputError: the validation and the test set overlap, or one ends before it begins.
    """
    first, end = int(ticks[0]), int(ticks[-1]) + 1

    def last(fraction: float, before: int) -> int:
        index = int(np.searchsorted(ticks, before)) - round(fraction * len(ticks))
        return int(ticks[max(index, 0)])

    test_end = cuts.get("test_before", end)
    test = cuts["test_from"] if "test_from" in cuts else last(fractions["test"], test_end)
    after_test = cuts.get("validation_from", first) >= test_end
    validation_end = cuts.get("validation_before", end if after_test else test)
    validation = cuts["validation_from"] if "validation_from" in cuts else last(fractions["validation"], validation_end)
    held_out = sorted([(test, test_end, "test"), (validation, validation_end, "validation")])
    problems = [f"the {name} set has no frames" for begin, stop, name in held_out if begin >= stop]
    if problems or held_out[0][1] > held_out[1][0]:
        raise InputError(
            f"{problems[0] if problems else 'the validation and the test set overlap'} (divided by "
            f"{', '.join(f'data.{key}' for key in cuts)}); change these, or set the others of {', '.join(MOMENT_KEYS)}"
        )
    stretches, low = [], first
    for begin, stop, name in held_out:
        stretches += [("train", low, begin), (name, begin, stop)]
        low = stop
    return [stretch for stretch in (*stretches, ("train", low, end)) if stretch[1] < stretch[2]]


def _ticks(segments: list[Segment]) -> np.ndarray:
    return np.concatenate([segment.tick + np.arange(segment.frames) for segment in segments])


def _within(segments: list[Segment], low: int, high: int) -> list[Segment]:
    """Returns the parts of segments with ticks from `low` up to but not including `high`."""
    inside = []
    for first, frames, tick in segments:
        begin, end = max(tick, low), min(tick + frames, high)
        if begin < end:
            inside.append(Segment(first + begin - tick, end - begin, begin))
    return inside
