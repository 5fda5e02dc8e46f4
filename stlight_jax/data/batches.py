"""Batches of stored frames, divided into inputs and targets."""

import chex
import jax
import jax.numpy as jnp

from stlight_jax.data.scaling import Scaling
from stlight_jax.model.context import first_target
from stlight_jax.model.stlight import STLight


def split_frames(
    frames: jax.Array, model: STLight, scaling: Scaling | None = None
) -> tuple[jax.Array, jax.Array, jax.Array | None]:
    """Scales a batch of stored frames and divides it into inputs and targets.

    Args:
      frames: `[b, history + T + horizon, h, w, c]` in the stored dtype; see `stlight_jax.model.context` for the history.
      model: the network; its config has T, the periods and the number of channels to predict, c'.
      scaling: from stored values to the network's range; None for uint8.

    Returns:
      Inputs, float32 `[b, history + T, h, w, c]`, NaN where values are missing; targets, float32 `[b, horizon, h, w, c']`; and
      a bool mask of the targets' shape, False where values are missing, or None if none can be missing.
    """
    scaling = scaling or Scaling()
    chex.assert_type(frames, scaling.dtype)
    first = first_target(model.config, frames.shape[1])
    values, valid = scaling.to_network(frames)
    inputs = values[:, :first]
    if valid is not None:
        inputs = jnp.where(valid[:, :first], inputs, jnp.nan)
    channels = model.config.out_channels
    valid_targets = None if valid is None else valid[:, first:, ..., :channels]  # [b, horizon, h, w, c']
    return inputs, values[:, first:, ..., :channels], valid_targets


def target_covariates(frames: jax.Array, model: STLight, scaling: Scaling) -> jax.Array | None:
    """Returns the covariates of the targets of a batch, for `rollout`.

    Args:
      frames: as for `split_frames`.
      model: the network.
      scaling: from stored values to the network's range.

    Returns:
      float32 `[b, horizon, h, w, n]`; None without covariates.
    """
    return frames[:, first_target(model.config, frames.shape[1]) :, ..., -scaling.covariates :] if scaling.covariates else None
