"""Evaluation of a network on a set of sequences, streaming, and of baselines that need no training."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

from stlight_jax.console.progress import track
from stlight_jax.data.pipeline import evaluation_batches
from stlight_jax.data.scaling import Scaling
from stlight_jax.data.sequences import Sequences
from stlight_jax.errors import InputError
from stlight_jax.evaluation.data_baselines import BestConstantImage
from stlight_jax.metrics.frame_metrics import MetricSums, SequenceErrors
from stlight_jax.parallel.launchers import Launcher


@dataclasses.dataclass(frozen=True)
class Cycle:
    """The frames of the same phase of the last day, week or other cycle as a prediction.

    Attributes:
      steps: how long the cycle is, in sampling steps.
      baseline: what lay that long before the targets, on the sequences for which it is known.
      model: the network, on the same sequences.
    """

    steps: int
    baseline: MetricSums
    model: MetricSums


@dataclasses.dataclass(frozen=True)
class Evaluation:
    """Results on one set of sequences; see `MetricSums` for the figures.

    Attributes:
      models: name -> the network with some checkpoint's weights.
      baselines: name -> a prediction that needs no training.
      best_constant_image_mse: MSE per lead time of the one image with the lowest MSE over all target frames.
      sequence_mse, sequence_error: of the first model, float64 `[n]`, NaN where nothing of a sequence could be judged; the
        second one per value that is there.
      cycle: None unless it was asked for.
    """

    models: dict[str, MetricSums]
    baselines: dict[str, MetricSums]
    best_constant_image_mse: list[float]
    sequence_mse: np.ndarray
    sequence_error: np.ndarray
    cycle: Cycle | None = None


def evaluate(
    step: Callable,
    launcher: Launcher,
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
      abandon: asked after each batch, by all processes equally often; True, which all must be told, ends the evaluation.

    Returns:
      The sums; None if abandoned.
    """
    sums = None
    for frames, mask in _batches(source, batch_size, launcher, title):
        sums = _plus(sums, MetricSums.of(launcher.join(step(variables, launcher.split(frames))), mask))
        if abandon():
            return None
    return sums.over_processes(launcher.sum_over_processes)


def evaluate_with_baselines(
    step: Callable,
    baseline_steps: dict[str, Callable],
    launcher: Launcher,
    models: dict[str, Any],
    source: Sequences,
    scaling: Scaling,
    in_frames: int,
    out_channels: int,
    batch_size: int,
    title: str,
    cycle: int = 0,
    frame_step: int = 1,
    given_step: Callable | None = None,
) -> Evaluation:
    """As `evaluate`, with what tells whether the network has learnt anything.

    Args:
      baseline_steps: name -> `make_baseline_step`'s, compiled by `launcher.evaluate`.
      models: name -> variables, on the launcher's devices.
      scaling: from stored values to the network's, as the steps have it.
      in_frames: T.
      out_channels: how many channels, the first ones, are predicted.
      cycle: sampling steps from a frame to that of the same phase; 0 is none.
      frame_step: sampling steps from a frame of a sequence to its next one.
      given_step: `make_given_step`'s, compiled, for the cycle; the others are as for `evaluate`.

    Raises InputError if the cycle is shorter than the horizon, or the data have no past.
    """
    horizon = source.shape[0] - in_frames
    if cycle and cycle < horizon * frame_step:
        ahead = horizon * frame_step
        raise InputError(f"evaluation.cycle is {cycle}, less than the {ahead} sampling steps to predict: it would look ahead")
    sums: dict[str, MetricSums] = {}
    some = next(iter(models.values()))  # the baselines do not look at them

    def add(name: str, metrics: Any, mask: np.ndarray) -> None:
        sums[name] = _plus(sums.get(name), MetricSums.of(metrics, mask))

    constant, errors = BestConstantImage(), SequenceErrors(len(source))
    share = batch_size // launcher.process_count
    for number, (frames, mask) in enumerate(_batches(source, batch_size, launcher, title)):
        first = number * batch_size + launcher.process_index * share
        batch = launcher.split(frames)
        of_models = {name: launcher.join(step(variables, batch)) for name, variables in models.items()}
        for name, metrics in of_models.items():
            add(f"model {name}", metrics, mask)
        errors.add(first, next(iter(of_models.values())), mask)
        for name, baseline in baseline_steps.items():
            add(name, launcher.join(baseline(some, batch)), mask)
        if cycle:
            indices = np.minimum(first + np.arange(share), len(source) - 1)
            past = source.frames_before(indices, cycle, horizon)
            if past is None:
                raise InputError(f"evaluation.cycle is {cycle}, but {source.description['name']} has no past; set it to 0")
            before, known = past
            add("cycle", launcher.join(given_step(some, launcher.split((before, frames)))), mask & known)
            add("cycle model", next(iter(of_models.values())), mask & known)
        values, here = scaling.on_host(frames[mask][:, in_frames:])
        constant.add(values[..., :out_channels], None if here is None else here[..., :out_channels])
    sums = {name: of.over_processes(launcher.sum_over_processes) for name, of in sums.items()}
    for kept in (constant, errors):
        kept.over_processes(launcher.sum_over_processes)
    return Evaluation(
        {name: sums[f"model {name}"] for name in models},
        {name: sums[name] for name in baseline_steps},
        constant.mse_per_lead_time(),
        errors.mse(),
        errors.per_value(),
        Cycle(cycle, sums["cycle"], sums["cycle model"]) if cycle else None,
    )


def _batches(source: Sequences, batch_size: int, launcher: Launcher, title: str) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    batches = evaluation_batches(source, batch_size, launcher.process_index, launcher.process_count)
    return track(batches, title, -(-len(source) // batch_size))


def _plus(total: MetricSums | None, part: MetricSums) -> MetricSums:
    return part if total is None else total + part
