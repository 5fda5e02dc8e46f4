"""The network of a config, with the number of channels of its data set."""

from __future__ import annotations

from typing import Any

from stlight_jax.config import RunConfig
from stlight_jax.data.datasets.all_datasets import find_dataset
from stlight_jax.model.stlight import STLightConfig


def network_config(config: RunConfig[Any]) -> STLightConfig:
    """Makes the shape of a config's network, as far as it is known without the data.

    Args:
      config: of any data set.

    Returns:
      The shape. The channels of a user's own frames are 1 if the config leaves them to the data.

    Raises:
      InputError: a value is not permitted.
    """
    return STLightConfig.from_section(config.model, len(find_dataset(config.dataset).channels) or 1)
