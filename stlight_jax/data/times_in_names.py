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
_HALF_OF_DAY = re.compile(r"\d[\s_]?[ap]m(?![a-z])", re.IGNORECASE)  # AM or PM


def times_in_names(names: Sequence[str]) -> TimeAxis | None:
    """Reads the times in names.

    Args:
      names: names of files, without folders and endings.

    Returns:
      The times, to the minute or finer; None unless each name has exactly one date with a time of day in 24 hours, spelt as in
      the others.
    """
    moments, precisions = [], set()
    for name in names:
        found = list(_MOMENT.finditer(name))
        if len(found) != 1 or _HALF_OF_DAY.search(name):
            return None
        year, _, month, day, hour, _, minute, second, fraction = found[0].groups()
        try:
            moment = datetime.datetime(int(year), int(month), int(day), int(hour), int(minute), int(second or 0))
        except ValueError:  # no date
            return None
        moments.append(np.datetime64(moment, "us") + np.timedelta64(int((fraction or "").ljust(6, "0")), "us"))
        precisions.add((second is None, fraction is None))
    if len(precisions) != 1:
        return None
    dates = np.array(moments, "M8[us]")
    return TimeAxis("file names", dates.astype(np.int64), True, "time", dates)
