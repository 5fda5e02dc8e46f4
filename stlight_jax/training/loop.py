"""A training run from its config to its last checkpoint."""

from __future__ import annotations

import contextlib
import functools
import math
import time
from collections.abc import Callable
from typing import Any

import jax
import ml_collections
import numpy as np
from etils import epath

from stlight_jax.config import check, course_differences, take_channels
from stlight_jax.console.messages import say
from stlight_jax.console.progress import Progress
from stlight_jax.data.load import advice_on_slow_data, open_training
from stlight_jax.data.pipeline import steps_per_epoch, training_batches
from stlight_jax.data.scaling import Scaling
from stlight_jax.data.sequences import fingerprint
from stlight_jax.errors import InputError, NonFiniteLossError, PreemptedError
from stlight_jax.evaluation.eval_steps import make_eval_step
from stlight_jax.evaluation.evaluator import evaluate
from stlight_jax.metrics.frame_metrics import check_frame_size
from stlight_jax.model.rollout import check_horizon
from stlight_jax.parallel import distributed
from stlight_jax.parallel.launchers import AXIS, make_launcher
from stlight_jax.parallel.preemption import StopRequests, stop_requests
from stlight_jax.runs import checkpoint
from stlight_jax.runs.environment import environment
from stlight_jax.runs.metrics_log import MetricsLog, NoLog
from stlight_jax.runs.workdir import Workdir
from stlight_jax.storage.json_files import write_json
from stlight_jax.storage.lease import Lock
from stlight_jax.training.clock import StepClock
from stlight_jax.training.schedule import Hyperparameters, make_schedule
from stlight_jax.training.state import TrainState, create_state, make_optimizer
from stlight_jax.training.step import Metrics, configured_training
from stlight_jax.training.trace import StepTrace, steps_to_trace


def train(config: ml_collections.ConfigDict, workdir: epath.PathLike, allow_changes: bool = False) -> TrainState:
    """Trains to the end of the schedule, going on from the newest sound checkpoint in `workdir` if there is one.

    Args:
      config: as in `configs/`.
      workdir: folder of the run.
      allow_changes: resume although the config differs from the one the run was started with.

    Returns:
      The final state.

    Raises:
      InputError: the config, the data or the folder do not permit a run.
      NonFiniteLossError: with step and learning rate; the checkpoints before it stay.
      TakenOverError: another process has taken a folder in a bucket over, while this one was stopped or cut off.
      PreemptedError: after SIGTERM or SIGINT, when the state is saved.
    """
    place = Workdir(workdir)
    run = _Run(config)
    if config.train.init_from and not checkpoint.steps(place.checkpoints):
        try:
            checkpoint.locate(config.train.init_from)
        except InputError as error:
            raise InputError(f"train.init_from: {error}") from None
    first = run.launcher.is_first
    if first:
        place.create()
    distributed.check_shared(place.path)
    with place.locked() if first else contextlib.nullcontext(Lock()) as lock:
        state = run.starting_state(place, allow_changes)
        done = int(state.step)
        if done >= run.total_steps:
            say(f"{place.path} is complete: {done} of {run.total_steps} steps are done")
            return state
        if first:
            write_json(place.path / "config.json", config.to_dict())
            write_json(place.path / "environment.json", environment())
        log = MetricsLog(place.path, config.train.tensorboard, lock) if first else NoLog()
        with (
            contextlib.closing(log),
            stop_requests() as stop,  # also while the last checkpoint is written
            checkpoint.CheckpointWriter(place.checkpoints, config.train.keep_checkpoints, lock) as writer,
        ):
            log.write(done, "started", {})
            return run.steps(state, place, lock, log, writer, stop)


_CHANNELS = {
    "moving_mnist": ["intensity"],
    "moving_fashion_mnist": ["intensity"],
    "kth": ["intensity"],
    "taxibj": ["inflow", "outflow"],
    "kitti_caltech": ["red", "green", "blue"],
}


def _range(scaling: Scaling) -> list[Any]:
    """[low, high], each one number or one per channel."""
    return [values[0] if len(values) == 1 else list(values) for values in (scaling.low, scaling.high)]


class _Run:
    """The parts of a run that do not change while it goes."""

    def __init__(self, config: ml_collections.ConfigDict):
        check(config)  # before what reads the config, and a typo should not wait for data
        self.config = config
        self.launcher = make_launcher(config.parallel.launcher)
        distributed.check_layout()
        distributed.check_agreement("the config", config.to_dict())
        self.launcher.check_batch_size("train.batch_size", config.train.batch_size, config.train.accumulate)
        self.training, self.validation = open_training(config)
        take_channels(config.model, self.training.shape[-1])
        distributed.check_agreement("the training data", self.training.description["sha256"])
        distributed.check_agreement("the validation data", functools.partial(fingerprint, self.validation))
        model_config = check(config)
        for key in ("train", "evaluation"):
            check_horizon(f"{key}.horizon", config[key].horizon, model_config)
        for sequences in (self.training, self.validation):
            model_config.check_sequence(sequences.shape)
        check_frame_size(*self.validation.shape[1:3])
        per_epoch = steps_per_epoch(len(self.training), config.train.batch_size)
        self.total_steps = config.train.epochs * per_epoch
        if self.total_steps >= 2**31:
            raise InputError(f"{self.total_steps} steps are too many; make train.epochs or the epochs shorter")
        self.schedule = make_schedule(config.optimizer, per_epoch, config.train.epochs, config.train.batch_size)
        self.model, train_step = configured_training(config, model_config, AXIS, self.training.scaling)
        self.train_step = self.launcher.train(train_step)
        self.eval_step = self.launcher.evaluate(make_eval_step(self.model, self.training.scaling))

    @functools.cached_property
    def description(self) -> dict[str, Any]:
        """What a checkpoint carries beside the weights."""
        return {
            "config": self.config.to_dict(),
            "data": self.training.description,
            "total_steps": self.total_steps,
            "value_range": {"stored": _range(self.training.scaling), "network": [0.0, 1.0]},
            "scaling": self.training.scaling.as_json(),
            "frame_size": list(self.validation.shape[1:3]),
            "channels": _CHANNELS.get(self.config.dataset, [f"channel {i + 1}" for i in range(self.training.shape[-1])]),
        }

    def starting_state(self, place: Workdir, allow_changes: bool) -> TrainState:
        """From the run's newest sound checkpoint, else from `train.init_from`, else from scratch."""
        optimizer, averaged = make_optimizer(self.config.optimizer), self.config.train.ema_decay > 0

        def fresh() -> TrainState:
            return create_state(self.model, optimizer, self.config.train.seed, self.training.shape[1:], averaged)

        step = None
        if self.launcher.is_first:
            step = checkpoint.newest_sound_step(place.checkpoints, move_faulty_to=place.rejected)
        step = distributed.told_by_the_first(step)
        if step is not None:
            self._check_course(checkpoint.load_description(place.checkpoints, step), place, allow_changes)
            say(f"resuming {place.path} at step {step} of {self.total_steps}")
            saved = checkpoint.load_state(place.checkpoints, step, self.launcher.abstract(jax.eval_shape(fresh)))
            return self.launcher.from_checkpoint(saved)
        state = fresh()
        if self.config.train.init_from:
            directory, step = checkpoint.locate(self.config.train.init_from)
            say(f"starting from the weights of {directory / str(step)}")
            saved = checkpoint.load_variables(directory, step, self.launcher.abstract(state.variables))
            state = state.with_variables(self.launcher.from_checkpoint(saved), averaged)
        return self.launcher.replicate(state)

    def _check_course(self, saved: dict[str, Any], place: Workdir, allow_changes: bool) -> None:
        differences = course_differences(saved["config"], self.config.to_dict())
        # Checkpoints from before there were other data carry their digits' checksum under a name of its own.
        old = saved["data"].get("sha256", saved["data"].get("digits_sha256"))
        if old != self.training.description["sha256"]:
            differences.append("data.root: the training data are others")
        if "scaling" in saved and Scaling.from_json(saved["scaling"]) != self.training.scaling:
            differences.append("data.root: the range or the type of the training data is another")
        if not differences:
            return
        listed = "; ".join(differences)
        if not allow_changes:
            raise InputError(
                f"{place.path} was started with another config ({listed}). Change it back, name another --workdir, or "
                "give --allow_changes to go on all the same"
            )
        say(f"going on with a changed config: {listed}")

    def steps(
        self,
        state: TrainState,
        place: Workdir,
        lock: Lock,
        log: MetricsLog | NoLog,
        writer: checkpoint.CheckpointWriter,
        stop: StopRequests,
    ) -> TrainState:
        """Trains from `state` to the last step."""
        train, first = self.config.train, int(state.step)
        part = (self.launcher.process_index, self.launcher.process_count)
        batches = training_batches(self.training, train.batch_size, first, self.total_steps, *part)
        traced = steps_to_trace(self.config.profile, first, self.total_steps) if self.launcher.is_first else range(0)
        # A step's metrics are read when the next one is under way, so that the devices never wait for the host.
        waiting: tuple[int, Hyperparameters, Metrics] | None = None
        say(f"compiling the training step for {len(self.launcher.devices)} device(s) ...")
        with (
            Progress("training", self.total_steps, first) as progress,
            StepClock(train.batch_size, advice_on_slow_data(self.config)) as clock,
            StepTrace(traced, place.profile, clock) as trace,
        ):

            def settle() -> None:
                nonlocal waiting
                if waiting is None:
                    return
                (done, rates, metrics), waiting = waiting, None
                values = {name: float(value) for name, value in metrics.items()}
                if not all(math.isfinite(value) for value in values.values()):
                    raise NonFiniteLossError(
                        f"step {done}: the loss is {values['loss']} and the gradient's norm {values['gradient_norm']}, at "
                        f"learning rate {rates.learning_rate:.3g}. The checkpoints before it are kept; resume with a lower "
                        "optimizer.learning_rate or with optimizer.clip_norm, and --allow_changes"
                    )
                clock.settled()
                if done > first + 1:  # the first one's time is the compilation's
                    progress.advance(done, f"loss {values['loss']:.5f}  {clock.rate:.1f} sequences/s")
                if done % train.log_every == 0 or done == self.total_steps:
                    log.write(done, "train", {**values, **rates._asdict(), **clock.figures()})

            for done, batch in enumerate(clock.batches(self.launcher.prefetch(batches)), first + 1):
                rates = self.schedule(done - 1)
                begun = time.monotonic()
                with trace.step(done):
                    state, metrics = self.train_step(state, batch, _as_float32(rates))
                    clock.launched(metrics)
                settle()
                waiting = done, rates, metrics
                if done == first + 1:
                    settle()
                    log.write(done, "compiled", {"seconds": time.monotonic() - begun})
                    say(f"first step, compilation included: {time.monotonic() - begun:.1f} s")
                    progress.restart_clock(done)
                writer.check()
                lock.check()
                stop.agree()
                if done % train.checkpoint_every == 0 or done == self.total_steps or stop.requested:
                    settle()
                    with clock.paused("validation") as elapsed:
                        score = self._validate(state, done, log, stop, elapsed)
                    with clock.paused("checkpoint") as elapsed:
                        writer.wait()
                        waited = elapsed()
                        lock.check(ask=True)
                        log.keep()
                        writer.save(self.launcher.to_checkpoint(state), self.description, score)
                        log.write(done, "checkpoint", {"seconds": elapsed(), "wait": waited})
                    stop.agree()
                if stop.requested and done < self.total_steps:
                    writer.wait()
                    distributed.wait_for_all("saved and stopped")
                    raise PreemptedError(f"stopped as asked at step {done}, saved; run the same command to go on")
            with clock.paused("checkpoint"):
                writer.wait()
        say(f"trained {self.total_steps} steps: {clock.summary()}")
        return state

    def _validate(
        self, state: TrainState, done: int, log: MetricsLog | NoLog, stop: StopRequests, elapsed: Callable[[], float]
    ) -> dict[str, float] | None:
        """The validation metrics; None if asked to stop, for saving must not wait. The log is told the seconds `elapsed`."""
        if stop.requested:
            return None
        sums = evaluate(
            self.eval_step,
            self.launcher,
            state.variables,
            self.validation,
            self.launcher.rounded_up(self.config.evaluation.batch_size),
            f"validating at step {done}",
            stop.agree,
        )
        if sums is None:
            return None
        result = sums.overall()
        log.write(done, "validation", {**result, "seconds": elapsed()})
        if not math.isfinite(result["mse"]):
            raise NonFiniteLossError(f"step {done}: the validation MSE is {result['mse']}. The checkpoints before it are kept")
        say(f"step {done}: validation MSE {result['mse']:.3f}, SSIM {result['ssim']:.4f}")
        return result


def _as_float32(rates: Hyperparameters) -> Hyperparameters:
    return Hyperparameters(*(np.float32(value) for value in rates))
