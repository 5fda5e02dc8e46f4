"""Training of the paper's 5.3M network on Moving MNIST, in visits of minutes: stage `train`.

The sequences are those of `stlight train`, drawn on the device, and one program makes many steps. A visit continues from the
state that the last one left; `--visits` shortens the schedule so that it ends in the visits that are left.
"""

from __future__ import annotations

import collections
import functools
import json
import pathlib
import time
from collections.abc import Callable
from typing import Any

import jax
import numpy as np

from benchmarks.gpu import flat_state
from benchmarks.gpu.device_sequences import Placements, draw, plan_steps
from benchmarks.gpu.records import Deadline, Records
from stlight_jax.config import RunConfig
from stlight_jax.configs import moving_mnist
from stlight_jax.console.messages import print_message
from stlight_jax.data.load import check_config, network_config, open_test, open_training
from stlight_jax.data.moving_images import GeneratedSequences
from stlight_jax.data.scaling import Scaling
from stlight_jax.errors import InputError, NonFiniteLossError
from stlight_jax.evaluation.eval_steps import make_eval_step
from stlight_jax.metrics.metric_sums import MetricSums
from stlight_jax.parallel.launchers import AXIS, ShardMapLauncher
from stlight_jax.runs.environment import describe_environment
from stlight_jax.training.schedule import Hyperparameters, make_schedule
from stlight_jax.training.state import TrainState, create_state, make_optimizer
from stlight_jax.training.step import configured_training

STAGE, ITEM = "train", "run"
STEPS_PER_CALL = 25
_VALIDATIONS = 20  # in a run
_SAVE_SECONDS, _PRINT_SECONDS = 60.0, 10.0
_RESERVE = 0.05  # of a stage's time, for the last state and the evaluation
_EVALUATION_BATCH = 100

# (state, (placements [k, b, ...], rates [k]), digits) -> (state, losses [k])
Program = Callable[[TrainState, tuple[Placements, Hyperparameters], jax.Array], tuple[TrainState, jax.Array]]


def recipe(batch_size: int = 16, mnist: str = "", toy: bool = False, **model: Any) -> RunConfig:
    """Makes the config: the paper's recipe for Moving MNIST with the width 544 (inferred) and activations in bfloat16.

    Args:
      batch_size: sequences in a step; the learning rate grows with the root of it.
      mnist: folder of the idx files; "" for the digits in the package.
      toy: whether to make a network and a run of seconds on a CPU, for tests.
      **model: further keys of the section `model`.
    """
    config = moving_mnist.get_config("XS")
    config.model.update(hidden_dim=544, dtype="bfloat16", precision="bfloat16")
    config.data.root = mnist
    config.train.batch_size = batch_size
    config.optimizer.batch_scaling = "none" if batch_size == config.optimizer.reference_batch_size else "sqrt"
    if toy:
        config.model.update(hidden_dim=16, depth=3, far_kernel=5)
        config.data.update(image_size=32, digit_size=14, sequences_per_epoch=200, validation_sequences=30, test_sequences=130)
        config.train.epochs = 8
    config.model.update(**model)
    return check_config(config)


class DeviceTraining:
    """The network, its programs and its data on one device.

    Args:
      config: as from `recipe`.
      device: JAX's default device if None.
    """

    def __init__(self, config: RunConfig, device: jax.Device | None = None):
        self.config = config
        self.launcher = ShardMapLauncher([device or jax.devices()[0]])
        self.training, self.validation = open_training(config)
        side = config.data.image_size
        self.model, step = configured_training(config, network_config(config), AXIS, None)
        evaluate = make_eval_step(self.model, Scaling())

        def steps(state: TrainState, work: tuple[Placements, Hyperparameters], digits: jax.Array) -> tuple[TrainState, Any]:
            def one(state: TrainState, work: tuple[Placements, Hyperparameters]) -> tuple[TrainState, jax.Array]:
                state, metrics = step(state, draw(digits, work[0], side), work[1])
                return state, metrics["loss"]

            return jax.lax.scan(one, state, work)

        def scores(variables_and_digits: tuple[Any, jax.Array], placements: Placements) -> dict[str, jax.Array]:
            variables, digits = variables_and_digits
            return evaluate(variables, draw(digits, placements, side))

        self.program: Program = self.launcher.compile_train_step(steps)
        self._scores = self.launcher.compile_eval_step(scores)
        per_epoch = len(self.training) // config.train.batch_size
        self.total_steps = config.train.epochs * per_epoch
        self.schedule = make_schedule(config.optimizer, self.total_steps, per_epoch, config.train.batch_size)

    def fresh_state(self) -> TrainState:
        """Makes the state before the first step."""
        frame = self.training.shape[1:]
        optimizer = make_optimizer(self.config.optimizer)
        return self.launcher.replicate(create_state(self.model, optimizer, self.config.train.seed, frame))

    @functools.cached_property
    def digits(self) -> jax.Array:
        """The training digits on the device, uint8 `[m, s, s]`."""
        return self.launcher.replicate(self.training.digits.images)

    def work(self, first: int, positions: np.ndarray) -> tuple[Placements, Hyperparameters]:
        """Plans steps: their sequences, and their places in the schedule.

        Args:
          first: number of the first step.
          positions: of the steps in the schedule, from 0 to `total_steps - 1`; need not be whole.
        """
        rates = np.array([self.schedule(position) for position in positions], np.float32)  # [k, 2]
        return plan_steps(self.training, first, len(positions), self.config.train.batch_size), Hyperparameters(*rates.T)

    def evaluate(self, variables: Any, source: GeneratedSequences) -> dict[str, Any]:
        """Computes the metrics of all sequences of a set."""
        digits = self.launcher.replicate(source.digits.images)
        sums = None
        for first in range(0, len(source), _EVALUATION_BATCH):
            indices = np.arange(first, first + _EVALUATION_BATCH)
            mask = indices < len(source)
            placements = source.placements(np.minimum(indices, len(source) - 1))
            placements = Placements(*(array.astype(np.int32) for array in placements))
            scores = jax.device_get(self._scores((variables, digits), placements))
            batch = MetricSums.from_batch(scores, mask)
            sums = batch if sums is None else sums + batch
        return {"sequences": len(source), "overall": sums.overall(), "per_lead_time": sums.per_lead_time()}


class Visit:
    """One visit's part of the training.

    Args:
      training: the network and its data.
      records: results of all visits.
      folder: where the state lies.
      deadline: end of the visit.
      visits: visits in which the schedule must end, this one included; 0 to make every step of the schedule.
    """

    def __init__(self, training: DeviceTraining, records: Records, folder: pathlib.Path, deadline: Deadline, visits: int):
        self._training, self._records, self._folder, self._deadline, self._visits = training, records, folder, deadline, visits
        self._limit = deadline.left()
        self._last = training.total_steps - 1.0  # position of the last step
        settings = {"config": training.config.to_dict(), "total_steps": training.total_steps}
        del settings["config"]["data"]["root"]
        self._settings = json.loads(json.dumps(settings))
        self._record: dict[str, Any] = {"settings": self._settings, "visits": [], "losses": [], "validation": []}
        self.position, self.pace = 0.0, 1.0
        self.state = self._starting_state()
        self.step = int(self.state.step)
        self._pending: collections.deque[tuple[int, jax.Array]] = collections.deque()
        self._seconds_per_step = 0.0
        self._warm: tuple[float, int] | None = None  # time and step after the call that compiled

    def _starting_state(self) -> TrainState:
        parts = flat_state.find(self._folder)
        if not parts:
            return self._training.fresh_state()
        header = flat_state.read_header(parts)
        if header["settings"] != self._settings:
            raise InputError(
                f"{parts[0]} belongs to a training with other settings (batch size "
                f"{header['settings']['config']['train']['batch_size']}); expected those of this command; name another --out"
            )
        self.position = header["position"]
        self._record |= self._records.content.get(STAGE, {}).get(ITEM, {})
        self._record.pop("error", None)
        like = jax.eval_shape(self._training.fresh_state)
        return self._training.launcher.replicate(flat_state.load(parts, like))

    @property
    def is_finished(self) -> bool:
        """Whether the schedule has ended."""
        return self.position > self._last

    def run(self) -> None:
        """Trains until the schedule or the time ends, saves the state, and evaluates a finished training."""
        if not self.is_finished:
            self._train()
        if self.is_finished:
            self._records.measure(STAGE, "test", self._deadline, self._test)

    def _train(self) -> None:
        begun = saved = printed = time.monotonic()
        visit = {"first_step": self.step, "environment": describe_environment()}
        self._record["visits"].append(visit)
        while not self.is_finished and self._deadline.left() > _RESERVE * self._limit:
            self._make_steps()
            now = time.monotonic()
            visit |= {"last_step": self.step, "seconds": now - begun, "seconds_per_step": self._seconds_per_step}
            if now - printed > _PRINT_SECONDS:
                printed = now
                self._print()
            due = self._validation_is_due()
            if due:
                self._validate()
            if due or now - saved > _SAVE_SECONDS:
                self._save()
                saved = time.monotonic()
        validated = [point["step"] for point in self._record["validation"]]
        if self.is_finished and self.step not in validated:
            self._validate()
        self._save()
        self._print()

    def _test(self) -> dict[str, Any]:
        test = open_test(self._training.config)
        return self._training.evaluate(self.state.variables, test) | {"data": test.description}

    def _make_steps(self) -> None:
        positions = np.minimum(self.position + self.pace * np.arange(STEPS_PER_CALL), self._last)
        work = self._training.work(self.step, positions)
        self.state, losses = self._training.program(self.state, work, self._training.digits)
        self.position += self.pace * STEPS_PER_CALL
        self.step += STEPS_PER_CALL
        self._pending.append((self.step, losses))
        self._settle(2 if self._warm else 0)  # the host plans while the device computes
        if self._warm is None:
            self._warm = (time.monotonic(), self.step)
            return
        done = self.step - len(self._pending) * STEPS_PER_CALL - self._warm[1]
        if done:
            self._seconds_per_step = (time.monotonic() - self._warm[0]) / done
            self._set_pace()

    def _set_pace(self) -> None:
        """Spreads the remaining schedule over the steps that the remaining visits can make."""
        if not self._visits:
            return
        seconds = self._deadline.left() + (self._visits - 1) * self._limit - _RESERVE * self._limit * self._visits
        steps = max(STEPS_PER_CALL, seconds / self._seconds_per_step // STEPS_PER_CALL * STEPS_PER_CALL)
        self.pace = max(1.0, (self._last - self.position) / (steps - 1))

    def _settle(self, leave: int) -> None:
        """Waits for the losses of all calls but the `leave` newest ones."""
        while len(self._pending) > leave:
            step, losses = self._pending.popleft()
            mean = float(np.mean(np.asarray(losses, np.float64)))
            if not np.isfinite(mean):
                raise NonFiniteLossError(
                    f"the loss is not finite between steps {step - STEPS_PER_CALL} and {step}; expected a finite one; the last "
                    f"saved state is in {self._folder}; lower the learning rate"
                )
            self._record["losses"].append([step, mean])

    def _validation_is_due(self) -> bool:
        done = len(self._record["validation"])
        return self.position >= (done + 1) * self._last / _VALIDATIONS and done + 1 < _VALIDATIONS

    def _validate(self) -> None:
        self._settle(0)
        found = self._training.evaluate(self.state.variables, self._training.validation)
        point = {"step": self.step, "schedule": min(1.0, self.position / self._last)} | found["overall"]
        self._record["validation"].append(point)
        print_message(f"train: step {self.step}: validation MSE {point['mse']:.2f}, SSIM {point['ssim']:.4f}")

    def _save(self) -> None:
        self._settle(0)
        flat_state.save(self._folder, self.state, {"settings": self._settings, "position": self.position})
        unfinished = {} if self.is_finished else {"error": f"{100 * self.position / self._last:.1f} % of the schedule are done"}
        self._records.write(STAGE, ITEM, {**self._record, **unfinished, "step": self.step, "pace": self.pace})

    def _print(self) -> None:
        loss = f"loss {self._record['losses'][-1][1]:.5f}, " if self._record["losses"] else ""
        print_message(
            f"train: step {self.step}, {100 * min(1.0, self.position / self._last):.1f} % of the schedule, {loss}"
            f"{1e3 * self._seconds_per_step:.2f} ms a step, pace {self.pace:.2f}, {self._deadline.left():.0f} s left"
        )


def train(records: Records, deadline: Deadline, folder: pathlib.Path, config: RunConfig, visits: int) -> None:
    """Runs a visit of the training, see `Visit`."""
    Visit(DeviceTraining(config), records, folder, deadline, visits).run()
