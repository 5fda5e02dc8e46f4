"""From a config to its data: the config is taken apart here, and each data set receives its own section."""

import dataclasses
from collections.abc import Mapping
from typing import Any

import ml_collections

from stlight_jax.config import RunConfig, check
from stlight_jax.data.datasets.all_datasets import find_dataset
from stlight_jax.data.sequences import Sequences
from stlight_jax.model.stlight_config import STLightConfig


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


def network_config(config: RunConfig) -> STLightConfig:
    """Makes the shape of a config's network, as far as it is known without the data.

    Args:
      config: of any data set.

    Returns:
      The shape. The channels of a user's own frames are 1 and the shortcut is linear if the config leaves them to the data.

    Raises:
      InputError: a value is not permitted.
    """
    section = config.model
    if section.shortcut == "auto":
        section = dataclasses.replace(section, shortcut="linear")
    return STLightConfig.from_section(section, len(find_dataset(config.dataset).channels) or 1)


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
    length, validation_length = _sequence_length(config, config.train), _sequence_length(config, config.evaluation)
    return find_dataset(config.dataset).open_training(config.data, length, validation_length, config.train.seed)


def open_test(config: RunConfig) -> Sequences:
    """Opens the test sequences of a config.

    Args:
      config: of any data set.

    Returns:
      The sequences, whose length follows from the evaluation's horizon.

    Raises:
      InputError: data are missing, not prepared or not as expected, or keys contradict each other.
    """
    return find_dataset(config.dataset).open_test(config.data, _sequence_length(config, config.evaluation))


def _sequence_length(config: RunConfig, section: Any) -> int:
    """Returns T + horizon, in training or in evaluation."""
    return config.model.in_frames + (section.horizon or config.model.out_frames)
