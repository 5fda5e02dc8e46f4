"""Time coordinates that go on where the data end, in the way they are written there."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np

from stlight_jax.data.readers.times import Stamps, usual_difference

# Steps of the last year, for monthly data, tell months from days.
_LOOKED_AT = 13
_FEWEST_MONTHS = 3
_ZONE = re.compile(r"(Z|[+-]\d\d:?\d\d)$")


class _Months(NamedTuple):
    """Moments by the calendar, `[t]`.

    Attributes:
      months: since the year 0.
      days: in these, from 1 on.
      lengths: of the months, in days.
      times: of day.
      even: whether the steps between the moments are all the same.
    """

    months: np.ndarray
    days: np.ndarray
    lengths: np.ndarray
    times: np.ndarray
    even: bool


def continued(stamps: Stamps, places: np.ndarray, after: int, further: int) -> Stamps | None:
    """The stamps at `places`, and `further` ones that follow the stamp at place `after`, one sampling step apart.

    Months and years go by the calendar, whichever it is, where the data do.

    Returns None if further ones are asked for and there is no step: all stamps are the same.
    """
    step = usual_difference([stamps.values])
    if step is None and further:
        return None
    stored = stamps.values if stamps.stored is None else stamps.stored
    if not further:
        return dataclasses.replace(stamps, values=stamps.values[places], stored=stored[places])
    ahead = np.arange(1, further + 1)
    seen = slice(max(0, after + 1 - _LOOKED_AT), after + 1)
    values = _after(stamps.values[seen], step, ahead, stamps.dated)
    if " since " in str(stamps.attributes.get("units", "")):
        new = _since(stored, seen, ahead, stamps.attributes)
        if not stamps.dated:  # numbers of a calendar of its own
            values = new
    elif stored.dtype.kind == "M":
        new = values.astype("M8[us]").astype(stored.dtype)
    elif not stamps.dated:
        new = _as_numbers(stored, values)
    else:
        write = _form(stored[after], stamps.values[after])
        new = np.array([write(moment) for moment in values], None if stored.dtype.kind == "O" else stored.dtype)
    return dataclasses.replace(
        stamps, values=np.concatenate([stamps.values[places], values]), stored=np.concatenate([stored[places], new])
    )


def as_dates(stamps: Stamps) -> np.ndarray:
    """datetime64 `[t]` of dated stamps, in the coarsest unit that keeps them."""
    for unit, size in (("s", 1_000_000), ("ms", 1_000)):
        if not (stamps.values % size).any():
            return stamps.values.astype("M8[us]").astype(f"M8[{unit}]")
    return stamps.values.astype("M8[us]")


def _after(seen: np.ndarray, step: float, ahead: np.ndarray, dated: bool) -> np.ndarray:
    """Args: seen: the stamps up to the last one; ahead: how many steps after that."""
    if dated:
        dates = seen.astype("M8[us]")
        months, days = dates.astype("M8[M]"), dates.astype("M8[D]")
        numbers = months.astype(np.int64) + 12 * 1970
        in_month = (days - months.astype("M8[D]")).astype(np.int64) + 1
        own = _Months(numbers, in_month, _days_in(numbers), dates - days, _are_even(seen))
        by_calendar = _by_calendar(own, ahead, _days_in)
        if by_calendar is not None:
            firsts = (by_calendar[0] - 12 * 1970).astype("M8[M]").astype("M8[D]")
            return (firsts + (by_calendar[1] - 1) + (dates - days)[-1]).astype(np.int64)
    further = seen[-1] + step * ahead
    return np.rint(further).astype(np.int64) if dated else further.astype(np.result_type(seen.dtype, type(step)))


def _since(stored: np.ndarray, seen: slice, ahead: np.ndarray, attributes: Any) -> np.ndarray:
    """Numbers of netCDF in their own units and calendar."""
    import cftime  # comes with netCDF4

    evenly = _as_numbers(stored, stored[seen][-1] + usual_difference([stored]) * ahead)
    units, calendar = str(attributes["units"]), str(attributes.get("calendar", "standard")).lower()
    try:
        dates = cftime.num2date(stored[seen], units, calendar)
        last = dates[-1]

        def in_month(month: int, day: int) -> Any:
            return last.replace(year=int(month // 12), month=int(month % 12 + 1), day=int(day))

        own = _Months(
            np.array([12 * date.year + date.month - 1 for date in dates]),
            np.array([date.day for date in dates]),
            np.array([date.daysinmonth for date in dates]),
            np.array([date - date.replace(hour=0, minute=0, second=0, microsecond=0) for date in dates]),
            _are_even(stored[seen]),
        )
        by_calendar = _by_calendar(own, ahead, lambda months: np.array([in_month(month, 1).daysinmonth for month in months]))
        if by_calendar is None:
            return evenly
        further = [in_month(month, day) for month, day in zip(*by_calendar, strict=True)]
        return _as_numbers(stored, np.asarray(cftime.date2num(further, units, calendar)))
    except (ValueError, OverflowError):  # units without a calendar, such as months since
        return evenly


def _by_calendar(
    seen: _Months, ahead: np.ndarray, days_in: Callable[[np.ndarray], np.ndarray]
) -> tuple[np.ndarray, np.ndarray] | None:
    """The months and the days in them that follow, so many steps of whole months ahead; None if the steps are no months.

    The day stays, in shorter months as their last one, or its distance from the last of the month does. Days that move while
    the steps are equal are no months: 30 January, 29 February and 30 March are 30 days apart. Ends of months are, though.

    Args:
      days_in: of months, how many days they have.
    """
    between = np.unique(np.diff(seen.months))
    if len(seen.months) < _FEWEST_MONTHS or len(between) != 1 or between[0] < 1 or len(np.unique(seen.times)) > 1:
        return None
    day, from_last = seen.days.max(), np.unique(seen.lengths - seen.days)
    months = seen.months[-1] + between[0] * ahead
    lengths = days_in(months)
    if (seen.days == day).all():
        return months, np.minimum(day, lengths)
    if len(from_last) == 1 and not (seen.even and from_last[0]):
        return months, np.maximum(lengths - from_last[0], 1)
    if not seen.even and (seen.days == np.minimum(day, seen.lengths)).all():
        return months, np.minimum(day, lengths)
    return None


def _are_even(moments: np.ndarray) -> bool:
    return len(np.unique(np.diff(moments))) == 1


def _days_in(months: np.ndarray) -> np.ndarray:
    """Args: months: since the year 0."""
    firsts = (np.stack([months, months + 1]) - 12 * 1970).astype("M8[M]").astype("M8[D]")
    return (firsts[1] - firsts[0]).astype(np.int64)


def _as_numbers(stored: np.ndarray, further: np.ndarray) -> np.ndarray:
    """In the type they have in the file, if it can hold them."""
    if stored.dtype.kind == "f" or not (further % 1).any():
        return further.astype(stored.dtype)
    return further.astype(np.float64)


def _form(example: Any, moment: int) -> Any:
    """A function from microseconds since 1970 to what `example`, which stands for `moment`, would be then."""
    text = example.decode() if isinstance(example, bytes) else str(example).strip()

    def digits(length: int, slots: bool) -> Any:
        def write(value: int) -> str:
            date = np.datetime64(int(value), "us")
            if slots:  # DeepST's half hours, from 01
                day = date.astype("M8[D]")
                return f"{str(day).replace('-', '')}{int((date - day) // np.timedelta64(30, 'm')) + 1:02}"
            return re.sub("[^0-9]", "", np.datetime_as_string(date, "s"))[:length]

        return write

    def iso(value: int) -> str:
        bare = _ZONE.sub("", text)
        written = np.datetime_as_string(np.datetime64(int(value), "us"), "us")
        if len(bare) > 10:
            written = written[:10] + bare[10] + written[11:]
        return written[: min(len(bare), 26)] + ("Z" if len(bare) < len(text) else "")

    candidates = [digits(len(text), False), digits(len(text), True)] if text.isdigit() else [iso]
    write = next((one for one in candidates if one(moment) == text), candidates[0])
    if isinstance(example, bytes):
        return lambda value: write(value).encode()
    return (lambda value: int(write(value))) if isinstance(example, int | np.integer) else write
