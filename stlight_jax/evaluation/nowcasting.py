"""The extrapolation of radar fields by pysteps as a baseline; the extra [nowcasting] installs it."""

import contextlib
import io
import warnings
from collections.abc import Callable
from typing import Any

import numpy as np

from stlight_jax.evaluation.baselines import EvaluatedFrames
from stlight_jax.optional_packages import import_optional


class PystepsBaseline:
    """Motion by Lucas & Kanade and semi-Lagrangian extrapolation, with the defaults of pysteps, one channel at a time.

    Args:
      data: the sequences to predict.

    Raises:
      InputError: pysteps or OpenCV is not installed.
    """

    key, label, name = "pysteps", "extrapolation, pysteps", "the extrapolation by pysteps"

    def __init__(self, data: EvaluatedFrames) -> None:
        self._data = data
        self._motion, self._extrapolate = _load()

    def predict(self, indices: np.ndarray, frames: np.ndarray) -> tuple[np.ndarray, None]:
        """Predicts all sequences, with the last frame where pysteps has no value; see `Baseline`."""
        del indices
        data = self._data
        inputs, valid = data.scaling.to_network_float64(data.inputs(frames))
        if valid is not None:
            inputs = np.where(valid, inputs, np.nan)
        last = data.last_frame(frames)  # [b, h, w, c']
        prediction = np.repeat(last[:, None], data.horizon, 1)  # [b, horizon, h, w, c']
        for number, channel in np.ndindex(len(frames), data.out_channels):
            forecast = self._forecast(inputs[number, ..., channel])
            known = np.isfinite(forecast)
            prediction[number, ..., channel][known] = forecast[known]
        return prediction, None

    def _forecast(self, fields: np.ndarray) -> np.ndarray:
        """Extrapolates `[t, h, w]`, NaN where values are missing: `[horizon, h, w]`."""
        with contextlib.redirect_stdout(io.StringIO()), warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return np.asarray(self._extrapolate(fields[-1], self._motion(fields), self._data.horizon))


def _load() -> tuple[Callable[..., Any], Callable[..., Any]]:
    """Imports the methods of motion and of extrapolation; pysteps prints the path of its settings."""
    missing = "evaluation.pysteps is True, but {} is not installed; pip install 'stlight_jax[nowcasting]', or set it to False"
    with contextlib.redirect_stdout(io.StringIO()):
        import_optional("cv2", missing.format("cv2"))  # which pysteps would miss later
        motion, nowcasts = (import_optional(f"pysteps.{part}", missing.format("pysteps")) for part in ("motion", "nowcasts"))
    return motion.get_method("LK"), nowcasts.get_method("extrapolation")
