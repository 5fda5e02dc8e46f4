"""The training step of one device; a launcher runs it on all of them."""

import dataclasses
import functools
from collections.abc import Callable
from typing import Any

import jax
import jax.flatten_util
import jax.numpy as jnp
import optax

from stlight_jax.config import RunConfig
from stlight_jax.data.batches import split_frames, target_covariates
from stlight_jax.data.scaling import Scaling
from stlight_jax.model.rollout import rollout_with_carry
from stlight_jax.model.stlight import STLight, STLightConfig
from stlight_jax.training.schedule import Hyperparameters
from stlight_jax.training.state import TrainState, make_optimizer, moving_average, slow_shortcut

Metrics = dict[str, jax.Array]
TrainStep = Callable[[TrainState, jax.Array, Hyperparameters], tuple[TrainState, Metrics]]
# A device's share of a batch, or a part of it, as from `split_frames`: inputs, float32 `[b, history + T, h, w, c]`; targets,
# float32 `[b, horizon, h, w, c']`; a bool mask like the targets, False where values are missing, or None if no values are; and
# the targets' covariates, or None without.
_Batch = tuple[jax.Array, jax.Array, jax.Array | None, jax.Array | None]
_Mean = Callable[[jax.Array], jax.Array]


def _both(error: jax.Array, mean: _Mean, mean_over_devices: _Mean) -> jax.Array:
    """Returns the root mean square plus the mean absolute error.

    The root is that of all devices, and a constant in the gradient: the mean square over it has the value of the root.
    """
    squared = mean(jnp.square(error))
    root = jnp.sqrt(jnp.maximum(mean_over_devices(squared), jnp.finfo(squared.dtype).tiny))
    return squared / jax.lax.stop_gradient(root) + mean(jnp.abs(error))


# Losses by the name in the config; their arguments are prediction minus target, in the network's range, the mean over valid
# values and the mean over devices.
LOSSES: dict[str, Callable[[jax.Array, _Mean, _Mean], jax.Array]] = {
    "squared": lambda error, mean, _: mean(jnp.square(error)),
    "absolute": lambda error, mean, _: mean(jnp.abs(error)),
    "both": _both,
    "huber": lambda error, mean, _: mean(optax.losses.huber_loss(error, delta=0.05)),
}


def configured_training(
    config: RunConfig,
    model_config: STLightConfig,
    axis_name: str,
    scaling: Scaling | None,
    network: Callable[..., STLight] = STLight,
) -> tuple[STLight, TrainStep]:
    """Makes the network that a config trains, and its training step.

    Args:
      config: The whole config; its sections optimizer, train and parallel are used.
      model_config: The network's shape.
      axis_name: Name of the axis of devices.
      scaling: From stored values to the network's range; None for uint8 frames 0..255.
      network: Makes the network from its shape and the axis over which batch statistics are averaged, or None.

    Returns:
      The network and its step.
    """
    model = network(model_config, axis_name if config.parallel.batch_norm == "synchronised" else None)
    optimizer = functools.partial(make_optimizer, config.optimizer)
    train = config.train
    return model, make_train_step(model, optimizer, axis_name, scaling, train.accumulate, train.ema_decay, train.loss)


def make_train_step(
    model: STLight,
    make_optimizer: Callable[..., optax.GradientTransformation],
    axis_name: str,
    scaling: Scaling | None = None,
    accumulate: int = 1,
    ema_decay: float = 0.0,
    error: str = "squared",
) -> TrainStep:
    """Makes a step on the mean error of all predicted frames, missing values excluded.

    Args:
      model: The network.
      make_optimizer: Maps a learning rate and a beta1, both traced, to an optimizer.
      axis_name: Name of the axis of devices.
      scaling: From stored values to the network's range; None for uint8 frames 0..255.
      accumulate: Number k of parts in which a device's share passes through the network, one after the other; part j has the
        sequences j, j + k, ... The mean of their gradients is the gradient of the share, except that batch norms normalise
        each part (over all devices) separately and update their running averages at each part, and that the loss "both"
        takes the root of each part.
      ema_decay: Decay of the state's moving average, see `moving_average`; 0 for states without one.
      error: Name of the loss, a key of `LOSSES`. The paper's is "squared" (section 4.1).

    Returns:
      A function of a state, a device's share of the batch (stored frames `[b, history + T + horizon, h, w, c]`; a horizon
      beyond T' is rolled out, with gradients through all passes) and the step's hyperparameters. It returns the next state and
      {"loss", "gradient_norm"}: the mean loss over all devices and the norm of its gradient before clipping.
    """
    scaling = scaling or Scaling()

    def loss_of(params: Any, batch_stats: Any, batch: _Batch, valid_count: jax.Array | None) -> tuple[jax.Array, Any]:
        inputs, targets, valid, known = batch
        predict = training_pass(model, scaling, params)
        prediction, batch_stats = rollout_with_carry(predict, batch_stats, inputs, targets.shape[1], model.config, known)
        mean = functools.partial(_mean, valid=valid, valid_count=valid_count)
        return LOSSES[error](prediction - targets, mean, functools.partial(jax.lax.pmean, axis_name=axis_name)), batch_stats

    def train_step(state: TrainState, frames: jax.Array, hyperparameters: Hyperparameters) -> tuple[TrainState, Metrics]:
        # 1. Loss and gradients of this device's share.
        inputs, targets, valid = split_frames(frames, model, scaling)
        batch, valid_count = (inputs, targets, valid, target_covariates(frames, model, scaling)), None
        if valid is not None:  # per part, averaged over devices
            valid_count = jax.lax.pmean(jnp.sum(valid, dtype=jnp.float32), axis_name) / accumulate
        value_and_grad = functools.partial(jax.value_and_grad(loss_of, has_aux=True), state.params)
        if accumulate == 1:
            (loss, batch_stats), gradients = value_and_grad(state.batch_stats, batch, valid_count)
        else:
            loss, batch_stats, gradients = _accumulated(value_and_grad, state, batch, valid_count, accumulate)

        # 2. Means over devices.
        if model.axis_name is None:  # batch norms saw this device's share only; their running averages are shared
            batch_stats = jax.lax.pmean(batch_stats, axis_name)
        loss, gradients = _mean_over_devices((loss, gradients), axis_name)

        # 3. The update, and the moving average, which are equal on all devices.
        optimizer = make_optimizer(*hyperparameters)
        updates, opt_state = optimizer.update(gradients, state.opt_state, state.params)
        updates = slow_shortcut(updates)
        next_state = TrainState(
            step=state.step + 1,
            params=optax.apply_updates(state.params, updates),
            batch_stats=batch_stats,
            opt_state=opt_state,
        )
        if ema_decay:
            ema = moving_average(state.ema, next_state.raw_variables, ema_decay, state.step)
            next_state = dataclasses.replace(next_state, ema=ema)
        return next_state, {"loss": loss, "gradient_norm": optax.tree.norm(gradients)}

    return train_step


def training_pass(model: STLight, scaling: Scaling, params: Any) -> Callable[[Any, jax.Array], tuple[jax.Array, Any]]:
    """Makes the pass of `rollout_with_carry` in which batch norms normalise by the batch.

    Args:
      model: The network.
      scaling: From stored values to the network's range.
      params: The network's parameters.

    Returns:
      A function of the running statistics and of the seen frames, `[b, context_frames + T, h, w, c]`, NaN where values are
      missing. It returns `[b, T', h, w, c']` and the next running statistics.
    """

    def predict(batch_stats: Any, seen: jax.Array) -> tuple[jax.Array, Any]:
        variables = {"params": params, "batch_stats": batch_stats}
        filled, seen_valid = scaling.fill_missing(seen)
        prediction, updates = model.apply(variables, filled, train=True, valid=seen_valid, mutable=["batch_stats"])
        return scaling.with_constants(prediction), updates["batch_stats"]

    return predict


def _accumulated(
    value_and_grad: Callable[..., Any], state: TrainState, batch: _Batch, valid_count: jax.Array | None, count: int
) -> tuple[jax.Array, Any, Any]:
    """Returns mean loss, last batch statistics and mean gradients over the parts of a batch."""
    # Every k-th sequence makes a part, so that the parts, and the batch norms, do not depend on the number of devices.
    parts = jax.tree.map(lambda x: x.reshape(-1, count, *x.shape[1:]).swapaxes(0, 1), batch)  # [k, b / k, t, h, w, c]

    def add(total: Any, part: _Batch) -> tuple[Any, None]:
        batch_stats, loss, gradients = total
        (part_loss, batch_stats), part_gradients = value_and_grad(batch_stats, part, valid_count)
        return (batch_stats, loss + part_loss, jax.tree.map(jnp.add, gradients, part_gradients)), None

    zero = (state.batch_stats, jnp.zeros(()), jax.tree.map(jnp.zeros_like, state.params))
    (batch_stats, loss, gradients), _ = jax.lax.scan(add, zero, parts)
    loss, gradients = jax.tree.map(lambda total: total / count, (loss, gradients))
    return loss, batch_stats, gradients


def _mean_over_devices(tree: Any, axis_name: str) -> Any:
    """Averages a tree in one reduction, as one vector; some versions of XLA otherwise make several."""
    if jax.lax.axis_size(axis_name) == 1:
        return tree
    vector, restored = jax.flatten_util.ravel_pytree(tree)
    return restored(jax.lax.pmean(vector, axis_name))


def _mean(errors: jax.Array, valid: jax.Array | None, valid_count: jax.Array | None) -> jax.Array:
    """Returns the mean over valid values; `valid_count` is their mean number over devices and parts of a batch."""
    if valid is None or valid_count is None:
        return jnp.mean(errors)
    return jnp.sum(jnp.where(valid, errors, 0.0)) / jnp.maximum(valid_count, 1.0)
