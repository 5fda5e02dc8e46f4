"""Time coordinates that go on where the data end, in the way they are written there."""

from __future__ import annotations

import dataclasses
import datetime
import re
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np

from stlight_jax.data.times import Stamps, calendar_of, usual_difference

# Steps of the last year, for monthly data, tell months from days.
_LOOKED_AT = 13
_FEWEST_MONTHS = 3
_SECOND = 1_000_000  # microseconds
_DAY = 86_400 * _SECOND
_FIRST = {"day": 1, "hour": 0, "minute": 0, "second": 0, "microsecond": 0}
_ZONE = re.compile(r"(Z|[+-]\d\d:?\d\d)$")


class _Months(NamedTuple):
    """Moments by the calendar, `[t]`.

    Attributes:
      months: since the year 0.
      within: from the start of the month, in microseconds.
      lengths: of the months, in days.
      moments: in any unit.
    """

    months: np.ndarray
    within: np.ndarray
    lengths: np.ndarray
    moments: np.ndarray


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
        months = dates.astype("M8[M]")
        numbers = months.astype(np.int64) + 12 * 1970
        own = _Months(numbers, (dates - months.astype("M8[us]")).astype(np.int64), _days_in(numbers), seen)
        by_calendar = _by_calendar(own, ahead, _days_in)
        if by_calendar is not None:
            return (by_calendar[0] - 12 * 1970).astype("M8[M]").astype("M8[us]").astype(np.int64) + by_calendar[1]
    further = seen[-1] + step * ahead
    return np.rint(further).astype(np.int64) if dated else further.astype(np.result_type(seen.dtype, type(step)))


def _since(stored: np.ndarray, seen: slice, ahead: np.ndarray, attributes: Any) -> np.ndarray:
    """Numbers of netCDF in their own units and calendar."""
    import cftime  # comes with netCDF4

    evenly = _as_numbers(stored, stored[seen][-1] + usual_difference([stored]) * ahead)
    units, calendar = str(attributes["units"]), calendar_of(attributes)
    try:
        dates = cftime.num2date(stored[seen], units, calendar)

        def first_of(month: int) -> Any:
            return dates[-1].replace(year=int(month // 12), month=int(month % 12 + 1), **_FIRST)

        own = _Months(
            np.array([12 * date.year + date.month - 1 for date in dates]),
            np.array([(date - date.replace(**_FIRST)) // datetime.timedelta(microseconds=1) for date in dates]),
            np.array([date.daysinmonth for date in dates]),
            stored[seen],
        )
        by_calendar = _by_calendar(own, ahead, lambda months: np.array([first_of(month).daysinmonth for month in months]))
        if by_calendar is None:
            return evenly
        further = [
            first_of(month) + datetime.timedelta(microseconds=int(within)) for month, within in zip(*by_calendar, strict=True)
        ]
        return _as_numbers(stored, np.asarray(cftime.date2num(further, units, calendar)))
    except (ValueError, OverflowError):  # units without a calendar, such as months since
        return evenly


def _by_calendar(
    seen: _Months, ahead: np.ndarray, days_in: Callable[[np.ndarray], np.ndarray]
) -> tuple[np.ndarray, np.ndarray] | None:
    """The months that follow and where in them, so many steps of whole months ahead; None if the steps are no months.

    The day stays, in shorter months as their last one, or its distance from the last of the month does, or the part of the
    month that is over, such as half of it. Days that move while the steps are equal are no months: 30 January, 29 February and
    30 March are 30 days apart. Ends of months are, though. What lies before the last gap in time does not count.

    Args:
      days_in: of months, how many days they have.

    Returns: months, and microseconds in them.
    """
    steps = np.diff(seen.months)
    if len(steps) and (steps != steps[-1]).any():
        after_gap = len(steps) - int((steps != steps[-1])[::-1].argmax())
        seen, steps = _Months(*(values[after_gap:] for values in seen)), steps[after_gap:]
    if len(seen.months) < _FEWEST_MONTHS or steps[-1] < 1:
        return None
    months = seen.months[-1] + steps[-1] * ahead
    lengths = days_in(months)
    if np.ptp(seen.within % _DAY) == 0:
        days, moving = seen.within // _DAY + 1, len(np.unique(np.diff(seen.moments))) > 1
        day, from_last = days.max(), np.unique(seen.lengths - days)
        ours = None
        if (days == day).all():
            ours = np.minimum(day, lengths)
        elif len(from_last) == 1 and (moving or not from_last[0]):
            ours = np.maximum(lengths - from_last[0], 1)
        elif moving and (days == np.minimum(day, seen.lengths)).all():
            ours = np.minimum(day, lengths)
        if ours is not None:
            return months, (ours - 1) * _DAY + seen.within[-1] % _DAY
    part = seen.within[-1] / seen.lengths[-1]
    if np.abs(seen.within - part * seen.lengths).max() < _SECOND:
        return months, np.rint(part * lengths).astype(np.int64)
    return None


def _days_in(months: np.ndarray) -> np.ndarray:
    """Args: months: since the year 0."""
    firsts = (np.stack([months, months + 1]) - 12 * 1970).astype("M8[M]").astype("M8[D]")
    return (firsts[1] - firsts[0]).astype(np.int64)


def _as_numbers(stored: np.ndarray, further: np.ndarray) -> np.ndarray:
    """In the type they have in the file if it can hold them, else in 64 bits."""
    if stored.dtype.kind == "f":
        return further.astype(stored.dtype)
    if (further % 1).any():
        return further.astype(np.float64)
    limits = np.iinfo(stored.dtype)
    return further.astype(stored.dtype if limits.min <= further.min() and further.max() <= limits.max else np.int64)


def _form(example: Any, moment: int) -> Any:
    """A function from microseconds since 1970 to what `example`, which stands for `moment`, would be then."""
    is_number = isinstance(example, int | float | np.number)  # MATLAB has no other numbers than floats
    text = str(int(example)) if is_number else example.decode() if isinstance(example, bytes) else str(example).strip()

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
    return (lambda value: int(write(value))) if is_number else write
