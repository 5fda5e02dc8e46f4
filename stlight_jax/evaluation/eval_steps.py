"""The evaluation steps of one device: variables and a batch in, the metrics of every predicted frame out."""

import dataclasses
from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from stlight_jax.data.batches import split_frames, target_covariates
from stlight_jax.data.scaling import Scaling
from stlight_jax.metrics.metric import FrameCount
from stlight_jax.metrics.metric_sums import FrameScores, frame_metrics
from stlight_jax.metrics.threshold_scores import ThresholdScores, parse_thresholds
from stlight_jax.model.ops import batch_norm
from stlight_jax.model.rollout import rollout
from stlight_jax.model.stlight import STLight
from stlight_jax.model.tiling import in_tiles

# (variables, batch) -> scores [b, horizon] each
EvalStep = Callable[[Any, Any], FrameScores]


def make_eval_step(model: STLight, scaling: Scaling, parts: Sequence[FrameCount] = (), tile: int = 0) -> EvalStep:
    """Makes the step that scores the network: it rolls out over as many frames as the batch has after the input.

    Args:
      model: the network.
      scaling: from stored values to the network's range.
      parts: as for `frame_metrics`.
      tile: side in pixels of the tiles in which the network predicts, see `crop_tile`; 0 for whole frames.

    Returns:
      (variables, stored frames `[b, history + T + horizon, h, w, c]`) -> scores, `[b, horizon]` each.
    """

    def eval_step(variables: Any, frames: jax.Array) -> FrameScores:
        network = model
        if type(model) is STLight and "batch_stats" in variables:  # predictions with folded norms are faster
            network, variables = model.clone(folded=True), batch_norm.fold(variables)
        apply: Callable[..., Any] = network.apply
        inputs = split_frames(frames, model, scaling)[0]
        _, targets, valid = split_frames(frames, model, scaling.untransformed)

        def predict(seen: jax.Array) -> jax.Array:
            filled, seen_valid = scaling.fill_missing(seen)
            return scaling.with_constants(apply(variables, filled, valid=seen_valid))

        known = target_covariates(frames, model, scaling)
        prediction = rollout(in_tiles(predict, model.config, tile), inputs, targets.shape[1], model.config, known)
        return frame_metrics(scaling.output(prediction), targets, valid, parts=parts)

    return eval_step


def make_baseline_step(
    predict: Callable[[jax.Array, jax.Array | None], jax.Array],
    model: STLight,
    scaling: Scaling,
    parts: Sequence[FrameCount] = (),
) -> EvalStep:
    """Makes the step that scores a baseline.

    Args:
      predict: as in `InputBaseline`, in the metrics' range. Its predictions are clipped as the network's are.
      model: the network whose targets are predicted.
      scaling: as for `make_eval_step`.
      parts: as for `frame_metrics`.

    Returns:
      (variables, which are ignored; stored frames `[b, history + T + horizon, h, w, c]`) -> scores, `[b, horizon]` each.
    """
    scaling = scaling.untransformed

    def baseline_step(variables: Any, frames: jax.Array) -> FrameScores:
        del variables
        inputs, targets, valid = split_frames(frames, model, scaling)
        recent = inputs[:, inputs.shape[1] - model.config.in_frames :]  # [b, T, h, w, c]
        prediction = predict(*scaling.fill_missing(recent))[..., : targets.shape[-1]]  # [b, 1 or horizon, h, w, c']
        return frame_metrics(jnp.broadcast_to(scaling.clipped(prediction), targets.shape), targets, valid, parts=parts)

    return baseline_step


def make_given_step(model: STLight, scaling: Scaling, parts: Sequence[FrameCount] = ()) -> EvalStep:
    """Makes the step that scores given frames.

    Args:
      model: the network whose targets are predicted.
      scaling: as for `make_eval_step`.
      parts: as for `frame_metrics`.

    Returns:
      (variables, which are ignored; (predictions in the metrics' range `[b, horizon, h, w, c']`, stored frames
      `[b, history + T + horizon, h, w, c]`)) -> scores, `[b, horizon]` each.
    """
    scaling = scaling.untransformed

    def given_step(variables: Any, batch: tuple[jax.Array, jax.Array]) -> FrameScores:
        del variables
        prediction, frames = batch
        _, targets, valid = split_frames(frames, model, scaling)
        return frame_metrics(scaling.clipped(prediction), targets, valid, parts=parts)

    return given_step


def threshold_scores(thresholds: str, window: int, scaling: Scaling) -> list[ThresholdScores]:
    """Makes the scores of events that a config asks for; their parts are an argument of the other functions.

    Args:
      thresholds: `evaluation.thresholds`.
      window: `evaluation.fss_window`.
      scaling: from stored values to the network's range.

    Returns:
      The scores of each threshold.

    Raises:
      InputError: the text is no list of numbers.
    """
    scaling = dataclasses.replace(scaling, covariates=0)
    low, high = np.array(scaling.low), np.array(scaling.high)
    spans = np.where(high > low, high - low, 1)
    # Scaled in float32, a value that equals the threshold can be less than the threshold's level.
    rounding = 4 * np.finfo(np.float32).eps * np.maximum(1, np.maximum(np.abs(low), np.abs(high)) / spans)
    scores = []
    for threshold in parse_thresholds(thresholds):
        levels, _ = scaling.untransformed.to_network_float64(np.full(len(scaling.low), threshold))
        levels = levels - rounding
        scores.append(ThresholdScores(threshold, tuple(levels.tolist()), window))
    return scores
