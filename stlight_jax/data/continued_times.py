"""Time coordinates continued beyond the end of the data, written as the file writes them."""

import dataclasses
import datetime
import functools
import re
import warnings
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np

from stlight_jax.data.ticks import mean_step, sampling_step
from stlight_jax.data.times import TimeAxis, calendar_name, counts_since, is_absolute, time_units

# The steps of the last year, for monthly data, tell months from days.
_MAX_SEEN = 13
_MIN_MONTHS = 3
_SECOND = 1_000_000  # microseconds
_DAY = 86_400 * _SECOND
_EPOCH_MONTH = 12 * 1970
_MONTH_START = {"day": 1, "hour": 0, "minute": 0, "second": 0, "microsecond": 0}
_DAYS_SINCE = "days since 1970-01-01"
_ZONE = re.compile(r"(Z|[+-]\d\d:?\d\d)$")


def continue_times(times: TimeAxis, indices: np.ndarray, last: int, further: int) -> TimeAxis | None:
    """Returns the times at `indices`, followed by `further` times after the time at `last`, one sampling step apart.

    Months and years follow the calendar of the data if the data do.

    Args:
      times: the time axis of the data.
      indices: int `[n]`.
      last: index of the last known time.
      further: number of times to add.

    Returns:
      The time axis; None if further times are needed and there is no sampling step, as all times are the same.
    """
    stored = times.stored
    if not further:
        return dataclasses.replace(times, values=times.values[indices], stored=stored[indices])
    step = mean_step([times.values], times.dated)
    if step is None:
        return None
    ahead = np.arange(1, further + 1)
    seen = slice(max(0, last + 1 - _MAX_SEEN), last + 1)
    values = _next_values(times.values[seen], step, ahead, times.dated)
    if counts_since(times.attributes):
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # cftime's on years before 1
            has_jitter = times.dated and step != sampling_step([times.values])
            dates = values.astype("M8[us]").astype(object) if has_jitter else None
            new = _next_since(stored, seen, ahead, times.attributes, dates)
        if not times.dated:  # numbers of a calendar that datetime64 does not know
            values = new
    elif is_absolute(times.attributes):
        if not times.dated:  # days of another calendar since 1970
            days_since = {**times.attributes, "units": _DAYS_SINCE}
            values = _next_since(times.values, seen, ahead, days_since)
        new = _to_absolute(values, stored.dtype, times)
    elif stored.dtype.kind == "M":
        new = values.astype("M8[us]").astype(stored.dtype)
    elif not times.dated:
        new = _to_stored_numbers(stored, values)
    else:
        write = _writer_like(stored[last], times.values[last])
        new = np.array([write(moment) for moment in values], None if stored.dtype.kind == "O" else stored.dtype)
    return dataclasses.replace(
        times, values=np.concatenate([times.values[indices], values]), stored=np.concatenate([stored[indices], new])
    )


def to_datetime64(times: TimeAxis) -> np.ndarray:
    """Returns the moments of dated times as datetime64 `[t]`, in the coarsest of s, ms and us that keeps them."""
    unit = next((unit for unit, size in (("s", _SECOND), ("ms", 1_000)) if not (times.values % size).any()), "us")
    return times.values.astype("M8[us]").astype(f"M8[{unit}]")


# ---- Calendars ----


class _MonthTimes(NamedTuple):
    """Times as months and a rest, `[t]`.

    Attributes:
      months: months since the year 0.
      within: microseconds since the start of the month.
      lengths: lengths of the months in days.
      moments: the times in any unit.
    """

    months: np.ndarray
    within: np.ndarray
    lengths: np.ndarray
    moments: np.ndarray


def _next_values(seen: np.ndarray, step: float, ahead: np.ndarray, dated: bool) -> np.ndarray:
    """Returns the values `ahead` steps after the last one.

    Args:
      seen: the values up to the last one, microseconds since 1970 if `dated`.
      step: the sampling step.
      ahead: numbers of steps.
      dated: whether the values are dates.
    """
    if dated:
        dates = seen.astype("M8[us]")
        months = dates.astype("M8[M]")
        numbers, within = months.astype(np.int64) + _EPOCH_MONTH, (dates - months.astype("M8[us]")).astype(np.int64)
        following = _next_months(_MonthTimes(numbers, within, _days_in(numbers), seen), ahead, _days_in)
        if following is not None:
            return (following[0] - _EPOCH_MONTH).astype("M8[M]").astype("M8[us]").astype(np.int64) + following[1]
    further = seen[-1] + step * ahead
    return np.rint(further).astype(np.int64) if dated else further.astype(np.result_type(seen.dtype, type(step)))


def _next_since(
    stored: np.ndarray, seen: slice, ahead: np.ndarray, attributes: Any, dates: np.ndarray | None = None
) -> np.ndarray:
    """Returns netCDF's numbers `ahead` steps after the last seen one, or of `dates`, in their own units and calendar."""
    import cftime  # comes with netCDF4

    units, calendar = time_units(attributes), calendar_name(attributes)
    if dates is None:
        evenly = _to_stored_numbers(stored, stored[seen][-1] + sampling_step([stored]) * ahead)
    else:
        evenly = _to_stored_numbers(stored, np.asarray(cftime.date2num(dates, units, calendar)))
    try:
        known = cftime.num2date(stored[seen], units, calendar)

        def month_start(month: int) -> Any:
            return known[-1].replace(year=int(month // 12), month=int(month % 12 + 1), **_MONTH_START)

        microsecond = datetime.timedelta(microseconds=1)
        seen_times = _MonthTimes(
            np.array([12 * date.year + date.month - 1 for date in known]),
            np.array([(date - date.replace(**_MONTH_START)) // microsecond for date in known]),
            np.array([date.daysinmonth for date in known]),
            stored[seen],
        )
        following = _next_months(
            seen_times, ahead, lambda months: np.array([month_start(month).daysinmonth for month in months])
        )
        if following is None:
            return evenly
        further = [month_start(month) + int(within) * microsecond for month, within in zip(*following, strict=True)]
        return _to_stored_numbers(stored, np.asarray(cftime.date2num(further, units, calendar)))
    except (ValueError, OverflowError):  # units without a calendar, such as months since
        return evenly


def _next_months(
    seen: _MonthTimes, ahead: np.ndarray, days_in: Callable[[np.ndarray], np.ndarray]
) -> tuple[np.ndarray, np.ndarray] | None:
    """Returns the months `ahead` steps after the last time, if a month has one to three times, or a step is months.

    Dekads, such as days 1, 11 and 21, are three in a month: each is a series of months.

    Args:
      seen: the times up to the last one.
      ahead: numbers of steps, from 1.
      days_in: returns the lengths of months in days.

    Returns:
      Months, and microseconds since their start; None if the steps are no months.
    """
    for count in (1, 2, 3):
        rounds = np.arange(1, -(-len(ahead) // count) + 1)
        ends = [len(seen.months) - count + 1 + place for place in range(count)]
        series = [_MonthTimes(*(values[:end][::-count][::-1] for values in seen)) for end in ends]
        following = [_next_in_months(own, rounds, days_in) for own in series]
        found = [pair for pair in following if pair is not None]
        if len(found) == count and (
            count == 1 or all(own.months[-1] + 1 == pair[0][0] for own, pair in zip(series, found, strict=True))
        ):
            months, within = (np.stack(part, 1).reshape(-1)[: len(ahead)] for part in zip(*found, strict=True))
            return months, within
    return None


def _next_in_months(
    seen: _MonthTimes, ahead: np.ndarray, days_in: Callable[[np.ndarray], np.ndarray]
) -> tuple[np.ndarray, np.ndarray] | None:
    """Returns the months `ahead` steps after the last time, if the steps are whole months.

    One of these stays constant: the day of the month (in shorter months their last day), its distance from the month's last
    day, or the elapsed part of the month, such as half of it. Days that move while the steps are equal are no months:
    30 January, 29 February and 30 March are 30 days apart. Ends of months are months, though. Times before the last gap do not
    count.

    Args:
      seen: the times up to the last one.
      ahead: numbers of steps.
      days_in: returns the lengths of months in days.

    Returns:
      Months, and microseconds since their start; None if the steps are no months.
    """
    steps = np.diff(seen.months)
    if len(steps) and (steps != steps[-1]).any():
        after_gap = len(steps) - int((steps != steps[-1])[::-1].argmax())
        seen, steps = _MonthTimes(*(values[after_gap:] for values in seen)), steps[after_gap:]
    if len(seen.months) < _MIN_MONTHS or steps[-1] < 1:
        return None
    months = seen.months[-1] + steps[-1] * ahead
    lengths = days_in(months)
    if np.ptp(seen.within % _DAY) == 0:
        days = _next_days(seen, lengths)
        if days is not None:
            return months, (days - 1) * _DAY + seen.within[-1] % _DAY
    part = seen.within[-1] / seen.lengths[-1]
    if np.abs(seen.within - part * seen.lengths).max() < _SECOND:
        return months, np.rint(part * lengths).astype(np.int64)
    return None


def _next_days(seen: _MonthTimes, lengths: np.ndarray) -> np.ndarray | None:
    """Returns the days of months of these lengths; None if neither the day nor its distance from the month's end stays."""
    days, unequal_steps = seen.within // _DAY + 1, len(np.unique(np.diff(seen.moments))) > 1
    day, from_end = days.max(), np.unique(seen.lengths - days)
    if len(from_end) == 1 and (days != day).any() and (unequal_steps or not from_end[0]):
        return np.maximum(lengths - from_end[0], 1)
    if (days == day).all() or (unequal_steps and (days == np.minimum(day, seen.lengths)).all()):
        return np.minimum(day, lengths)
    return None


def _days_in(months: np.ndarray) -> np.ndarray:
    """Returns the lengths in days of months since the year 0, by the Gregorian calendar."""
    firsts = (np.stack([months, months + 1]) - _EPOCH_MONTH).astype("M8[M]").astype("M8[D]")
    return (firsts[1] - firsts[0]).astype(np.int64)


# ---- Writing like the file ----


def _to_stored_numbers(stored: np.ndarray, further: np.ndarray) -> np.ndarray:
    """Returns `further` in the element type of `stored` if it can hold the numbers, else in 64 bits."""
    if stored.dtype.kind == "f":
        return further.astype(stored.dtype)
    if (further % 1).any():
        return further.astype(np.float64)
    limits = np.iinfo(stored.dtype)
    fits = limits.min <= further.min() and further.max() <= limits.max
    return further.astype(stored.dtype if fits else np.int64)


def _to_absolute(values: np.ndarray, dtype: np.dtype, times: TimeAxis) -> np.ndarray:
    """Returns dates YYYYMMDD with the elapsed part of the day as fraction, of the values of an absolute time axis."""
    if times.dated:
        moments = values.astype("M8[us]")
        days = moments.astype("M8[D]")
        fraction = (moments - days).astype(np.int64) / _DAY
        numbers = np.array([int(str(day).replace("-", "")) for day in days])
    else:
        import cftime  # comes with netCDF4

        whole = np.floor(values)
        dates = cftime.num2date(whole, _DAYS_SINCE, calendar_name(times.attributes))
        fraction, numbers = values - whole, np.array([10_000 * date.year + 100 * date.month + date.day for date in dates])
    return _to_stored_numbers(np.zeros(0, dtype), numbers + fraction)


def _writer_like(example: Any, moment: int) -> Callable[[int], Any]:
    """Returns a function that writes microseconds since 1970 as `example` writes `moment`."""
    is_number = isinstance(example, int | float | np.number)  # MATLAB has no other numbers than floats
    text = str(int(example)) if is_number else example.decode() if isinstance(example, bytes) else str(example).strip()
    writers: list[Callable[[int], str]] = [functools.partial(_iso, text)]
    if text.isdigit():
        writers = [functools.partial(_digits, len(text)), _half_hour_slot]
    write = next((writer for writer in writers if writer(moment) == text), writers[0])
    if isinstance(example, bytes):
        return lambda value: write(value).encode()
    return (lambda value: int(write(value))) if is_number else write


def _digits(length: int, value: int) -> str:
    return re.sub("[^0-9]", "", np.datetime_as_string(np.datetime64(int(value), "us"), "s"))[:length]


def _half_hour_slot(value: int) -> str:
    """Returns a date and the number of its half hour, from 01, as DeepST writes them."""
    date = np.datetime64(int(value), "us")
    day = date.astype("M8[D]")
    return f"{str(day).replace('-', '')}{int((date - day) // np.timedelta64(30, 'm')) + 1:02}"


def _iso(like: str, value: int) -> str:
    """Returns a date in ISO 8601 with the separator, the precision and the time zone mark of `like`."""
    bare = _ZONE.sub("", like)
    written = str(np.datetime_as_string(np.datetime64(int(value), "us"), "us"))
    if len(bare) > 10:
        written = written[:10] + bare[10] + written[11:]
    return written[: min(len(bare), 26)] + ("Z" if len(bare) < len(like) else "")
