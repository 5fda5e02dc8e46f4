"""The parts of a training run that its config determines: data, network, compiled steps and schedule."""

import dataclasses
import functools
from typing import Any

import ml_collections

from stlight_jax.data.datasets.all_datasets import find_dataset
from stlight_jax.data.load import check_config, network_config, open_training
from stlight_jax.data.pipeline import steps_per_epoch
from stlight_jax.data.scaling import Scaling
from stlight_jax.data.sequences import fingerprint
from stlight_jax.errors import InputError
from stlight_jax.evaluation.eval_steps import make_eval_step
from stlight_jax.metrics.ssim import check_frame_size
from stlight_jax.model.rollout import check_horizon
from stlight_jax.model.stlight import STLightConfig
from stlight_jax.parallel import agreement, distributed
from stlight_jax.parallel.launchers import AXIS, make_launcher
from stlight_jax.training.schedule import make_schedule
from stlight_jax.training.state import TrainState, create_state, make_optimizer
from stlight_jax.training.step import configured_training


class TrainingSetup:
    """Opens the data and builds the network, the steps and the schedule of one run.

    Args:
      config: A whole config, as `configs/` returns it.

    Attributes:
      config: The checked config, with the number of channels of the data.
      launcher: Runs the steps on all devices.
      training: Training sequences.
      validation: Validation sequences.
      total_steps: Optimizer steps of the whole run.
      schedule: Maps a step number, from 0, to its hyperparameters.
      model: The network.
      train_step: The compiled training step.
      eval_step: The compiled evaluation step.

    Raises:
      InputError: The config is invalid, does not fit the data, or differs between processes.
    """

    def __init__(self, config: ml_collections.ConfigDict):
        checked = check_config(config)
        # Before the data are opened: a misspelt key should be reported at once.
        network_config(checked)
        self.launcher = make_launcher(checked.parallel.launcher)
        distributed.check_layout()
        agreement.assert_same_on_all_processes("the config", checked.to_dict())
        self.launcher.check_batch_size("train.batch_size", checked.train.batch_size, checked.train.accumulate)
        self.training, self.validation = open_training(checked)
        model_section = checked.model.with_channels(self.training.shape[-1])
        self.config = config = dataclasses.replace(checked, model=model_section)
        agreement.assert_same_on_all_processes("the training data", self.training.description["sha256"])
        agreement.assert_same_on_all_processes("the validation data", functools.partial(fingerprint, self.validation))
        model_config = STLightConfig.from_section(config.model)
        check_horizon("train.horizon", config.train.horizon, model_config)
        check_horizon("evaluation.horizon", config.evaluation.horizon, model_config)
        for sequences in (self.training, self.validation):
            model_config.check_sequence(sequences.shape)
        check_frame_size(*self.validation.shape[1:3])
        per_epoch = steps_per_epoch(len(self.training), config.train.batch_size)
        self.total_steps = config.train.epochs * per_epoch
        if self.total_steps >= 2**31:  # the step counter is an int32
            raise InputError(f"the run has {self.total_steps} steps; expected fewer than {2**31}; reduce train.epochs")
        self.schedule = make_schedule(config.optimizer, per_epoch, config.train.epochs, config.train.batch_size)
        self.model, train_step = configured_training(config, model_config, AXIS, self.training.scaling)
        self.train_step = self.launcher.compile_train_step(train_step)
        self.eval_step = self.launcher.compile_eval_step(make_eval_step(self.model, self.training.scaling))

    @functools.cached_property
    def description(self) -> dict[str, Any]:
        """The plain data that each checkpoint stores with the weights."""
        return {
            "config": self.config.to_dict(),
            "data": self.training.description,
            "total_steps": self.total_steps,
            "value_range": {"stored": _value_range(self.training.scaling), "network": [0.0, 1.0]},
            "scaling": self.training.scaling.as_json(),
            "frame_size": list(self.validation.shape[1:3]),
            "channels": find_dataset(self.config.dataset).channel_names(self.training.shape[-1]),
        }

    @property
    def keeps_average(self) -> bool:
        """Whether the run keeps a moving average of its weights."""
        return self.config.train.ema_decay > 0

    def fresh_state(self) -> TrainState:
        """Returns the state before the first step, with random weights that depend on `train.seed` alone."""
        optimizer = make_optimizer(self.config.optimizer)
        return create_state(self.model, optimizer, self.config.train.seed, self.training.shape[1:], self.keeps_average)


def _value_range(scaling: Scaling) -> list[Any]:
    """Returns [low, high], each a number, or a list with one number for each channel."""
    return [values[0] if len(values) == 1 else list(values) for values in (scaling.low, scaling.high)]
