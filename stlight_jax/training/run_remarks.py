"""Remarks on a run: on its length at its start, on its best checkpoint at its end."""

import numpy as np

from stlight_jax.console.messages import print_message
from stlight_jax.metrics.pixel_errors import MSE
from stlight_jax.model.context import horizon_of
from stlight_jax.runs import checkpoint
from stlight_jax.runs.metrics_log import read_metrics
from stlight_jax.runs.workdir import Workdir
from stlight_jax.training.setup import TrainingSetup
from stlight_jax.training.time_limit import FEW_STEPS

_FEW_VALIDATIONS = 10
_PROBED_WINDOWS = 50
_GAIN_OF_FEW_DATA = 0.1  # or more is chosen for one or two sequences


def remark_on_length(setup: TrainingSetup, is_interval_given: bool) -> None:
    """Prints remarks on a run of few steps or few validations.

    Args:
      setup: The run.
      is_interval_given: Whether its user has set the interval of validations.
    """
    validations = -(-setup.total_steps // setup.checkpoint_every)
    if is_interval_given and validations < _FEW_VALIDATIONS <= setup.total_steps:
        print_message(
            f"the best checkpoint of {setup.total_steps:,} steps is chosen by {validations} validation(s), at every "
            f"{setup.checkpoint_every:,} steps; --config.train.checkpoint_every=0 chooses their number by their cost"
        )
    _remark_on_few_steps(setup)


def remark_on_periods(setup: TrainingSetup) -> None:
    """Prints a remark if no training window knows a frame of one period earlier, for which forecasts would ask.

    Args:
      setup: The run.
    """
    model, training = setup.model.config, setup.training
    if not model.context_periods:
        return
    after_inputs = horizon_of(model, training.shape[0]) * model.frame_step  # to the last frame of a sequence
    steps = [after_inputs + period for period in model.context_periods]
    past = training.frames_before(np.linspace(0, len(training) - 1, min(len(training), _PROBED_WINDOWS)).astype(int), steps)
    unknown = [] if past is None else [model.context_periods[number] for number in np.flatnonzero(~past[1].any(axis=0))]
    if unknown:
        print_message(
            f"data.periods={model.periods_text}: hardly any training window has a frame {' or '.join(map(str, unknown))} steps "
            "earlier, so that the network learns nothing from it, and predict asks for longer files; leave it out"
        )


def report_best(setup: TrainingSetup, workdir: Workdir, is_gain_chosen: bool, trained: bool) -> None:
    """Prints the best checkpoint of a run at its end, its gain over step 0, or what may help without a gain.

    Args:
      setup: The run.
      workdir: Its folder.
      is_gain_chosen: Whether `train.least_gain` was left open.
      trained: Whether there was time for a step.
    """
    best = next(iter(checkpoint.scores(workdir.checkpoints)), None)
    mse = {line["step"]: line["mse"] for line in read_metrics(workdir.path, "validation")}
    if best not in mse:  # no validation, or a log that is lost
        return
    init_from, gain = setup.config.train.init_from, setup.least_gain
    first = "the weights of train.init_from" if init_from else f"the shortcut {setup.config.model.shortcut} alone"
    shown = f"best checkpoint: step {best:,}, validation MSE {MSE.format(mse[best])}"
    if not trained:
        print_message(f"{shown}, {first}: nothing is trained")
        return
    if best == 0:
        asked = f" by the fraction train.least_gain={gain:g}" if gain else ""
        if is_gain_chosen and gain >= _GAIN_OF_FEW_DATA:
            asked += "; on so few data, a smaller gain may be chance"
        print_message(
            f"{shown}, {first}: the network has not improved on it{asked}; try more data, another optimizer.learning_rate, or "
            "another number of steps"
        )
    elif mse.get(0):
        percent = 100 * (1 - mse[best] / mse[0])
        print_message(f"{shown}, {percent:.{0 if percent >= 10 else 1}f} % below {first}")
    else:
        print_message(shown)
    _remark_on_few_steps(setup)


def _remark_on_few_steps(setup: TrainingSetup) -> None:
    if setup.total_steps < FEW_STEPS:
        print_message(
            f"{setup.total_steps} step(s) are few for a network to learn in: give more --minutes or --config.train.steps, or a "
            "smaller network (model.hidden_dim, model.depth)"
        )
