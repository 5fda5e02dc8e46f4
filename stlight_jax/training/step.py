"""The training and evaluation steps of one device; who launches them on how many devices is not their affair."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import chex
import jax
import jax.numpy as jnp
import optax

from stlight_jax.data.scaling import to_unit_range
from stlight_jax.evaluation.metrics import FrameMetrics, frame_metrics
from stlight_jax.model.stlight import STLight
from stlight_jax.training.schedule import Hyperparameters
from stlight_jax.training.state import TrainState

Metrics = dict[str, jax.Array]


def make_train_step(
    model: STLight, make_optimizer: Callable[..., optax.GradientTransformation], axis_name: str
) -> Callable[[TrainState, jax.Array, Hyperparameters], tuple[TrainState, Metrics]]:
    """A step on the mean squared error of all predicted frames (paper section 4.1).

    The returned function takes a state, this device's share of the batch (uint8 `[b, t, h, w, c]`, T + T' frames) and the
    step's hyperparameters; it gives the next state and {"loss", "gradient_norm"}: the mean loss over all devices and the norm
    of its gradient, before clipping.
    """

    def train_step(state: TrainState, frames: jax.Array, hyperparameters: Hyperparameters) -> tuple[TrainState, Metrics]:
        inputs, targets = split_frames(frames, model)

        def loss_of(params: Any) -> tuple[jax.Array, Any]:
            variables = {"params": params, "batch_stats": state.batch_stats}
            prediction, updates = model.apply(variables, inputs, train=True, mutable=["batch_stats"])
            return jnp.mean(jnp.square(prediction - targets)), updates["batch_stats"]

        (loss, batch_stats), gradients = jax.value_and_grad(loss_of, has_aux=True)(state.params)
        loss, gradients = jax.lax.pmean((loss, gradients), axis_name)
        optimizer = make_optimizer(*hyperparameters)
        updates, opt_state = optimizer.update(gradients, state.opt_state, state.params)
        next_state = TrainState(
            step=state.step + 1,
            params=optax.apply_updates(state.params, updates),
            batch_stats=batch_stats,
            opt_state=opt_state,
        )
        return next_state, {"loss": loss, "gradient_norm": optax.tree.norm(gradients)}

    return train_step


def make_eval_step(model: STLight) -> Callable[[Any, jax.Array], FrameMetrics]:
    """Metrics of every frame that the network predicts, `[b, t']` each."""

    def eval_step(variables: Any, frames: jax.Array) -> FrameMetrics:
        inputs, targets = split_frames(frames, model)
        return frame_metrics(model.apply(variables, inputs), targets)

    return eval_step


def make_copy_step(model: STLight) -> Callable[[Any, jax.Array], FrameMetrics]:
    """The same for the last seen frame as the prediction of all; it takes the variables and leaves them alone."""

    def copy_step(variables: Any, frames: jax.Array) -> FrameMetrics:
        del variables
        inputs, targets = split_frames(frames, model)
        return frame_metrics(jnp.broadcast_to(inputs[:, -1:], targets.shape), targets)

    return copy_step


def split_frames(frames: jax.Array, model: STLight) -> tuple[jax.Array, jax.Array]:
    """uint8 `[b, T + T', h, w, c]` -> float32 inputs `[b, T, ...]` and targets `[b, T', ...]` in [0, 1]."""
    config = model.config
    chex.assert_type(frames, jnp.uint8)
    chex.assert_axis_dimension(frames, 1, config.in_frames + config.out_frames)
    frames = to_unit_range(frames)
    return frames[:, : config.in_frames], frames[:, config.in_frames :]
