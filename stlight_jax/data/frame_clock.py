"""Presentation times of videos and animations as ticks, which count sampling steps."""

from collections.abc import Sequence

import numpy as np

from stlight_jax.data.ticks import Ticks, assign_ticks, format_duration, sampling_step
from stlight_jax.data.times import TimeAxis

_JITTER = 0.25  # of a step
_SAME_RATE = 0.02
_EXACT = 1e-6
_MAX_UNEVEN = 0.05  # of the differences


def clock_ticks(moments: Sequence[int | None], unit: float, rates: Sequence[float] = ()) -> Ticks | None:
    """Finds gaps between frames.

    A container's clock counts in units that can be coarse: frames 25 ms apart in a GIF are 20 ms and 30 ms apart. A difference
    is a gap if it exceeds one and a half steps by more than a unit. A clock whose unit is the duration of a frame, as in AVI,
    counts frames and is exact.

    Args:
      moments: the moments of the frames in units of the clock, in the order of presentation.
      unit: the clock's unit in microseconds.
      rates: frame rates that the container declares, of which one that fits gives the sampling step.

    Returns:
      The ticks of the frames, from 0; None if a moment is unknown or frames are evenly spaced.
    """
    counts_frames = _counts_frames(unit, rates)
    step = _usual_step(moments, counts_frames)
    if step is None or len(moments) < 3:
        return None
    clock = np.array(moments, np.int64)
    differences = np.diff(clock)
    # The clock of joined recordings can start anew.
    is_gap = (differences > 1.5 * step + (not counts_frames)) | (differences < 0)
    if not is_gap.any():
        return None
    steps = np.where(is_gap, np.maximum(2, np.rint(differences / step)), 1).astype(np.int64)
    ticks, rate = np.concatenate([[0], np.cumsum(steps)]), _fitting_rate(1e6 / (step * unit), rates)
    (result,) = assign_ticks([TimeAxis("", np.rint(ticks * 1e6 / rate).astype(np.int64), True, "", clock)])
    return result


def presented_rate(moments: Sequence[int | None], unit: float, rates: Sequence[float]) -> float:
    """Returns the frames per second of which frames are presented: containers, mainly Matroska, can declare any rate.

    Args:
      moments: the moments of the frames in units of the clock, in the order of presentation.
      unit: the clock's unit in microseconds.
      rates: frame rates that the container declares, of which one that fits is exact, while moments are rounded.

    Returns:
      The rate; the first one declared if the moments are unknown.
    """
    step = _usual_step(moments, _counts_frames(unit, rates))
    return _fitting_rate(1e6 / (step * unit), rates) if step and unit else rates[0]


def _fitting_rate(rate: float, rates: Sequence[float]) -> float:
    """Returns the nearest declared, or else a whole, rate that is the same but for jitter; else the rate itself."""
    for known in (rates, (float(round(rate)),)):
        fitting = [other for other in known if other and abs(rate / other - 1) < _SAME_RATE]
        if fitting:
            return min(fitting, key=lambda other: abs(other - rate))
    return rate


def _counts_frames(unit: float, rates: Sequence[float]) -> bool:
    """Returns whether the clock's unit is the duration of a frame."""
    return any(abs(unit * rate / 1e6 - 1) < _EXACT for rate in rates)


def _usual_step(moments: Sequence[int | None], is_exact: bool) -> float | None:
    """Returns the usual difference between moments in units of the clock, without jitter; None if it is unknown.

    Args:
      moments: the moments of the frames.
      is_exact: whether moments have no jitter.
    """
    if len(moments) < 2 or None in moments:
        return None
    clock = np.array(moments, np.int64)
    usual, differences = sampling_step([clock]), np.diff(clock)
    if usual is None or is_exact:
        return usual
    return differences[np.abs(differences - usual) <= max(_JITTER * usual, 1)].mean().item()


def remarks_on_spacing(moments: Sequence[int | None], unit: float) -> tuple[str, ...]:
    """Returns a remark if frames without gaps are unevenly spaced by more than jitter, as in videos of a variable frame rate.

    Args:
      moments: the moments of the frames in units of the clock, in the order of presentation.
      unit: the clock's unit in microseconds.
    """
    if len(moments) < 3 or None in moments:
        return ()
    differences = np.diff(np.array(moments, np.int64))
    usual = np.median(differences)
    if np.mean(np.abs(differences - usual) > max(_JITTER * usual, 1)) <= _MAX_UNEVEN:
        return ()
    low, high = (format_duration(difference * unit) for difference in np.quantile(differences, (0, 1)).tolist())
    return (
        f"its frames are {low} to {high} apart, and are taken for evenly spaced; `ffmpeg -i IN -vf fps=RATE OUT` makes them so",
    )
