"""The covariates of one call of a forecaster, made from the moments of the frames."""

import datetime
from collections.abc import Sequence
from typing import Any

import numpy as np

from stlight_jax.data.continued_times import continue_times
from stlight_jax.data.covariates import Covariates
from stlight_jax.data.times import TimeAxis
from stlight_jax.errors import InputError
from stlight_jax.inference.frame_input import FrameInput, history_indices, latest_known
from stlight_jax.model.context import HistoryFrame
from stlight_jax.model.stlight_config import STLightConfig


def covariate_frames(
    covariates: Covariates,
    times: Any,
    given: FrameInput,
    model: STLightConfig,
    history: Sequence[HistoryFrame] | None,
    horizon: int,
) -> np.ndarray:
    """Returns the covariates of the frames that a network sees and predicts.

    Args:
      covariates: The covariates of the network.
      times: Moments of the given frames, `[t]` or `[b, t]`, such as datetime64; those of the predicted frames may follow.
        Without a clock they are ignored.
      given: The frames.
      model: The network.
      history: The history frames, see `FrameInput.from_array`; None if they are the first of the given frames.
      horizon: Frames to predict.

    Returns:
      float32 `[b, history + T + horizon, h, w, n]`. Those of a history frame without values are missing, as in training.

    Raises:
      InputError: Moments are missing or do not fit the frames, or the frames do not have the size of the static field.
    """
    batch, _, height, width, _ = given.values.shape
    static = covariates.static
    if static.shape[-1] and static.shape[:2] != (height, width):
        raise InputError(
            f"frames are {height} x {width}; the network sees a static field of {static.shape[0]} x {static.shape[1]} "
            "(data.static); give frames of that size"
        )
    moments = np.full((batch, given.count + horizon), np.datetime64("NaT", "us"))
    if covariates.clock:
        rows = np.atleast_2d(_as_moments(times, covariates))
        if rows.ndim > 2 or len(rows) not in (1, batch) or rows.shape[1] not in (given.count, given.count + horizon):
            raise InputError(
                f"times have shape {list(np.shape(times))}; expected [{given.count}], one for each frame, or "
                f"[{given.count + horizon}] with those of the predicted frames, or one row for each sequence"
            )
        is_whole = rows.shape[1] > given.count
        needed = horizon > model.out_frames
        moments[:] = rows if is_whole else np.stack([_continued(row, horizon if needed else 0, horizon) for row in rows])
    seen, predicted = moments[:, : given.count], moments[:, given.count :]
    if history is not None:
        latest = latest_known(history_indices(given.count, history, model)) if history else np.zeros(0, int)
        past = np.where(latest >= 0, seen[:, latest], np.datetime64("NaT", "us"))
        seen = np.concatenate([past, seen[:, given.count - model.in_frames :]], axis=1)
    values = covariates.at(np.concatenate([seen, predicted], axis=1), height, width)
    if given.valid is not None:
        values[:, : given.history][~given.valid[:, : given.history].any(axis=(2, 3, 4))] = np.nan
    return values


def _as_moments(times: Any, covariates: Covariates) -> np.ndarray:
    """Returns times as datetime64."""
    if times is None:
        raise InputError(
            f"times are None, and the network sees the time (data.clock={','.join(covariates.clock)}); give times=, the "
            "moments of the frames"
        )
    given, expected = np.asarray(times), "expected datetime64 or text such as 2019-03-20T06:00"
    # NumPy takes numbers for microseconds since 1970, and dates of any calendar for those of the standard one.
    other = next((each for each in given.flat if not isinstance(each, str | bytes | datetime.date | np.datetime64)), None)
    if other is not None:
        raise InputError(f"times are {type(other).__name__}; {expected}, in the standard calendar")
    try:
        return given.astype("M8[us]")
    except (TypeError, ValueError) as error:
        raise InputError(f"times are no dates ({error}); {expected}") from None


def _continued(moments: np.ndarray, further: int, length: int) -> np.ndarray:
    """Returns moments `[t]` and `length` more, of which the first `further` continue them and others are unknown."""
    unknown = np.full(length, np.datetime64("NaT", "us"))
    if not further:
        return np.append(moments, unknown)
    numbers = moments.astype(np.int64)
    axis = TimeAxis("times", numbers, True, "times", moments)
    continued = None if np.isnat(moments).any() else continue_times(axis, np.arange(len(moments)), len(moments) - 1, further)
    if continued is None:
        raise InputError(
            f"times do not show the step to the {further} predicted frames; give the moments of these frames, too, after those "
            "of the given frames"
        )
    return continued.values.astype("M8[us]")
