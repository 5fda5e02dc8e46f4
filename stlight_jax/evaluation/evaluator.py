"""The evaluation of a network on a set of sequences, streaming, alone or beside baselines."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import numpy as np

from stlight_jax.console.progress import track
from stlight_jax.data.pipeline import evaluation_batches
from stlight_jax.data.scaling import Scaling
from stlight_jax.data.sequences import Sequences
from stlight_jax.evaluation.data_baselines import BestConstantImage, CycleBaseline
from stlight_jax.evaluation.eval_steps import EvalStep, make_baseline_step, make_eval_step, make_given_step
from stlight_jax.metrics.input_baselines import INPUT_BASELINES
from stlight_jax.metrics.metric_sums import MetricSums, SequenceErrors
from stlight_jax.model.stlight import STLight
from stlight_jax.parallel.launchers import Launcher


@dataclasses.dataclass(frozen=True)
class EvaluationData:
    """The sequences to evaluate on, and how they are read.

    Attributes:
      source: the sequences.
      scaling: from stored values to the network's range.
      in_frames: T.
      out_channels: the number of predicted channels, the first ones.
      batch_size: over all devices.
      cycle: sampling steps from a frame to the one of the same phase, a cycle later; 0 for none.
      frame_step: sampling steps between two frames of a sequence.
    """

    source: Sequences
    scaling: Scaling
    in_frames: int
    out_channels: int
    batch_size: int
    cycle: int = 0
    frame_step: int = 1


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
    def compile(cls, launcher: Launcher, model: STLight, scaling: Scaling) -> EvaluationSteps:
        """Compiles the steps of a network and of all baselines of the list."""
        baselines = {
            baseline.key: launcher.compile_eval_step(make_baseline_step(baseline.predict, model, scaling))
            for baseline in INPUT_BASELINES
        }
        network, given = make_eval_step(model, scaling), make_given_step(model, scaling)
        return cls(launcher.compile_eval_step(network), baselines, launcher.compile_eval_step(given))


@dataclasses.dataclass(frozen=True)
class Cycle:
    """The result of a `CycleBaseline`.

    Attributes:
      steps: length of the cycle, in sampling steps.
      baseline: of the sequences whose past is known.
      model: of the network, on the same sequences.
    """

    steps: int
    baseline: MetricSums
    model: MetricSums


@dataclasses.dataclass(frozen=True)
class Evaluation:
    """Results on one set of sequences.

    Attributes:
      models: name of a checkpoint -> the network with its weights.
      baselines: key of a baseline -> its sums.
      best_constant_image_mse: MSE per lead time, see `BestConstantImage`.
      sequence_mse: MSE of each sequence by the first model, float64 `[n]`, NaN where no value is valid.
      sequence_error: the same per valid value.
      cycle: None unless it was asked for.
    """

    models: dict[str, MetricSums]
    baselines: dict[str, MetricSums]
    best_constant_image_mse: list[float]
    sequence_mse: np.ndarray
    sequence_error: np.ndarray
    cycle: Cycle | None = None


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
    sums = _SumsByName()
    for batch in _batches(source, batch_size, launcher, title):
        sums.add("network", launcher.join(step(variables, launcher.split(batch.frames))), batch.mask)
        if abandon():
            return None
    return sums.over_processes(launcher)["network"]


def evaluate_with_baselines(
    steps: EvaluationSteps, launcher: Launcher, models: Mapping[str, Any], data: EvaluationData, title: str
) -> Evaluation:
    """Evaluates the network as `evaluate` does, beside baselines that show whether it has learnt anything.

    Args:
      steps: compiled by `launcher`.
      launcher: of the devices.
      models: name of a checkpoint -> variables, on the launcher's devices.
      data: the sequences.
      title: of the progress bar.

    Returns:
      The results, over all processes.

    Raises:
      InputError: the cycle is shorter than the horizon, or the data set keeps no past.
    """
    accumulator = _Accumulator(steps, launcher, models, data)
    for batch in _batches(data.source, data.batch_size, launcher, title):
        accumulator.add(batch)
    return accumulator.evaluation()


@dataclasses.dataclass(frozen=True)
class _Batch:
    """This process's part of a batch.

    Attributes:
      first: index of its first sequence.
      frames: stored, `[b, T + horizon, h, w, c]`.
      mask: bool `[b]`, False for fillers.
    """

    first: int
    frames: np.ndarray
    mask: np.ndarray


def _batches(source: Sequences, batch_size: int, launcher: Launcher, title: str) -> Iterator[_Batch]:
    batches = evaluation_batches(source, batch_size, launcher.process_index, launcher.process_count)
    own = launcher.process_index * (batch_size // launcher.process_count)
    for number, (frames, mask) in enumerate(track(batches, title, -(-len(source) // batch_size))):
        yield _Batch(number * batch_size + own, frames, mask)


class _SumsByName(dict[str, MetricSums]):
    """Name -> the sums of all its batches."""

    def add(self, name: str, scores: Mapping[str, Any], mask: np.ndarray) -> None:
        sums = MetricSums.from_batch(scores, mask)
        self[name] = self[name] + sums if name in self else sums

    def over_processes(self, launcher: Launcher) -> dict[str, MetricSums]:
        return {name: sums.over_processes(launcher.sum_over_processes) for name, sums in self.items()}


class _Accumulator:
    """The sums of an evaluation with baselines, batch by batch."""

    def __init__(self, steps: EvaluationSteps, launcher: Launcher, models: Mapping[str, Any], data: EvaluationData) -> None:
        self._steps, self._launcher, self._models, self._data = steps, launcher, models, data
        horizon = data.source.shape[0] - data.in_frames
        self._cycle = CycleBaseline(data.source, data.cycle, horizon, data.frame_step) if data.cycle else None
        self._of_models, self._of_baselines, self._of_cycle = _SumsByName(), _SumsByName(), _SumsByName()
        self._constant, self._errors = BestConstantImage(), SequenceErrors(len(data.source))
        self._unused = next(iter(models.values()))  # variables for steps that ignore them

    def add(self, batch: _Batch) -> None:
        """Scores a batch with all models and baselines."""
        split, join = self._launcher.split, self._launcher.join
        frames = split(batch.frames)

        # The network with the weights of each checkpoint.
        scores = {name: join(self._steps.network(variables, frames)) for name, variables in self._models.items()}
        for name, of_model in scores.items():
            self._of_models.add(name, of_model, batch.mask)
        of_first = next(iter(scores.values()))
        self._errors.add(batch.first, of_first, batch.mask)

        # Baselines from the input frames.
        for key, step in self._steps.baselines.items():
            self._of_baselines.add(key, join(step(self._unused, frames)), batch.mask)

        # Baselines from other frames.
        if self._cycle is not None:
            indices = np.minimum(batch.first + np.arange(len(batch.mask)), len(self._data.source) - 1)
            past, known = self._cycle.frames(indices)
            of_past = join(self._steps.given(self._unused, split((past, batch.frames))))
            self._of_cycle.add("baseline", of_past, batch.mask & known)
            self._of_cycle.add("model", of_first, batch.mask & known)
        targets, valid = self._data.scaling.to_network_float64(batch.frames[batch.mask][:, self._data.in_frames :])
        channels = self._data.out_channels
        self._constant.add(targets[..., :channels], None if valid is None else valid[..., :channels])

    def evaluation(self) -> Evaluation:
        """The results, over all processes."""
        cycle = self._of_cycle.over_processes(self._launcher)
        for accumulated in (self._constant, self._errors):
            accumulated.over_processes(self._launcher.sum_over_processes)
        return Evaluation(
            models=self._of_models.over_processes(self._launcher),
            baselines=self._of_baselines.over_processes(self._launcher),
            best_constant_image_mse=self._constant.mse_per_lead_time(),
            sequence_mse=self._errors.mse(),
            sequence_error=self._errors.per_value(),
            cycle=None if self._cycle is None else Cycle(self._cycle.steps, **cycle),
        )
