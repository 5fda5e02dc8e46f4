"""The interface of baselines, and those without training data: the frame of the same phase of a period, and optical flow."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any, Protocol

import jax
import jax.numpy as jnp
import numpy as np

from stlight_jax.data.scaling import Scaling
from stlight_jax.data.sequences import Sequences
from stlight_jax.errors import InputError
from stlight_jax.model.ops import optical_flow
from stlight_jax.model.shortcut import fill_from_neighbours
from stlight_jax.model.stlight_config import STLightConfig

_SEQUENCES_AT_A_TIME = 4


class Baseline(Protocol):
    """A forecast to compare the network with.

    Attributes:
      key: name in JSON.
      label: name in tables and charts.
      name: name in sentences.
    """

    key: str
    label: str
    name: str

    def predict(self, indices: np.ndarray, frames: np.ndarray) -> tuple[np.ndarray, np.ndarray | None]:
        """Predicts the last frames of sequences.

        Args:
          indices: of the sequences, `[b]`.
          frames: of the sequences, `[b, history + T + horizon, h, w, c]`, stored.

        Returns:
          float32 `[b, 1 or horizon, h, w, c']` in the network's range, and bool `[b]`, False for a sequence that the baseline
          cannot predict; None if it predicts all.
        """


@dataclasses.dataclass(frozen=True)
class EvaluatedFrames:
    """The sequences that baselines predict.

    Attributes:
      source: the sequences.
      scaling: from stored values to the network's range.
      in_frames: T.
      out_channels: the number of predicted channels, the first ones.
      frame_step: sampling steps between two frames of a sequence.
      history: frames of a sequence before the input frames, which only linear regressions see.
      network: the network whose sequences these are; None for others.
    """

    source: Sequences
    scaling: Scaling
    in_frames: int
    out_channels: int
    frame_step: int = 1
    history: int = 0
    network: STLightConfig | None = None

    @property
    def horizon(self) -> int:
        """The number of frames to predict."""
        return self.source.shape[0] - self.history - self.in_frames

    def inputs(self, frames: Any) -> Any:
        """Returns the T input frames of stored sequences."""
        return frames[:, self.history : self.history + self.in_frames]

    def last_frame(self, frames: np.ndarray) -> np.ndarray:
        """Returns the last valid input values of stored sequences in the network's range: float32 `[b, h, w, c']`."""
        return np.asarray(self.filled(self.inputs(frames))[:, -1, ..., : self.out_channels])

    def filled(self, frames: np.ndarray | jax.Array, periods: tuple[int, ...] = ()) -> jax.Array:
        """Scales stored frames that end with the T input frames, and fills missing values, see `fill_from_neighbours`."""
        inputs, valid = self.scaling.to_network(jnp.asarray(frames))
        return inputs if valid is None else fill_from_neighbours(inputs, valid, self.in_frames, periods)


class PeriodBaseline:
    """The frame of the same phase of the last day, week or other period.

    For lead L it is the frame k periods before the predicted one, with the least k for which that is no future frame. Values
    that are missing there are those of the last input frame.

    Args:
      data: the sequences to predict.
      period: in sampling steps.
      setting: the config key and its value, for the error message.
    """

    def __init__(self, data: EvaluatedFrames, period: int, setting: str) -> None:
        self.key, self.label, self.name = self.names(period)
        self._data, self._period, self._setting = data, period, setting

    @staticmethod
    def names(period: int) -> tuple[str, str, str]:
        """Returns key, label and name, see `Baseline`."""
        return f"period_{period}", f"{period} steps before", f"the frame {period} steps before"

    @staticmethod
    def times(period: int, horizon: int, frame_step: int) -> np.ndarray:
        """Returns the times of the frames that stand for the predicted ones, in sampling steps since the last input frame."""
        leads = np.arange(1, horizon + 1) * frame_step
        return leads - -(-leads // period) * period

    def predict(self, indices: np.ndarray, frames: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Reads the earlier frames; see `Baseline`.

        Raises:
          InputError: the data set keeps no frames from before its sequences.
        """
        data = self._data
        before_last = data.horizon * data.frame_step - self.times(self._period, data.horizon, data.frame_step)
        past = data.source.frames_before(indices, before_last.tolist())
        if past is None:
            name = data.source.description["name"]
            raise InputError(f"{self._setting}, but {name} has no past; set it to 0")
        earlier, known = past
        values, valid = data.scaling.to_network(jnp.asarray(earlier))
        prediction = np.asarray(values)[..., : data.out_channels]
        if valid is not None:
            last = data.last_frame(frames)[:, None]
            prediction = np.where(valid[..., : data.out_channels], prediction, last)
        return prediction, np.asarray(known.all(1))


class FlowBaseline:
    """The last frame carried along the motion of the input frames.

    Args:
      data: the sequences to predict.
    """

    key, label, name = "optical_flow", "optical flow", "optical flow"

    def __init__(self, data: EvaluatedFrames) -> None:
        @jax.jit
        def predict(frames: jax.Array) -> jax.Array:
            inputs, valid = data.scaling.to_network(data.inputs(frames))
            channels = slice(data.out_channels)
            valid = None if valid is None else valid[..., channels]
            return data.scaling.with_constants(flow_forecast(inputs[..., channels], valid, data.horizon))

        self._predict: Callable[[np.ndarray], jax.Array] = predict

    def predict(self, indices: np.ndarray, frames: np.ndarray) -> tuple[np.ndarray, None]:
        """Predicts all sequences; see `Baseline`."""
        del indices
        return np.asarray(self._predict(frames)), None


def flow_forecast(inputs: jax.Array, valid: jax.Array | None, horizon: int) -> jax.Array:
    """Carries the last frames of sequences along their motion.

    Args:
      inputs: `[b, t, h, w, c]`.
      valid: bool like `inputs`, False where values are missing; None if none is.
      horizon: frames to predict.

    Returns:
      float32 `[b, horizon, h, w, c]`, finite.
    """
    filled = inputs if valid is None else fill_from_neighbours(inputs, valid, inputs.shape[1])
    arrays = (filled,) if valid is None else (filled, valid)

    def of_one(sequence: tuple[jax.Array, ...]) -> jax.Array:
        frames, *known = (array[None] for array in sequence)
        vectors = optical_flow.motion(frames, *known)
        forecast, _ = optical_flow.extrapolate(frames[:, -1], vectors, horizon, *(each.any(1) for each in known))
        return forecast[0]

    return jax.lax.map(of_one, arrays, batch_size=_SEQUENCES_AT_A_TIME)
