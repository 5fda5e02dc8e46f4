"""The frames that a forecaster is called with: any numbers, in any of three shapes, with missing values in any notation."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Any

import numpy as np

from stlight_jax.data.scaling import Scaling, is_wide
from stlight_jax.data.statistics import mean_of_valid
from stlight_jax.errors import InputError
from stlight_jax.model.context import HistoryFrame
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
        history: Sequence[HistoryFrame] = (),
        history_first: bool = False,
    ) -> FrameInput:
        """Converts frames.

        Args:
          frames: `[t, h, w]`, `[t, h, w, c]` or `[b, t, h, w, c]`, numbers of any type. The last T are the input frames.
          model: The network.
          scaling: From the units of the frames to the network's range, for its input channels.
          source: Name of the network, for messages.
          dtype: Float type of the network's input.
          history: The history frames, see `ContextPlan`.
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
        own = np.dtype(np.float32) if array.dtype.kind == "b" else array.dtype
        indices = np.zeros((0, 0), int)
        if not history_first:
            array, indices = _seen_frames(array, history_indices(count, history, model), model.in_frames)
        elif count != len(history) + model.in_frames:
            raise InputError(f"frames are {count}; expected {len(history)} of the history and {model.in_frames}")
        data = np.ma.getdata(array) if masked else array
        valid = _valid(data, np.ma.getmaskarray(array) if masked else None, scaling.fill)
        unknown = int(np.count_nonzero((indices < 0).all(axis=1)))
        if indices.size:
            data, valid = _with_history(data, valid, indices, model.in_frames)
        recent = None if valid is None else valid[:, len(history) :].any(axis=(1, 2, 3, 4))
        if recent is not None and not recent.all():
            empty = int(np.argmin(recent))
            where = f"sequence {empty} of the frames" if batch > 1 else "the frames"
            raise InputError(f"{where}: all values are missing or not finite, so a prediction is impossible")
        with np.errstate(over="ignore", invalid="ignore"):  # where values are missing
            values = scaling.to_network_on_host(data).astype(dtype)
        ranges = [_range(data[..., c], None if valid is None else valid[..., c]) for c in range(data.shape[-1])]
        return cls(values, valid, rank, own, masked, len(history), unknown, count, ranges)

    @property
    def lost(self) -> np.ndarray | None:
        """The values missing in all input frames, bool `[b, 1, h, w, c]`; None if no value is missing."""
        return None if self.valid is None else np.logical_not(self.valid[:, self.history :].any(axis=1, keepdims=True))


def history_indices(count: int, history: Sequence[HistoryFrame], model: STLightConfig) -> np.ndarray:
    """Finds history frames among frames that are `frame_step` apart.

    Args:
      count: Number of the frames, of which the last one is the last input frame.
      history: As for `FrameInput.from_array`.
      model: The network.

    Returns:
      int `[history, n]`, for each history frame the indices of the frames that it is the mean of, -1 where they are not among
      the frames.
    """
    indices = np.full((len(history), max((len(frame.times) for frame in history), default=0)), -1)
    for row, frame in zip(indices, history, strict=True):
        times = np.array(frame.times)
        found = count - 1 + times // model.frame_step
        row[: len(times)] = np.where((times % model.frame_step == 0) & (found >= 0), found, -1)
    return indices


def latest_known(indices: np.ndarray) -> np.ndarray:
    """Returns the first index of each row that is not -1; -1 without one."""
    return np.take_along_axis(indices, (indices >= 0).argmax(axis=1)[:, None], axis=1)[:, 0]


def _seen_frames(frames: Any, indices: np.ndarray, in_frames: int) -> tuple[Any, np.ndarray]:
    """Leaves out the frames that a network does not see, so that they take neither time nor memory.

    Args:
      frames: `[b, t, h, w, c]`, of which the last T are the input frames.
      indices: Indices of the history frames, see `history_indices`.
      in_frames: T.

    Returns:
      The other frames, in their order, and the indices of the history frames among them.
    """
    count = frames.shape[1]
    seen = np.union1d(indices[indices >= 0], np.arange(count - in_frames, count))
    return frames[:, seen], np.where(indices >= 0, np.searchsorted(seen, indices), -1)


def _with_history(
    data: np.ndarray, valid: np.ndarray | None, indices: np.ndarray, in_frames: int
) -> tuple[np.ndarray, np.ndarray | None]:
    """Returns the history frames followed by the T input frames, and where they are valid.

    Args:
      data: `[b, t, h, w, c]`.
      valid: bool like `data`; None if all values are.
      indices: Indices of the history frames, see `history_indices`.
      in_frames: T.
    """
    count = data.shape[1]
    if indices.shape[1] == 1:  # single frames keep their type
        chosen = np.concatenate([indices[:, 0], np.arange(count - in_frames, count)])
        if (chosen >= 0).all():
            return data[:, chosen], None if valid is None else valid[:, chosen]
        everywhere = np.broadcast_to(True if valid is None else valid, data.shape)
        return data[:, chosen], everywhere[:, chosen] & (chosen >= 0)[:, None, None, None]
    floats = data.astype(np.float64 if is_wide(data.dtype) else np.float32)
    floats = floats if valid is None else np.where(valid, floats, floats.dtype.type(np.nan))
    past = [mean_of_valid(floats[:, row[row >= 0]]) for row in indices]
    frames = np.concatenate([np.stack(past, axis=1), floats[:, -in_frames:]], axis=1)
    known = ~np.isnan(frames)
    return frames, None if known.all() else known


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
