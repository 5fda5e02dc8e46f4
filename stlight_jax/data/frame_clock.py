"""Presentation times of videos and animations as ticks, which count sampling steps."""

from collections.abc import Sequence

import numpy as np

from stlight_jax.data.times import Ticks, TimeAxis, assign_ticks, format_duration, sampling_step

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
    if len(moments) < 3 or None in moments:
        return None
    clock = np.array(moments, np.int64)
    shortest, differences = sampling_step([clock]), np.diff(clock)
    if shortest is None:
        return None
    step = differences[np.abs(differences - shortest) <= max(_JITTER * shortest, 1)].mean()
    counts_frames = any(abs(unit * rate / 1e6 - 1) < _EXACT for rate in rates)
    is_gap = (differences > 1.5 * step + (not counts_frames)) | (
        differences < 0
    )  # the clock of joined recordings can start anew
    if not is_gap.any():
        return None
    steps = np.where(is_gap, np.maximum(2, np.rint(differences / step)), 1).astype(np.int64)
    ticks, duration = np.concatenate([[0], np.cumsum(steps)]), step * unit
    fitting = [1e6 / rate for rate in rates if rate and abs(1e6 / rate / duration - 1) < _SAME_RATE]
    duration = min(fitting, key=lambda other: abs(other - duration)) if fitting else duration
    (result,) = assign_ticks([TimeAxis("", np.rint(ticks * duration).astype(np.int64), True, "", clock)])
    return result


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
