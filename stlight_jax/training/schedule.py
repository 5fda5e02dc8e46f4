"""Schedules of the learning rate and of Adam's beta1, evaluated on the host in float64."""

from __future__ import annotations

import dataclasses
import math
from typing import NamedTuple

import jax
import numpy as np

from stlight_jax.config.sections import OptimizerSection
from stlight_jax.errors import InputError


class Hyperparameters(NamedTuple):
    """Hyperparameters of one step.

    Attributes:
      learning_rate: Learning rate of the optimizer.
      beta1: Adam's decay rate of the first moment.
    """

    learning_rate: float | np.float32 | jax.Array
    beta1: float | np.float32 | jax.Array


@dataclasses.dataclass(frozen=True)
class OneCycle:
    """PyTorch's `OneCycleLR` with two cosine phases and its opposite cycle of beta1.

    The learning rate rises from `peak / div_factor` to `peak` at step `rise * total_steps - 1` and falls to
    `peak / div_factor / final_div_factor` at step `total_steps - 1`; the ends of a phase may lie between steps. optax's
    `cosine_onecycle_schedule` rounds them, ends one step later and does not change beta1.

    Attributes:
      total_steps: Optimizer steps of the run.
      peak: Highest learning rate.
      rise: Part of the run in which the learning rate rises, in (0, 1).
      div_factor: Ratio of `peak` to the first learning rate.
      final_div_factor: Ratio of the first learning rate to the last one.
      beta1_low: Value of beta1 at the peak.
      beta1_high: Value of beta1 at both ends.

    Raises:
      InputError: `rise` or `total_steps` is out of range.
    """

    total_steps: int
    peak: float
    rise: float = 0.3
    div_factor: float = 25.0
    final_div_factor: float = 1e4
    beta1_low: float = 0.85
    beta1_high: float = 0.95

    @classmethod
    def from_config(cls, optimizer: OptimizerSection, total_steps: int) -> OneCycle:
        """Makes the schedule that a config's section `optimizer` describes."""
        names = ("rise", "div_factor", "final_div_factor", "beta1_low", "beta1_high")
        return cls(total_steps, optimizer.learning_rate, **{name: getattr(optimizer, name) for name in names})

    def __post_init__(self) -> None:
        if not 0 < self.rise < 1:
            raise InputError(f"optimizer.rise is {self.rise}; it must lie between 0 and 1")
        _check_steps(self.total_steps)

    def __call__(self, step: int) -> Hyperparameters:
        """Returns the hyperparameters of `step`, from 0 to `total_steps - 1`."""
        turn, end = self.rise * self.total_steps - 1, self.total_steps - 1
        low = self.peak / self.div_factor
        if step <= turn or end <= turn:
            done = step / turn if turn > 0 else 1.0
            return Hyperparameters(_cosine(low, self.peak, done), _cosine(self.beta1_high, self.beta1_low, done))
        done = (step - turn) / (end - turn)
        return Hyperparameters(
            _cosine(self.peak, low / self.final_div_factor, done), _cosine(self.beta1_low, self.beta1_high, done)
        )


@dataclasses.dataclass(frozen=True)
class Cosine:
    """timm's `CosineLRScheduler` with a linear warm-up, as OpenSTL uses it; beta1 is constant.

    The learning rate is constant within an epoch. Over the first `warmup_epochs` it rises linearly from `warmup_start` towards
    `peak`, then follows the cosine that falls from `peak` at epoch 0 to `least` at epoch `epochs`: the warm-up replaces the
    beginning of the cosine and does not delay it, so that a schedule with a warm-up never reaches `peak`.

    Attributes:
      steps_per_epoch: Optimizer steps of an epoch.
      epochs: Epochs of the run.
      peak: Learning rate at the beginning of the cosine.
      least: Learning rate at its end.
      warmup_epochs: Length of the warm-up; 0 for none.
      warmup_start: Learning rate of the first epoch of the warm-up.
      beta1: Adam's decay rate of the first moment.

    Raises:
      InputError: The warm-up or a learning rate is out of range.
    """

    steps_per_epoch: int
    epochs: int
    peak: float
    least: float = 1e-6
    warmup_epochs: int = 5
    warmup_start: float = 1e-5
    beta1: float = 0.9

    def __post_init__(self) -> None:
        _check_steps(self.steps_per_epoch * self.epochs)
        if not 0 <= self.warmup_epochs < self.epochs:
            raise InputError(
                f"optimizer.warmup_epochs is {self.warmup_epochs}; it must be at least 0 and less than train.epochs, "
                f"{self.epochs}: shorten the warm-up or train for longer"
            )
        for key, value in (("warmup_start", self.warmup_start), ("least_learning_rate", self.least)):
            if not 0 <= value <= self.peak:
                raise InputError(
                    f"optimizer.{key} is {value}; it must be at least 0 and at most optimizer.learning_rate, {self.peak}"
                )

    def __call__(self, step: int) -> Hyperparameters:
        """Returns the hyperparameters of `step`, from 0 to `steps_per_epoch * epochs - 1`."""
        epoch = step // self.steps_per_epoch
        if epoch < self.warmup_epochs:
            risen = epoch * (self.peak - self.warmup_start) / self.warmup_epochs
            return Hyperparameters(self.warmup_start + risen, self.beta1)
        return Hyperparameters(_cosine(self.peak, self.least, epoch / self.epochs), self.beta1)


def make_schedule(
    optimizer: OptimizerSection, total_steps: int, steps_per_epoch: int, batch_size: int = 0
) -> OneCycle | Cosine:
    """Makes the schedule that a config's section `optimizer` describes.

    `optimizer.schedule` is "onecycle" (keys learning_rate, rise, div_factor, final_div_factor, beta1_low, beta1_high) or
    "cosine" (learning_rate, least_learning_rate, warmup_epochs, warmup_start, beta1). With `optimizer.batch_scaling` "linear"
    or "sqrt", `learning_rate` holds for batches of `optimizer.reference_batch_size` and is multiplied by the ratio of
    `batch_size` to it, or by the square root of the ratio.

    Args:
      optimizer: The config's section `optimizer`.
      total_steps: Optimizer steps of the run.
      steps_per_epoch: Optimizer steps of an epoch; the cosine's last epoch may be cut short.
      batch_size: Sequences per step, over all processes.

    Returns:
      A function of the step number, from 0.

    Raises:
      InputError: A key of the section is impossible for a run of this length.
    """
    schedule: OneCycle | Cosine
    if optimizer.schedule == "onecycle":
        schedule = OneCycle.from_config(optimizer, total_steps)
    else:
        rates = optimizer.learning_rate, optimizer.least_learning_rate
        warmup = optimizer.warmup_epochs, optimizer.warmup_start
        schedule = Cosine(steps_per_epoch, -(-total_steps // steps_per_epoch), *rates, *warmup, optimizer.beta1)
    exponent = {"none": 0.0, "linear": 1.0, "sqrt": 0.5}[optimizer.batch_scaling]
    return dataclasses.replace(schedule, peak=schedule.peak * (batch_size / optimizer.reference_batch_size) ** exponent)


def _check_steps(total: int) -> None:
    if total < 1:
        raise InputError(f"the schedule has {total} steps; expected at least 1; increase train.epochs or train.steps")


def _cosine(start: float, end: float, done: float) -> float:
    return end + (start - end) / 2 * (1 + math.cos(math.pi * done))
