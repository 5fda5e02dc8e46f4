"""The evaluation of a network on a set of sequences, streaming, alone or beside baselines.

Two baselines need more than the input frames: all target frames, or frames from before the input.
"""

from __future__ import annotations

import dataclasses
import operator
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import numpy as np

from stlight_jax.console.progress import track
from stlight_jax.data.pipeline import evaluation_batches
from stlight_jax.data.scaling import Scaling
from stlight_jax.data.sequences import Sequences
from stlight_jax.errors import InputError
from stlight_jax.evaluation.eval_steps import EvalStep, make_baseline_step, make_eval_step, make_given_step
from stlight_jax.metrics import input_baselines
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


class CycleBaseline:
    """The frames of the same phase of the last day, week or other cycle as a prediction.

    Args:
      source: the sequences to predict.
      steps: length of the cycle, in sampling steps.
      horizon: frames to predict.
      frame_step: sampling steps between two frames of a sequence.

    Raises:
      InputError: the cycle is shorter than the horizon.
    """

    def __init__(self, source: Sequences, steps: int, horizon: int, frame_step: int) -> None:
        self.steps = steps
        self._source, self._horizon = source, horizon
        ahead = horizon * frame_step
        if steps < ahead:
            raise InputError(f"evaluation.cycle is {steps}, less than the {ahead} steps to predict: it would look ahead")

    def frames(self, indices: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Reads the stored frames one cycle before the targets of some sequences.

        Args:
          indices: of the sequences, `[b]`.

        Returns:
          Frames `[b, horizon, h, w, c]`, and bool `[b]`: whether they are known.

        Raises:
          InputError: the data set keeps no frames from before its sequences.
        """
        past = self._source.frames_before(indices, self.steps, self._horizon)
        if past is None:
            name = self._source.description["name"]
            raise InputError(f"evaluation.cycle is {self.steps}, but {name} has no past; set it to 0")
        return past


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
            for baseline in input_baselines.INPUT_BASELINES
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
    sums: dict[str, MetricSums] = {}
    for _, frames, mask in _batches(source, batch_size, launcher, title):
        scores = launcher.join(step(variables, launcher.split(frames)))
        add_batch(sums, {"network": scores}, mask)
        if abandon():
            return None
    return sums["network"].over_processes(launcher.sum_over_processes)


def evaluate_with_baselines(
    steps: EvaluationSteps, launcher: Launcher, models: Mapping[str, Any], data: EvaluationData
) -> Evaluation:
    """Evaluates the network as `evaluate` does, beside baselines that show whether it has learnt anything.

    Args:
      steps: compiled by `launcher`.
      launcher: of the devices.
      models: name of a checkpoint -> variables, on the launcher's devices.
      data: the sequences.

    Returns:
      The results, over all processes.

    Raises:
      InputError: the cycle is shorter than the horizon, or the data set keeps no past.
    """
    horizon = data.source.shape[0] - data.in_frames
    cycle = CycleBaseline(data.source, data.cycle, horizon, data.frame_step) if data.cycle else None
    of_models: dict[str, MetricSums] = {}
    of_baselines: dict[str, MetricSums] = {}
    of_cycle: dict[str, MetricSums] = {}
    constant, errors = BestConstantImage(), SequenceErrors(len(data.source))
    ignored = next(iter(models.values()))  # variables for steps that ignore them
    for first, frames, mask in _batches(data.source, data.batch_size, launcher, "evaluating"):
        batch = launcher.split(frames)

        # 1. The network with the weights of each checkpoint.
        scores = {name: launcher.join(steps.network(variables, batch)) for name, variables in models.items()}
        of_first = next(iter(scores.values()))
        add_batch(of_models, scores, mask)
        errors.add(first, of_first, mask)

        # 2. Baselines from the input frames.
        add_batch(of_baselines, {key: launcher.join(step(ignored, batch)) for key, step in steps.baselines.items()}, mask)

        # 3. Baselines from other frames.
        if cycle is not None:
            past, known = cycle.frames(np.minimum(first + np.arange(len(mask)), len(data.source) - 1))
            of_past = launcher.join(steps.given(ignored, launcher.split((past, frames))))
            add_batch(of_cycle, {"baseline": of_past, "model": of_first}, mask & known)
        targets, valid = data.scaling.to_network_float64(frames[mask][:, data.in_frames :])
        constant.add(targets[..., : data.out_channels], None if valid is None else valid[..., : data.out_channels])

    for accumulated in (constant, errors):
        accumulated.over_processes(launcher.sum_over_processes)
    for group in (of_models, of_baselines, of_cycle):
        group.update({name: sums.over_processes(launcher.sum_over_processes) for name, sums in group.items()})
    return Evaluation(
        of_models,
        of_baselines,
        best_constant_image_mse=constant.mse_per_lead_time(),
        sequence_mse=errors.mse(),
        sequence_error=errors.per_value(),
        cycle=None if cycle is None else Cycle(cycle.steps, **of_cycle),
    )


def _batches(
    source: Sequences, batch_size: int, launcher: Launcher, title: str
) -> Iterator[tuple[int, np.ndarray, np.ndarray]]:
    """Yields this process's part of each batch: the index of its first sequence, stored frames, and False for fillers."""
    batches = evaluation_batches(source, batch_size, launcher.process_index, launcher.process_count)
    own = launcher.process_index * (batch_size // launcher.process_count)
    for number, (frames, mask) in enumerate(track(batches, title, -(-len(source) // batch_size))):
        yield number * batch_size + own, frames, mask
