"""The arrays of time of an output file: those of frames, and of forecasts that overlap, by the CF conventions."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal, NamedTuple

import numpy as np

from stlight_jax.data.continued_times import to_datetime64
from stlight_jax.data.formats import cf_attributes as cf
from stlight_jax.data.formats.output_spec import OutputSpec
from stlight_jax.data.formats.written_arrays import WrittenArray, portable_attributes
from stlight_jax.data.times import TimeAxis, counts_since, is_absolute, time_units

_UNIT_NAMES = {"s": "seconds", "ms": "milliseconds", "us": "microseconds"}
_LEAD_UNITS = {"days": 86_400_000_000, "hours": 3_600_000_000, "minutes": 60_000_000, "seconds": 1_000_000}
_TOLERANCE = 1e-3  # of a sampling step, between the lead times of forecasts

# How dates are written: as stored if these are numbers, else as numbers since 1970; as stored, else as text; or as
# datetime64, for formats without attributes, where numbers would mean nothing.
DateForm = Literal["numbers", "text", "datetime64"]


class WindowNames(NamedTuple):
    """Names of the dimensions of forecasts that overlap or lie apart, and of the arrays along them.

    Attributes:
      start: dimension of the forecasts; the reference times, which are those of the last frames before the forecasts.
      lead: dimension of the frames of a forecast; the time from the reference time to each.
      start_frame: the index in the source of the first frame of each forecast.
      frame_time: the time of each frame of each forecast.
    """

    start: str
    lead: str
    start_frame: str
    frame_time: str


WINDOW_NAMES = WindowNames("start", "lead", "start_frame", "valid_time")


def time_arrays(spec: OutputSpec, dims: Mapping[str, str], windows: WindowNames | None, dates: DateForm) -> list[WrittenArray]:
    """Returns the moments of the frames; with windows, their reference times, lead times and moments.

    Without times, the start of a window is the index of its first frame.

    Args:
      spec: the frames.
      dims: the letters of the dimensions by their names.
      windows: names for windows; None without windows.
      dates: how dates are written.
    """
    if windows is None or spec.window_starts is None:
        if spec.times is None:
            return []
        dim = next(dim for dim, letter in dims.items() if letter == "t")
        key = spec.times.key if spec.source.array is not None and spec.times.key else dim
        attributes = {name: value for name, value in spec.times.attributes.items() if not cf.changes_values(name)}
        attributes.pop("bounds", None)
        values, units = _moments(spec.times, dates)
        kept = {**portable_attributes(attributes), **units} if units.keys() <= attributes.keys() else units
        return [WrittenArray(key, (dim,), values.dtype, kept, None, values)]
    places = np.asarray(spec.window_starts, np.int64)
    leads, described = _lead_times(spec.times, spec.window_times, spec.frames, dates)
    lead = WrittenArray(windows.lead, (windows.lead,), leads.dtype, described, None, leads)
    index = {"long_name": "index of the first predicted frame in the input"}
    if spec.times is None:
        return [WrittenArray(windows.start, (windows.start,), places.dtype, index, None, places), lead]
    values, units = _moments(spec.times, dates)
    reference = {"standard_name": "forecast_reference_time"} if _is_calendar(spec.times) else {}
    arrays = [
        WrittenArray(windows.start, (windows.start,), values.dtype, reference | units, None, values),
        WrittenArray(windows.start_frame, (windows.start,), places.dtype, index, None, places),
        lead,
    ]
    if spec.window_times is not None:
        values, units = _moments(spec.window_times, dates)
        values = values.reshape(len(places), -1)  # [windows, frames]
        valid = {"standard_name": "time"} if _is_calendar(spec.times) else {}
        arrays.append(
            WrittenArray(windows.frame_time, (windows.start, windows.lead), values.dtype, valid | units, None, values)
        )
    return arrays


def _is_calendar(times: TimeAxis) -> bool:
    return times.dated or counts_since(times.attributes)


def _moments(times: TimeAxis, dates: DateForm) -> tuple[np.ndarray, dict[str, Any]]:
    """Returns moments as they are written, and the attributes without which they mean nothing."""
    values = times.stored
    is_number = values.dtype.kind in "iuf"
    kept = {name: times.attributes[name] for name in ("units", "calendar") if name in times.attributes} if is_number else {}
    if times.dated and dates == "datetime64" and (counts_since(times.attributes) or is_absolute(times.attributes)):
        return to_datetime64(times), {}
    if times.dated and dates == "numbers" and not is_number:
        values = to_datetime64(times)
        units = f"{_UNIT_NAMES[np.datetime_data(values.dtype)[0]]} since 1970-01-01 00:00:00"
        return values.astype(np.int64), {"units": units, "calendar": "proleptic_gregorian", "standard_name": "time"}
    if values.dtype.kind in "SUO" or (values.dtype.kind == "M" and dates == "text"):
        texts = values.astype(str).tolist() if values.dtype.kind == "M" else values.tolist()
        values = np.array([item.decode() if isinstance(item, bytes) else str(item) for item in texts])
    return values, portable_attributes(kept)


def _lead_times(
    starts: TimeAxis | None, frames: TimeAxis | None, count: int, dates: DateForm
) -> tuple[np.ndarray, dict[str, Any]]:
    """Returns the lead times and their attributes: in units of time if they are the same in all windows, else in frames.

    Args:
      starts: the reference times.
      frames: the moments of the frames, one window after the other.
      count: number of frames of a window.
      dates: how dates are written.
    """
    in_frames = np.arange(1, count + 1, dtype=np.int32), {"long_name": "lead time in frames", "units": "1"}
    if starts is None or frames is None or starts.values.dtype.kind not in "iuf":
        return in_frames
    word, _, origin = time_units(starts.attributes).partition(" since ")
    since_other = bool(origin) and not starts.dated and starts.stored.dtype.kind in "iuf"
    ends, origins = (axis.stored if since_other else axis.values for axis in (frames, starts))
    apart = ends.reshape(-1, count) - origins[:, None]  # [windows, frames]
    if not np.allclose(apart, apart[0], rtol=0, atol=_TOLERANCE * abs(float(apart[0, 0]))):
        return in_frames
    described = {"standard_name": "forecast_period"} if _is_calendar(starts) else {"long_name": "lead time"}
    if not starts.dated:
        return apart[0], {**described, **({"units": word.strip()} if word else {})}
    if dates == "datetime64":
        return apart[0].astype("m8[us]"), {}
    units = {name: size for name, size in _LEAD_UNITS.items() if name.startswith(word.lower()) and word} | _LEAD_UNITS
    unit = next((name for name, size in units.items() if not (apart[0] % size).any()), "seconds")
    leads = apart[0] / _LEAD_UNITS[unit]
    whole = leads.astype(np.int32) if not (leads % 1).any() else leads
    return whole, {**described, "units": unit}
