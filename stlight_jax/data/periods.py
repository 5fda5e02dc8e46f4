"""Periods of data, such as a day and a week of hourly frames: the key `data.periods`, and the periods for a sampling step."""

import re

from stlight_jax.errors import InputError

AUTO = "auto"
_SECONDS = {"d": 86_400.0, "h": 3600.0, "min": 60.0, "s": 1.0, "ms": 1e-3}
_STEP = re.compile(r"([\d.e+-]+) (d|h|min|s|ms)")
_MONTH_DAYS, _MONTHS = (28, 31), 12


def parse_periods(text: str) -> tuple[int, ...]:
    """Reads the key `data.periods`.

    Args:
      text: as a user writes it: "", "auto", "24,168" or "[24,168]".

    Returns:
      The periods in sampling steps; none for "auto".

    Raises:
      InputError: the text has another form, or a period is repeated or less than 1.
    """
    listed = text.strip()
    if listed[:1] + listed[-1:] in ("[]", "()"):
        listed = listed[1:-1]
    listed = listed.rstrip(", ")
    if listed in ("", AUTO):
        return ()
    parts = [part.strip() for part in listed.split(",")]
    if not all(re.fullmatch("[0-9]{1,9}", part) and int(part) for part in parts) or len(set(map(int, parts))) < len(parts):
        raise InputError(
            f"data.periods is {text!r}; expected different whole numbers of sampling steps, such as 24,168, or auto, or nothing"
        )
    return tuple(map(int, parts))


def suggested_periods(step: str) -> tuple[int, ...]:
    """Returns the periods that frames at a sampling step may have: a day and a week, or a year of months.

    Args:
      step: the sampling step as text, see `stlight_jax.data.times.Ticks`.

    Returns:
      The periods in sampling steps, ascending; none if the step is unknown, divides none of them or is as long.
    """
    match = _STEP.fullmatch(step)
    if match is None:
        return ()
    seconds = float(match[1]) * _SECONDS[match[2]]
    day = _SECONDS["d"]
    if _MONTH_DAYS[0] * day <= seconds <= _MONTH_DAYS[1] * day:
        return (_MONTHS,)
    counts = [span / seconds for span in (day, 7 * day)] if seconds > 0 else []
    return tuple(round(count) for count in counts if round(count) > 1 and abs(count - round(count)) < 1e-3)
