"""Baselines that need the input frames only. To add one: write its function, and add one line to the list."""

import dataclasses
from collections.abc import Callable
from typing import TypeVar

import jax
import numpy as np

_Array = TypeVar("_Array", jax.Array, np.ndarray)


def copy_last_frame(inputs: _Array, valid: _Array | None) -> _Array:
    """Predicts the last input frame; where a value of it is missing, the last valid one.

    Args:
      inputs: `[b, t, h, w, c]`, of JAX or NumPy.
      valid: bool `[b, t, h, w, c]`, False where values are missing; None if no value is missing.

    Returns:
      `[b, 1, h, w, c]`; the first frame's value where none is valid.
    """
    arrays = inputs.__array_namespace__()
    last = inputs[:, :1]
    for time in range(1, inputs.shape[1]):
        frame = inputs[:, time : time + 1]
        last = frame if valid is None else arrays.where(valid[:, time : time + 1], frame, last)
    return last


def mean_of_inputs(inputs: _Array, valid: _Array | None) -> _Array:
    """Predicts the mean of the input frames, over their valid values.

    Args:
      inputs: `[b, t, h, w, c]`, of JAX or NumPy.
      valid: bool `[b, t, h, w, c]`, False where values are missing; None if no value is missing.

    Returns:
      `[b, 1, h, w, c]`; the last frame's value where none is valid.
    """
    if valid is None:
        return inputs.mean(1, keepdims=True)
    arrays = inputs.__array_namespace__()
    count = valid.sum(1, keepdims=True, dtype=inputs.dtype)
    mean = arrays.where(valid, inputs, 0.0).sum(1, keepdims=True) / arrays.maximum(count, 1.0)
    return arrays.where(count > 0, mean, inputs[:, -1:])


@dataclasses.dataclass(frozen=True)
class InputBaseline:
    """A prediction made from the input frames without training.

    Attributes:
      key: name in JSON.
      label: name in tables and charts.
      predict: inputs and their validity, `[b, t, h, w, c]`, in the network's range -> an image for every lead time,
        `[b, 1, h, w, c]`, or one for each, `[b, horizon, h, w, c]`.
      name: name in sentences; the label by default.
    """

    key: str
    label: str
    predict: Callable[[jax.Array, jax.Array | None], jax.Array]
    name: str = ""

    def __post_init__(self) -> None:
        """Takes the label as name by default."""
        object.__setattr__(self, "name", self.name or self.label)


INPUT_BASELINES: tuple[InputBaseline, ...] = (
    InputBaseline("copy_last_frame", "copy last frame", copy_last_frame, "the last frame"),
    InputBaseline("mean_of_inputs", "mean of the inputs", mean_of_inputs, "the mean of the inputs"),
)
