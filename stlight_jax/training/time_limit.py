"""The length of a run from the wall time that it may take."""

import time
from typing import TYPE_CHECKING, Any, NamedTuple

import jax

from stlight_jax.console.messages import print_message
from stlight_jax.data.sequences import EvenlySpaced
from stlight_jax.errors import InputError
from stlight_jax.evaluation.evaluator import evaluate
from stlight_jax.parallel import agreement
from stlight_jax.training.schedule import Hyperparameters
from stlight_jax.training.state import TrainState

if TYPE_CHECKING:
    from stlight_jax.training.setup import TrainingSetup

_MEASURED_STEPS = 20
_MEASURED_BATCHES = 3  # of validation
_SPARED = 0.04  # of the time, for steps that take longer than the first ones
_SECONDS_PER_CHECKPOINT = 0.2
_MOST_FOR_VALIDATION = 0.25  # of the time
_VALIDATIONS = range(2, 21)  # numbers of validations to choose from
# Over the training data. More passes fit the noise of few data: on a night of radar, 40 windows, the test MSE of flow and
# network was 6.0 and 6.2 after 320 and 300 passes (two seeds), 6.8 after 800 (flow alone: 6.3).
_MOST_PASSES = 300


class Length(NamedTuple):
    """The length of a run.

    Attributes:
      steps: Optimizer steps.
      checkpoint_every: Steps between validations.
    """

    steps: int
    checkpoint_every: int


def length_within(setup: "TrainingSetup", deadline: float) -> Length:
    """Measures steps and validations, which also compiles them, and computes how many steps end at a time or earlier.

    The first process decides for all.

    Args:
      setup: The run. Its `train.checkpoint_every` is kept if it is not 0.
      deadline: End of the run, in seconds of `time.monotonic`.

    Raises:
      InputError: The time is too short for one step.
    """
    print_message(f"measuring {_MEASURED_STEPS} steps ...")
    trial = setup.launcher.replicate(setup.fresh_state())
    trial = jax.block_until_ready(setup.with_own_statistics(trial))  # compiles
    begun = time.monotonic()
    trial = jax.block_until_ready(setup.with_own_statistics(trial))
    seconds_per_validation = time.monotonic() - begun + _SECONDS_PER_CHECKPOINT
    seconds_per_validation += _seconds_per_validation(setup, trial.variables)
    measured = [_seconds_per_step(setup, trial), seconds_per_validation]  # the steps take over the state's memory
    per_step, per_validation = agreement.broadcast_from_first(measured)
    left = agreement.broadcast_from_first((deadline - time.monotonic()) * (1 - _SPARED))
    most = -(-_MOST_PASSES * len(setup.training) // setup.config.train.batch_size)
    every = setup.config.train.checkpoint_every
    if every:
        steps = min(int((left - per_validation) / (per_step + per_validation / every)), most)
    else:
        number = int(_MOST_FOR_VALIDATION * left / per_validation)
        number = min(max(number, _VALIDATIONS[0]), _VALIDATIONS[-1])
        steps = min(int((left - (number + 1) * per_validation) / per_step), most)
        every = max(1, -(-steps // number))
    if steps < 1:
        least = _MEASURED_STEPS * per_step + (_VALIDATIONS[0] + 1) * per_validation - left  # seconds that a useful run lacks
        raise InputError(
            f"--minutes leaves {max(left, 0):.0f} s for training, but a step takes {per_step:.2f} s and a validation "
            f"{per_validation:.1f} s; give at least {max(least / 60, 0.1):.1f} minutes more, a smaller network or a smaller "
            "data.validation_fraction"
        )
    passes = f", {_MOST_PASSES} passes over the training data" if steps == most else ""
    print_message(f"{_duration(per_step)} per step, {per_validation:.1f} s per validation: train.steps={steps}{passes}")
    return Length(steps, every)


def _seconds_per_step(setup: "TrainingSetup", state: TrainState) -> float:
    rates = Hyperparameters(0.0, 0.9)
    begun = 0.0
    for number, batch in enumerate(setup.batches(0, _MEASURED_STEPS + 1)):
        state, metrics = setup.train_step(state, batch, rates)
        if number == 0:  # compilation
            jax.block_until_ready(metrics)
            begun = time.monotonic()
    jax.block_until_ready(state)
    return (time.monotonic() - begun) / _MEASURED_STEPS


def _seconds_per_validation(setup: "TrainingSetup", variables: Any) -> float:
    batch_size = setup.launcher.round_up_batch_size(setup.config.evaluation.batch_size)
    begun = 0.0
    for sequences in (batch_size, _MEASURED_BATCHES * batch_size):  # the first time, it is compiled
        begun = time.monotonic()
        sample = EvenlySpaced(setup.validation, sequences)
        evaluate(setup.eval_step, setup.launcher, variables, sample, batch_size, "measuring validation")
    batches = -(-len(sample) // batch_size)
    return (time.monotonic() - begun) / batches * -(-len(setup.validation) // batch_size)


def _duration(seconds: float) -> str:
    return f"{seconds:.3g} s" if seconds >= 1 else f"{1e3 * seconds:.3g} ms"
