"""How values of frames become colours: the same in all pictures of a report, with the ends of each colour bar in units."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Sequence

import numpy as np

from stlight_jax.data.scaling import Scaling

MOST_CHANNELS = 6  # that are shown
_MISSING = (96, 112, 144)
_DARKEST, _BRIGHTEST = 0.5, 99.5  # percentiles of the true values of a channel that are drawn black and white
_ENOUGH_VALUES = 10**6  # to find these percentiles


@dataclasses.dataclass(frozen=True)
class ChannelDisplay:
    """The colours of one channel, or of three that are red, green and blue.

    Attributes:
      channels: their place among all channels.
      name: of the channel; "" if frames have no other view.
      low: the value that is drawn black, in the metrics' range.
      high: the value that is drawn white.
      ends: both in the data's units, as text.
      span: the error that is drawn in full colour, in the data's units, as text.
      full_error: this error, in the metrics' range.
      rows_go_north: whether the first row of a frame is the southernmost, which is drawn at the bottom.
    """

    channels: slice
    name: str = ""
    low: float = 0.0
    high: float = 1.0
    ends: tuple[str, str] = ("0", "1")
    span: str = "1"
    full_error: float = 1.0
    rows_go_north: bool = False

    def pixels(self, frames: np.ndarray) -> np.ndarray:
        """Colours frames `[..., h, w, c]`; returns uint8 `[..., h, w, 3]`, north up."""
        shown = self._chosen(frames)
        return pixels(shown if (self.low, self.high) == (0, 1) else (shown - self.low) / (self.high - self.low))

    def error_pixels(self, errors: np.ndarray) -> np.ndarray:
        """Colours errors of frames, `[..., h, w, c]`; returns uint8 `[..., h, w, 3]`, north up."""
        return pixels(self._chosen(errors) / self.full_error, error=True)

    def _chosen(self, frames: np.ndarray) -> np.ndarray:
        return frames[..., :: -1 if self.rows_go_north else 1, :, self.channels]


@dataclasses.dataclass(frozen=True)
class FrameDisplay:
    """The colours of all channels that are shown.

    Attributes:
      views: one for each channel, or one for colours.
      channels: number of channels of the frames.
    """

    views: tuple[ChannelDisplay, ...]
    channels: int

    @classmethod
    def of(
        cls,
        frames: Sequence[np.ndarray],
        channels: int,
        scaling: Scaling | None = None,
        unit: str = "",
        errors: Sequence[np.ndarray] = (),
        rows_go_north: bool = False,
    ) -> FrameDisplay:
        """Chooses colours for frames and for predictions of them.

        Args:
          frames: true frames in the metrics' range, `[..., h, w, c]` each, NaN where values are missing.
          channels: number of channels to predict, the first ones of the frames.
          scaling: from the data's units to the metrics' range; None for frames in [0, 1].
          unit: name of the data's units; "" if unknown.
          errors: errors of predictions, like `frames`. Where nearly all are small, smaller ones have the full colours.
          rows_go_north: whether the first row of a frame is the southernmost.
        """
        if channels == 3 and (scaling is None or _is_coloured(scaling)):
            groups = [(slice(0, 3), "")]
        else:
            shown = range(min(channels, MOST_CHANNELS))
            groups = [(slice(number, number + 1), f"channel {number + 1}" * (channels > 1)) for number in shown]
        views = []
        for place, name in groups:
            low, high = display_range([part[..., place] for part in frames])
            full_error = min(high - low, _range_of([np.abs(part[..., place]) for part in errors])[1]) or high - low
            ends = np.array([low, high, low + full_error])
            if scaling is not None:
                own = scaling.for_channels(channels)
                ends = own.from_network(np.repeat(ends[:, None], channels, 1), np.float64)[:, place.start]
            texts = (_three_digits(ends[0]), f"{_three_digits(ends[1])} {unit}".strip())
            span = f"{_three_digits(ends[2] - ends[0])} {unit}".strip()
            views.append(ChannelDisplay(place, name, low, high, texts, span, full_error, rows_go_north))
        return cls(tuple(views), channels)

    def remarks(self) -> list[str]:
        """Returns sentences on channels that are left out, and on brightened and stretched ones."""
        remarks = []
        if len(self.views) == MOST_CHANNELS < self.channels:
            remarks.append(f"Of {self.channels} channels 1 to {MOST_CHANNELS} are shown.")
        for view in self.views:
            frames = f"frames of {view.name}" if view.name else "frames"
            if view.low == 0 and view.high < 1:
                remarks.append(f"Most values are small; all {frames} are brightened {1 / view.high:.3g} times.")
            elif view.low > 0:
                remarks.append(f"All {frames} are drawn black at {view.ends[0]} and white at {view.ends[1]}.")
        return remarks


def _is_coloured(scaling: Scaling) -> bool:
    """Whether three channels of these values are the colours of pictures."""
    is_bytes = scaling.dtype == "uint8" or (scaling.dtype == "int16" and scaling.fill is not None)
    are_floats = scaling.covariates > 0 or scaling.missing  # covariates and means of earlier frames turn bytes into floats
    is_bytes |= are_floats and {*scaling.high} == {255.0}
    return is_bytes and len({*scaling.low}) == len({*scaling.high}) == 1


def display_range(frames: Sequence[np.ndarray]) -> tuple[float, float]:
    """Finds the values that are drawn black and white: 0 and 1, or closer where nearly all values lie close together.

    Zero stays black, unless the values lie far from it.

    Args:
      frames: floats `[..., h, w, c]`. Of very many pixels only every second, third, ... of a row and of a column is used.
    """
    darkest, brightest = _range_of(frames)
    low = darkest if darkest > brightest / 2 else 0.0
    return (low, brightest) if 0 < brightest - low < 0.5 else (0.0, 1.0)


def _range_of(frames: Sequence[np.ndarray]) -> tuple[float, float]:
    """Returns the least and the greatest value, but for the rarest ones; 0 and 1 if all values are missing."""
    stride = 1 + math.isqrt(sum(part.size for part in frames) // _ENOUGH_VALUES)
    values = np.concatenate([np.empty(0), *(part[..., ::stride, ::stride, :].ravel() for part in frames)])
    values = values[~np.isnan(values)]
    if not values.size:
        return 0.0, 1.0
    darkest, brightest = np.percentile(values, (_DARKEST, _BRIGHTEST), overwrite_input=True).tolist()
    return darkest, brightest


def pixels(frames: np.ndarray, error: bool = False) -> np.ndarray:
    """Colours frames of three channels, which are red, green and blue, or of one, in grey; missing values in slate.

    Args:
      frames: floats `[..., h, w, c]`, drawn from 0 to 1; a pixel with NaN in every channel is missing.
      error: whether the frames are errors: red is too bright, blue too dark, black right.

    Returns:
      uint8 `[..., h, w, 3]`.
    """
    missing = np.isnan(frames).all(-1)
    channels = np.nan_to_num(frames)
    if error:
        signed = channels[..., 0]
        if channels.shape[-1] == 3:  # a mean over colours would cancel
            signed = np.take_along_axis(channels, np.abs(channels).argmax(-1, keepdims=True), -1)[..., 0]
        channels = np.stack([np.maximum(signed, 0), np.maximum(np.abs(signed) - 0.5, 0), np.maximum(-signed, 0)], -1)
    np.clip(channels, 0, 1, out=channels)  # in place: a page has frames of any size
    channels *= 255
    coloured = np.rint(channels, out=channels).astype(np.uint8)
    coloured = np.repeat(coloured, 3, -1) if coloured.shape[-1] == 1 else coloured
    coloured[missing] = _MISSING
    return coloured


def _three_digits(number: float) -> str:
    """Rounds to three digits, and writes large numbers as people do: 5,190 for 5.19e+03."""
    rounded = float(f"{number:.3g}")
    return f"{rounded:,.0f}" if 1_000 <= abs(rounded) < 1_000_000 else f"{rounded:.3g}"
