"""Horizons beyond T': predictions are fed back, block by block (OpenSTL, `openstl/methods/simvp.py`)."""

from __future__ import annotations

from collections.abc import Callable

import jax
import jax.numpy as jnp

from stlight_jax.errors import InputError
from stlight_jax.model.stlight import STLightConfig


def check_horizon(key: str, horizon: int, config: STLightConfig) -> None:
    """Raises InputError if a network cannot be fed its own predictions, and `horizon` asks for that."""
    if horizon > config.out_frames and config.in_channels != config.out_channels:
        raise InputError(
            f"{key} is {horizon}, more than model.out_frames {config.out_frames}, so predictions are fed back; but the network "
            f"predicts {config.out_channels} channels and sees {config.in_channels}"
        )


def rollout(predict: Callable[[jax.Array], jax.Array], inputs: jax.Array, horizon: int) -> jax.Array:
    """Predicts `horizon` frames, of which the network gives T' at a time.

    The network always sees the last T frames of what there is: inputs first, then its own predictions, unclipped. Gradients
    flow through all passes. A horizon below T' is cut from one pass.

    Args:
      predict: `[b, T, h, w, c] -> [b, T', h, w, c]`.
      inputs: `[b, T, h, w, c]`.
      horizon: at least 1.

    Returns:
      `[b, horizon, h, w, c]`.
    """
    seen, blocks, ready = inputs, [], 0
    while True:
        block = predict(seen)
        blocks.append(block)
        ready += block.shape[1]
        if ready >= horizon:
            return jnp.concatenate(blocks, axis=1)[:, :horizon] if len(blocks) > 1 else block[:, :horizon]
        seen = jnp.concatenate([seen, block.astype(seen.dtype)], axis=1)[:, -inputs.shape[1] :]
