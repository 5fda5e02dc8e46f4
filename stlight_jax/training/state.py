"""What a training step changes, and the optimizer that changes it."""

from __future__ import annotations

from typing import Any

import flax.struct
import jax
import jax.numpy as jnp
import optax

from stlight_jax.model.initial_variables import init_variables
from stlight_jax.model.stlight import STLight


@flax.struct.dataclass
class TrainState:
    """Everything a run carries from step to step.

    Attributes:
      step: int32, optimizer steps done.
      params: float32 tree.
      batch_stats: float32 tree, running means and (biased) variances.
      opt_state: optax state.
      ema: moving average of the weights, {"params", "batch_stats"}, float32; None where a run keeps none.
    """

    step: jax.Array
    params: Any
    batch_stats: Any
    opt_state: optax.OptState
    ema: Any = None

    @property
    def raw_variables(self) -> dict[str, Any]:
        """What the optimizer moves, and its statistics, {"params", "batch_stats"}."""
        return {"params": self.params, "batch_stats": self.batch_stats}

    @property
    def variables(self) -> dict[str, Any]:
        """What evaluation and prediction give to `STLight.apply`: the moving average if there is one."""
        return self.raw_variables if self.ema is None else self.ema

    def with_variables(self, variables: dict[str, Any], averaged: bool) -> TrainState:
        """The same state with other weights, and a moving average that begins with them or none."""
        # A copy, because the step that the state is given to takes over every buffer, and can do so only once.
        ema = jax.tree.map(jnp.copy, variables) if averaged else None
        return self.replace(**variables, ema=ema)


def make_optimizer(
    config: Any, learning_rate: float | jax.Array = 0.0, beta1: float | jax.Array = 0.9
) -> optax.GradientTransformation:
    """Adam, with optional clipping before and decoupled weight decay after it.

    The structure of its state depends on nothing here: the rate and beta1 may be traced and differ at every step, and a run
    can go on with clipping or decay switched on.

    Args:
      config: keys beta2, eps, clip_norm (global norm; 0 is off), weight_decay (as in AdamW, on kernels only; 0 is off).
    """
    decay = optax.add_decayed_weights(config.weight_decay) if config.weight_decay else optax.identity()
    return optax.chain(
        optax.clip_by_global_norm(config.clip_norm) if config.clip_norm else optax.identity(),
        optax.scale_by_adam(b1=beta1, b2=config.beta2, eps=config.eps),
        optax.masked(decay, _is_kernel),
        optax.scale_by_learning_rate(learning_rate),
    )


def create_state(
    model: STLight,
    optimizer: optax.GradientTransformation,
    seed: int,
    frame_shape: tuple[int, int, int],
    averaged: bool = False,
) -> TrainState:
    """A fresh state, see `init_variables`; `averaged`: with a moving average of its weights."""
    variables = init_variables(model, seed, frame_shape)
    state = TrainState(
        step=jnp.zeros((), jnp.int32),
        params=variables["params"],
        batch_stats=variables["batch_stats"],
        opt_state=optimizer.init(variables["params"]),
    )
    return state.with_variables(variables, averaged)


def moving_average(ema: Any, variables: Any, decay: float, step: jax.Array) -> Any:
    """The moving average after one more step, `d * ema + (1 - d) * variables`, d = min(decay, (1 + step) / (10 + step)).

    The second term of d is that of TensorFlow's ExponentialMovingAverage: without it the initial weights would weigh
    `decay**steps` in the average, which in a short run is most of it.

    Args:
      ema, variables: trees of one structure. Running statistics are averaged like parameters, which they belong to.
      decay: in [0, 1).
      step: int32, steps done before this one.
    """
    # 1 - d, whose float32 is exact to its last digit where that of d, so close to 1, is not.
    of_new = jnp.maximum(1 - decay, 9 / (10 + step.astype(jnp.float32)))
    return optax.incremental_update(variables, ema, of_new)


def _is_kernel(params: Any) -> Any:
    return jax.tree_util.tree_map_with_path(lambda path, _: path[-1].key == "kernel", params)
