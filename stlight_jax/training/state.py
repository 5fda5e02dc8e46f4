"""The state of a training run, its optimizer and its moving average of weights."""

from __future__ import annotations

import dataclasses
from typing import Any

import flax.struct
import jax
import jax.numpy as jnp
import optax

from stlight_jax.config.sections import OptimizerSection
from stlight_jax.model.stlight import STLight, init_variables

SHORTCUT_RATE = 0.01  # of the learning rate


@flax.struct.dataclass
class TrainState:
    """Everything that a training step reads and replaces.

    Attributes:
      step: int32 scalar, completed optimizer steps.
      params: float32 tree of parameters.
      batch_stats: float32 tree of running means and (biased) variances.
      opt_state: Optax state.
      ema: Moving average of {"params", "batch_stats"}, float32; None if the run keeps none.
    """

    step: jax.Array
    params: Any
    batch_stats: Any
    opt_state: optax.OptState
    ema: Any = None

    @property
    def raw_variables(self) -> dict[str, Any]:
        """The variables that the optimizer updates, {"params", "batch_stats"}."""
        return {"params": self.params, "batch_stats": self.batch_stats}

    @property
    def variables(self) -> dict[str, Any]:
        """The variables for evaluation and prediction: the moving average if the run keeps one, else `raw_variables`."""
        return self.raw_variables if self.ema is None else self.ema

    def with_variables(self, variables: dict[str, Any], averaged: bool) -> TrainState:
        """Returns this state with other weights.

        Args:
          variables: {"params", "batch_stats"}.
          averaged: Whether the state has a moving average, which then starts from `variables`.
        """
        # A copy, because the training step takes over every buffer of the state, and can do so only once.
        ema = jax.tree.map(jnp.copy, variables) if averaged else None
        return dataclasses.replace(self, **variables, ema=ema)


def make_optimizer(
    config: OptimizerSection, learning_rate: float | jax.Array = 0.0, beta1: float | jax.Array = 0.9
) -> optax.GradientTransformation:
    """Makes Adam, with optional gradient clipping before it and decoupled weight decay after it.

    The structure of its state does not depend on the arguments: the learning rate and beta1 may be traced and differ at each
    step, and a run can be resumed with clipping or weight decay switched on.

    Args:
      config: The config's section `optimizer`; of its keys beta2, eps, clip_norm (global norm; 0 is off) and weight_decay (as
        in AdamW, on kernels only; 0 is off).
      learning_rate: Learning rate of the step.
      beta1: Decay rate of the first moment.

    Returns:
      The optimizer.
    """
    decay = optax.add_decayed_weights(config.weight_decay) if config.weight_decay else optax.identity()
    return optax.chain(
        optax.clip_by_global_norm(config.clip_norm) if config.clip_norm else optax.identity(),
        optax.scale_by_adam(b1=beta1, b2=config.beta2, eps=config.eps),
        optax.masked(decay, lambda params: jax.tree_util.tree_map_with_path(_is_decayed, params)),
        optax.scale_by_learning_rate(learning_rate),
    )


def _is_decayed(path: tuple[Any, ...], _: Any) -> bool:
    """Kernels decay; that of the shortcut does not, because its good value is a copy of the last frame, not zero."""
    return path[-1].key == "kernel" and path[0].key != "shortcut"


def slow_shortcut(updates: Any) -> Any:
    """Scales down the updates of the shortcut, which starts at the best linear map.

    Adam's steps are as long as the learning rate whatever the gradient. At the network's rate they spoil the fitted map within
    a few steps: on hourly taxi counts (TaxiNYC, 600 steps) the validation MSE rose by 13 %, with the scaled steps it fell.

    Args:
      updates: A tree like the parameters.

    Returns:
      The tree with the shortcut's updates multiplied by `SHORTCUT_RATE`.
    """
    if "shortcut" not in updates:
        return updates
    return {**updates, "shortcut": jax.tree.map(lambda update: SHORTCUT_RATE * update, updates["shortcut"])}


def create_state(
    model: STLight,
    optimizer: optax.GradientTransformation,
    seed: int,
    frame_shape: tuple[int, int, int],
    averaged: bool = False,
) -> TrainState:
    """Returns the state before the first step.

    Args:
      model: The network.
      optimizer: As `make_optimizer` returns it.
      seed: Seed of the random weights, see `init_variables`.
      frame_shape: (h, w, c) of a frame.
      averaged: Whether the state has a moving average of its weights.
    """
    variables = init_variables(model, seed, frame_shape)
    state = TrainState(
        step=jnp.zeros((), jnp.int32),
        params=variables["params"],
        batch_stats=variables["batch_stats"],
        opt_state=optimizer.init(variables["params"]),
    )
    return state.with_variables(variables, averaged)


def moving_average(ema: Any, variables: Any, decay: float, step: jax.Array) -> Any:
    """Returns `d * ema + (1 - d) * variables`, with d = min(decay, (1 + step) / (10 + step)).

    The second term of d is that of TensorFlow's ExponentialMovingAverage. Without it, the initial weights would have the weight
    `decay**steps` in the average, which is most of it in a short run.

    Args:
      ema: The moving average before the step.
      variables: A tree of the same structure, after the step. Running statistics are averaged like the parameters that they
        belong to.
      decay: In [0, 1).
      step: int32 scalar, steps completed before this one.

    Returns:
      The moving average after the step.
    """
    # 1 - d is exact in float32, d itself is too close to 1.
    new_weight = jnp.maximum(1 - decay, 9 / (10 + step.astype(jnp.float32)))
    return optax.incremental_update(variables, ema, new_weight)
