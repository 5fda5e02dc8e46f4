"""From a config to its data: the config is taken apart here, and each data set receives its own section."""

import dataclasses
from collections.abc import Mapping
from typing import Any, Literal

import ml_collections

from stlight_jax.config import RunConfig, check
from stlight_jax.config.sections import MOST_FRAMES
from stlight_jax.data.datasets.all_datasets import find_dataset
from stlight_jax.data.periods import Periods, parse_periods
from stlight_jax.data.sequences import Sequences, WithHistory
from stlight_jax.model.context import plan_context
from stlight_jax.model.stlight_config import MOVING_SHORTCUTS, STLightConfig


def check_config(config: Mapping[str, Any] | ml_collections.ConfigDict) -> RunConfig:
    """Checks a config of any data set.

    Args:
      config: as from `configs/` or from a checkpoint.

    Returns:
      The typed config.

    Raises:
      InputError: the data set is unknown, a section or a key is missing or unknown, or a value is not permitted.
    """
    return check(config, find_dataset(config.get("dataset")).section)


def with_windows(config: RunConfig) -> RunConfig:
    """Replaces the keys of windows and splits that a config leaves to the data.

    Args:
      config: of any data set. A number of frames of 0 is open.

    Returns:
      The config with `in_frames` and `out_frames`: 10 of each, or as many as short data permit; and of own frames with the
      fractions of the splits.

    Raises:
      InputError: data are missing or not as expected.
    """
    model = config.model
    choices = list(dict.fromkeys((model.in_frames or most, model.out_frames or most) for most in range(MOST_FRAMES, 0, -1)))
    lengths = [
        (seen + (config.train.horizon or predicted), seen + (config.evaluation.horizon or predicted))
        for seen, predicted in choices
    ]
    index, data = find_dataset(config.dataset).choose_windows(config.data, lengths)
    in_frames, out_frames = choices[index]
    return dataclasses.replace(config, model=dataclasses.replace(model, in_frames=in_frames, out_frames=out_frames), data=data)


def network_config(config: RunConfig) -> STLightConfig:
    """Makes the shape of a config's network, as far as it is known without the data.

    Args:
      config: of any data set.

    Returns:
      The shape. If the config leaves them to a user's own data, there are 1 channel and 10 frames, the shortcut is linear
      (flow_linear if the network is to see the flow), the input is the frames, with the flow if the shortcut has one, and there
      are no periods.

    Raises:
      InputError: a value is not permitted.
    """
    section = config.model
    if section.shortcut == "auto":
        section = dataclasses.replace(section, shortcut="flow_linear" if section.input == "frames_and_flow" else "linear")
    if section.input == "auto":
        section = dataclasses.replace(section, input=input_beside(section.shortcut))
    channels = len(find_dataset(config.dataset).channels) or 1
    covariates = any(getattr(config.data, key, "") for key in ("clock", "static"))
    single, means = _periods(config)
    return STLightConfig.from_section(section, channels, single, getattr(config.data, "frame_step", 1), covariates, means)


def input_beside(shortcut: str) -> Literal["frames", "frames_and_flow"]:
    """Returns what a network sees beside a shortcut, if the config leaves it open and the changes between frames are not tried.

    Args:
      shortcut: `model.shortcut`.
    """
    return "frames_and_flow" if shortcut in MOVING_SHORTCUTS else "frames"


def frame_size(config: RunConfig) -> tuple[int, int] | None:
    """Finds the frame size that a config states.

    Args:
      config: of any data set.

    Returns:
      (height, width) in pixels; None if only the data have it.
    """
    return find_dataset(config.dataset).frame_size(config.data)


def open_training(config: RunConfig) -> tuple[Sequences, Sequences]:
    """Opens the training and the validation sequences of a config.

    Args:
      config: of any data set.

    Returns:
      Training sequences, and validation sequences, whose length follows from the evaluation's horizon.

    Raises:
      InputError: data are missing, not prepared or not as expected, or keys contradict each other.
    """
    length, validation_length = (config.model.in_frames + horizon for horizon in _horizons(config))
    opened = find_dataset(config.dataset).open_training(config.data, length, validation_length, config.train.seed)
    return with_history(config, *opened)


def with_history(config: RunConfig, training: Sequences, validation: Sequences) -> tuple[Sequences, Sequences]:
    """Adds the earlier frames that the periods of a config ask for.

    Args:
      config: of any data set.
      training: the training sequences without earlier frames.
      validation: the validation sequences without earlier frames.

    Returns:
      Training and validation sequences.

    Raises:
      InputError: the data set keeps no frames from before its sequences.
    """
    of_training, of_validation = _horizons(config)
    return _with_history(config, training, of_training), _with_history(config, validation, of_validation)


def open_test(config: RunConfig) -> Sequences:
    """Opens the test sequences of a config.

    Args:
      config: of any data set.

    Returns:
      The sequences, whose length follows from the evaluation's horizon.

    Raises:
      InputError: data are missing, not prepared or not as expected, or keys contradict each other.
    """
    _, horizon = _horizons(config)
    test = find_dataset(config.dataset).open_test(config.data, config.model.in_frames + horizon)
    return _with_history(config, test, horizon)


def _horizons(config: RunConfig) -> tuple[int, int]:
    """Returns the frames to predict in training and in evaluation."""
    out_frames = config.model.out_frames
    return config.train.horizon or out_frames, config.evaluation.horizon or out_frames


def _with_history(config: RunConfig, sequences: Sequences, horizon: int) -> Sequences:
    if not any(_periods(config)):
        return sequences
    model = network_config(config)
    history, end = plan_context(model, horizon).history, horizon * model.frame_step
    return WithHistory(sequences, [[end - time for time in frame.times] for frame in history]) if history else sequences


def _periods(config: RunConfig) -> Periods:
    return parse_periods(getattr(config.data, "periods", ""))
