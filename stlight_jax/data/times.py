"""Time axes: every way of writing the times of frames."""

import dataclasses
import datetime
import functools
import re
import warnings
from collections.abc import Mapping
from typing import Any

import numpy as np

from stlight_jax.errors import InputError
from stlight_jax.optional_packages import import_optional

_DIGITS = (8, 10, 12, 14)  # YYYYMMDD, then HH or DeepST's slot, MM, SS
# Integers that read as dates of other centuries are more likely something else, such as seconds since 1970.
_DATED_YEARS = (1900, 2100)
# Others (noleap, 360_day, ...) have no calendar dates that datetime64 knows; their numbers are evenly spaced as they are.
_REAL_CALENDARS = ("standard", "gregorian", "proleptic_gregorian")
_OTHER_CALENDARS = ("julian", "noleap", "365_day", "360_day", "all_leap", "366_day")
# CDO's absolute time axis: a date with a fraction of a day.
_ABSOLUTE_UNITS = re.compile(r"(days? as )?(%Y%m%d|yyyymmdd)(\.%?[fd]+)?", re.IGNORECASE)
_GREGORIAN_YEAR = 1583
_NAT = -(2.0**63)  # what NumPy and xarray store for a missing time
_CENTURIES = 1000 * 365 * 86_400_000_000  # microseconds
_IGNORE_TIMES = "or ignore times with --config.data.time=none"


@dataclasses.dataclass(frozen=True, eq=False)
class TimeAxis:
    """The times of frames, `[t]`, in storage order.

    Attributes:
      name: name of the coordinate, or its units.
      values: int64 microseconds since 1970 if `dated`, else int64 or float64 numbers in a unit that the file does not name.
      dated: whether the times are calendar dates.
      key: name of the coordinate in its file.
      stored: `[t]`, the coordinate as stored.
      attributes: the coordinate's attributes, such as units and calendar.
      remarks: messages for the user.
    """

    name: str
    values: np.ndarray
    dated: bool
    key: str
    stored: np.ndarray
    attributes: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    remarks: tuple[str, ...] = ()


def calendar_name(attributes: Mapping[str, Any]) -> str:
    """Returns the calendar of a time coordinate; "standard" if it names none."""
    return _text_of(attributes, "calendar").lower() or "standard"


def time_units(attributes: Mapping[str, Any]) -> str:
    """Returns the units of a time coordinate, such as "hours since 2000-01-01"; "" if it names none."""
    return re.sub(r"\s+since\s+", " since ", _text_of(attributes, "units"), flags=re.IGNORECASE)


def counts_since(attributes: Mapping[str, Any]) -> bool:
    """Returns whether a coordinate's units are such as "hours since 2000-01-01"."""
    return " since " in time_units(attributes)


def is_absolute(attributes: Mapping[str, Any]) -> bool:
    """Returns whether a coordinate's units are such as "day as %Y%m%d.%f"."""
    return _ABSOLUTE_UNITS.fullmatch(time_units(attributes)) is not None


def other_calendar(times: TimeAxis | None) -> str:
    """Returns the calendar of times that datetime64 cannot express, such as noleap; "" for others."""
    if times is None or times.dated or not (counts_since(times.attributes) or is_absolute(times.attributes)):
        return ""
    calendar = calendar_name(times.attributes)
    return "" if calendar in _REAL_CALENDARS else calendar


def decode_times(values: np.ndarray, key: str, attributes: Mapping[str, Any], source: str) -> TimeAxis:
    """Reads a time coordinate with attributes.

    Args:
      values: `[t]`, as they are stored.
      key: name of the coordinate in its file.
      attributes: its attributes; `units` and `calendar` are obeyed.
      source: name of the file in messages.

    Raises:
      InputError: a time is not valid, or the package cftime is missing.
    """
    decoded, calendar = values, calendar_name(attributes)
    remarks: tuple[str, ...] = ()
    if values.dtype.kind in "iuf":
        _require_numbers(values, key, source)  # NaN is 0 to cftime
        if is_absolute(attributes):
            decoded = _from_absolute(values, key, calendar, source)
        elif counts_since(attributes) and calendar in (*_REAL_CALENDARS, *_OTHER_CALENDARS):
            units = time_units(attributes)
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # cftime's on years before 1
                if not _has_origin(units, calendar):
                    date = units.partition(" since ")[2]
                    raise InputError(
                        f"{source}: the times in {key!r} have the units {units!r}, of which {date!r} is no date; correct the "
                        f"attribute units in the file, {_IGNORE_TIMES}"
                    )
                if calendar in _REAL_CALENDARS:
                    decoded = _from_since(values, units, calendar, source)
        if counts_since(attributes) and calendar not in (*_REAL_CALENDARS, *_OTHER_CALENDARS):
            remarks = (f"the calendar {calendar!r} of {key!r} is unknown; its times are taken for numbers at equal steps",)
    name = (time_units(attributes) if decoded.dtype.kind in "iuf" else "") or key
    times = parse_times(decoded, name, source)
    return dataclasses.replace(times, key=key, stored=values, attributes=dict(attributes), remarks=remarks)


def parse_times(values: np.ndarray, name: str, source: str) -> TimeAxis:
    """Reads a time coordinate.

    Args:
      values: `[t]`: datetime64; numbers; text or integers YYYYMMDD, YYYYMMDDHH, YYYYMMDDHHMM, YYYYMMDDHHMMSS, YYYYMMDDSS
        (DeepST's slots: half hours from 01, if any is beyond 24); text in ISO 8601, of which a time zone is converted to UTC.
      name: name of the coordinate.
      source: name of the file in messages.

    Raises:
      InputError: a time has another form, or is not valid.
    """
    values = np.asarray(values)
    dates = None
    if values.dtype.kind == "M":
        try:
            dates = values.astype("M8[us]")
        except OverflowError as error:
            raise InputError(f"{source}: the times in {name!r} are no dates: {error}; {_IGNORE_TIMES}") from None
    elif values.dtype.kind in "OSU":
        dates = _from_texts([_to_text(value) for value in values.tolist()])
    if dates is not None:
        return TimeAxis(name, _checked(dates, values, name, source), True, name, values)
    if values.dtype.kind not in "iuf":
        raise InputError(
            f"{source}: the times in {name!r} are {values.dtype}; expected dates, numbers or text, {_IGNORE_TIMES}"
        )
    _require_numbers(values, name, source)
    if (values % 1).any() or (np.abs(values) >= 2.0**62).any():
        numbers = values if values.dtype == np.int64 else values.astype(np.float64)
        return TimeAxis(name, numbers, False, name, values)
    numbers = values.astype(np.int64)
    dates = _from_digits([str(value) for value in numbers.tolist()])
    years = dates.astype("M8[Y]").astype(np.int64) + 1970
    if not np.isnat(dates).any() and ((years >= _DATED_YEARS[0]) & (years < _DATED_YEARS[1])).all():
        return TimeAxis(name, dates.astype(np.int64), True, name, values)
    return TimeAxis(name, numbers, False, name, values)


def time_text(times: TimeAxis, index: int) -> str:
    """Returns a time for messages: a date in ISO 8601, or a number as it is stored."""
    if not times.dated:
        return str(times.stored[index])
    text = str(times.stored[index] if times.stored.dtype.kind == "M" else times.values[index].astype("M8[us]"))
    return re.sub(r"(?<=:\d\d)(:00)?(\.0+)?$", "", text)


# ---- Units and calendars ----


def _text_of(attributes: Mapping[str, Any], name: str) -> str:
    value = np.asarray(attributes.get(name, ""))
    return _to_text(value.item()) if value.size == 1 else ""


def _from_since(values: np.ndarray, units: str, calendar: str, source: str) -> np.ndarray:
    """Returns datetime64 of numbers in units "... since ..."; the numbers themselves if datetime64 cannot express them."""
    missing = f"{source}: times in {units!r} need the package cftime: pip install cftime, {_IGNORE_TIMES}"
    cftime: Any = import_optional("cftime", missing)
    try:
        origin, unit = _origin(units, calendar)
        counts = values.astype(np.float64)
        # Before 1582, the standard calendar is the Julian one, which cftime knows.
        if len(counts) and origin.year >= _GREGORIAN_YEAR and ((counts >= 0) & (counts * unit < _CENTURIES)).all():
            return np.datetime64(origin, "us") + np.rint(counts * unit).astype(np.int64)
        return np.array(cftime.num2pydate(values, units, calendar), "M8[us]").reshape(values.shape)
    except (ValueError, OverflowError):  # units without a calendar, such as months since, or years that Python does not know
        return values


@functools.cache
def _has_origin(units: str, calendar: str) -> bool:
    """Returns whether units "... since ..." name a date of the calendar; the year 0 marks a climatology, or times of MATLAB."""
    try:
        import cftime
    except ImportError:
        return True
    date = units.partition(" since ")[2]
    try:
        cftime.num2date(0, f"days since {date}", calendar)
    except (ValueError, TypeError):  # TypeError for a date without a day
        return re.match("0+-", date) is not None
    return True


@functools.cache
def _origin(units: str, calendar: str) -> tuple[datetime.datetime, int]:
    """Returns the moment 0 of units "... since ...", and their length in microseconds; a folder may have thousands of files."""
    import cftime

    origin, one = cftime.num2pydate([0, 1], units, calendar)
    return origin, (one - origin) // datetime.timedelta(microseconds=1)


def _from_absolute(values: np.ndarray, name: str, calendar: str, source: str) -> np.ndarray:
    """Returns datetime64 of dates YYYYMMDD with a fraction of a day; in calendars that it does not know, days since 1970.

    Raises:
      InputError: a value is no date of the calendar.
    """
    finite = np.isfinite(values)
    whole = np.floor(np.where(finite, values, 0)).astype(np.int64)
    fraction = np.where(finite, values, 0) - whole
    if calendar in _REAL_CALENDARS:
        days = _from_digits([str(value) for value in whole.tolist()])
        _checked(days, values, name, source)
        # Fractions of large numbers are off by some 0.2 ms.
        return days + np.rint(fraction * 86_400_000 / 10).astype(np.int64) * np.timedelta64(10, "ms")
    import cftime

    try:
        dates = [cftime.datetime(day // 10_000, day // 100 % 100, day % 100, calendar=calendar) for day in whole.tolist()]
        return np.asarray(cftime.date2num(dates, "days since 1970-01-01", calendar)) + fraction
    except ValueError as error:
        raise InputError(
            f"{source}: a time in {name!r} is no date of its calendar ({error}); correct it, {_IGNORE_TIMES}"
        ) from None


# ---- Reading text and digits ----


def _require_numbers(values: np.ndarray, name: str, source: str) -> None:
    """Checks that numbers are finite, and that none is NaT.

    Raises:
      InputError: a time is missing.
    """
    nat = values == _NAT
    bad = nat | ~np.isfinite(values)
    if bad.any():
        place = int(np.argmax(bad))
        found = f"{values[place]}; expected a number"
        if nat[place]:
            found = f"NaT (missing, stored as {values[place]:g}); expected a time for each frame"
        raise InputError(f"{source}: time stamp {place} in {name!r} is {found}, {_IGNORE_TIMES}")


def _checked(dates: np.ndarray, given: np.ndarray, name: str, source: str) -> np.ndarray:
    """Returns int64 microseconds since 1970.

    Args:
      dates: datetime64, NaT for values that are no date.
      given: the values in the file.
      name: name of the coordinate.
      source: name of the file.

    Raises:
      InputError: a value is no date.
    """
    bad = np.isnat(dates)
    if bad.any() and given.dtype.kind == "M":
        raise InputError(
            f"{source}: time stamp {np.argmax(bad)} in {name!r} is NaT (missing); expected a time for each frame, "
            f"{_IGNORE_TIMES}"
        )
    if bad.any():
        raise InputError(
            f"{source}: time stamp {np.argmax(bad)} in {name!r} is {_to_text(given[bad][0])!r}; expected YYYYMMDD, YYYYMMDDHH, "
            f"YYYYMMDDHHMM, YYYYMMDDHHMMSS or ISO 8601, {_IGNORE_TIMES}"
        )
    return dates.astype(np.int64)


def _to_text(value: object) -> str:
    text = value.decode("utf-8", "replace") if isinstance(value, bytes) else str(value)
    return text.strip().strip("\0")


def _from_texts(texts: list[str]) -> np.ndarray:
    """Returns datetime64 `[t]`, NaT where a text is no date."""
    if all(re.fullmatch("[0-9]+", text) for text in texts) and len({len(text) for text in texts}) == 1:
        return _from_digits(texts)
    return np.array([_from_iso(text) for text in texts], "M8[us]")


def _from_iso(text: str) -> np.datetime64:
    try:
        moment = datetime.datetime.fromisoformat(f"{text}-01" if re.fullmatch(r"\d{4}-\d{2}", text) else text)
    except ValueError:
        return np.datetime64("NaT", "us")
    if moment.tzinfo is not None:
        moment = moment.astimezone(datetime.UTC).replace(tzinfo=None)
    return np.datetime64(moment, "us")


def _from_digits(texts: list[str]) -> np.ndarray:
    """Returns datetime64 `[t]` of YYYYMMDD and longer, all of one length; NaT where that is no date."""
    not_dates = np.full(len(texts), "NaT", "M8[us]")
    lengths = {len(text) for text in texts}
    if len(lengths) != 1 or not lengths <= set(_DIGITS) or any(text.startswith("-") for text in texts):
        return not_dates
    starts = range(4, lengths.pop(), 2)
    year = np.array([int(text[:4]) for text in texts])
    parts = [np.array([int(text[start : start + 2]) for text in texts]) for start in starts]
    zeros = np.zeros(len(texts), np.int64)
    month, day, hour, minute, second = [*parts, zeros, zeros, zeros][:5]
    slots = len(parts) == 3 and np.max(hour) > 24
    valid = (month >= 1) & (month <= 12) & (day >= 1) & (minute < 60) & (second < 60)
    valid &= (hour >= 1) & (hour <= 48) if slots else hour <= 24
    months = (12 * (year - 1970) + np.where(valid, month, 1) - 1).astype("M8[M]")
    days = months.astype("M8[D]") + (day - 1)
    valid &= days.astype("M8[M]") == months  # day 31 of a shorter month runs over
    minutes = 30 * (hour - 1) if slots else 60 * hour + minute
    return np.where(valid, days.astype("M8[us]") + (60 * minutes + second) * np.timedelta64(1, "s"), not_dates)
