"""The training loop: steps, validations, checkpoints, and stops on request."""

import contextlib
import math
import time
from collections.abc import Callable
from typing import Any

import ml_collections
import numpy as np
from etils import epath

from stlight_jax.console.messages import print_message
from stlight_jax.console.progress import Progress
from stlight_jax.data.datasets.all_datasets import find_dataset
from stlight_jax.errors import NonFiniteLossError, PreemptedError
from stlight_jax.evaluation.evaluator import evaluate
from stlight_jax.metrics.pixel_errors import MSE
from stlight_jax.metrics.ssim import SSIM
from stlight_jax.model.stlight import STLight
from stlight_jax.parallel import agreement, distributed
from stlight_jax.parallel.agreement import StopRequests, stop_requests
from stlight_jax.runs import checkpoint
from stlight_jax.runs.checkpoint_writer import CheckpointWriter
from stlight_jax.runs.environment import describe_environment
from stlight_jax.runs.metrics_log import MetricsLog, NullLog
from stlight_jax.runs.workdir import Workdir
from stlight_jax.storage.atomic import write_json
from stlight_jax.storage.locks import Lock
from stlight_jax.training.clock import StepClock
from stlight_jax.training.run_remarks import remark_on_length, remark_on_periods, report_best
from stlight_jax.training.saved_state import SHARE, to_trees
from stlight_jax.training.schedule import Hyperparameters
from stlight_jax.training.setup import TrainingSetup
from stlight_jax.training.shrinkage import ALL, scaled_network
from stlight_jax.training.starting_state import check_init_from, started_with, starting_state
from stlight_jax.training.state import TrainState
from stlight_jax.training.step import Metrics
from stlight_jax.training.time_limit import LateEnd, length_within
from stlight_jax.training.trace import StepTrace, steps_to_trace

_LEAST_LINES = 50  # of a run's training loss in the metrics log, if it has as many steps
_FIRST_PART = 0.1  # of the steps that a start has to do, before its end is estimated


def train(
    config: ml_collections.ConfigDict,
    workdir: epath.PathLike,
    allow_changes: bool = False,
    deadline: float | None = None,
    network: Callable[..., STLight] = STLight,
) -> TrainState:
    """Trains to the end of the schedule, resuming from the newest valid checkpoint in `workdir` if it has one.

    Args:
      config: A whole config, as `configs/` returns it.
      workdir: Folder of the run, local or `gs://`.
      allow_changes: Whether to resume although the config differs from the one that the run was started with.
      deadline: When a new run shall end, in seconds of `time.monotonic`, instead of the length that the config states; None
        for the config's. A resumed run keeps its length.
      network: Makes the network, see `configured_training`. Checkpoints do not name it.

    Returns:
      The final state.

    Raises:
      InputError: The config, the data or the folder do not permit a run.
      NonFiniteLossError: The loss or its gradient is not finite. Earlier checkpoints are kept.
      LockLostError: Another process took the folder, in a bucket, over while this one was paused or disconnected.
      PreemptedError: The run stopped after SIGTERM or SIGINT, and its state is saved.
    """
    late_end = LateEnd(deadline)
    run_folder = Workdir(workdir)
    distributed.check_layout()  # before the processes exchange anything
    earlier = started_with(run_folder)
    setup = TrainingSetup(config, earlier, deadline, network)
    check_init_from(setup, run_folder)
    first_process = setup.launcher.is_first
    agreement.call_in_first(run_folder.create)
    agreement.assert_shared_folder(run_folder.path)
    with contextlib.ExitStack() as stack:
        lock = agreement.call_in_first(lambda: stack.enter_context(run_folder.locked())) or Lock()
        state = starting_state(setup, run_folder, allow_changes)
        done = int(state.step)
        is_new = agreement.broadcast_from_first(not checkpoint.steps(run_folder.checkpoints))
        given, trains = config.get("train", {}), True
        is_gain_chosen = given.get("least_gain", 0.0) < 0
        # Also of a run whose time was too short for a single step.
        if deadline is not None and (earlier is None or not (done or setup.config.train.steps)):
            length = length_within(setup, deadline)
            trains = length.steps > 0
            setup.set_length(*length)
        if done >= setup.total_steps:
            print_message(f"{run_folder.path} is complete: {done} of {setup.total_steps} steps are done")
            if first_process:
                report_best(setup, run_folder, is_gain_chosen, trained=True)
            return state
        if trains:
            remark_on_length(setup, bool(given.get("checkpoint_every")))
            remark_on_periods(setup)
        if first_process:
            write_json(run_folder.config, setup.config.to_dict())
            write_json(run_folder.path / "environment.json", describe_environment())
            run_folder.keep_static_field(getattr(setup.config.data, "static", ""))
        section = setup.config.train
        log = MetricsLog(run_folder.path, section.tensorboard, lock) if first_process else NullLog()
        with (
            contextlib.closing(log),
            stop_requests() as stop,  # also while the last checkpoint is written
            CheckpointWriter(run_folder.checkpoints, section.keep_checkpoints, lock) as writer,
        ):
            log.write(done, "started", {})
            trainer = Trainer(setup, run_folder, log, writer, stop, done, late_end)
            if trains:
                state = trainer.run(state, is_new)
            elif is_new:
                trainer.save_start(state)
        if first_process:
            report_best(setup, run_folder, is_gain_chosen, trains)
        return state


class Trainer:
    """Trains from a state to the last step of a run.

    A step's metrics are read while the next step runs, so that the devices never wait for the host.

    Args:
      setup: The run.
      workdir: Its folder; profiles are written there.
      log: Metrics log of this process.
      checkpoints: Writer of checkpoints; its lock is that of the workdir.
      stop: Requests to stop.
      first: Completed steps at the start.
      late_end: Prints a message if the run will end late.
    """

    def __init__(
        self,
        setup: TrainingSetup,
        workdir: Workdir,
        log: MetricsLog | NullLog,
        checkpoints: CheckpointWriter,
        stop: StopRequests,
        first: int,
        late_end: LateEnd,
    ):
        self._late_end = late_end
        self._setup, self._config, self._launcher = setup, setup.config.train, setup.launcher
        self._lock, self._log, self._checkpoints, self._stop = checkpoints.lock, log, checkpoints, stop
        self._first, self._total = first, setup.total_steps
        self._progress = Progress("training", self._total, first)
        advice = find_dataset(setup.config.dataset).advice_on_slow_data(setup.config.data)
        self._clock = StepClock(self._config.batch_size, advice)
        traced = steps_to_trace(setup.config.profile, first, self._total) if self._launcher.is_first else range(0)
        self._trace = StepTrace(traced, workdir.profile, self._clock)
        # Number (from 1), hyperparameters and unread metrics of the last launched step.
        self._pending: tuple[int, Hyperparameters, Metrics] | None = None

    def run(self, state: TrainState, is_new: bool) -> TrainState:
        """Trains, validates and saves until the last step.

        Args:
          state: On all devices; the first step takes over its memory.
          is_new: Whether the run has no checkpoint yet, not even of step 0.

        Returns:
          The final state.

        Raises:
          NonFiniteLossError: The loss or its gradient is not finite.
          PreemptedError: The run was asked to stop; its state is saved.
        """
        print_message(f"compiling the training step for {len(self._launcher.devices)} device(s) ...")
        batches = self._setup.batches(self._first, self._total)
        with self._progress, self._clock, self._trace:
            if is_new and self._setup.config.model.shortcut != "none":
                self.save_start(state)
            for done, batch in enumerate(self._clock.batches(batches), self._first + 1):
                state = self._step(state, done, batch)
                self._checkpoints.check()
                self._lock.check()
                self._stop.agree()
                is_planned = done % self._setup.checkpoint_every == 0 or done == self._total
                if is_planned or self._stop.requested:
                    self._settle()
                    if is_planned:  # also after a request to stop, so that the state depends on the step alone
                        with self._clock.paused("validation"):
                            state = self._setup.with_own_statistics(state)
                    self._save(state, done, *self._validate(state, done))
                    self._stop.agree()
                if self._stop.requested and done < self._total:
                    self._leave(done)
            with self._clock.paused("checkpoint"):
                self._checkpoints.wait()
        print_message(f"trained {self._total} steps: {self._clock.summary()}")
        return state

    def save_start(self, state: TrainState) -> None:
        """Validates and saves the state before the first step.

        It has the shortcut alone, or given weights, and stays the best checkpoint if the network does not improve on it.

        Args:
          state: On all devices.
        """
        score, share = self._validate(state, 0)
        adjusted = score and {**score, checkpoint.SCORE: score[MSE.key] * (1 - self._setup.least_gain)}
        self._save(state, 0, adjusted, share)

    def _step(self, state: TrainState, number: int, batch: Any) -> TrainState:
        """Launches one step, then reads the metrics of the step before it."""
        hyperparameters = self._setup.schedule(number - 1)
        begun = time.monotonic()
        with self._trace.step(number):
            on_device = Hyperparameters(*(np.float32(value) for value in hyperparameters))
            state, metrics = self._setup.train_step(state, batch, on_device)
            self._clock.launched(metrics)
        self._settle()
        self._pending = number, hyperparameters, metrics
        if number == self._first + 1:
            self._settle()
            seconds = time.monotonic() - begun
            self._log.write(number, "compiled", {"seconds": seconds})
            print_message(f"first step, compilation included: {seconds:.1f} s")
            self._progress.restart_clock(number)
        return state

    def _settle(self) -> None:
        """Waits for the pending step, checks, shows and logs its metrics."""
        if self._pending is None:
            return
        (number, hyperparameters, metrics), self._pending = self._pending, None
        values = {name: float(value) for name, value in metrics.items()}
        if not all(math.isfinite(value) for value in values.values()):
            raise NonFiniteLossError(
                f"step {number}: the loss is {values['loss']} and the gradient's norm {values['gradient_norm']}, at learning "
                f"rate {hyperparameters.learning_rate:.3g}. Earlier checkpoints are kept; resume with a lower "
                "optimizer.learning_rate or with optimizer.clip_norm, and --allow_changes"
            )
        self._clock.settled()
        if number > self._first + 1:  # the time of the first step is that of the compilation
            self._progress.advance(number, f"loss {values['loss']:.5f}  {self._clock.rate:.1f} sequences/s")
            if number - self._first >= _FIRST_PART * (self._total - self._first):
                self._late_end.check(self._progress.seconds_left or 0.0)
        every = min(self._config.log_every, max(1, self._total // _LEAST_LINES))
        if number % every == 0 or number == self._total:
            self._log.write(number, "train", {**values, **hyperparameters._asdict(), **self._clock.figures()})

    def _validate(self, state: TrainState, done: int) -> tuple[dict[str, float] | None, float]:
        """Finds the share of the network in the forecasts with the lowest MSE.

        Returns:
          The validation metrics with that share, and the share; no metrics after a request to stop, which must not delay
          saving.
        """
        best, share = None, ALL
        with self._clock.paused("validation") as elapsed:
            for candidate in self._setup.shares if done else (ALL,):
                metrics = self._evaluate(scaled_network(state.variables, candidate), done)
                if metrics is None:
                    return None, ALL
                if best is not None and metrics[MSE.key] >= best[MSE.key]:
                    break
                best, share = metrics, candidate
            assert best is not None  # the first candidate has metrics
            self._log.write(done, "validation", {**best, SHARE: share, "seconds": elapsed()})
        mse, ssim = (metric.format(best[metric.key]) for metric in (MSE, SSIM))
        shrunk = "" if share == ALL else f", with {share:g} of what the network adds to the shortcut"
        print_message(f"step {done}: validation MSE {mse}, SSIM {ssim}{shrunk}")
        return best, share

    def _evaluate(self, variables: Any, done: int) -> dict[str, float] | None:
        """Returns the metrics of all validation sequences; None after a request to stop."""
        if self._stop.requested:
            return None
        setup, title = self._setup, f"validating at step {done}"
        batch_size = self._launcher.round_up_batch_size(setup.config.evaluation.batch_size)
        sums = evaluate(setup.eval_step, self._launcher, variables, setup.validation, batch_size, title, self._stop.agree)
        if sums is None:
            return None
        metrics = sums.overall()
        if not math.isfinite(metrics[MSE.key]):
            raise NonFiniteLossError(f"step {done}: the validation MSE is {metrics[MSE.key]}. Earlier checkpoints are kept")
        return metrics

    def _save(self, state: TrainState, done: int, score: dict[str, float] | None, share: float) -> None:
        """Starts writing a checkpoint after the one before it is complete."""
        with self._clock.paused("checkpoint") as elapsed:
            self._checkpoints.wait()
            waited = elapsed()
            self._lock.check(refresh=True)
            self._log.send()
            trees = to_trees(self._launcher.to_checkpoint(state), share)
            self._checkpoints.save(done, trees, {**self._setup.description, SHARE: share}, score)
            self._log.write(done, "checkpoint", {"seconds": elapsed(), "wait": waited})

    def _leave(self, done: int) -> None:
        """Ends the run after a request to stop, when all processes have saved."""
        self._checkpoints.wait()
        agreement.wait_for_all_processes("saved and stopped")
        raise PreemptedError(f"stopped on request at step {done}, saved; run the same command to continue")
