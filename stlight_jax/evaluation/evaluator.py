"""Evaluation of a network on a set of sequences, streaming, and of two baselines that need no training."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any

from stlight_jax.data.moving_mnist import Sequences
from stlight_jax.data.pipeline import evaluation_batches
from stlight_jax.evaluation.metrics import BestConstantImage, MetricSums
from stlight_jax.progress import track
from stlight_jax.training.parallel import PmapLauncher


@dataclasses.dataclass(frozen=True)
class Evaluation:
    """Results on one set of sequences; see `MetricSums` for the figures.

    Attributes:
      model: the network.
      copy_last_frame: the last seen frame, predicted for every lead time.
      best_constant_image_mse: MSE per lead time of the one image with the lowest MSE over all target frames.
    """

    model: MetricSums
    copy_last_frame: MetricSums
    best_constant_image_mse: list[float]


def evaluate(
    step: Callable,
    launcher: PmapLauncher,
    variables: Any,
    source: Sequences,
    batch_size: int,
    title: str,
    abandon: Callable[[], bool] = lambda: False,
) -> MetricSums | None:
    """Evaluates on every sequence once, whatever the batch size and the number of devices.

    Args:
      step: `make_eval_step`'s, compiled by `launcher.evaluate`.
      variables: {"params", "batch_stats"}, on the launcher's devices.
      source: the sequences.
      batch_size: over all devices.
      title: of the progress shown.
      abandon: asked after each batch; True ends the evaluation.

    Returns:
      The sums; None if abandoned.
    """
    sums = None
    for frames, mask in _batches(source, batch_size, title):
        sums = _plus(sums, MetricSums.of(launcher.join(step(variables, launcher.split(frames))), mask))
        if abandon():
            return None
    return sums


def evaluate_with_baselines(
    step: Callable,
    copy_step: Callable,
    launcher: PmapLauncher,
    variables: Any,
    source: Sequences,
    batch_size: int,
    title: str,
) -> Evaluation:
    """As `evaluate`, with what tells whether the network has learnt anything.

    Args:
      copy_step: `make_copy_step`'s, compiled by `launcher.evaluate`; the others are as for `evaluate`.
    """
    model = copied = None
    constant = BestConstantImage()
    for frames, mask in _batches(source, batch_size, title):
        batch = launcher.split(frames)
        of_model, of_copy = (launcher.join(run(variables, batch)) for run in (step, copy_step))
        model = _plus(model, MetricSums.of(of_model, mask))
        copied = _plus(copied, MetricSums.of(of_copy, mask))
        constant.add(frames[mask][:, -of_model.squared_error.shape[1] :])
    return Evaluation(model, copied, constant.mse_per_lead_time())


def _batches(source: Sequences, batch_size: int, title: str) -> Any:
    return track(evaluation_batches(source, batch_size), title, -(-len(source) // batch_size))


def _plus(total: MetricSums | None, part: MetricSums) -> MetricSums:
    return part if total is None else total + part
