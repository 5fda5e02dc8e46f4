"""Roll-out to horizons beyond T': predictions are fed back, block by block (OpenSTL, `openstl/methods/simvp.py`)."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp

from stlight_jax.errors import InputError
from stlight_jax.model.stlight import STLightConfig


def check_horizon(key: str, horizon: int, config: STLightConfig) -> None:
    """Checks that a network can predict a horizon, which beyond T' requires that it takes its own predictions as input.

    Args:
      key: Name of the key or flag of the horizon, for the message.
      horizon: Number of frames to predict.
      config: The network's shape.

    Raises:
      InputError: The network would have to take its own predictions, but predicts another number of channels.
    """
    if horizon > config.out_frames and config.in_channels != config.out_channels:
        raise InputError(
            f"{key} is {horizon}, more than model.out_frames {config.out_frames}, so predictions are fed back; but the network "
            f"predicts {config.out_channels} channels and sees {config.in_channels}"
        )


def rollout(predict: Callable[[jax.Array], jax.Array], inputs: jax.Array, horizon: int) -> jax.Array:
    """Predicts `horizon` frames with a network that gives T' at a time.

    Each pass sees the last T frames: the inputs first, then the network's own predictions, unclipped. Gradients flow through
    all passes. A horizon below T' is cut from one pass.

    Args:
      predict: Maps `[b, T, h, w, c]` to `[b, T', h, w, c]`.
      inputs: `[b, T, h, w, c]`.
      horizon: Frames to predict, at least 1.

    Returns:
      `[b, horizon, h, w, c]`.
    """
    return rollout_with_carry(lambda carry, seen: (predict(seen), carry), None, inputs, horizon)[0]


def rollout_with_carry(
    predict: Callable[[Any, jax.Array], tuple[jax.Array, Any]], carry: Any, inputs: jax.Array, horizon: int
) -> tuple[jax.Array, Any]:
    """Predicts as `rollout`, and hands a value, such as batch statistics, from each pass to the next.

    Args:
      predict: Maps the carry and `[b, T, h, w, c]` to `[b, T', h, w, c]` and the next carry.
      carry: The carry of the first pass.
      inputs: `[b, T, h, w, c]`.
      horizon: Frames to predict, at least 1.

    Returns:
      `[b, horizon, h, w, c]` and the carry after the last pass.
    """
    seen, blocks, count = inputs, [], 0
    while True:
        block, carry = predict(carry, seen)
        blocks.append(block)
        count += block.shape[1]
        if count >= horizon:
            return (jnp.concatenate(blocks, axis=1) if len(blocks) > 1 else block)[:, :horizon], carry
        seen = jnp.concatenate([seen, block.astype(seen.dtype)], axis=1)[:, -inputs.shape[1] :]
