"""The evaluation steps of one device."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax
import jax.flatten_util
import jax.numpy as jnp

from stlight_jax.data.batches import split_frames
from stlight_jax.data.scaling import Scaling
from stlight_jax.metrics.frame_metrics import FrameMetrics, frame_metrics
from stlight_jax.model.rollout import rollout
from stlight_jax.model.stlight import STLight

# Of inputs `[b, t, h, w, c]` in the network's range, and where these are (None: everywhere), an image `[b, 1, h, w, c]`.
Baseline = Callable[[jax.Array, jax.Array | None], jax.Array]


def make_eval_step(model: STLight, scaling: Scaling | None = None) -> Callable[[Any, jax.Array], FrameMetrics]:
    """Metrics of every frame that the network predicts, `[b, horizon]` each; it rolls out as far as the batch has frames."""

    def eval_step(variables: Any, frames: jax.Array) -> FrameMetrics:
        inputs, targets, here = split_frames(frames, model, scaling)
        return frame_metrics(rollout(lambda seen: model.apply(variables, seen), inputs, targets.shape[1]), targets, here)

    return eval_step


def make_baseline_step(
    baseline: Baseline, model: STLight, scaling: Scaling | None = None
) -> Callable[[Any, jax.Array], FrameMetrics]:
    """The same for an image that is predicted for every lead time; it takes the variables and leaves them alone."""

    def baseline_step(variables: Any, frames: jax.Array) -> FrameMetrics:
        del variables
        inputs, targets, here = split_frames(frames, model, scaling)
        _, seen = (scaling or Scaling()).to_network(frames[:, : model.config.in_frames])
        image = baseline(inputs, seen)[..., : targets.shape[-1]]
        return frame_metrics(jnp.broadcast_to(image, targets.shape), targets, here)

    return baseline_step


def make_given_step(model: STLight, scaling: Scaling | None = None) -> Callable[[Any, tuple], FrameMetrics]:
    """Metrics of frames that are given as the prediction: takes (stored frames `[b, horizon, h, w, c]`, batch).

    Where a given value is missing, the network's filling stands for it.
    """

    def given_step(variables: Any, given_and_frames: tuple[jax.Array, jax.Array]) -> FrameMetrics:
        del variables
        given, frames = given_and_frames
        _, targets, here = split_frames(frames, model, scaling)
        prediction, _ = (scaling or Scaling()).to_network(given)
        return frame_metrics(prediction[..., : targets.shape[-1]], targets, here)

    return given_step
