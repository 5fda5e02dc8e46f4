"""Splits and windows that suit the length of the data: of the possible divisions, the first one with enough windows."""

import bisect
import contextlib
import dataclasses
import itertools
import math
from collections.abc import Collection, Mapping, Sequence
from typing import Any, NamedTuple

from stlight_jax.data.splits import SPLITS, Candidate, SplitRule, chosen_way, split
from stlight_jax.data.windows import Segment, Windows
from stlight_jax.errors import InputError

# Fractions for validation and for the test, the preferred ones first. The last ones leave little for training.
_FRACTIONS = (((0.1, 0.2), (0.2, 0.2)), ((0.3, 0.3),))
USUAL_FRACTIONS = _FRACTIONS[0][0]
_MOST_FRAMES = 10_000_000  # that a message asks for
_ENOUGH_WINDOWS = 5  # in a stretch of a sequence; fewer if a window is short

WindowLengths = tuple[int, int]  # frames of a window: in training, and in validation and test


class Division(NamedTuple):
    """A division into splits.

    Attributes:
      choices: the values of config keys that lead to it.
      segments: of each split.
      cut: the splits that share a sequence with another one: their windows lie in a stretch of it, and overlap.
    """

    choices: Mapping[str, Any]
    segments: Mapping[str, Sequence[Segment]]
    cut: Collection[str]

    @classmethod
    def of(cls, choices: Mapping[str, Any], parts: Mapping[str, Sequence[tuple[int | str, Sequence[Segment]]]]) -> "Division":
        """Makes a division from the number or name, and the segments, of each sequence that a split has a part of."""
        members = {name: {sequence for sequence, _ in own} for name, own in parts.items()}
        cut = [name for name, own in members.items() if any(own & members[other] for other in members if other != name)]
        return cls(choices, {name: [segment for _, part in own for segment in part] for name, own in parts.items()}, cut)


def possible_divisions(
    candidates: Sequence[Candidate], rule: SplitRule, cuts: Mapping[str, int], fractions: tuple[float, float]
) -> list[list[Division]]:
    """Divides sequences in all ways that a config permits.

    Args:
      candidates: the sequences.
      rule: how to divide them.
      cuts: see `split`.
      fractions: for validation and for the test, in place of those of `rule`; 0 leaves one open.

    Returns:
      The divisions, the preferred ones first, in two stages; an impossible one is left out.

    Raises:
      InputError: data.group does not fit the sequences.
    """
    ways = [rule.split]
    if rule.split == "auto" and chosen_way(candidates, rule) == "sequence":
        ways.append("time")
    stages = []
    for pairs in _FRACTIONS:
        stage = []
        given = dict.fromkeys((fractions[0] or validation, fractions[1] or test) for validation, test in pairs)
        for way, (validation, test) in itertools.product(ways, given):
            choice: dict[str, Any] = {"split": way, "validation_fraction": validation, "test_fraction": test}
            with contextlib.suppress(InputError):
                parts, _ = split(candidates, dataclasses.replace(rule, **choice), cuts)
                stage.append(Division.of(choice, parts))
        stages.append(stage)
    return stages


def choose_division(
    stages: Sequence[Sequence[Division]], lengths: Sequence[WindowLengths], section: Any
) -> tuple[int, Division] | None:
    """Chooses a division and the lengths of windows.

    Args:
      stages: divisions, the preferred ones first. Those of the first stage, with any lengths, come before those of the second.
      lengths: possible lengths of windows, the preferred ones first, which come before preferred divisions.
      section: the section `data`, whose frame_step and strides space frames and windows.

    Returns:
      The index of the lengths, and the division; None if each division has a split without any window.
    """
    for fewest in (_ENOUGH_WINDOWS, 1):
        for stage in stages:
            for index, chosen in enumerate(lengths):
                for division in stage:
                    if _has_windows(division, chosen, section, fewest):
                        return index, division
    return None


def longest_window(stages: Sequence[Sequence[Division]], section: Any) -> int:
    """Returns the most frames of a window, the same in all splits, with which each split has one; 0 for none.

    Args:
      stages: see `choose_division`.
      section: see `choose_division`.
    """
    divisions = list(itertools.chain.from_iterable(stages))
    frames = sum(segment.frames for division in divisions[:1] for part in division.segments.values() for segment in part)
    return bisect.bisect_right(
        range(1, frames + 1), 0, key=lambda length: choose_division([divisions], [(length, length)], section) is None
    )


def fewest_frames(lengths: WindowLengths, rule: SplitRule, fractions: tuple[float, float], section: Any) -> int:
    """Returns the least number of frames, without a gap in time, of which a division by time gives each split a window.

    Args:
      lengths: frames of a window, see `WindowLengths`.
      rule: see `possible_divisions`.
      fractions: see `possible_divisions`.
      section: see `choose_division`.
    """
    by_time = dataclasses.replace(rule, split="time", group="")
    needed = (max(lengths) - 1) * section.frame_step + 1 + rule.gap
    validation, test = (own or fraction for own, fraction in zip(fractions, _FRACTIONS[-1][-1], strict=True))
    most = min(math.ceil((needed + 2) / min(validation, test, 1 - validation - test)), _MOST_FRAMES)

    def is_enough(frames: int) -> bool:
        candidate = Candidate("", [Segment(0, frames)], timed=False)
        return choose_division(possible_divisions([candidate], by_time, {}, fractions), [lengths], section) is not None

    return bisect.bisect_left(range(most), True, key=is_enough)


def _has_windows(division: Division, lengths: WindowLengths, section: Any, fewest: int) -> bool:
    strides = (section.stride, section.evaluation_stride, section.evaluation_stride)
    for name, length, stride in zip(SPLITS, (lengths[0], lengths[1], lengths[1]), strides, strict=True):
        enough = min(fewest, -(-length // 4)) if name in division.cut else 1
        if len(Windows(division.segments[name], length, stride, section.frame_step)) < enough:
            return False
    return True
