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
        if self.total_steps < 1:
            raise InputError(f"the schedule has {self.total_steps} steps; train.epochs must give at least one")

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


def _cosine(start: float, end: float, done: float) -> float:
    return end + (start - end) / 2 * (1 + math.cos(math.pi * done))
