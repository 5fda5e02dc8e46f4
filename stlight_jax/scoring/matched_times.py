"""Predicted and true frames paired by their times."""

import dataclasses
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from stlight_jax.data.formats.array_times import is_dated
from stlight_jax.data.formats.cf_attributes import attribute_text
from stlight_jax.data.formats.coordinate_names import is_time_name
from stlight_jax.data.formats.stored_arrays import ArrayFile, StoredArray
from stlight_jax.data.formats.types import FrameSource
from stlight_jax.data.joined_times import time_kind, with_units_of
from stlight_jax.data.ticks import sampling_step
from stlight_jax.data.times import TimeAxis, decode_times

_TOLERANCE = 0.1  # of a sampling step, between the times of one moment in two files
_MICROSECONDS = {"days": 86_400_000_000, "hours": 3_600_000_000, "minutes": 60_000_000, "seconds": 1_000_000}


class Match(NamedTuple):
    """The frames of a predicted sequence in a file.

    Attributes:
      sequence: index of a sequence of the file.
      frames: int `[t]`, the index of each frame in it; -1 for a frame that the file does not have.
    """

    sequence: int
    frames: np.ndarray


def frame_times(sources: Sequence[FrameSource]) -> list[TimeAxis] | None:
    """Finds the times of the frames of saved sequences.

    Args:
      sources: the sequences. Those of one array are forecasts if the file has a time for each frame of each, or a dated start
        for each and lead times.

    Returns:
      The times of each sequence, which can be compared; None if a sequence has none.
    """
    found: list[TimeAxis] = []
    of_arrays: dict[int, list[TimeAxis] | None] = {}
    for source in sources:
        own, item = source.times, source.info.item
        if item is not None and source.info.file is not None and source.info.array is not None and not (own and own.dated):
            array = source.info.array
            if id(array) not in of_arrays:
                of_arrays[id(array)] = _times_of_forecasts(source.info.file, array, source.info.axes)
            axes = of_arrays[id(array)]
            own = None if axes is None else axes[item]
        elif item is not None and not (own and own.dated):
            own = None
        if own is None:
            return None
        found.append(own)
    return found if len(set(map(time_kind, found))) == 1 else None


def match_times(predicted: Sequence[TimeAxis], true: Sequence[TimeAxis], of_one_array: bool) -> list[Match] | None:
    """Finds the true frame of each predicted frame.

    Args:
      predicted: times of each predicted sequence.
      true: times of each true sequence.
      of_one_array: whether the true sequences are items of one array.

    Returns:
      For each predicted sequence, the true one with most of its times, its own one first; None if the times cannot be compared,
      or it is unknown which true sequence belongs to which prediction.
    """
    if time_kind(predicted[0]) != time_kind(true[0]):
        return None
    first = predicted[0]
    wanted, known = ([with_units_of(first, axis).values for axis in axes] for axes in (predicted, true))
    orders = [np.argsort(values, kind="stable") for values in known]
    tolerance = _TOLERANCE * (sampling_step([values[order] for values, order in zip(known, orders, strict=True)]) or 0)
    are_forecasts = of_one_array and len(set(map(id, true))) > 1
    if not (len(true) in (1, len(predicted)) or are_forecasts):
        return None
    matches = []
    for number, values in enumerate(wanted):
        own = number if len(true) == len(predicted) else 0
        best = _match(own, values, known, orders, tolerance)
        others = range(len(true)) if are_forecasts and (best.frames < 0).any() else ()
        for other in others:
            match = _match(other, values, known, orders, tolerance)
            best = max(best, match, key=lambda match: np.count_nonzero(match.frames >= 0))
        matches.append(best)
    return matches


def _match(
    sequence: int, wanted: np.ndarray, known: Sequence[np.ndarray], orders: Sequence[np.ndarray], tolerance: float
) -> Match:
    """Finds the frames of a true sequence nearest in time to predicted ones."""
    order = orders[sequence]
    values = known[sequence][order]
    after = np.minimum(np.searchsorted(values, wanted), len(values) - 1)
    before = np.maximum(after - 1, 0)
    nearest = np.where(np.abs(values[before] - wanted) <= np.abs(values[after] - wanted), before, after)
    return Match(sequence, np.where(np.abs(values[nearest] - wanted) <= tolerance, order[nearest], -1))


def _times_of_forecasts(file: ArrayFile, array: StoredArray, axes: str) -> list[TimeAxis] | None:
    """Returns the times of the frames of each forecast of an array: as the file has them, or starts plus lead times."""
    shape = tuple(array.shape[axes.index(letter)] for letter in "nt")
    dims = tuple(array.dims[axes.index(letter)] for letter in "nt") if array.dims else ("", "")
    for other in file.arrays:
        is_named = not all(dims) or tuple(other.dims) == dims
        if other.shape == shape and is_named and (is_dated(other) or is_time_name(other.key)):
            return _split(_decoded(file, other), shape)
    starts = [other for other in file.along(dims[0]) if is_dated(other)] if all(dims) else []
    leads = [lead for other in (file.along(dims[1]) if starts else []) if (lead := _lead_times(other)) is not None]
    if not leads:
        return None
    start = _decoded(file, starts[0])
    if not start.dated:
        return None
    values = (start.values[:, None] + leads[0]).reshape(-1)
    return _split(dataclasses.replace(start, values=values, stored=values.astype("M8[us]"), attributes={}), shape)


def _decoded(file: ArrayFile, array: StoredArray) -> TimeAxis:
    with array.opened() as stored:
        values = np.asarray(stored[tuple(slice(None) for _ in array.shape)]).reshape(-1)
    return decode_times(values, array.key, dict(array.attributes), str(file.path))


def _lead_times(array: StoredArray) -> np.ndarray | None:
    """Returns lead times in microseconds; None if an array holds no durations."""
    with array.opened() as stored:
        values = np.asarray(stored[:])
    if values.dtype.kind == "m":
        return values.astype("m8[us]").astype(np.int64)
    unit = attribute_text(array.attributes.get("units", "")).lower()
    sizes = [size for name, size in _MICROSECONDS.items() if unit and name.startswith(unit)]
    return np.rint(values * float(sizes[0])).astype(np.int64) if sizes and values.dtype.kind in "iuf" else None


def _split(times: TimeAxis, shape: tuple[int, ...]) -> list[TimeAxis]:
    """Divides the times of all forecasts, `[n * t]`."""
    values, stored = (part.reshape(shape) for part in (times.values, times.stored))
    return [dataclasses.replace(times, values=own, stored=raw) for own, raw in zip(values, stored, strict=True)]
