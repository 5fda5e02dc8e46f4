"""Time stamps of any kind -> ticks: whole sampling steps since a common origin."""

from __future__ import annotations

import dataclasses
import datetime
import re
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from stlight_jax.errors import InputError

_MICROSECONDS = {"d": 86_400_000_000, "h": 3_600_000_000, "min": 60_000_000, "s": 1_000_000}
_UNIT_WORDS = {"days": "d", "hours": "h", "minutes": "min", "seconds": "s", "milliseconds": "ms"}
_DIGITS = (8, 10, 12, 14)  # YYYYMMDD, then HH or DeepST's slot, MM, SS
# Integers that read as dates of other centuries are rather something else, as seconds since 1970.
_DATED_YEARS = (1900, 2100)
# Differences that deviate less are one sampling step with jitter, as months of 28 to 31 days are.
_JITTER = 0.25
_SWITCH_OFF = "or ignore times with --config.data.time=none"


@dataclasses.dataclass(frozen=True, eq=False)
class Stamps:
    """The moments of frames, `[t]`, in storage order.

    Attributes:
      name: of the coordinate, or its units.
      values: int64 microseconds since 1970 if `dated`, else numbers, int64 or float64, in a unit only the user knows.
      dated: whether these are calendar dates.
      key: of the coordinate in its file.
      stored: `[t]`, the coordinate as it is there.
      attributes: such as units and calendar, of netCDF.
    """

    name: str
    values: np.ndarray
    dated: bool
    key: str = ""
    stored: np.ndarray | None = None
    attributes: Mapping[str, Any] = dataclasses.field(default_factory=dict)


def calendar_of(attributes: Mapping[str, Any]) -> str:
    """Of netCDF's times; the standard one if they name none."""
    return str(attributes.get("calendar", "")).lower() or "standard"


class Ticks(NamedTuple):
    """`ticks` int64 `[t]`, the sampling step for people, and what the user should know."""

    ticks: np.ndarray
    step: str
    remarks: tuple[str, ...]


def parse_stamps(values: np.ndarray, name: str, source: str) -> Stamps:
    """Reads a time coordinate.

    Args:
      values: `[t]`: datetime64; numbers; text or integers YYYYMMDD, YYYYMMDDHH, YYYYMMDDHHMM, YYYYMMDDHHMMSS, YYYYMMDDSS
        (DeepST's slots: half hours from 01, if any is beyond 24); text in ISO 8601, where a time zone is converted to UTC.
      name: of the coordinate.
      source: of the file, for messages.

    Raises:
      InputError: a stamp that is none of these, or not a time.
    """
    values = np.asarray(values)
    return dataclasses.replace(_parsed(values, name, source), key=name, stored=values)


def _parsed(values: np.ndarray, name: str, source: str) -> Stamps:
    if values.dtype.kind == "M":
        return Stamps(name, _checked(values.astype("M8[us]"), values, name, source), True)
    if values.dtype.kind in "OSU":
        texts = [_as_text(value) for value in values.tolist()]
        return Stamps(name, _checked(_from_texts(texts), values, name, source), True)
    if values.dtype.kind not in "iuf":
        raise InputError(f"{source}: the times in {name!r} are {values.dtype}; expected dates, numbers or text, {_SWITCH_OFF}")
    bad = ~np.isfinite(values)
    if bad.any():
        raise InputError(
            f"{source}: time stamp {bad.argmax()} in {name!r} is {values[bad][0]}; expected a number, {_SWITCH_OFF}"
        )
    if not (values % 1).any() and (np.abs(values) < 2.0**62).all():
        values = values.astype(np.int64)
        dates = _from_digits([str(value) for value in values.tolist()])
        years = dates.astype("M8[Y]").astype(np.int64) + 1970
        if not np.isnat(dates).any() and ((years >= _DATED_YEARS[0]) & (years < _DATED_YEARS[1])).all():
            return Stamps(name, dates.astype(np.int64), True)
    return Stamps(name, values if values.dtype == np.int64 else values.astype(np.float64), False)


def ticks_of(stamps: Sequence[Stamps]) -> list[Ticks]:
    """Ticks of all sequences of a call, in their order.

    Dates share an origin, and so do numbers of the same name, as long as their sampling steps are alike; equal moments then
    have equal ticks. The sampling step is the most frequent positive difference between neighbours in storage. Moments less
    than one and a half steps apart are one tick apart, so that jitter and months of unequal length make no jumps.
    """
    results: dict[int, Ticks] = {}
    distinct = list({id(item): item for item in stamps}.values())
    for kind in dict.fromkeys((item.dated, "" if item.dated else item.name) for item in distinct):
        rest = [item for item in distinct if (item.dated, "" if item.dated else item.name) == kind]
        while rest:
            step, group = _of_one_step(rest)
            taken = {id(item) for item in group}
            rest = [item for item in rest if id(item) not in taken]
            ticks, apart = _on_one_grid([item.values for item in group], 1 if step is None else step)
            for item, own in zip(group, ticks, strict=True):
                results[id(item)] = Ticks(own, _step_text(item, step), (*_remarks(own, item.values), *apart))
    return [results[id(item)] for item in stamps]


def duration_text(microseconds: float) -> str:
    """For people: "1 h", "5 min", "40 ms"."""
    # Hours and minutes kept as fractions of days are off by some microseconds.
    rounded = round(microseconds, -3) if microseconds >= _MICROSECONDS["s"] else microseconds
    for unit, size in _MICROSECONDS.items():
        if rounded >= size and rounded % size == 0:
            return f"{rounded // size:g} {unit}"
    return f"{rounded / 1e6:.4g} s" if rounded >= _MICROSECONDS["s"] else f"{rounded / 1e3:.4g} ms"


def _checked(dates: np.ndarray, given: np.ndarray, name: str, source: str) -> np.ndarray:
    bad = np.isnat(dates)
    if bad.any():
        shown = _as_text(given[bad][0])
        raise InputError(
            f"{source}: time stamp {bad.argmax()} in {name!r} is {shown!r}; expected YYYYMMDD, YYYYMMDDHH, YYYYMMDDHHMM, "
            f"YYYYMMDDHHMMSS or ISO 8601, {_SWITCH_OFF}"
        )
    return dates.astype("M8[us]").astype(np.int64)


def _as_text(value: object) -> str:
    text = value.decode("utf-8", "replace") if isinstance(value, bytes) else str(value)
    return text.strip().strip("\0")


def _from_texts(texts: list[str]) -> np.ndarray:
    """-> datetime64 `[t]`, NaT where a text is no date."""
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
    """YYYYMMDD and longer, all of one length -> datetime64 `[t]`, NaT where that is no date."""
    nothing = np.full(len(texts), "NaT", "M8[us]")
    lengths = {len(text) for text in texts}
    if len(lengths) != 1 or not lengths <= set(_DIGITS) or any(text.startswith("-") for text in texts):
        return nothing
    places = range(4, lengths.pop(), 2)
    year = np.array([int(text[:4]) for text in texts])
    parts = [np.array([int(text[place : place + 2]) for text in texts]) for place in places]
    month, day, hour, minute, second = (*parts, 0, 0, 0)[:5]
    slots = len(parts) == 3 and hour.max() > 24
    valid = (month >= 1) & (month <= 12) & (day >= 1) & (minute < 60) & (second < 60)
    valid &= (hour >= 1) & (hour <= 48) if slots else np.asarray(hour <= 24)
    months = (12 * (year - 1970) + np.where(valid, month, 1) - 1).astype("M8[M]")
    days = months.astype("M8[D]") + (day - 1)
    valid &= days.astype("M8[M]") == months  # the 31st of a month that has none runs over
    minutes = 30 * (hour - 1) if slots else 60 * hour + minute
    return np.where(valid, days.astype("M8[us]") + (60 * minutes + second) * np.timedelta64(1, "s"), nothing)


def usual_difference(series: Sequence[np.ndarray]) -> float | None:
    """The most frequent positive difference between neighbours; None if there are none."""
    differences = np.concatenate([np.diff(values) for values in series])
    values, counts = np.unique(differences[differences > 0], return_counts=True)
    if not len(values):
        return None
    up_to = np.concatenate([[0], np.cumsum(counts)])
    near = up_to[np.searchsorted(values, (1 + _JITTER) * values, "right")]
    near = near - up_to[np.searchsorted(values, (1 - _JITTER) * values, "left")]
    best = np.flatnonzero(near == near.max())
    best = best[counts[best] == counts[best].max()]
    best = best[values[best] <= (1 + _JITTER) * values[best[0]]]  # of steps as frequent as each other the shortest
    return values[best[len(best) // 2]].item()


def _of_one_step(stamps: list[Stamps]) -> tuple[float | None, list[Stamps]]:
    """The most frequent sampling step, and those that have it; a single frame goes along with any."""
    step = usual_difference([item.values for item in stamps])
    if step is None:
        return usual_difference([np.unique(np.concatenate([item.values for item in stamps]))]), stamps
    own = [usual_difference([item.values]) for item in stamps]
    group = [item for item, it in zip(stamps, own, strict=True) if it is None or 0.5 * step <= it <= 1.5 * step]
    return step, group or stamps


def _positions(values: np.ndarray, step: float) -> np.ndarray:
    moments, place = np.unique(values, return_inverse=True)
    steps = np.maximum(1, np.rint(np.diff(moments) / step)).astype(np.int64)
    return np.concatenate([[0], np.cumsum(steps)])[place.reshape(-1)]


def _on_one_grid(series: list[np.ndarray], step: float) -> tuple[list[np.ndarray], tuple[str, ...]]:
    """Ticks of each, and a remark if their stamps interleave in a way that would tear frames apart that follow each other."""
    own = [_positions(values, step) for values in series]
    together = _positions(np.concatenate(series), step)
    joint = np.split(together, np.cumsum([len(values) for values in series])[:-1])
    if all(_same_neighbours(*pair) for pair in zip(own, joint, strict=True)):
        return joint, ()
    first = min(values.min() for values in series)
    shifts = [int(np.rint((values.min() - first) / step)) for values in series]
    shifted = [ticks + shift for ticks, shift in zip(own, shifts, strict=True)]
    return shifted, ("its times lie between those of other files, which are comparable to within a step",)


def _same_neighbours(own: np.ndarray, joint: np.ndarray) -> bool:
    _, places = np.unique(own, return_index=True)
    return np.array_equal(np.diff(own[places]) == 1, np.diff(joint[places]) == 1)


def _step_text(stamps: Stamps, step: float | None) -> str:
    if step is None:
        return ""
    if stamps.dated:
        return duration_text(step)
    word = re.match("[a-z]*", stamps.name.rsplit("/", 1)[-1].lower()).group()
    return f"{step:g} {_UNIT_WORDS[word]}" if word in _UNIT_WORDS else f"{step:g} of {stamps.name!r}"


def _remarks(ticks: np.ndarray, values: np.ndarray) -> tuple[str, ...]:
    repeated = int((np.unique(values, return_counts=True)[1] > 1).sum())
    jumps = np.diff(ticks)
    backwards, gaps = int((jumps < 0).sum()), int((jumps > 1).sum())
    remarks = []
    if repeated:
        remarks.append(
            "1 time stamp occurs more than once" if repeated == 1 else f"{repeated} time stamps occur more than once"
        )
    if backwards:
        remarks.append(f"time goes backwards in {backwards} place{'s' * (backwards > 1)}")
    if gaps:
        remarks.append(f"{gaps} gap{'s' * (gaps > 1)}, the longest of {jumps.max() - 1} steps")
    return tuple(remarks)
