"""The evaluation of a network on a set of sequences, streaming, alone or beside baselines."""

from __future__ import annotations

import dataclasses
import operator
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from stlight_jax.console.progress import track
from stlight_jax.data.pipeline import evaluation_batches
from stlight_jax.data.scaling import Scaling
from stlight_jax.data.sequences import Sequences
from stlight_jax.evaluation.baselines import Baseline, EvaluatedFrames
from stlight_jax.evaluation.eval_steps import EvalStep, make_baseline_step, make_eval_step, make_given_step
from stlight_jax.metrics import input_baselines
from stlight_jax.metrics.metric import FrameCount
from stlight_jax.metrics.metric_sums import MetricSums, SequenceErrors, add_batch
from stlight_jax.model.stlight import STLight
from stlight_jax.parallel.launchers import Launcher


class BestConstantImage:
    """MSE of the one image with the lowest MSE if it is predicted for every frame: the mean of all target frames.

    In closed form, from float64 sums, without a second pass over the data.
    """

    def __init__(self) -> None:
        # Numbers, sums and squares of the valid values, [t, h, w, c] each, and frames with any, [t].
        self._sums: tuple[Any, ...] = (0.0, 0.0, 0.0, 0.0)

    def add(self, targets: np.ndarray, valid: np.ndarray | None = None) -> None:
        """Takes in target frames.

        Args:
          targets: `[b, t, h, w, c]` in the network's range.
          valid: bool `[b, t, h, w, c]`, False where values are missing; None if no value is missing.
        """
        targets = targets.astype(np.float64)
        valid = np.ones(targets.shape, bool) if valid is None else valid
        totals, squares = (values.sum(0, where=valid) for values in (targets, np.square(targets)))
        batch = (valid.sum(0), totals, squares, valid.any(axis=(2, 3, 4)).sum(0))
        self._sums = tuple(map(operator.add, self._sums, batch))

    def over_processes(self, add: Callable[[Any], Any]) -> None:
        """Adds the frames of all processes, see `MetricSums.over_processes`."""
        self._sums = add(self._sums)

    def mse_per_lead_time(self) -> list[float]:
        """Computes the MSE, summed over pixels and channels, in the network's units squared."""
        counts, totals, squares, frames = self._sums
        image = totals.sum(0) / np.maximum(counts.sum(0), 1)
        errors = squares - 2 * image * totals + image**2 * counts
        return (errors.sum((1, 2, 3)) / np.maximum(frames, 1)).tolist()


@dataclasses.dataclass(frozen=True)
class EvaluationSteps:
    """The steps of an evaluation, compiled by a launcher.

    Attributes:
      network: of `make_eval_step`.
      baselines: key -> of `make_baseline_step`.
      given: of `make_given_step`.
    """

    network: EvalStep
    baselines: Mapping[str, EvalStep]
    given: EvalStep

    @classmethod
    def compile(
        cls, launcher: Launcher, model: STLight, scaling: Scaling, parts: Sequence[FrameCount] = (), tile: int = 0
    ) -> EvaluationSteps:
        """Compiles the steps of a network and of all baselines of the list, see `make_eval_step`."""
        baselines = {
            baseline.key: launcher.compile_eval_step(make_baseline_step(baseline.predict, model, scaling, parts))
            for baseline in input_baselines.INPUT_BASELINES
        }
        network, given = make_eval_step(model, scaling, parts, tile), make_given_step(model, scaling, parts)
        return cls(launcher.compile_eval_step(network), baselines, launcher.compile_eval_step(given))


@dataclasses.dataclass(frozen=True)
class BaselineResult:
    """The result of a baseline.

    Attributes:
      sums: of the sequences that it predicts.
      network: of the first model, on the same sequences.
      label: name in tables and charts.
      name: name in sentences.
    """

    sums: MetricSums
    network: MetricSums
    label: str
    name: str


@dataclasses.dataclass(frozen=True)
class Evaluation:
    """Results on one set of sequences.

    Attributes:
      models: name of a checkpoint -> the network with its weights.
      baselines: key of a baseline -> its result.
      best_constant_image_mse: MSE per lead time, see `BestConstantImage`.
      sequence_mse: MSE of each sequence by the first model, float64 `[n]`, NaN where no value is valid.
      sequence_error: the same per valid value.
    """

    models: dict[str, MetricSums]
    baselines: dict[str, BaselineResult]
    best_constant_image_mse: list[float]
    sequence_mse: np.ndarray
    sequence_error: np.ndarray


def evaluate(
    step: EvalStep,
    launcher: Launcher,
    variables: Any,
    source: Sequences,
    batch_size: int,
    title: str,
    abandon: Callable[[], bool] = lambda: False,
) -> MetricSums | None:
    """Evaluates on every sequence once, for any batch size and number of devices.

    Args:
      step: of `make_eval_step`, compiled by `launcher.evaluate`.
      launcher: of the devices.
      variables: {"params", "batch_stats"}, on the launcher's devices.
      source: the sequences.
      batch_size: over all devices.
      title: of the progress bar.
      abandon: called after each batch, equally often in all processes; True, the same in all processes, ends the evaluation.

    Returns:
      The sums; None if abandoned.
    """
    sums: dict[str, MetricSums] = {}
    for _, frames, mask in _batches(source, batch_size, launcher, title):
        scores = launcher.join(step(variables, launcher.split(frames)))
        add_batch(sums, {"network": scores}, mask)
        if abandon():
            return None
    return sums["network"].over_processes(launcher.sum_over_processes)


def evaluate_with_baselines(
    steps: EvaluationSteps,
    launcher: Launcher,
    models: Mapping[str, Any],
    data: EvaluatedFrames,
    batch_size: int,
    baselines: Sequence[Baseline] = (),
) -> Evaluation:
    """Evaluates the network as `evaluate` does, beside baselines that show whether it has learnt anything.

    Args:
      steps: compiled by `launcher`.
      launcher: of the devices.
      models: name of a checkpoint -> variables, on the launcher's devices.
      data: the sequences.
      batch_size: over all devices.
      baselines: further baselines than those of `steps`.

    Returns:
      The results, over all processes.

    Raises:
      InputError: a baseline needs frames that the data set does not keep.
    """
    of_models: dict[str, MetricSums] = {}
    of_baselines: dict[str, MetricSums] = {}
    of_network: dict[str, MetricSums] = {}  # on the sequences of a baseline that does not predict all
    constant, errors = BestConstantImage(), SequenceErrors(len(data.source))
    ignored = next(iter(models.values()))  # variables for steps that ignore them
    for first, frames, mask in _batches(data.source, batch_size, launcher, "evaluating"):
        batch = launcher.split(frames)

        # 1. The network with the weights of each checkpoint.
        scores = {name: launcher.join(steps.network(variables, batch)) for name, variables in models.items()}
        of_first = next(iter(scores.values()))
        add_batch(of_models, scores, mask)
        errors.add(first, of_first, mask)

        # 2. Baselines from the input frames.
        add_batch(of_baselines, {key: launcher.join(step(ignored, batch)) for key, step in steps.baselines.items()}, mask)

        # 3. Baselines from training data and other frames.
        indices = np.minimum(first + np.arange(len(mask)), len(data.source) - 1)
        for baseline in baselines:
            prediction, known = baseline.predict(indices, frames)
            repeated = np.broadcast_to(prediction, (len(mask), data.horizon, *prediction.shape[2:]))
            of_baseline = launcher.join(steps.given(ignored, launcher.split((repeated, frames))))
            predicted = mask if known is None else mask & known
            add_batch(of_baselines, {baseline.key: of_baseline}, predicted)
            if known is not None:
                add_batch(of_network, {baseline.key: of_first}, predicted)
        targets, valid = data.scaling.untransformed.to_network_float64(frames[mask][:, -data.horizon :])
        constant.add(targets[..., : data.out_channels], None if valid is None else valid[..., : data.out_channels])

    for accumulated in (constant, errors):
        accumulated.over_processes(launcher.sum_over_processes)
    for group in (of_models, of_baselines, of_network):
        group.update({name: sums.over_processes(launcher.sum_over_processes) for name, sums in group.items()})
    names = {each.key: (each.label, each.name) for each in input_baselines.INPUT_BASELINES}
    names |= {each.key: (each.label, each.name) for each in baselines}
    first_model = next(iter(of_models.values()))
    return Evaluation(
        of_models,
        {key: BaselineResult(sums, of_network.get(key, first_model), *names[key]) for key, sums in of_baselines.items()},
        best_constant_image_mse=constant.mse_per_lead_time(),
        sequence_mse=errors.mse(),
        sequence_error=errors.per_value(),
    )


def _batches(
    source: Sequences, batch_size: int, launcher: Launcher, title: str
) -> Iterator[tuple[int, np.ndarray, np.ndarray]]:
    """Yields this process's part of each batch: the index of its first sequence, stored frames, and False for fillers."""
    batches = evaluation_batches(source, batch_size, launcher.process_index, launcher.process_count)
    own = launcher.process_index * (batch_size // launcher.process_count)
    for number, (frames, mask) in enumerate(track(batches, title, -(-len(source) // batch_size))):
        yield number * batch_size + own, frames, mask
