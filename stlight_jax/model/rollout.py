"""Roll-out to horizons beyond T': predictions are fed back, block by block (OpenSTL, `openstl/methods/simvp.py`)."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp

from stlight_jax.errors import InputError
from stlight_jax.model.context import MISSING, ContextPlan, plan_context
from stlight_jax.model.stlight_config import STLightConfig


def check_horizon(key: str, horizon: int, config: STLightConfig, covariates: int = 0) -> None:
    """Checks that a network can predict a horizon, which beyond T' requires that it takes its own predictions as input.

    Args:
      key: Name of the key or flag of the horizon, for the message.
      horizon: Number of frames to predict.
      config: The network's shape.
      covariates: Number of its input channels that are known for predicted frames, too.

    Raises:
      InputError: The network would have to take its own predictions, but predicts another number of channels.
    """
    if horizon > config.out_frames and config.in_channels - covariates != config.out_channels:
        raise InputError(
            f"{key} is {horizon}, more than model.out_frames {config.out_frames}, so predictions are fed back; but the network "
            f"predicts {config.out_channels} channels and sees {config.in_channels}"
        )


class SeenFrames:
    """The frames that the network sees in each pass of a roll-out: known frames first, then its own predictions.

    Args:
      plan: The passes.
      known: `[b, history + T, h, w, c]`, floats, of JAX or NumPy.
    """

    def __init__(self, plan: ContextPlan, known: Any) -> None:
        self._plan, self._known = plan, known
        self._frames: list[Any] = []

    def of_pass(self, number: int) -> Any:
        """Returns the frames of a pass, `[b, context + T, h, w, c]`, NaN where no frame has the time of a context frame."""
        indices, arrays = self._plan.passes[number], self._known.__array_namespace__()
        if indices == tuple(range(self._known.shape[1])):
            return self._known
        if not self._frames:
            self._append(self._known)
        unknown = arrays.full_like(self._frames[0], arrays.nan) if MISSING in indices else None
        return arrays.concatenate([unknown if index == MISSING else self._frames[index] for index in indices], axis=1)

    def append(self, block: Any) -> None:
        """Adds predicted frames, `[b, t, h, w, c]`."""
        if not self._frames:
            self._append(self._known)
        self._append(block.astype(self._known.dtype))

    def _append(self, frames: Any) -> None:
        self._frames += [frames[:, time : time + 1] for time in range(frames.shape[1])]


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
