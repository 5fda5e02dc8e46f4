"""Ticks: the sampling step of times, and the times counted in whole steps since a common origin."""

import functools
import re
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np

from stlight_jax.data.times import TimeAxis, time_text

_MICROSECONDS = {"d": 86_400_000_000, "h": 3_600_000_000, "min": 60_000_000, "s": 1_000_000}
_MONTH = 30.436875 * _MICROSECONDS["d"]  # of the Gregorian calendar, on average
_DURATIONS = {
    **_MICROSECONDS,
    "ms": 1_000,
    "month": _MONTH,
    "months": _MONTH,
    "year": 12 * _MONTH,
    "years": 12 * _MONTH,
}
_UNIT_WORDS = {"days": "d", "hours": "h", "minutes": "min", "seconds": "s", "milliseconds": "ms"}
# Differences that deviate less are one sampling step with jitter, as dekads of 8 to 11 days are.
_JITTER = 0.25
_MIN_REGULAR = 0.5  # share of the differences that are one step
_MAX_UNEVEN = 0.25  # share of the differences that are neither a step nor a gap, unless most steps are exact
_EXACT = 0.01
# The units of a step that jitter hides, in seconds, the roundest first.
_ROUND_STEPS = (86_400, 21_600, 3_600, 1_800, 900, 600, 300, 60, 30, 10, 5, 1, 0.1, 0.01, 0.001)


class Ticks(NamedTuple):
    """The times of frames as whole numbers.

    Attributes:
      ticks: int64 `[t]`, sampling steps since a common origin.
      step: the sampling step as text, such as "1 h".
      remarks: messages for the user.
    """

    ticks: np.ndarray
    step: str
    remarks: tuple[str, ...]


def assign_ticks(axes: Sequence[TimeAxis]) -> list[Ticks]:
    """Returns the ticks of all sequences of a call, in their order.

    Dates share an origin, and so do numbers of the same name, as long as their sampling steps are alike; equal moments then
    have equal ticks. Only moments that are one sampling step apart, within a quarter of it, are one tick apart: longer and
    shorter differences are jumps. In irregular times, of which most differences are no such step, all differences are jumps.
    """
    results: dict[int, Ticks] = {}
    distinct = list({id(axis): axis for axis in axes}.values())
    for kind in dict.fromkeys(map(_kind, distinct)):
        remaining = [axis for axis in distinct if _kind(axis) == kind]
        while remaining:
            step, group = _same_step(remaining)
            grouped = set(map(id, group))
            remaining = [axis for axis in remaining if id(axis) not in grouped]
            series = [axis.values for axis in group]
            months = _whole_months(series) if kind[0] and step is not None else None
            if months is not None:
                series, step = months, sampling_step([np.unique(np.concatenate(months))])
            ticks, interleaved = _on_one_grid(series, 1 if step is None else step)
            for axis, values, own in zip(group, series, ticks, strict=True):
                describe = functools.partial(_step_text, axis) if months is None else _months_text
                text = describe(step)
                remarks = _remarks_on_order(axis.values, own)
                if step is not None and not _is_regular(values, step):
                    own = _positions(values, step, jitter=-1)
                    remarks += (
                        "times are irregular: they do not follow each other at one step, and no window has them; "
                        "--config.data.time=none takes the frames for evenly spaced",
                    )
                elif step is not None:
                    remarks += _remarks_on_jumps(axis, values, step, describe)
                results[id(axis)] = Ticks(own, text, (*remarks, *interleaved))
    return [results[id(axis)] for axis in axes]


def sampling_step(series: Sequence[np.ndarray]) -> float | None:
    """Returns the most frequent positive difference between neighbours in any of the arrays, or None if all are equal."""
    differences = np.concatenate([np.diff(values) for values in series])
    values, counts = np.unique(differences[differences > 0], return_counts=True)
    if not len(values):
        return None
    cumulated = np.concatenate([[0], np.cumsum(counts)])
    near = cumulated[np.searchsorted(values, (1 + _JITTER) * values, "right")]
    near = near - cumulated[np.searchsorted(values, (1 - _JITTER) * values, "left")]
    best = np.flatnonzero(near == np.max(near))
    best = best[counts[best] == np.max(counts[best])]
    best = best[values[best] <= (1 + _JITTER) * values[best[0]]]  # the shortest of equally frequent steps
    step = values[best[len(best) // 2]]
    counts = np.where(_is_one_step(values, step), counts, 0)  # 4 h is near to 3 h, but 3 h not to 4 h
    if 2 * np.max(counts) >= np.sum(counts):
        step = values[np.argmax(counts)]
    return step.item()


def mean_step(series: Sequence[np.ndarray], dated: bool) -> float | None:
    """Returns the sampling step without the jitter of single times, or None if all times are equal.

    Args:
      series: the times of each sequence.
      dated: whether they are microseconds; the mean of differences with jitter is then the roundest step that they allow.
    """
    usual = sampling_step(series)
    if usual is None:
        return None
    differences = np.concatenate([np.diff(values) for values in series])
    near = differences[_is_one_step(differences, usual)]
    if 2 * np.count_nonzero(near == usual) >= len(near):
        return usual
    mean = near.mean().item()
    if not dated:
        return mean
    accuracy = max(np.ptp(near).item() / len(near), 1e-6 * mean)
    rounded = (round(mean / (1e6 * unit)) * round(1e6 * unit) for unit in _ROUND_STEPS)
    return next((step for step in rounded if step and abs(step - mean) <= accuracy), mean)


def format_duration(microseconds: float) -> str:
    """Returns a duration as text, such as "1 h", "5 min" or "40 ms"."""
    # Hours and minutes kept as fractions of days are off by some microseconds.
    rounded = round(microseconds, -3) if microseconds >= _MICROSECONDS["s"] else microseconds
    for unit, size in _MICROSECONDS.items():
        if rounded >= size and rounded % size == 0:
            return f"{rounded // size:g} {unit}"
    return f"{rounded / 1e6:.4g} s" if rounded >= _MICROSECONDS["s"] else f"{rounded / 1e3:.4g} ms"


def step_ratio(step: str, other: str) -> float | None:
    """Returns a sampling step divided by another one, such as 6 for "1 h" and "10 min"; None if they are no durations."""
    lengths = []
    for text in (step, other):
        number, _, unit = text.partition(" ")
        if unit not in _DURATIONS:
            return None
        lengths.append(float(number) * _DURATIONS[unit])
    return lengths[0] / lengths[1]


def _kind(axis: TimeAxis) -> tuple[bool, str]:
    """Returns a value that is equal for time axes that can share an origin."""
    return axis.dated, "" if axis.dated else axis.name


def _same_step(axes: list[TimeAxis]) -> tuple[float | None, list[TimeAxis]]:
    """Returns the sampling step that is most frequent, and the time axes that have it; a single frame fits any step."""
    usual, dated = sampling_step([axis.values for axis in axes]), axes[0].dated
    if usual is None:
        return mean_step([np.unique(np.concatenate([axis.values for axis in axes]))], dated), axes
    steps = [sampling_step([axis.values]) for axis in axes]
    group = [axis for axis, own in zip(axes, steps, strict=True) if own is None or _is_one_step(own, usual)] or axes
    return mean_step([axis.values for axis in group], dated), group


def _is_one_step(differences: Any, step: float, jitter: float = _JITTER) -> Any:
    return np.abs(differences - step) <= jitter * step


def _is_regular(values: np.ndarray, step: float) -> bool:
    differences = np.diff(np.unique(values))
    if not len(differences):
        return True
    near = _is_one_step(differences, step)
    exact = np.count_nonzero(_is_one_step(differences, step, _EXACT)) >= np.count_nonzero(near) / 2
    return near.mean() >= _MIN_REGULAR and bool(exact or _is_uneven(differences, step).mean() <= _MAX_UNEVEN)


def _is_uneven(differences: np.ndarray, step: float) -> np.ndarray:
    """Returns which differences are neither a step nor a gap."""
    return (differences > 0) & (np.rint(differences / step) <= 1) & ~_is_one_step(differences, step)


def _whole_months(series: list[np.ndarray]) -> list[np.ndarray] | None:
    """Returns months since 1970 if all dates lie equally far from the beginning, or the end, of a month; else None."""
    months = [values.astype("M8[us]").astype("M8[M]").astype(np.int64) for values in series]
    moments, numbers = np.concatenate(series), np.concatenate(months)
    limits = [(numbers + further).astype("M8[M]").astype("M8[us]").astype(np.int64) for further in (0, 1)]
    repeated = any((np.diff(own) == 0).any() for own in months)
    return None if repeated or all(np.ptp(moments - limit) for limit in limits) else months


def _months_text(step: float | None) -> str:
    months = int(step or 0)
    count, unit = (months, "month") if months % 12 else (months // 12, "year")
    return f"{count} {unit}{'s' * (count > 1)}"


def _positions(values: np.ndarray, step: float, jitter: float = _JITTER) -> np.ndarray:
    moments, index = np.unique(values, return_inverse=True)
    differences = np.diff(moments)
    jumps = np.maximum(2, np.rint(differences / step)).astype(np.int64)
    steps = np.where(_is_one_step(differences, step, jitter), 1, jumps)
    return np.concatenate([[0], np.cumsum(steps)])[index.reshape(-1)]


def _on_one_grid(series: list[np.ndarray], step: float) -> tuple[list[np.ndarray], tuple[str, ...]]:
    """Returns the ticks of each array, and a remark if the times interleave so that one grid would tear sequences apart."""
    own = [_positions(values, step) for values in series]
    for jitter in (0.5, _JITTER):  # files can follow each other less exactly than frames
        together = _positions(np.concatenate(series), step, jitter)
        joint = np.split(together, np.cumsum([len(values) for values in series])[:-1])
        if all(_same_neighbours(*pair) for pair in zip(own, joint, strict=True)):
            return joint, ()
    first = min(values.min() for values in series)
    shifts = [int(np.rint((values.min() - first) / step)) for values in series]
    shifted = [ticks + shift for ticks, shift in zip(own, shifts, strict=True)]
    return shifted, ("its times lie between the times of other files, which are comparable to within a step",)


def _same_neighbours(own: np.ndarray, joint: np.ndarray) -> bool:
    _, index = np.unique(own, return_index=True)
    return np.array_equal(np.diff(own[index]) == 1, np.diff(joint[index]) == 1)


def _step_text(axis: TimeAxis, step: float | None) -> str:
    if step is None:
        return ""
    if axis.dated:
        return format_duration(step)
    word = re.split("[^a-z]", axis.name.rsplit("/", 1)[-1].lower())[0]
    if word in ("month", "months") and step % 1 == 0:
        return _months_text(step)
    return f"{step:g} {_UNIT_WORDS[word]}" if word in _UNIT_WORDS else f"{step:g} of {axis.name!r}"


def _remarks_on_order(values: np.ndarray, ticks: np.ndarray) -> tuple[str, ...]:
    repeated = int((np.unique(values, return_counts=True)[1] > 1).sum())
    backwards = int((np.diff(ticks) < 0).sum())
    remarks = []
    if repeated:
        remarks.append(
            "1 time stamp occurs more than once" if repeated == 1 else f"{repeated} time stamps occur more than once"
        )
    if backwards and backwards == len(ticks) - 1:
        remarks.append(
            "the frames are in reverse order of time, and no window has them; sort them by time, with xarray: ds.sortby('time')"
        )
    elif backwards:
        remarks.append(f"time goes backwards in {backwards} place{'s' * (backwards > 1)}")
    return tuple(remarks)


def _remarks_on_jumps(
    axis: TimeAxis, values: np.ndarray, step: float, describe: Callable[[float | None], str]
) -> tuple[str, ...]:
    differences = np.diff(values)
    multiples = np.rint(differences / step).astype(np.int64)
    gaps = int((multiples > 1).sum())
    uneven = np.flatnonzero(_is_uneven(differences, step))
    remarks = []
    if gaps:
        longest = int(np.max(multiples)) - 1
        remarks.append(f"{gaps} gap{'s' * (gaps > 1)}, the longest of {longest} step{'s' * (longest > 1)}")
    if len(uneven):
        first = uneven[0] + 1
        apart = describe(differences[uneven[0]].item())
        remarks.append(
            f"{len(uneven):,} interval{'s' * (len(uneven) > 1)} of another length than the step ({describe(step)}), the first "
            f"before frame {first} ({time_text(axis, first)}, {apart} after the frame before it); no window crosses them"
        )
    return tuple(remarks)
