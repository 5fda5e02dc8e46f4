"""Learning rate and Adam's beta1 over a run, evaluated on the host in float64."""

from __future__ import annotations

import dataclasses
import math
from typing import Any, NamedTuple

from stlight_jax.errors import InputError


class Hyperparameters(NamedTuple):
    """What changes from step to step."""

    learning_rate: float
    beta1: float


@dataclasses.dataclass(frozen=True)
class OneCycle:
    """PyTorch's `OneCycleLR`, cosine, two phases, with its cycle of beta1 against the rate.

    The rate climbs from `peak / div_factor` to `peak` at step `rise * total_steps - 1` and falls to
    `peak / div_factor / final_div_factor` at step `total_steps - 1`; both ends of a phase may lie between steps. optax's
    `cosine_onecycle_schedule` rounds them, ends a step later and leaves beta1 alone.

    Attributes:
      total_steps: optimizer steps in the run.
      peak: highest learning rate.
      rise: part of the run spent climbing, in (0, 1).
      div_factor, final_div_factor: see above.
      beta1_low, beta1_high: beta1 at the peak and at both ends.
    """

    total_steps: int
    peak: float
    rise: float = 0.3
    div_factor: float = 25.0
    final_div_factor: float = 1e4
    beta1_low: float = 0.85
    beta1_high: float = 0.95

    @classmethod
    def of(cls, optimizer: Any, total_steps: int) -> OneCycle:
        """From the keys of a config's `optimizer` section."""
        return cls(
            total_steps,
            optimizer.learning_rate,
            optimizer.rise,
            optimizer.div_factor,
            optimizer.final_div_factor,
            optimizer.beta1_low,
            optimizer.beta1_high,
        )

    def __post_init__(self) -> None:
        if not 0 < self.rise < 1:
            raise InputError(f"optimizer.rise is {self.rise}; it must lie between 0 and 1")
        _check_steps(self.total_steps)

    def __call__(self, step: int) -> Hyperparameters:
        """At `step`, from 0 to `total_steps - 1`."""
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
    """timm's `CosineLRScheduler` with a linear warm-up, as OpenSTL uses it; beta1 stays as it is.

    The rate is constant within an epoch. Over the first `warmup_epochs` it climbs in a line from `warmup_start` towards `peak`,
    then follows the cosine that fell from `peak` at epoch 0 to `least` at epoch `epochs`: the warm-up replaces its
    beginning and does not delay it, so that the rate never reaches `peak` if there is one.

    Attributes:
      steps_per_epoch: optimizer steps in an epoch.
      epochs: in the run.
      peak, least: see above.
      warmup_epochs: 0 for no warm-up.
      warmup_start: learning rate of the first epoch of the warm-up.
      beta1: Adam's.
    """

    steps_per_epoch: int
    epochs: int
    peak: float
    least: float = 1e-6
    warmup_epochs: int = 5
    warmup_start: float = 1e-5
    beta1: float = 0.9

    @classmethod
    def of(cls, optimizer: Any, steps_per_epoch: int, epochs: int) -> Cosine:
        """From the keys of a config's `optimizer` section."""
        return cls(
            steps_per_epoch,
            epochs,
            optimizer.learning_rate,
            optimizer.least_learning_rate,
            optimizer.warmup_epochs,
            optimizer.warmup_start,
            optimizer.beta1,
        )

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
        """At `step`, from 0 to `steps_per_epoch * epochs - 1`."""
        epoch = step // self.steps_per_epoch
        if epoch < self.warmup_epochs:
            climbed = epoch * (self.peak - self.warmup_start) / self.warmup_epochs
            return Hyperparameters(self.warmup_start + climbed, self.beta1)
        return Hyperparameters(_cosine(self.peak, self.least, epoch / self.epochs), self.beta1)


def make_schedule(optimizer: Any, steps_per_epoch: int, epochs: int, batch_size: int = 0) -> OneCycle | Cosine:
    """The schedule that a config's `optimizer` section asks for.

    `optimizer.schedule` is "onecycle" (keys learning_rate, rise, div_factor, final_div_factor, beta1_low, beta1_high) or
    "cosine" (learning_rate, least_learning_rate, warmup_epochs, warmup_start, beta1). With `optimizer.batch_scaling` "linear"
    or "sqrt" the peak is that of batches of `optimizer.reference_batch_size`, and grows with `batch_size` over it, or its root.

    Raises InputError for another schedule, or one that is impossible, naming the key.
    """
    # The configs in checkpoints from before there was a choice lack the key.
    schedule = optimizer.get("schedule", "onecycle")
    factor = _batch_factor(optimizer, batch_size)
    if schedule == "onecycle":
        made = OneCycle.of(optimizer, steps_per_epoch * epochs)
    elif schedule == "cosine":
        made = Cosine.of(optimizer, steps_per_epoch, epochs)
    else:
        raise InputError(f"optimizer.schedule is {schedule!r}; choose one of onecycle, cosine")
    return dataclasses.replace(made, peak=made.peak * factor)


def _batch_factor(optimizer: Any, batch_size: int) -> float:
    rule = optimizer.get("batch_scaling", "none")
    if rule == "none":
        return 1.0
    if rule not in ("linear", "sqrt"):
        raise InputError(f"optimizer.batch_scaling is {rule!r}; choose one of none, linear, sqrt")
    return (batch_size / optimizer.reference_batch_size) ** (1.0 if rule == "linear" else 0.5)


def _check_steps(total: int) -> None:
    if total < 1:
        raise InputError(f"the schedule has {total} steps; train.epochs must give at least one")


def _cosine(start: float, end: float, done: float) -> float:
    return end + (start - end) / 2 * (1 + math.cos(math.pi * done))
