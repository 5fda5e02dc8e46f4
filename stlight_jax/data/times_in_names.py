"""Times in the names of files, such as rain_202606011205.png."""

import datetime
import re
from collections.abc import Sequence

import numpy as np

from stlight_jax.data.times import TimeAxis

# Year, month, day, hour and minute; seconds, separated as hour and minute are; their fraction.
_MOMENT = re.compile(
    r"(?<!\d)((?:19|20)\d\d)([-_.]?)(\d\d)\2(\d\d)(?:[-_. ]?[Tt]|[-_. ]|[ _]at[ _]|)(\d\d)([-_.:hH]?)(\d\d)"
    r"(?:(?:\6|(?<=[hH]\d\d)[mM])(\d\d)(?:[.,]?(\d{6}|\d{3}))?)?(?!\d)"
)
# Behind a time: Z, +0200, +02:00, +02, UTC+2; -0500 after a date and time in ISO 8601, where a dash begins no number.
_OFFSET = re.compile(r"[ _]?(?:UTC|GMT)?([+-])(\d\d?)(?:[:.]?([0-5]\d))?(?!\d)")
_ZONE = re.compile(r"[ _-]?([A-Z]{2,4}T)(?![A-Za-z])")  # CET, CEST, PDT, ...
_MAX_OFFSET = 14  # hours
_ZERO = datetime.timedelta(0)
_HALF_OF_DAY = re.compile(r"\d[\s_]?[ap]m(?![a-z])", re.IGNORECASE)  # AM or PM


def times_in_names(names: Sequence[str]) -> TimeAxis | None:
    """Reads the times in names.

    Args:
      names: names of files, without folders and endings.

    Returns:
      The times, to the minute or finer; None unless each name has exactly one date with a time of day in 24 hours, spelt as in
      the others. Times with an offset from UTC become UTC.
    """
    moments, spellings = [], set()
    for name in names:
        found = list(_MOMENT.finditer(name))
        if len(found) != 1 or _HALF_OF_DAY.search(name):
            return None
        year, _, month, day, hour, _, minute, second, fraction = found[0].groups()
        try:
            moment = datetime.datetime(int(year), int(month), int(day), int(hour), int(minute), int(second or 0))
        except ValueError:  # no date
            return None
        offset, zone = _zone(found[0])
        moments.append(
            np.datetime64(moment - (offset or _ZERO), "us") + np.timedelta64(int((fraction or "").ljust(6, "0")), "us")
        )
        spellings.add((second is None, fraction is None, offset is None, zone))
    if len(spellings) != 1:
        return None
    dates = np.array(moments, "M8[us]")
    return TimeAxis("file names", dates.astype(np.int64), True, "time", dates)


def name_of_time(moments: np.ndarray, index: int) -> str:
    """Returns one of several moments, int64 microseconds since 1970, as a name that `times_in_names` reads.

    Args:
      moments: all moments, which decide whether names have seconds and their fractions.
      index: that of the moment.
    """
    precision = "us" if (moments % 1_000_000).any() else "s" if (moments % 60_000_000).any() else "m"
    return re.sub("[-:.]", "", str(np.datetime64(int(moments[index]), "us").astype(f"M8[{precision}]")))


def _zone(moment: re.Match[str]) -> tuple[datetime.timedelta | None, str]:
    """Returns the offset from UTC behind a time, None without one, and the name of a time zone."""
    rest = moment.string[moment.end() :]
    found = _OFFSET.match(rest)
    if found:
        sign, hours, minutes = found.groups()
        is_iso = "t" in moment[0].lower() and minutes in ("00", "15", "30", "45") and len(hours) == 2
        if int(hours) <= _MAX_OFFSET and (sign == "+" or is_iso or not rest.startswith(sign)):
            offset = datetime.timedelta(hours=int(hours), minutes=int(minutes or 0))
            return (offset if sign == "+" else -offset), ""
    zone = _ZONE.match(rest)
    return None, zone[1] if zone else ""
