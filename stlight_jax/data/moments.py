"""A moment that the user names, such as 2019-03-20, on the time axis of frames."""

import contextlib
import re

import numpy as np

from stlight_jax.data.times import TimeAxis, calendar_name, counts_since, is_absolute, parse_times, time_text, time_units
from stlight_jax.errors import InputError

_YEAR = re.compile("[0-9]{4}")
_DATE = re.compile(r"(\d{1,6})(?:-(\d\d?))?(?:-(\d\d?))?(?:[T ](\d\d?)(?::(\d\d))?(?::(\d\d))?)?")
_DAYS = "days since 1970-01-01"  # of absolute times in calendars that datetime64 does not know
_MONTHS = re.compile("months? since ", re.IGNORECASE)


def moment_on_axis(times: TimeAxis, moment: str, key: str, source: str) -> float:
    """Returns the number that a moment has among `times.values`.

    Args:
      times: the times of the frames of a sequence.
      moment: a date of the calendar of the times: YYYY, YYYY-MM, YYYY-MM-DD, with or without THH:MM:SS; of times that are no
        dates, a number.
      key: the config key, for messages.
      source: name of the sequence.

    Raises:
      InputError: the moment is no date of the calendar, or no number.
    """
    found, expected = None, "a number in the unit of these times"
    if times.dated:
        found, expected = _dated(moment), "a date, such as 2019-03-20 or 2019-03-20T06:00"
    elif is_absolute(times.attributes) or counts_since(times.attributes):
        units = _DAYS if is_absolute(times.attributes) else time_units(times.attributes)
        calendar = calendar_name(times.attributes)
        found, expected = _in_calendar(moment, units, calendar), f"a date of the calendar {calendar}, such as 2019-03-20"
    if found is None and not times.dated:
        with contextlib.suppress(ValueError):
            found = float(moment)
    if found is None or not np.isfinite(found):
        ends = " to ".join(time_text(times, index) for index in (0, -1))
        raise InputError(f"{key} is {moment!r}; the times of {source} are {times.name!r}, {ends}; expected {expected}")
    return found


def _dated(moment: str) -> float | None:
    """Returns microseconds since 1970; None if the text is no date."""
    text = f"{moment}-01" if _YEAR.fullmatch(moment) else moment
    try:
        return int(parse_times(np.array([text]), "", "").values[0])
    except InputError:
        return None


def _in_calendar(moment: str, units: str, calendar: str) -> float | None:
    """Returns the number of a date in units "... since ..."; None if the text is no date of the calendar."""
    import cftime  # comes with netCDF4

    match = _DATE.fullmatch(moment)
    if match is None:
        return None
    with contextlib.suppress(ValueError):
        year, month, day, *clock = (int(part) if part else None for part in match.groups())
        date = cftime.datetime(year, month or 1, day or 1, *(part or 0 for part in clock), calendar=calendar)
        if not _MONTHS.match(units):
            return float(cftime.date2num(date, units, calendar))
        # cftime knows months of the calendar 360_day only.
        origin = cftime.num2date(0, f"days since {units.partition(' since ')[2]}", calendar)
        months = 12 * (date.year - origin.year) + date.month - origin.month
        return months + (date.day - origin.day) / date.daysinmonth
    return None
