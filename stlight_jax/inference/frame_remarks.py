"""Remarks of a forecaster on the frames that it is given and on its predictions, each of them once."""

from collections.abc import Sequence

import numpy as np
from absl import logging

from stlight_jax.console.messages import print_message
from stlight_jax.data.missing_marks import Mark
from stlight_jax.data.scaling import Scaling
from stlight_jax.data.statistics import is_constant
from stlight_jax.data.suspicion import ValueSurvey
from stlight_jax.inference.frame_input import FrameInput
from stlight_jax.inference.output_range import FAR, OutputRange
from stlight_jax.model.stlight_config import STLightConfig

_SCALED_ALREADY = 0.02  # widths of the trained range; values that fill less of it cause a warning
FAR_OUTSIDE = "far outside, the prediction may be meaningless; are the units the same?"
_SCALED = "they look scaled already; if they are, pass their range: --value_range=0,1, or value_range=(0, 1) in Python"


def remarks_on_units(ranges: Sequence[tuple[float, float]] | np.ndarray, scaling: Scaling, source: str) -> list[str]:
    """Compares the values of all channels, or of each that has a range of its own, with those of the training.

    Args:
      ranges: Lowest and highest valid value of each channel, NaN without one.
      scaling: From the units of the frames to the network's range, for the same channels.
      source: Name of the network.

    Returns:
      Messages on values that seem to have other units.
    """
    ends, remarks = np.array(ranges), []
    for number, (low, high) in enumerate(zip(scaling.low, scaling.high, strict=True)):
        own = ends[number] if len(scaling.low) > 1 else ends
        if np.isnan(own).all():
            continue
        lowest, highest, span, remark = float(np.nanmin(own)), float(np.nanmax(own)), high - low, ""
        is_outside = lowest < low - FAR * span or highest > high + FAR * span
        if is_outside and not is_constant(min(lowest, low), max(highest, high)):
            remark = FAR_OUTSIDE
        elif lowest >= 0 and 0 < highest <= 1 and span * _SCALED_ALREADY >= 1:
            is_small = highest < _SCALED_ALREADY
            remark = "they fill little of it; are the units the same?" if is_small else _SCALED
        if remark:
            label = f"channel {number + 1} of the frames has values" if len(scaling.low) > 1 else "the frames' values are"
            trained_on = f"{source} was trained on {low:g} to {high:g}"
            remarks.append(f"{label} {lowest:g} to {highest:g}; {trained_on}: {remark}")
    return remarks


class FrameRemarks:
    """Warns of suspicious frames and predictions.

    Args:
      source: Name of the network, for messages.
      model: The network's shape.
      scaling: From the units of the frames to the network's range.
      channels: Channels of the frames.
    """

    def __init__(self, source: str, model: STLightConfig, scaling: Scaling, channels: int):
        self._source, self._model, self._scaling, self._channels = source, model, scaling, channels
        self._input_scaling = scaling.for_channels(channels)
        self._shown: set[str] = set()
        self._has_marks = False

    def on_count(self, given: FrameInput, needed: int, used: int) -> None:
        """Prints once that frames are not used, or that earlier frames are missing.

        Args:
          given: The frames.
          needed: Number of frames with which no earlier frame is missing.
          used: Number of frames that a forecast can depend on.
        """
        if given.count > used and self._is_new("frames"):
            print_message(f"{given.count} frames are given; the last {used} are used")
        if given.unknown and self._is_new("history"):
            advice = f"; give the last {needed} frames" if given.count < needed else ""
            print_message(
                f"{given.unknown} of the {given.history} earlier frames that {self._source} sees "
                f"(data.periods={self._model.periods_text}) are not among the {given.count} frames and count as missing{advice}"
            )

    def on_values(self, given: FrameInput, frames: np.ndarray) -> bool:
        """Warns once of numbers that seem to mean "missing", else of values that seem to have other units.

        Args:
          given: The frames.
          frames: The same as they were given.

        Returns:
          Whether there are such numbers, in these frames or in earlier ones, or such values.
        """
        units = remarks_on_units(given.ranges, self._input_scaling, self._source)
        is_first = self._is_new("marks")
        marks = self._marks(frames) if is_first or any(FAR_OUTSIDE in remark for remark in units) else []
        remarks = [f"the frames: {mark} missing, pass np.ma.masked_values(frames, {mark.text})" for mark in marks]
        for remark in remarks if marks else units:
            if self._is_new(remark.rpartition(": ")[2]):  # the same of other values
                logging.warning("%s", remark)
        self._has_marks |= bool(marks)
        return self._has_marks or bool(units)

    def on_output(self, values: np.ndarray) -> None:
        """Warns once of predictions `[..., c']`, NaN where they are missing, far outside the trained range."""
        output = OutputRange(self._scaling, self._model.out_channels)
        output.add(values)
        for remark in output.remarks() if output.far and self._is_new("output") else ():
            logging.warning("%s", remark)

    def _marks(self, frames: np.ndarray) -> list[Mark]:
        """Returns numbers that seem to mean "missing"."""
        values, fill = frames if isinstance(frames, np.ma.MaskedArray) else np.asarray(frames), self._scaling.fill
        if values.dtype.kind == "f" or isinstance(values, np.ma.MaskedArray):
            values, fill = np.ma.filled(values.astype(np.float32), np.nan), None
            values = np.where(np.isfinite(values), values, np.float32(np.nan))
        survey = ValueSurvey(self._channels, values.dtype, fill)
        values = values[..., None] if values.ndim == 3 else values
        for number, sequence in enumerate(values if values.ndim == 5 else [values]):
            survey.add(str(number), sequence)  # [t, h, w, c]
        return survey.marks()

    def _is_new(self, message: str) -> bool:
        """Whether a message is shown for the first time."""
        known = message in self._shown
        self._shown.add(message)
        return not known
