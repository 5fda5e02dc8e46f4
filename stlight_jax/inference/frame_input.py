"""The frames that a forecaster is called with: any numbers, in any of three shapes, with missing values in any notation."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np

from stlight_jax.data.scaling import Scaling
from stlight_jax.errors import InputError
from stlight_jax.model.stlight import STLightConfig


@dataclasses.dataclass(frozen=True)
class FrameInput:
    """Frames for one call of a forecaster.

    Attributes:
      values: float `[b, T, h, w, c]` in the network's range; any number where values are missing.
      valid: bool like `values`, False where values are missing; None if none are.
      rank: Number of axes of the given frames.
      dtype: Type of predictions, unless the caller chooses one.
      masked: Whether the given frames were a masked array.
      count: Number of given frames of a sequence, at least T.
      ranges: Lowest and highest valid value of each channel, in the units of the given frames; NaN without one.
    """

    values: np.ndarray
    valid: np.ndarray | None
    rank: int
    dtype: np.dtype
    masked: bool
    count: int
    ranges: list[tuple[float, float]]

    @classmethod
    def from_array(cls, frames: Any, model: STLightConfig, scaling: Scaling, source: str, dtype: np.dtype) -> FrameInput:
        """Converts frames.

        Args:
          frames: `[t, h, w]`, `[t, h, w, c]` or `[b, t, h, w, c]`, numbers of any type; of more than T frames the last T count.
          model: The network.
          scaling: From the units of the frames to the network's range, for its input channels.
          source: Name of the network, for messages.
          dtype: Float type of the network's input.

        Raises:
          InputError: Shape or type do not fit the network, or a sequence has missing values only.
        """
        masked = isinstance(frames, np.ma.MaskedArray)
        array = frames if masked else np.asarray(frames)
        if array.dtype.kind not in "biuf":
            raise InputError(f"frames are {array.dtype}; expected integers, floats or booleans")
        batch, height, width = check_shape(array.shape, model, source)
        rank = array.ndim
        array = array.reshape(batch, -1, height, width, model.in_channels)
        count = array.shape[1]
        array = array[:, -model.in_frames :]
        data = np.ma.getdata(array) if masked else array
        valid = _valid(data, np.ma.getmaskarray(array) if masked else None, scaling.fill)
        if valid is not None and not valid.any(axis=(1, 2, 3, 4)).all():
            empty = int(np.argmin(valid.any(axis=(1, 2, 3, 4))))
            where = f"sequence {empty} of the frames" if batch > 1 else "the frames"
            raise InputError(f"{where}: all values are missing or not finite, so a prediction is impossible")
        with np.errstate(over="ignore", invalid="ignore"):  # where values are missing
            values = scaling.to_network_on_host(data).astype(dtype)
        own = np.dtype(np.float32) if data.dtype.kind == "b" else data.dtype
        ranges = [_range(data[..., c], None if valid is None else valid[..., c]) for c in range(data.shape[-1])]
        return cls(values, valid, rank, own, masked, count, ranges)

    @property
    def lost(self) -> np.ndarray | None:
        """The values missing in all frames, bool `[b, 1, h, w, c]`; None if no value is missing."""
        return None if self.valid is None else np.logical_not(self.valid.any(axis=1, keepdims=True))


def check_shape(shape: tuple[int, ...], model: STLightConfig, source: str) -> tuple[int, int, int]:
    """Checks the shape of frames.

    Args:
      shape: Shape of frames `[t, h, w]`, `[t, h, w, c]` or `[b, t, h, w, c]`.
      model: The network.
      source: Its name, for messages.

    Returns:
      Batch size, height and width.

    Raises:
      InputError: The shape does not fit the network.
    """
    if len(shape) not in (3, 4, 5):
        raise InputError(f"frames have shape {list(shape)}; expected [t, h, w], [t, h, w, c] or [b, t, h, w, c]")
    if 0 in shape:
        raise InputError(f"frames have shape {list(shape)}, which holds no values; expected sides of at least 1")
    batch, frames, height, width, channels = (1, *shape, 1) if len(shape) == 3 else (1, *shape)[-5:]
    if channels != model.in_channels:
        hint = " (frames without an axis of channels have one)" if len(shape) == 3 else ""
        if len(shape) == 4 and channels > 4:  # [b, t, h, w] looks like [t, h, w, c] with as many channels as columns
            hint = "; a batch without channels needs a last axis of 1: frames[..., None]"
        raise InputError(f"frames have shape {list(shape)}, {channels} channel(s); {source} takes {model.in_channels}{hint}")
    if frames < model.in_frames:
        raise InputError(f"frames have shape {list(shape)}: {frames} frame(s); {source} needs {model.in_frames} to predict")
    return batch, height, width


def _valid(data: np.ndarray, mask: np.ndarray | None, fill: float | None) -> np.ndarray | None:
    """Returns where values are neither masked, nor the fill value of integers, nor infinite in float32; None: everywhere."""
    missing = np.zeros((), bool) if mask is None else mask
    if data.dtype.kind == "f":
        with np.errstate(over="ignore"):
            missing = missing | ~np.isfinite(data.astype(np.float32, copy=False))
    if fill is not None and data.dtype.kind in "iu":
        missing = missing | (data == fill)
    return np.broadcast_to(~missing, data.shape) if missing.any() else None


def _range(data: np.ndarray, valid: np.ndarray | None) -> tuple[float, float]:
    shown = data if valid is None else data[valid]
    return (float(shown.min()), float(shown.max())) if shown.size else (np.nan, np.nan)
