"""Config keys that leave a choice to the start of a run: their list, the report of a choice, and its reuse on resuming."""

import dataclasses
import math
from collections.abc import Mapping
from typing import Any

from stlight_jax.config.run_config import RunConfig
from stlight_jax.config.sections import MOST_FRAMES
from stlight_jax.console.messages import print_message
from stlight_jax.data.load import check_config
from stlight_jax.data.periods import AUTO
from stlight_jax.training.crop_choice import OPEN

_WINDOWS = f"at most {MOST_FRAMES}, as short data permit"
_FRACTIONS = "0.1 and 0.2, or more for the windows of short data"
# Section, key, the value that leaves the choice to the start of a run, and the reason of the choice.
_CHOICES = (
    ("model", "in_frames", 0, _WINDOWS),
    ("model", "out_frames", 0, _WINDOWS),
    ("data", "split", AUTO, "by the number, the lengths and the names of the sequences"),
    ("data", "validation_fraction", 0, _FRACTIONS),
    ("data", "test_fraction", 0, _FRACTIONS),
    ("model", "shortcut", AUTO, "{found}"),
    ("train", "shortcut_share", -1, "{found}"),
    ("model", "input", AUTO, "changes if shortcut=auto takes last or linear, frames_and_flow if the shortcut has a flow"),
    ("model", "in_channels", 0, "the channels of the data"),
    ("model", "out_channels", 0, "the channels of the data"),
    ("model", "patch_size", 0, "frames of {height} x {width}"),
    ("model", "shortcut_scales", -1, "{copies}"),
    ("model", "hidden_dim", 0, "{values:,} predicted values in a patch"),
    ("model", "depth", 0, "the usual one"),
    ("optimizer", "learning_rate", 0, "for model.hidden_dim={hidden_dim}"),
    ("data", "periods", AUTO, "{found}"),
    ("data", "clip", AUTO, ""),
    ("data", "crop", OPEN, "{windows:,} windows of {height} x {width}, model.shortcut={shortcut}, model.input={input}"),
    ("train", "batch_size", 0, "{pixels:,} pixels in a frame, {windows:,} windows"),
    ("train", "least_gain", -1, "{apart}{few}{others}"),
)
_TRIED = "by the errors of forecasts without a network"
_USUAL = {"shortcut_share": 1.0}  # a choice that is not reported


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
    for section, key, left_open, _ in _CHOICES:
        known = hasattr(getattr(earlier, section), key)  # another data set, which is refused later, has other keys
        if known and getattr(getattr(config, section), key, None) == left_open:
            chosen.setdefault(section, {})[key] = getattr(getattr(earlier, section), key)
    if keep_length:
        chosen["train"] |= {key: getattr(earlier.train, key) for key in ("steps", "checkpoint_every")}
    sections = {name: dataclasses.replace(getattr(config, name), **values) for name, values in chosen.items()}
    return dataclasses.replace(config, **sections)


def with_report(left_open: RunConfig, chosen: RunConfig, **facts: Any) -> RunConfig:
    """Prints the keys that were left open before and have a value now, one reason a line.

    Args:
      left_open: The config before.
      chosen: The config now.
      **facts: Facts of the data that the reasons of these keys name.

    Returns:
      The config now.
    """
    events, separate = (facts.get(fact, math.inf) for fact in ("events", "separate"))
    more_out = chosen.model.out_channels > chosen.model.in_channels
    before, after, model = left_open.to_dict(), chosen.to_dict(), chosen.model
    facts |= after["model"] | {
        "values": model.out_frames * model.out_channels * model.patch_size**2,
        "others": f" in {events} sequences, and others for the test" if math.isfinite(events) else "",
        "found": "more channels out than in" if more_out else _TRIED,
        "copies": f"frames of {facts['height']} x {facts['width']}" if "height" in facts else _TRIED,
        "apart": f"{separate:,} training windows without overlap" if math.isfinite(separate) else "the data do not decide",
        "few": facts.get("few", ""),
    }
    changes: dict[str, list[str]] = {}
    for section, key, _, reason in _CHOICES:
        value = after[section].get(key)
        if value not in (before[section].get(key), _USUAL.get(key)):
            shown = "none" if value == "" else value
            changes.setdefault(reason.format(**facts), []).append(f"{section}.{key}={shown}")
    if changes:
        lines = (f"  {', '.join(keys)} ({reason})" for reason, keys in changes.items())
        print_message("\n".join(["chosen for the data:", *lines]))
    return chosen
