"""Predicted values far outside the range of the training data: their number, and a remark."""

import dataclasses

import numpy as np

from stlight_jax.data.scaling import Scaling

FAR = 0.5  # widths of the trained range beyond its ends; a value further outside is far outside


@dataclasses.dataclass
class _Channel:
    """The values of one channel, or of all channels if they have one range.

    Attributes:
      low: lowest value of the trained range.
      high: highest value of the trained range.
      count: number of values.
      far: number of values far outside the range.
      lowest: of all values.
      highest: of all values.
    """

    low: float
    high: float
    count: int = 0
    far: int = 0
    lowest: float = np.inf
    highest: float = -np.inf

    def add(self, values: np.ndarray) -> None:
        """Adds values, NaN where they are missing."""
        if self.low == self.high or np.isnan(values).all():
            return  # a constant channel has its constant
        margin = FAR * (self.high - self.low)
        self.count += int(np.count_nonzero(~np.isnan(values)))
        self.far += int(np.count_nonzero((values < self.low - margin) | (values > self.high + margin)))
        self.lowest = min(self.lowest, float(np.nanmin(values)))
        self.highest = max(self.highest, float(np.nanmax(values)))


class OutputRange:
    """Counts predicted values far outside the range of the training data.

    Args:
      scaling: of the network; from the units of the predictions to its range.
      channels: that the network predicts.
    """

    def __init__(self, scaling: Scaling, channels: int) -> None:
        scaling = scaling.for_channels(channels)
        self._channels = [_Channel(low, high) for low, high in zip(scaling.low, scaling.high, strict=True)]

    def add(self, values: np.ndarray) -> None:
        """Adds predictions `[..., c]` in the data's units, NaN where values are missing."""
        for number, channel in enumerate(self._channels):
            channel.add(values[..., number] if len(self._channels) > 1 else values)

    @property
    def far(self) -> int:
        """Number of values far outside the range."""
        return sum(channel.far for channel in self._channels)

    def remarks(self) -> list[str]:
        """Returns one remark for all channels, or one for each channel that has a range of its own."""
        remarks = []
        for number, channel in enumerate(self._channels, 1):
            if channel.far:
                label = f" of channel {number}" if len(self._channels) > 1 else ""
                remarks.append(
                    f"{channel.far:,} of {channel.count:,} predicted values{label} ({100 * channel.far / channel.count:.3g} %) "
                    f"are far outside {channel.low:g} to {channel.high:g}, the range of the training data; the lowest is "
                    f"{channel.lowest:g}, the highest {channel.highest:g}; check units and missing values of the input, "
                    "shorten the horizon, or train again with data.clip"
                )
        return remarks
