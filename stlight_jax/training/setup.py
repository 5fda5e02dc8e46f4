"""What a training run is made of: data, network, compiled steps and schedule."""

import dataclasses
import functools
import math
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import ml_collections
import numpy as np

from stlight_jax.config.run_config import RunConfig
from stlight_jax.config.sections import FEW_SQUARES
from stlight_jax.console.messages import print_message
from stlight_jax.data.datasets.all_datasets import find_dataset
from stlight_jax.data.load import check_config, network_config, open_training, with_history, with_windows
from stlight_jax.data.pipeline import steps_per_epoch, training_batches
from stlight_jax.data.scaling import Scaling
from stlight_jax.data.sequences import check_targets, fingerprint
from stlight_jax.errors import InputError
from stlight_jax.evaluation.eval_steps import make_eval_step
from stlight_jax.model.context import check_horizon, first_target
from stlight_jax.model.stlight import STLight
from stlight_jax.model.stlight_config import STLightConfig
from stlight_jax.model.tiling import crop_tile, receptive_radius
from stlight_jax.parallel import agreement, distributed
from stlight_jax.parallel.launchers import AXIS, make_launcher
from stlight_jax.training.averaged_statistics import BATCHES, make_statistics_step
from stlight_jax.training.crop_choice import choose_crop
from stlight_jax.training.open_keys import with_earlier_choices, with_report
from stlight_jax.training.schedule import make_schedule
from stlight_jax.training.shortcut_choice import choose_shortcut, leaves_choices
from stlight_jax.training.shortcut_fit import fitted_linear, shrunk
from stlight_jax.training.shrinkage import ALL, SHARES
from stlight_jax.training.state import TrainState, create_state, make_optimizer
from stlight_jax.training.step import configured_training
from stlight_jax.training.time_for_choices import TimeForChoices

# Of a run whose config leaves their number open: at most as many as take an eighth of its time, if a step takes as long as
# three forward passes on its batch, but a few in any case.
_FEWEST_VALIDATIONS, _MOST_VALIDATIONS, _FOR_VALIDATION, _PASSES_PER_STEP = 5, 20, 0.125, 3


class TrainingSetup:
    """Opens the data and builds the network, the steps and the schedule of one run.

    Args:
      config: A whole config, as `configs/` returns it.
      started_with: The config that the run was started with, if it is resumed: choices that it made are kept.
      deadline: When a new run shall end, in seconds of `time.monotonic`; None for the config's length. With a deadline, a
        resumed run keeps its number of steps.
      network: Makes the network, see `configured_training`.

    Attributes:
      config: The checked config, with the number of channels of the data and all choices that were left open.
      launcher: Runs the steps on all devices.
      training: Training sequences.
      validation: Validation sequences.
      total_steps: Optimizer steps of the whole run.
      checkpoint_every: Steps between checkpoints.
      schedule: Maps a step number, from 0, to its hyperparameters.
      model: The network.
      train_step: The compiled training step.
      eval_step: The compiled evaluation step.

    Raises:
      InputError: The config is invalid, does not fit the data, or differs between processes.
    """

    def __init__(
        self,
        config: ml_collections.ConfigDict,
        started_with: Mapping[str, Any] | None = None,
        deadline: float | None = None,
        network: Callable[..., STLight] = STLight,
    ):
        checked = with_earlier_choices(check_config(config), started_with, keep_length=deadline is not None)
        # Before the data are opened: a misspelt key should be reported at once.
        network_config(checked)
        self.launcher = make_launcher(checked.parallel.launcher)
        distributed.check_layout()
        agreement.assert_same_on_all_processes("the config", checked.to_dict())
        if checked.train.batch_size:
            self.launcher.check_batch_size("train.batch_size", checked.train.batch_size, checked.train.accumulate)
        if started_with is None:
            checked = with_report(checked, with_windows(checked))
        self.training, self.validation = open_training(checked)
        agreement.assert_same_on_all_processes("the training data", self.training.description["sha256"])
        agreement.assert_same_on_all_processes("the validation data", functools.partial(fingerprint, self.validation))
        _, height, width, channels = self.validation.shape  # training frames may be cropped
        covariates = self.training.scaling.covariates
        model = checked.model.for_data(channels, height * width, covariates)
        if covariates and model.out_channels > channels - covariates:
            raise InputError(
                f"model.out_channels is {model.out_channels}; expected at most {channels - covariates}, the channels of the "
                "data without those of data.clock and data.static, which no network predicts"
            )
        optimizer = checked.optimizer.for_width(model.hidden_dim)
        config = dataclasses.replace(checked, model=model, optimizer=optimizer)
        with_report(checked, config, height=height, width=width)
        for label, sequences in (("training", self.training), ("validation", self.validation)):
            of_targets = first_target(network_config(config), sequences.shape[0])
            check_targets(sequences, of_targets, config.model.out_channels, label)
        is_scales_open = checked.model.shortcut_scales < 0 and not checked.train.init_from  # whose weights have their number
        self.config = config = self._with_choices(config, deadline, is_scales_open)
        model_config = network_config(config)
        for section, horizon in (("train", config.train.horizon), ("evaluation", config.evaluation.horizon)):
            check_horizon(f"{section}.horizon", horizon, model_config, covariates)
        for sequences in (self.training, self.validation):
            model_config.check_sequence(sequences.shape)
        self.set_length(config.train.steps, config.train.checkpoint_every)
        self.model, train_step = configured_training(config, model_config, AXIS, self.training.scaling, network)
        self.train_step = self.launcher.compile_train_step(train_step)
        tile = _validation_tile(config, model_config, (height, width))
        eval_step = make_eval_step(self.model, self.training.scaling, tile=tile)
        self.eval_step = self.launcher.compile_eval_step(eval_step)
        statistics_step = make_statistics_step(self.model, AXIS, self.training.scaling)
        self._statistics_step = self.launcher.compile_train_step(statistics_step)

    def _with_choices(self, config: RunConfig, deadline: float | None, is_scales_open: bool) -> RunConfig:
        """Makes the choices that the config leaves to trials and to the number of windows.

        Replaces the sequences where a choice asks for earlier frames or crops.

        Args:
          config: The config, with the shape of the network and the learning rate.
          deadline: As for the class.
          is_scales_open: As for `choose_shortcut`.

        Returns:
          The config with all choices.
        """
        separate, events = (self.training.description.get(fact, math.inf) for fact in ("separate", "events"))
        height, width = self.validation.shape[1:3]
        held_out = self.validation.description.get("separate", math.inf)
        squares = held_out * height * width / 16**2
        if leaves_choices(config):
            chosen = choose_shortcut(
                config,
                self.training,
                self.validation,
                self.launcher,
                TimeForChoices(deadline),
                config.train.least_gain_for(separate, events, squares),
                is_scales_open,
            )
            if chosen.linear is not None:
                self.linear_fit = chosen.linear
            if chosen.config.data != config.data:
                self.training, self.validation = with_history(chosen.config, self.training, self.validation)
            config = with_report(config, chosen.config)
        self.config, self._whole_frames = config, self.training
        with_crop = choose_crop(config, self.training)
        if getattr(with_crop.data, "crop", 0) > 0 and with_crop.data != config.data:
            self.training, _ = open_training(with_crop)
        pixels, count = math.prod(self.training.shape[1:3]), len(self.training)
        train = with_crop.train.for_data(pixels, count, len(self.launcher.devices), separate, events, squares)
        facts = {"height": height, "width": width, "windows": count, "pixels": pixels, "separate": separate, "events": events}
        if squares < FEW_SQUARES:
            facts["few"] = f", {held_out:,} of {height} x {width} for validation"
        return with_report(config, dataclasses.replace(with_crop, train=train), **facts)

    def set_length(self, steps: int, checkpoint_every: int) -> None:
        """Sets the steps of the run, and the schedule over them, also in `config`.

        Args:
          steps: Optimizer steps; 0 for the config's epochs.
          checkpoint_every: Steps between checkpoints; 0 for 5 to 20 checkpoints, by their cost.

        Raises:
          InputError: The steps are too many, or the schedule is impossible for so few.
        """
        train = dataclasses.replace(self.config.train, steps=steps, checkpoint_every=checkpoint_every)
        self.config = dataclasses.replace(self.config, train=train)
        per_epoch = steps_per_epoch(len(self.training), train.batch_size)
        self.total_steps = train.steps or train.epochs * per_epoch
        if self.total_steps >= 2**31:  # the step counter is an int32
            raise InputError(f"the run has {self.total_steps} steps; expected fewer than {2**31}; reduce train.epochs")
        training, validation = (math.prod(of.shape[1:3]) for of in (self.training, self.validation))  # pixels
        steps_per_validation = (
            len(self.shares) * len(self.validation) * validation / (train.batch_size * training * _PASSES_PER_STEP)
        )
        affordable = int(_FOR_VALIDATION * self.total_steps / steps_per_validation)
        validations = min(max(affordable, _FEWEST_VALIDATIONS), _MOST_VALIDATIONS)
        self.checkpoint_every = train.checkpoint_every or max(1, -(-self.total_steps // validations))
        self.schedule = make_schedule(self.config.optimizer, self.total_steps, per_epoch, train.batch_size)

    @functools.cached_property
    def linear_fit(self) -> dict[str, np.ndarray]:
        """The parameters of the shortcut's linear map before the first step, fitted to whole frames and `shrunk`."""
        model, train = network_config(self.config), self.config.train
        return shrunk(model, fitted_linear(model, self._whole_frames, self.validation, train.loss), train.shortcut_share)

    def batches(self, first: int, total: int) -> Iterator[Any]:
        """Yields the training batches of the steps from `first` to `total - 1`, on the devices."""
        process = (self.launcher.process_index, self.launcher.process_count)
        return self.launcher.prefetch(training_batches(self.training, self.config.train.batch_size, first, total, *process))

    def with_own_statistics(self, state: TrainState) -> TrainState:
        """Computes the batch statistics of the averaged weights, on the first batches of the training data.

        Args:
          state: On all devices; the result takes over its memory.

        Returns:
          The state with these statistics in its average; the state itself if it has none.
        """
        if state.ema is None:
            return state
        for number, batch in enumerate(self.batches(0, BATCHES), 1):
            state, _ = self._statistics_step(state, batch, np.float32(number))
        return state

    @functools.cached_property
    def description(self) -> dict[str, Any]:
        """The plain data that each checkpoint stores with the weights."""
        dataset = find_dataset(self.config.dataset)
        covariates = dataset.covariates(self.config.data) if self.training.scaling.covariates else None
        names = [] if covariates is None else covariates.names
        return {
            "config": self.config.to_dict(),
            "data": self.training.description,
            "total_steps": self.total_steps,
            "value_range": {"stored": _value_range(self.training.scaling), "network": [0.0, 1.0]},
            "scaling": self.training.scaling.as_json(),
            "frame_size": list(self.validation.shape[1:3]),
            "channels": [*dataset.channel_names(self.training.shape[-1] - len(names)), *names],
            **({} if covariates is None else {"covariates": covariates.as_json()}),
        }

    @property
    def least_gain(self) -> float:
        """The gain over step 0 that makes a later checkpoint the best: none over the weights of `train.init_from`."""
        return 0.0 if self.config.train.init_from else self.config.train.least_gain

    @property
    def shares(self) -> tuple[float, ...]:
        """The shares of the network in a forecast that a validation compares, see `shrinkage`."""
        return SHARES if self.config.train.shrinkage and self.config.model.shortcut != "none" else (ALL,)

    @property
    def keeps_average(self) -> bool:
        """Whether the run keeps a moving average of its weights."""
        return self.config.train.ema_decay > 0

    def fresh_state(self) -> TrainState:
        """Returns the state before the first step, with random weights that depend on `train.seed` alone."""
        optimizer = make_optimizer(self.config.optimizer)
        return create_state(self.model, optimizer, self.config.train.seed, self.training.shape[1:], self.keeps_average)


def _validation_tile(config: RunConfig, model: STLightConfig, size: tuple[int, int]) -> int:
    """Returns the side of the tiles of validation, see `crop_tile`, and warns if frames are cut."""
    crop = getattr(config.data, "crop", 0)
    tile = crop_tile(model, crop)
    if 0 < tile < max(size):
        print_message(
            f"data.crop is {crop}, less than the receptive field of {2 * receptive_radius(model) + 1} pixels; validation, "
            f"evaluate and predict compute frames of {size[0]} x {size[1]} in tiles of {tile} x {tile}"
        )
    return tile


def _value_range(scaling: Scaling) -> list[Any]:
    """Returns [low, high], each a number, or a list with one number for each channel."""
    return [values[0] if len(values) == 1 else list(values) for values in (scaling.low, scaling.high)]
