"""Numbers in the names of files, such as frame_0012.png and rain_20260601.png: their order, and gaps between them."""

import functools
import re
from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np

from stlight_jax.data.ticks import sampling_step

_DECIMAL = re.compile(r"(?<![\d.])\d+\.\d+(?:[eE][-+]\d+)?(?![\d.])")
_NUMBER = re.compile(r"\d+")
_REAL = rf"{_DECIMAL.pattern}|\d+[eE][-+]\d+|{_NUMBER.pattern}"
_SIGN = r"(?:(?<![\da-zA-Z])-)?"
_DATE = re.compile(r"(?<!\d)((?:19|20)\d\d)([-_.])(\d\d)\2(\d\d)(?!\d)")
_MONTH_OF_YEAR = re.compile(r"(?<!\d)((?:19|20)\d\d)[-_](0[1-9]|1[0-2])(?![-_.]?\d)")
_HOUR_OF_DAY = re.compile(
    r"(?<!\d)((?:19|20)\d\d(?:0[1-9]|1[0-2])(?:0[1-9]|[12]\d|3[01]))(?:[-_.]?T|[-_. ])([01]\d|2[0-3])(?![-_.:]?\d)"
)
_MOMENT = re.compile(r"(19|20)\d{10}(\d\d)?")  # YYYYMMDDHHMM[SS]
_JITTER = 0.25  # of a step
_MIN_SHARE = 0.5  # of the differences between numbers that are one step
_CENTURIES = (19, 20)


class NumberedNames(NamedTuple):
    """Names that differ in numbers.

    Attributes:
      pattern: for each name, the text that is left without its numbers.
      numbers: for each name its numbers, as text.
    """

    pattern: list[str]
    numbers: list[list[str]]


class NameTicks(NamedTuple):
    """What the numbers in names tell of the distances between files.

    Attributes:
      ticks: int64 `[t]`, from 0, in the usual difference of the numbers; None without gaps.
      remarks: messages for the user.
    """

    ticks: np.ndarray | None
    remarks: tuple[str, ...]


def split_names(names: Sequence[str]) -> NumberedNames:
    """Divides names into text and numbers. Decimals such as 0.5 and 1e-3 are one number.

    So are dates with separators, a date and an hour (20260601_13), and a year and a month (2026_06). A dash is a sign if only
    some of otherwise equal names have it: f_-1 and f_0.

    Args:
      names: names of files, without folders and endings.
    """
    names = [_DATE.sub(r"\1\3\4", name) for name in names]
    for parts in (_MONTH_OF_YEAR, _HOUR_OF_DAY):
        if all(map(parts.search, names)):
            names = [parts.sub(r"\1\2", name) for name in names]
    digits = _REAL if _has_decimals(names) else _NUMBER.pattern
    for number in (re.compile(digits), re.compile(rf"{_SIGN}(?:{digits})")):
        found = NumberedNames([number.sub("#", name) for name in names], [number.findall(name) for name in names])
        if len(set(found.pattern)) <= 1:
            break
    return found


def without_numbers(name: str) -> str:
    """Returns a name with # for each number, with or without decimals and sign."""
    return re.sub(f"{_SIGN}(?:{_REAL})", "#", name)


def number_value(text: str) -> float:
    """Returns the number that a text of digits stands for; integers of any size stay exact."""
    return int(text) if re.fullmatch(r"-?\d+", text) else float(text)


def numbered_order(names: Sequence[str]) -> tuple[list[int], list[str]] | None:
    """Finds the number that gives the order of names that differ in numbers only.

    Args:
      names: names of files, without folders and endings, in natural order.

    Returns:
      The places of the names in the order of the first number that orders them all, and these numbers in this order; None if
      there is no such number.
    """
    pattern, numbers = split_names(names)
    if len(set(pattern)) > 1:
        return None
    for column in zip(*numbers, strict=True):
        values = [number_value(text) for text in column]
        if len(set(values)) == len(values):
            order = sorted(range(len(names)), key=values.__getitem__)
            return order, [column[place] for place in order]
    return None


def _has_decimals(names: Sequence[str]) -> bool:
    """Returns whether numbers around points are decimals: 0.5 and 0.25, but not 1.9 and 1.10, the tenth of 1."""
    fractions = {re.split("[.eE]", text)[1] for name in names for text in _DECIMAL.findall(name)}
    return len(set(map(len, fractions))) == 1 or not any(len(text) > 1 and text.endswith("0") for text in fractions)


def ticks_of_numbers(names: Sequence[str], numbers: Sequence[str]) -> NameTicks:
    """Finds gaps between files that are numbered.

    A number counts as it is, unless it leaves fewer or shorter gaps as a date (YYYYMMDD, YYYYMMDDHH, YYYYMM, YYYYDDD, YYMMDD,
    YYMMDDHHMM, YYDDD) or as a time of day (HHMM, HHMMSS): the day after 20260630 is 20260701.

    Args:
      names: names of the files in their order, for messages.
      numbers: of each file, the number that is its place in this order.
    """
    is_moment = all(map(_MOMENT.fullmatch, numbers))
    if len(numbers) < 3 or (is_moment and all(read(numbers) is None for read in _MOMENTS)):  # one is no time
        return NameTicks(None, ())
    readings = [
        steps
        for read in (*_READINGS, *_MOMENTS)
        if (values := read(numbers)) is not None and (steps := _steps(values)) is not None
    ]
    if not readings:
        return NameTicks(
            None, ("the numbers in the names are not evenly spaced; they give the order of the files, and no gaps",)
        )
    steps = min(readings, key=lambda found: (np.count_nonzero(found > 1), found.max()))
    places = np.flatnonzero(steps > 1)
    if not len(places):
        return NameTicks(None, ())
    first, count, longest = places[0], len(places), int(steps.max()) - 1
    remark = (
        f"{count:,} gap{'s' * (count > 1)} in the numbers of the names, the longest of {longest:,} step{'s' * (longest > 1)} "
        f"({names[first]} is followed by {names[first + 1]}); --config.data.time=none ignores gaps"
    )
    return NameTicks(np.concatenate([[0], np.cumsum(steps)]), (remark,))


def _steps(values: np.ndarray) -> np.ndarray | None:
    """Returns int64 `[t - 1]`, the steps from each value to the next; None if most differences are other than one step.

    Whole multiples of the step are whole multiples; otherwise numbers are rounded or have jitter, as time stamps have.
    """
    differences, step = np.diff(values), sampling_step([values])
    if step is None or differences.min() <= 0:
        return None
    multiples = np.maximum(1, np.rint(differences / step)).astype(np.int64)
    if not np.allclose(differences, multiples * step, rtol=0, atol=1e-6 * step):
        unit = 1 if values.dtype.kind == "i" else 0
        multiples[differences <= 1.5 * step + unit] = 1
        multiples[differences < (1 - _JITTER) * step - unit] = 2  # an extra frame is a jump
    return multiples if np.mean(np.abs(differences - step) <= _JITTER * step) >= _MIN_SHARE else None


# ---- Readings of numbers, None if they are no such numbers ----


def _plain(numbers: Sequence[str]) -> np.ndarray | None:
    values = [number_value(text) for text in numbers]
    if any(isinstance(value, float) for value in values):
        return np.array(values, float)
    return np.array(values, np.int64) if max(values) < 2**62 else None


def _as_moments(numbers: Sequence[str], digits: int, unit: str, to_text: Callable[[str], str]) -> np.ndarray | None:
    """Returns whole units since 1970."""
    if any(len(text) != digits or not text.isdecimal() for text in numbers):
        return None
    try:
        return np.array([to_text(text) for text in numbers], f"M8[{unit}]").astype(np.int64)
    except ValueError:
        return None


def _date(text: str) -> str:
    if int(text[:2]) not in _CENTURIES:
        raise ValueError(text)
    return f"{text[:4]}-{text[4:6]}" + f"-{text[6:8]}" * (len(text) > 6) + f"T{text[8:]}" * (len(text) > 8)


def _short(to_text: Callable[[str], str]) -> Callable[[str], str]:
    """Returns the reading of a date whose year has two digits."""
    return lambda text: to_text(f"20{text}")


def _moment(text: str) -> str:
    return f"{_date(text[:10])}:{text[10:12]}" + f":{text[12:]}" * (len(text) > 12)


def _day_of_year(text: str) -> str:
    if int(text[:2]) not in _CENTURIES or not 1 <= int(text[4:]) <= 366:
        raise ValueError(text)
    return str(np.datetime64(text[:4], "D") + np.timedelta64(int(text[4:]) - 1, "D"))


def _clock(text: str) -> str:
    return f"1970-01-01T{text[:2]}:{text[2:4]}" + f":{text[4:]}" * (len(text) > 4)


_Reading = Callable[[Sequence[str]], np.ndarray | None]
_READINGS: tuple[_Reading, ...] = (
    _plain,
    functools.partial(_as_moments, digits=8, unit="D", to_text=_date),
    functools.partial(_as_moments, digits=10, unit="h", to_text=_date),
    functools.partial(_as_moments, digits=6, unit="M", to_text=_date),
    functools.partial(_as_moments, digits=7, unit="D", to_text=_day_of_year),
    functools.partial(_as_moments, digits=6, unit="D", to_text=_short(_date)),
    functools.partial(_as_moments, digits=10, unit="m", to_text=_short(_moment)),
    functools.partial(_as_moments, digits=5, unit="D", to_text=_short(_day_of_year)),
    functools.partial(_as_moments, digits=4, unit="m", to_text=_clock),
    functools.partial(_as_moments, digits=6, unit="s", to_text=_clock),
)
_MOMENTS: tuple[_Reading, ...] = (
    functools.partial(_as_moments, digits=12, unit="m", to_text=_moment),
    functools.partial(_as_moments, digits=14, unit="s", to_text=_moment),
)
