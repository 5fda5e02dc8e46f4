"""Sequences with the forecasts of the flow, for the fit of the shortcut `flow_linear`."""

import dataclasses
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from stlight_jax.data.scaling import Scaling
from stlight_jax.data.sequences import EvenlySpaced, Sequences
from stlight_jax.model.shortcut import Shortcut, fill_from_neighbours
from stlight_jax.model.stlight_config import STLightConfig

_BATCH_SIZE = 8
_PIXELS, _FEWEST, _MOST = 4_000_000, 100, 2_000  # pixels of the windows to read, and windows


class WithFlow(Sequences):
    """Some sequences `[input frames | targets]` as `[input frames | forecasts of the flow | targets]`, in the network's range.

    Missing values are NaN, and so are no values of the forecasts.

    Args:
      source: The sequences; evenly spaced ones are taken.
      model: The network.
      seen: Number of input frames of a sequence.
      out_frames: Number of forecasts, at most the network's T'.
    """

    def __init__(self, source: Sequences, model: STLightConfig, seen: int, out_frames: int) -> None:
        length, height, width, channels = source.shape
        self._source = EvenlySpaced(source, min(max(_PIXELS // (height * width), _FEWEST), _MOST))
        self.shape = (length + out_frames, height, width, channels)
        self.scaling = Scaling(dtype="float32", low=(0.0,), high=(1.0,), missing=True)
        self.description = self._source.description
        carry: Callable[..., Any] = Shortcut(dataclasses.replace(model, shortcut="flow")).apply

        @jax.jit
        def with_flow(stored: jax.Array) -> jax.Array:
            values, valid = source.scaling.to_network(stored)
            recent = slice(seen - model.in_frames, seen)
            inputs, known = values[:, recent], None
            if valid is not None:
                known = valid[:, recent]
                inputs = fill_from_neighbours(inputs, known, model.in_frames)
                values = jnp.where(valid, values, jnp.nan)
            forecast = carry({}, inputs, known)[:, :out_frames]  # [b, t', h, w, c']
            forecast = jnp.pad(forecast, [(0, 0)] * 4 + [(0, channels - model.out_channels)])  # [b, t', h, w, c]
            return jnp.concatenate([values[:, :seen], forecast, values[:, seen:]], axis=1)

        self._with_flow = with_flow

    def __len__(self) -> int:
        return len(self._source)

    def frames(self, indices: np.ndarray, epoch: int = 0) -> np.ndarray:
        """Reads sequences and computes the forecasts, see `Sequences`."""
        padded = np.resize(indices, -(-len(indices) // _BATCH_SIZE) * _BATCH_SIZE)  # one size is compiled
        parts = [np.asarray(self._with_flow(self._source.frames(part, epoch))) for part in padded.reshape(-1, _BATCH_SIZE)]
        return np.concatenate(parts)[: len(indices)]
