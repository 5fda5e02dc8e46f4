"""Time coordinates that go on where the data end, in the way they are written there."""

from __future__ import annotations

import dataclasses
import re
from typing import Any

import numpy as np

from stlight_jax.data.readers.times import Stamps, usual_difference

# Steps of the last year, for monthly data, tell months from days.
_LOOKED_AT = 13
_ZONE = re.compile(r"(Z|[+-]\d\d:?\d\d)$")


def continued(stamps: Stamps, places: np.ndarray, after: int, further: int) -> Stamps | None:
    """The stamps at `places`, and `further` ones that follow the stamp at place `after`, one sampling step apart.

    Months and years go by the calendar, whichever it is, where the data do.

    Returns None if further ones are asked for and there is no step: all stamps are the same.
    """
    step = usual_difference([stamps.values])
    if step is None and further:
        return None
    ahead = np.arange(1, further + 1)
    seen = stamps.values[max(0, after + 1 - _LOOKED_AT) : after + 1]
    values = np.concatenate([stamps.values[places], _after(seen, step, ahead, stamps.dated)])
    stored = stamps.values if stamps.stored is None else stamps.stored
    if not further:
        return dataclasses.replace(stamps, values=values, stored=stored[places])
    if " since " in str(stamps.attributes.get("units", "")):
        new = _since(stored, after, ahead, stamps.attributes)
    elif stored.dtype.kind == "M":
        new = values[len(places) :].astype("M8[us]").astype(stored.dtype)
    elif not stamps.dated:
        new = _as_numbers(stored, values[len(places) :])
    else:
        write = _form(stored[after], stamps.values[after])
        new = np.array([write(moment) for moment in values[len(places) :]], None if stored.dtype.kind == "O" else stored.dtype)
    return dataclasses.replace(stamps, values=values, stored=np.concatenate([stored[places], new]))


def as_dates(stamps: Stamps) -> np.ndarray:
    """datetime64 `[t]` of dated stamps, in the coarsest unit that keeps them."""
    for unit, size in (("s", 1_000_000), ("ms", 1_000)):
        if not (stamps.values % size).any():
            return stamps.values.astype("M8[us]").astype(f"M8[{unit}]")
    return stamps.values.astype("M8[us]")


def _after(seen: np.ndarray, step: float | None, ahead: np.ndarray, dated: bool) -> np.ndarray:
    """Args: seen: the stamps up to the last one; ahead: how many steps after that."""
    if not len(ahead):
        return seen[:0]
    if dated:
        dates = seen.astype("M8[us]")
        months = dates.astype("M8[M]")
        for anchor in (months, months + np.timedelta64(1, "M")):  # counted from the first of the month, or from the last
            rest = dates - anchor.astype("M8[us]")
            per_step = _months_per_step(months.astype(np.int64), np.unique(rest), np.diff(seen))
            if per_step:
                return ((anchor[-1] + (per_step * ahead).astype("m8[M]")).astype("M8[us]") + rest[-1]).astype(np.int64)
    further = seen[-1] + step * ahead
    return np.rint(further).astype(np.int64) if dated else further.astype(np.result_type(seen.dtype, type(step)))


def _months_per_step(months: np.ndarray, rests: np.ndarray, steps: np.ndarray) -> int:
    """How many calendar months lie between stamps that follow months, 0 for others."""
    between = np.unique(np.diff(months))
    by_calendar = len(months) > 2 and len(rests) == 1 and len(between) == 1 and len(np.unique(steps)) > 1
    return int(between[0]) if by_calendar and between[0] > 0 else 0


def _since(stored: np.ndarray, after: int, ahead: np.ndarray, attributes: Any) -> np.ndarray:
    """Numbers of netCDF in their own units and calendar."""
    import cftime  # comes with netCDF4

    step = usual_difference([stored])
    evenly = _as_numbers(stored, stored[after] + step * ahead)
    units, calendar = str(attributes["units"]), str(attributes.get("calendar", "standard")).lower()
    try:
        dates = cftime.num2date(stored[max(0, after + 1 - _LOOKED_AT) : after + 1], units, calendar)
        last = dates[-1]
        months = np.array([12 * date.year + date.month - 1 for date in dates])
        rests = np.unique([(date - date.replace(day=1, hour=0, minute=0, second=0, microsecond=0)) for date in dates])
        per_step = _months_per_step(months, rests, np.diff(stored[max(0, after + 1 - _LOOKED_AT) : after + 1]))
        if not per_step:
            return evenly
        number = months[-1] + per_step * ahead
        further = [last.replace(year=int(month // 12), month=int(month % 12 + 1)) for month in number]
        return _as_numbers(stored, np.asarray(cftime.date2num(further, units, calendar)))
    except (ValueError, OverflowError):  # units without a calendar, such as months since
        return evenly


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
