"""Frames in other units than the training's: how they are scaled to the network's range."""

import dataclasses

import numpy as np

from stlight_jax.data.scaling import Scaling
from stlight_jax.errors import InputError


def in_other_units(scaling: Scaling, value_range: tuple[float, float]) -> Scaling:
    """Returns the scaling of frames in other units, without a fill value; constant channels keep their constant.

    Args:
      scaling: of frames in the training's units.
      value_range: lowest and highest value, in the other units, of the range of each channel that has one of its own.

    Raises:
      InputError: `value_range` is no range, or the values are transformed.
    """
    try:
        low, high = (float(value) for value in value_range)
    except (TypeError, ValueError):
        raise InputError(f"value_range is {value_range!r}; expected two numbers, such as (0, 1)") from None
    if not (np.isfinite([low, high]).all() and low < high):
        raise InputError(f"value_range is {low:g}, {high:g}; expected two numbers, the first one less than the second")
    if scaling.transform != "none":
        raise InputError(
            f"value_range is {low:g}, {high:g}; data.transform={scaling.transform} knows the units of the training data only; "
            "convert the frames to them, and leave value_range out"
        )
    ends = zip(scaling.low, scaling.high, strict=True)
    lows, highs = zip(*((low, high) if own_low < own_high else (own_low, own_high) for own_low, own_high in ends), strict=True)
    scale = np.where(np.less(lows, highs), np.subtract(highs, lows), 1.0)
    bounds = (scaling.to_metrics(bound) * scale + np.array(lows) for bound in scaling.clip_ends)
    clip_low, clip_high = (tuple(float(end) if np.isfinite(end) else None for end in ends) for ends in bounds)
    return dataclasses.replace(scaling, low=lows, high=highs, fill=None, clip_low=clip_low, clip_high=clip_high)
