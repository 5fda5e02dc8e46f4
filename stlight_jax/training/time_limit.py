"""The length of a run from the wall time that it may take."""

import math
import time
from typing import TYPE_CHECKING, Any, NamedTuple

import jax
import numpy as np

from stlight_jax.console.messages import print_message
from stlight_jax.data.sequences import EvenlySpaced
from stlight_jax.errors import InputError
from stlight_jax.evaluation.evaluator import evaluate
from stlight_jax.parallel import agreement
from stlight_jax.training.schedule import Hyperparameters
from stlight_jax.training.state import TrainState

if TYPE_CHECKING:
    from stlight_jax.training.setup import TrainingSetup

FEW_STEPS = 100  # in which a network hardly learns
_FIRST_STEPS, _MOST_STEPS = 5, 200  # that are measured
_MEASURED = 0.03  # of the time, for steps after the first ones: a busy machine is not equally slow at each of them
_MEASURED_BATCHES = 3  # of validation
_SPARED = 0.04  # of the time, for steps that take longer than the first ones
_SECONDS_PER_CHECKPOINT = 0.2
# Part of the time for validations, step 0 included, and for the few without which no best checkpoint can be chosen.
_FOR_VALIDATION, _MOST_FOR_VALIDATION = 0.12, 0.4
_FEW_VALIDATIONS, _MOST_VALIDATIONS = 5, 20
_LATE = 1.2  # times the time that is asked for
# Over the training data. More passes fit the noise of few data: on a night of radar, 40 windows, the test MSE of flow and
# network was 6.0 and 6.2 after 320 and 300 passes (two seeds), 6.8 after 800 (flow alone: 6.3).
_MOST_PASSES = 300


class Length(NamedTuple):
    """The length of a run.

    Attributes:
      steps: Optimizer steps; 0 if the time is too short for any.
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

    Returns:
      The length; of 0 steps, with a message, if the time is too short for one and the network has a shortcut or given weights.

    Raises:
      InputError: The time is too short for one step, and a network with neither predicts nothing before it.
    """
    every = setup.config.train.checkpoint_every
    left = _seconds_until(deadline)
    if left <= 0:
        return _too_short(setup, "no time for training", 60 - left)
    print_message("measuring steps and a validation ...")
    trial = setup.launcher.replicate(setup.fresh_state())
    trial = jax.block_until_ready(setup.with_own_statistics(trial))  # compiles
    begun = time.monotonic()
    trial = jax.block_until_ready(setup.with_own_statistics(trial))
    seconds_per_validation = time.monotonic() - begun + _SECONDS_PER_CHECKPOINT
    seconds_per_validation += _seconds_per_validation(setup, trial.variables)
    measured = [_seconds_per_step(setup, trial, left), seconds_per_validation]  # the steps take over the state's memory
    per_step, per_validation = agreement.broadcast_from_first(measured)
    left = _seconds_until(deadline)
    most = -(-_MOST_PASSES * len(setup.training) // setup.config.train.batch_size)
    if every:
        steps = min(int((left - per_validation) / (per_step + per_validation / every)), most)
    else:
        number, few = (int(part * left / per_validation) - 1 for part in (_FOR_VALIDATION, _MOST_FOR_VALIDATION))
        number = max(1, min(max(number, min(few, _FEW_VALIDATIONS)), _MOST_VALIDATIONS))
        steps = min(int((left - (number + 1) * per_validation) / per_step), most)
        every = max(1, -(-steps // number))
    if steps < 1:
        lacking = FEW_STEPS * per_step + (_FEW_VALIDATIONS + 1) * per_validation - left
        needs = f"{max(left, 0):.0f} s for training, but a step takes {per_step:.2g} s and a validation {per_validation:.2g} s"
        return _too_short(setup, needs, lacking)
    passes = f", {_MOST_PASSES} passes over the training data" if steps == most else ""
    print_message(f"{_duration(per_step)} per step, {per_validation:.1f} s per validation: train.steps={steps}{passes}")
    return Length(steps, every)


class LateEnd:
    """Prints a message, once, if a run will end much later than its user has asked for.

    Args:
      deadline: When the run shall end, in seconds of `time.monotonic`; None if it has no limit.
    """

    def __init__(self, deadline: float | None):
        now = time.monotonic()
        self._deadline = math.inf if deadline is None else deadline
        self._latest = math.inf if deadline is None else now + _LATE * (deadline - now)

    def check(self, seconds_left: float) -> None:
        """Compares the expected end of the run with the latest one.

        Args:
          seconds_left: Expected seconds until the end.
        """
        end = time.monotonic() + seconds_left
        if end > self._latest:
            self._latest = math.inf
            print_message(
                f"the steps take longer than the measured ones: the run will end in {seconds_left / 60:.1f} minutes, "
                f"{(end - self._deadline) / 60:.1f} later than --minutes asks for; Ctrl-C saves and stops it"
            )


def _seconds_until(deadline: float) -> float:
    """Returns the seconds that are left for steps and validations, by the first process's clock."""
    return agreement.broadcast_from_first((deadline - time.monotonic()) * (1 - _SPARED))


def _too_short(setup: "TrainingSetup", found: str, lacking: float) -> Length:
    """Ends a run before its first step.

    Args:
      setup: The run.
      found: What the time leaves.
      lacking: Seconds that a useful run lacks.
    """
    minutes = max(math.ceil(lacking / 6), 1) / 10
    advice = f"give at least {minutes:.1f} minutes more, a smaller network or a smaller data.validation_fraction"
    init_from = setup.config.train.init_from
    if setup.config.model.shortcut == "none" and not init_from:
        raise InputError(f"--minutes leaves {found}; {advice}")
    saved = "the weights of train.init_from are" if init_from else "the shortcut alone is"
    print_message(f"--minutes leaves {found}: nothing is trained, and {saved} saved; {advice}")
    return Length(0, setup.config.train.checkpoint_every)


def _seconds_per_step(setup: "TrainingSetup", state: TrainState, left: float) -> float:
    """Measures a few steps, and then as many as a small part of the time permits.

    Args:
      setup: The run.
      state: On all devices; the steps take over its memory.
      left: Seconds until the end of the run.
    """
    state, seconds = _timed_steps(setup, state, _FIRST_STEPS)
    steps = agreement.broadcast_from_first(min(int(_MEASURED * left * _FIRST_STEPS / seconds), _MOST_STEPS))
    if steps > _FIRST_STEPS:
        seconds += _timed_steps(setup, state, steps)[1]
        return seconds / (_FIRST_STEPS + steps)
    return seconds / _FIRST_STEPS


def _timed_steps(setup: "TrainingSetup", state: TrainState, steps: int) -> tuple[TrainState, float]:
    """Returns the state after some steps and one before them, which compiles and is not timed, and the seconds they took."""
    rates = Hyperparameters(np.float32(0), np.float32(0.9))  # of the types of the run, which need not compile again then
    begun = 0.0
    for number, batch in enumerate(setup.batches(0, steps + 1)):
        state, metrics = setup.train_step(state, batch, rates)
        if number == 0:
            jax.block_until_ready(metrics)
            begun = time.monotonic()
    jax.block_until_ready(state)
    return state, time.monotonic() - begun


def _seconds_per_validation(setup: "TrainingSetup", variables: Any) -> float:
    batch_size = setup.launcher.round_up_batch_size(setup.config.evaluation.batch_size)
    begun = 0.0
    for sequences in (batch_size, _MEASURED_BATCHES * batch_size):  # the first time, it is compiled
        begun = time.monotonic()
        sample = EvenlySpaced(setup.validation, sequences)
        evaluate(setup.eval_step, setup.launcher, variables, sample, batch_size, "measuring validation")
    batches = -(-len(sample) // batch_size)
    per_share = (time.monotonic() - begun) / batches * -(-len(setup.validation) // batch_size)
    return len(setup.shares) * per_share


def _duration(seconds: float) -> str:
    return f"{seconds:.3g} s" if seconds >= 1 else f"{1e3 * seconds:.3g} ms"
