"""The training and evaluation steps of one device; who launches them on how many devices is not their affair."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

import jax
import jax.flatten_util
import jax.numpy as jnp
import ml_collections
import optax

from stlight_jax.data.batches import split_frames
from stlight_jax.data.scaling import Scaling
from stlight_jax.model.rollout import rollout
from stlight_jax.model.stlight import STLight, STLightConfig
from stlight_jax.training.schedule import Hyperparameters
from stlight_jax.training.state import TrainState, make_optimizer, moving_average

Metrics = dict[str, jax.Array]
TrainStep = Callable[[TrainState, jax.Array, Hyperparameters], tuple[TrainState, Metrics]]


def configured_training(
    config: ml_collections.ConfigDict, model_config: STLightConfig, axis_name: str, scaling: Scaling | None
) -> tuple[STLight, TrainStep]:
    """The network that a whole config trains, and its step."""
    model = STLight(model_config, axis_name if config.parallel.batch_norm == "synchronised" else None)
    optimizer = functools.partial(make_optimizer, config.optimizer)
    train = config.train
    return model, make_train_step(model, optimizer, axis_name, scaling, train.accumulate, train.ema_decay)


def make_train_step(
    model: STLight,
    make_optimizer: Callable[..., optax.GradientTransformation],
    axis_name: str,
    scaling: Scaling | None = None,
    accumulate: int = 1,
    ema_decay: float = 0.0,
) -> TrainStep:
    """A step on the mean squared error of all predicted frames (paper section 4.1), missing values left out.

    The returned function takes a state, this device's share of the batch (`[b, T + horizon, h, w, c]`; a horizon beyond T' is
    rolled out, gradients through all passes) and the step's hyperparameters; it gives the next state and
    {"loss", "gradient_norm"}: the mean loss over all devices and the norm of its gradient, before clipping.

    Args:
      scaling: from stored values to the network's; None is uint8 frames 0..255.
      accumulate: in how many parts k, one after the other, a device's share goes through the network; part j has the sequences
        j, j + k, ... Their mean gradient is that of the share, but for the batch norms, which normalise each part (over all
        devices) by itself and move their running averages at each.
      ema_decay: of the state's moving average, see `moving_average`; 0 for states that have none.
    """

    def train_step(state: TrainState, frames: jax.Array, hyperparameters: Hyperparameters) -> tuple[TrainState, Metrics]:
        inputs, targets, here = split_frames(frames, model, scaling)
        there = None if here is None else jax.lax.pmean(jnp.sum(here, dtype=jnp.float32), axis_name) / accumulate

        def loss_of(params: Any, batch_stats: Any, inputs: jax.Array, targets: jax.Array, here: Any) -> tuple[jax.Array, Any]:
            def predict(seen: jax.Array) -> jax.Array:
                nonlocal batch_stats
                variables = {"params": params, "batch_stats": batch_stats}
                prediction, updates = model.apply(variables, seen, train=True, mutable=["batch_stats"])
                batch_stats = updates["batch_stats"]
                return prediction

            errors = jnp.square(rollout(predict, inputs, targets.shape[1]) - targets)
            return _mean(errors, here, there), batch_stats

        gradients_of = functools.partial(jax.value_and_grad(loss_of, has_aux=True), state.params)
        if accumulate == 1:
            (loss, batch_stats), gradients = gradients_of(state.batch_stats, inputs, targets, here)
        else:
            # Every k-th sequence makes a part, so that parts, and what norms see, do not depend on the number of devices.
            parts = jax.tree.map(lambda x: x.reshape(-1, accumulate, *x.shape[1:]).swapaxes(0, 1), (inputs, targets, here))

            def add(total: Any, part: Any) -> tuple[Any, None]:
                batch_stats, loss, gradients = total
                (of_part, batch_stats), more = gradients_of(batch_stats, *part)
                return (batch_stats, loss + of_part, jax.tree.map(jnp.add, gradients, more)), None

            nothing = (state.batch_stats, jnp.zeros(()), jax.tree.map(jnp.zeros_like, state.params))
            (batch_stats, loss, gradients), _ = jax.lax.scan(add, nothing, parts)
            loss, gradients = jax.tree.map(lambda total: total / accumulate, (loss, gradients))
        if model.axis_name is None:  # batch norms saw this device's share only; the running averages are everybody's
            batch_stats = jax.lax.pmean(batch_stats, axis_name)
        loss, gradients = _mean_over_devices((loss, gradients), axis_name)
        optimizer = make_optimizer(*hyperparameters)
        updates, opt_state = optimizer.update(gradients, state.opt_state, state.params)
        next_state = TrainState(
            step=state.step + 1,
            params=optax.apply_updates(state.params, updates),
            batch_stats=batch_stats,
            opt_state=opt_state,
        )
        if ema_decay:  # equal on all devices, as what it is made of
            ema = moving_average(state.ema, next_state.raw_variables, ema_decay, state.step)
            next_state = next_state.replace(ema=ema)
        return next_state, {"loss": loss, "gradient_norm": optax.tree.norm(gradients)}

    return train_step


def _mean_over_devices(tree: Any, axis_name: str) -> Any:
    """In one reduction, as one vector: left to themselves, some versions of XLA make several."""
    if jax.lax.axis_size(axis_name) == 1:
        return tree
    vector, restored = jax.flatten_util.ravel_pytree(tree)
    return restored(jax.lax.pmean(vector, axis_name))


def _mean(errors: jax.Array, here: jax.Array | None, there: jax.Array | None) -> jax.Array:
    """The mean over what is there, if `there` is how much that is on average over devices and parts of a batch."""
    if here is None:
        return jnp.mean(errors)
    return jnp.sum(jnp.where(here, errors, 0.0)) / jnp.maximum(there, 1.0)
