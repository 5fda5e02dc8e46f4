"""Periods of data, such as a day and a week of hourly frames: the key `data.periods`, and the periods for a sampling step."""

import re
from typing import NamedTuple

from stlight_jax.errors import InputError

AUTO = "auto"
_SECONDS = {"d": 86_400.0, "h": 3600.0, "min": 60.0, "s": 1.0, "ms": 1e-3}
_MEAN = "mean:"
_STEP = re.compile(r"([\d.e+-]+) (d|h|min|s|ms)")
_MONTHS = re.compile(r"(\d+) months?")
_YEAR_MONTHS = 12
_DAYS_OF_MONTHS = {1: (28, 31), 3: (89, 92)}  # of months, and of quarters whose days have no fixed place in the month


class Periods(NamedTuple):
    """The periods of `data.periods`, in sampling steps.

    Attributes:
      single: for each, the network sees the frame of one period earlier.
      means: for each, the network sees the mean of the frames of the same phase in all earlier periods.
    """

    single: tuple[int, ...] = ()
    means: tuple[int, ...] = ()


def parse_periods(text: str) -> Periods:
    """Reads the key `data.periods`.

    Args:
      text: as a user writes it: "", "auto", "24,168", "[24,168]" or, with a mean, "12,mean:12".

    Returns:
      The periods; none for "auto".

    Raises:
      InputError: the text has another form, or a period is repeated or less than 1.
    """
    listed = text.strip()
    if listed[:1] + listed[-1:] in ("[]", "()"):
        listed = listed[1:-1]
    listed = listed.rstrip(", ")
    if listed in ("", AUTO):
        return Periods()
    kinds: dict[str, list[int]] = {"": [], _MEAN: []}
    for part in listed.split(","):
        match = re.fullmatch(rf"\s*({_MEAN}|)\s*([0-9]{{1,9}})\s*", part)
        if match is None or not int(match[2]) or int(match[2]) in kinds[match[1]]:
            raise InputError(
                f"data.periods is {text!r}, in which {part.strip()!r} is no period, or repeated; expected different whole "
                "numbers of sampling steps, such as 24,168, some maybe as mean:168, or auto, or nothing"
            )
        kinds[match[1]].append(int(match[2]))
    return Periods(*map(tuple, kinds.values()))


def suggested_periods(step: str) -> tuple[int, ...]:
    """Returns the periods that frames at a sampling step may have: a day and a week, or a year of months or quarters.

    Args:
      step: the sampling step as text, see `stlight_jax.data.ticks.Ticks`.

    Returns:
      The periods in sampling steps, ascending; none if the step is unknown, divides none of them or is as long.
    """
    match, months = _STEP.fullmatch(step), _MONTHS.fullmatch(step)
    seconds = float(match[1]) * _SECONDS[match[2]] if match else 0.0
    days = seconds / _SECONDS["d"]
    lengths = [length for length, (low, high) in _DAYS_OF_MONTHS.items() if low <= days <= high]
    if months or lengths:
        counts = [_YEAR_MONTHS / (int(months[1]) if months else lengths[0])]
    else:
        counts = [span / days for span in (1, 7)] if days > 0 else []
    return tuple(round(count) for count in counts if round(count) > 1 and abs(count - round(count)) < 1e-3)
