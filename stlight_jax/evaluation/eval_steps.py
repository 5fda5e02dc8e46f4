"""The evaluation steps of one device: variables and a batch in, the metrics of every predicted frame out."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp

from stlight_jax.data.batches import split_frames
from stlight_jax.data.scaling import Scaling
from stlight_jax.metrics.metric_sums import FrameScores, frame_metrics
from stlight_jax.model.rollout import rollout
from stlight_jax.model.stlight import STLight

# (variables, batch) -> scores [b, horizon] each
EvalStep = Callable[[Any, Any], FrameScores]


def make_eval_step(model: STLight, scaling: Scaling) -> EvalStep:
    """Makes the step that scores the network: it rolls out over as many frames as the batch has after the input.

    Args:
      model: the network.
      scaling: from stored values to the network's range.

    Returns:
      (variables, stored frames `[b, T + horizon, h, w, c]`) -> scores, `[b, horizon]` each.
    """
    apply: Callable[..., Any] = model.apply

    def eval_step(variables: Any, frames: jax.Array) -> FrameScores:
        inputs, targets, valid = split_frames(frames, model, scaling)

        def predict(seen: jax.Array) -> jax.Array:
            filled, seen_valid = scaling.fill_missing(seen)
            return scaling.with_constants(apply(variables, filled, valid=seen_valid))

        prediction = rollout(predict, inputs, targets.shape[1])
        return frame_metrics(prediction, targets, valid)

    return eval_step


def make_baseline_step(
    predict: Callable[[jax.Array, jax.Array | None], jax.Array], model: STLight, scaling: Scaling
) -> EvalStep:
    """Makes the step that scores a baseline.

    Args:
      predict: as in `InputBaseline`.
      model: the network whose targets are predicted.
      scaling: as for `make_eval_step`.

    Returns:
      (variables, which are ignored; stored frames `[b, T + horizon, h, w, c]`) -> scores, `[b, horizon]` each.
    """

    def baseline_step(variables: Any, frames: jax.Array) -> FrameScores:
        del variables
        inputs, targets, valid = split_frames(frames, model, scaling)
        prediction = predict(*scaling.fill_missing(inputs))[..., : targets.shape[-1]]  # [b, 1 or horizon, h, w, c']
        return frame_metrics(jnp.broadcast_to(prediction, targets.shape), targets, valid)

    return baseline_step


def make_given_step(model: STLight, scaling: Scaling) -> EvalStep:
    """Makes the step that scores given frames; a missing value is replaced by the network's filling.

    Args:
      model: the network whose targets are predicted.
      scaling: as for `make_eval_step`.

    Returns:
      (variables, which are ignored; (stored predictions `[b, horizon, h, w, c]`, stored frames
      `[b, T + horizon, h, w, c]`)) -> scores, `[b, horizon]` each.
    """

    def given_step(variables: Any, batch: tuple[jax.Array, jax.Array]) -> FrameScores:
        del variables
        given, frames = batch
        _, targets, valid = split_frames(frames, model, scaling)
        prediction, _ = scaling.to_network(given)
        return frame_metrics(prediction[..., : targets.shape[-1]], targets, valid)

    return given_step
