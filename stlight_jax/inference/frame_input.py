"""The frames that a forecaster is called with: any numbers, in any of three shapes, with missing values in any notation."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Any

import numpy as np

from stlight_jax.data.scaling import Scaling
from stlight_jax.errors import InputError
from stlight_jax.model.stlight_config import STLightConfig


@dataclasses.dataclass(frozen=True)
class FrameInput:
    """Frames for one call of a forecaster.

    Attributes:
      values: float `[b, history + T, h, w, c]` in the network's range; any number where values are missing.
      valid: bool like `values`, False where values are missing; None if none are.
      rank: Number of axes of the given frames.
      dtype: Type of predictions, unless the caller chooses one.
      masked: Whether the given frames were a masked array.
      history: Number of history frames.
      unknown: Number of history frames that are not among the given frames.
      count: Number of given frames of a sequence, at least T.
      ranges: Lowest and highest valid value of each channel, in the units of the given frames; NaN without one.
    """

    values: np.ndarray
    valid: np.ndarray | None
    rank: int
    dtype: np.dtype
    masked: bool
    history: int
    unknown: int
    count: int
    ranges: list[tuple[float, float]]

    @classmethod
    def from_array(
        cls,
        frames: Any,
        model: STLightConfig,
        scaling: Scaling,
        source: str,
        dtype: np.dtype,
        history: Sequence[int] = (),
        history_first: bool = False,
    ) -> FrameInput:
        """Converts frames.

        Args:
          frames: `[t, h, w]`, `[t, h, w, c]` or `[b, t, h, w, c]`, numbers of any type. The last T are the input frames.
          model: The network.
          scaling: From the units of the frames to the network's range, for its input channels.
          source: Name of the network, for messages.
          dtype: Float type of the network's input.
          history: Times of the history frames, in sampling steps since the last frame; see `ContextPlan`.
          history_first: Whether `frames` are the history frames followed by the input frames; else they are `frame_step` apart,
            and the history frames among them are found by their times.

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
        if not history_first:
            array, known = with_history(array, history, model)
        elif count == len(history) + model.in_frames:
            known = np.ones(count, bool)
        else:
            raise InputError(f"frames are {count}; expected {len(history)} of the history and {model.in_frames}")
        data = np.ma.getdata(array) if masked else array
        valid = _valid(data, np.ma.getmaskarray(array) if masked else None, scaling.fill)
        if not known.all():
            valid = np.broadcast_to(True if valid is None else valid, data.shape) & known[:, None, None, None]
        recent = None if valid is None else valid[:, len(history) :].any(axis=(1, 2, 3, 4))
        if recent is not None and not recent.all():
            empty = int(np.argmin(recent))
            where = f"sequence {empty} of the frames" if batch > 1 else "the frames"
            raise InputError(f"{where}: all values are missing or not finite, so a prediction is impossible")
        with np.errstate(over="ignore", invalid="ignore"):  # where values are missing
            values = scaling.to_network_on_host(data).astype(dtype)
        own = np.dtype(np.float32) if data.dtype.kind == "b" else data.dtype
        ranges = [_range(data[..., c], None if valid is None else valid[..., c]) for c in range(data.shape[-1])]
        return cls(values, valid, rank, own, masked, len(history), int(np.count_nonzero(~known)), count, ranges)

    @property
    def lost(self) -> np.ndarray | None:
        """The values missing in all input frames, bool `[b, 1, h, w, c]`; None if no value is missing."""
        return None if self.valid is None else np.logical_not(self.valid[:, self.history :].any(axis=1, keepdims=True))


def with_history(frames: Any, history: Sequence[int], model: STLightConfig) -> tuple[Any, np.ndarray]:
    """Takes history and input frames from frames that are `frame_step` apart.

    Args:
      frames: The frames `[b, t, ...]`.
      history: As for `FrameInput.from_array`.
      model: The network.

    Returns:
      `[b, history + T, ...]`, and bool `[history + T]`, False where a history frame is not among the frames.
    """
    count, times = frames.shape[1], np.asarray(history, np.int64)
    wanted = count - 1 + times // model.frame_step
    known = (times % model.frame_step == 0) & (wanted >= 0)
    recent = np.arange(count - model.in_frames, count)
    indices = np.concatenate([np.where(known, wanted, 0), recent])
    return frames[:, indices] if len(history) else frames[:, -model.in_frames :], np.append(known, recent >= 0)


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
