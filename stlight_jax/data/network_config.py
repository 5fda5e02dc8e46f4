"""The network of a config, with the number of channels of its data set."""

from __future__ import annotations

from typing import Any

from stlight_jax.config import RunConfig
from stlight_jax.data.data_sections import CHANNEL_NAMES
from stlight_jax.model.stlight import STLightConfig


def network_config(config: RunConfig[Any]) -> STLightConfig:
    """Makes the shape of a config's network, as far as it is known without the data.

    Args:
      config: Of any data set.

    Returns:
      The shape. The channels of a user's own frames are 1 if the config leaves them to the data.

    Raises:
      InputError: A value is not permitted.
    """
    return STLightConfig.from_section(config.model, len(CHANNEL_NAMES.get(config.dataset, ("unknown",))))
