"""Config keys that leave a choice to the start of a run: their list, the report of a choice, and its reuse on resuming."""

import dataclasses
from collections.abc import Mapping
from typing import Any

from stlight_jax.config.run_config import RunConfig
from stlight_jax.console.messages import print_message
from stlight_jax.data.load import check_config
from stlight_jax.data.periods import AUTO
from stlight_jax.training.crop_choice import OPEN

# Section, key and the value that leaves the choice to the start of a run.
_CHOICES = (
    ("model", "in_frames", 0),
    ("model", "out_frames", 0),
    ("data", "split", AUTO),
    ("data", "validation_fraction", 0),
    ("data", "test_fraction", 0),
    ("model", "shortcut", AUTO),
    ("model", "input", AUTO),
    ("model", "in_channels", 0),
    ("model", "out_channels", 0),
    ("model", "patch_size", 0),
    ("model", "hidden_dim", 0),
    ("model", "depth", 0),
    ("optimizer", "learning_rate", 0),
    ("data", "periods", AUTO),
    ("data", "clip", AUTO),
    ("data", "crop", OPEN),
    ("train", "batch_size", 0),
    ("train", "least_gain", -1),
)


def with_earlier_choices(config: RunConfig, started_with: Mapping[str, Any] | None, keep_length: bool) -> RunConfig:
    """Replaces keys that leave a choice to the start of a run by what a resumed run has chosen.

    Args:
      config: The checked config.
      started_with: The config that the run was started with; None for a new run.
      keep_length: Whether a resumed run also keeps its number of steps.

    Returns:
      The config.

    Raises:
      InputError: `started_with` is invalid.
    """
    if started_with is None:
        return config
    earlier = check_config(started_with)
    chosen: dict[str, dict[str, Any]] = {"train": {}}
    for section, key, left_open in _CHOICES:
        known = hasattr(getattr(earlier, section), key)  # another data set, which is refused later, has other keys
        if known and getattr(getattr(config, section), key, None) == left_open:
            chosen.setdefault(section, {})[key] = getattr(getattr(earlier, section), key)
    if keep_length:
        chosen["train"] |= {key: getattr(earlier.train, key) for key in ("steps", "checkpoint_every")}
    sections = {name: dataclasses.replace(getattr(config, name), **values) for name, values in chosen.items()}
    return dataclasses.replace(config, **sections)


def with_report(left_open: RunConfig, chosen: RunConfig) -> RunConfig:
    """Prints the keys that were left open before and have a value now.

    Args:
      left_open: The config before.
      chosen: The config now.

    Returns:
      The config now.
    """
    before, after = left_open.to_dict(), chosen.to_dict()
    changes = [
        f"{section}.{key}={after[section][key]}"
        for section, key, _ in _CHOICES
        if after[section].get(key) != before[section].get(key)
    ]
    if changes:
        print_message(f"chosen for the data: {', '.join(changes)}")
    return chosen
