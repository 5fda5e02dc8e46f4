"""Roll-out to horizons beyond T': predictions are fed back, block by block (OpenSTL, `openstl/methods/simvp.py`)."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp

from stlight_jax.model.context import SeenFrames, plan_context
from stlight_jax.model.stlight_config import STLightConfig


def rollout(
    predict: Callable[[jax.Array], jax.Array],
    inputs: jax.Array,
    horizon: int,
    config: STLightConfig,
    covariates: jax.Array | None = None,
) -> jax.Array:
    """Predicts `horizon` frames with a network that gives T' at a time.

    Each pass sees the last T frames: the inputs first, then the network's own predictions, unclipped; and before them the
    context frames of its periods. Gradients flow through all passes. A horizon below T' is cut from one pass.

    Args:
      predict: Maps `[b, context_frames + T, h, w, c]` to `[b, T', h, w, c]`.
      inputs: `[b, history + T, h, w, c]`; see `plan_context` for the history.
      horizon: Frames to predict, at least 1.
      config: The network's shape.
      covariates: Further channels of the predicted frames, `[b, horizon, h, w, n]`, which predictions are fed back with.

    Returns:
      `[b, horizon, h, w, c]`.
    """
    return rollout_with_carry(lambda carry, seen: (predict(seen), carry), None, inputs, horizon, config, covariates)[0]


def rollout_with_carry(
    predict: Callable[[Any, jax.Array], tuple[jax.Array, Any]],
    carry: Any,
    inputs: jax.Array,
    horizon: int,
    config: STLightConfig,
    covariates: jax.Array | None = None,
) -> tuple[jax.Array, Any]:
    """Predicts as `rollout`, and hands a value, such as batch statistics, from each pass to the next.

    Args:
      predict: Maps the carry and `[b, context_frames + T, h, w, c]` to `[b, T', h, w, c]` and the next carry.
      carry: The carry of the first pass.
      inputs: `[b, history + T, h, w, c]`.
      horizon: Frames to predict, at least 1.
      config: The network's shape.
      covariates: As for `rollout`.

    Returns:
      `[b, horizon, h, w, c]` and the carry after the last pass.
    """
    plan = plan_context(config, horizon)
    frames = SeenFrames(plan, inputs)
    blocks: list[jax.Array] = []
    for number in range(len(plan.passes)):
        if number:
            fed_back = [blocks[-1]]
            if covariates is not None:
                first = (number - 1) * config.out_frames
                fed_back.append(covariates[:, first : first + config.out_frames])
            frames.append(jnp.concatenate(fed_back, axis=-1))
        block, carry = predict(carry, frames.of_pass(number))
        blocks.append(block)
    return (jnp.concatenate(blocks, axis=1) if len(blocks) > 1 else blocks[0])[:, :horizon], carry
