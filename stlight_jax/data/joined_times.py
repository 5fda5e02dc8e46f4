"""Time axes of several files as one: whether they can be compared, and their times in the units of the first."""

import dataclasses
from collections.abc import Hashable, Sequence

import numpy as np

from stlight_jax.data.times import TimeAxis, calendar_name, counts_since


def time_kind(times: TimeAxis) -> Hashable:
    """Returns a value that is equal for time axes whose times can be compared."""
    if times.dated:
        return True
    return calendar_name(times.attributes) if counts_since(times.attributes) else times.name


def with_units_of(first: TimeAxis, times: TimeAxis) -> TimeAxis:
    """Converts times of a calendar that datetime64 does not know to the units of another time axis of this calendar.

    Args:
      first: the other time axis, of the same kind.
      times: the times.

    Returns:
      The times; unchanged if they are dates, or their units are the same already.
    """
    if times.dated or not counts_since(times.attributes) or times.attributes["units"] == first.attributes["units"]:
        return times
    import cftime  # comes with netCDF4

    calendar = calendar_name(times.attributes)
    dates = cftime.num2date(times.stored, str(times.attributes["units"]), calendar)
    numbers = np.asarray(cftime.date2num(dates, str(first.attributes["units"]), calendar))
    return dataclasses.replace(times, name=first.name, values=numbers, stored=numbers, attributes=first.attributes)


def join_times(axes: Sequence[TimeAxis]) -> TimeAxis:
    """Joins time axes of one kind to one.

    Args:
      axes: the time axes, in order.

    Returns:
      The time axis, as the first one is written.
    """
    first = axes[0]
    return dataclasses.replace(
        first, values=np.concatenate([axis.values for axis in axes]), stored=np.concatenate(_stored_alike(axes))
    )


def _stored_alike(axes: Sequence[TimeAxis]) -> list[np.ndarray]:
    """Returns the stored times, all as the first time axis has them."""
    first = axes[0]
    units = {(axis.attributes.get("units"), calendar_name(axis.attributes), axis.stored.dtype.kind) for axis in axes}
    if len(units) == 1 or not first.dated:
        return [axis.stored for axis in axes]
    moments = [axis.values.astype("M8[us]") for axis in axes]
    if not counts_since(first.attributes):
        return moments
    import cftime

    dates = np.concatenate(moments).astype(object)
    numbers = cftime.date2num(dates, str(first.attributes["units"]), calendar_name(first.attributes))
    return [np.asarray(numbers)]
