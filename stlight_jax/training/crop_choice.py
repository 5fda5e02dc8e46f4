"""The side of training crops where a config leaves it to the data."""

import dataclasses
from collections.abc import Callable
from typing import Any

from stlight_jax.config.run_config import RunConfig
from stlight_jax.console.messages import print_message
from stlight_jax.data.load import network_config
from stlight_jax.data.sequences import Sequences
from stlight_jax.metrics.pixel_errors import MSE
from stlight_jax.model.stlight_config import MOVING_SHORTCUTS
from stlight_jax.model.tiling import crop_tile
from stlight_jax.parallel.launchers import Launcher
from stlight_jax.training.shortcut_choice import sampled, shortcut_errors
from stlight_jax.training.time_for_choices import TimeForChoices

OPEN = -1  # the value of data.crop that leaves the choice to the start of a run
_SIDE = 32
_FEW_WINDOWS = 2000
_MOST_LOSS = 1.02  # of the flow in tiles, relative to its MSE in whole frames


def choose_crop(
    config: RunConfig,
    training: Sequences,
    validation: Sequences,
    launcher: Launcher,
    time_for_choices: TimeForChoices,
    params: Callable[[], dict[str, Any]] = dict,
    whole: float | None = None,
) -> RunConfig:
    """Replaces an open `data.crop`: crops where large frames are few and something moves in them, else whole frames.

    On a night of radar (40 windows of 104 x 104 pixels), the test MSE of flow and network was 6.58 with whole frames, 6.20
    with crops of 48 pixels and 5.96 with crops of 32 (flow alone: 6.33); that of the linear shortcut and its network 12.1,
    10.1 and 9.7. A network that sees changes may learn what happens where, and keeps whole frames. The linear shortcut is not
    tried in tiles: with five smoothed copies of its inputs, its validation MSE in them was 2 % higher on that radar.

    Args:
      config: The config, with the shortcut and the input of the network.
      training: Training sequences.
      validation: Validation sequences.
      launcher: Runs the flow's forecasts on all devices.
      time_for_choices: When it is over, the flow is not tried in tiles, and the network trains on whole frames.
      params: Returns the parameters of the shortcut before the first step.
      whole: MSE of the shortcut in whole frames; None if it is not known.

    Returns:
      The config with `data.crop`; the same if the key is given, or the data set has none.
    """
    if getattr(config.data, "crop", 0) != OPEN:
        return config
    model = network_config(config)
    moves = model.shortcut in MOVING_SHORTCUTS or (model.shortcut != "none" and model.input == "frames")
    crop = _SIDE if moves and len(training) < _FEW_WINDOWS and min(training.shape[1:3]) >= 3 * _SIDE else 0
    tile = crop_tile(model, crop)
    if tile and model.shortcut in MOVING_SHORTCUTS:
        if time_for_choices.is_over():
            print_message("the time of --minutes is too short to try crops; the network trains on whole frames")
            return _with_crop(config, 0)
        windows = sampled(model, validation)
        if whole is None:
            whole = shortcut_errors(model, params(), windows, launcher)[MSE.key]
        tiled = shortcut_errors(model, params(), windows, launcher, tile)[MSE.key]
        if not tiled <= _MOST_LOSS * whole:
            print_message(
                f"motion goes beyond tiles of {tile} x {tile}: in them, the MSE of the shortcut is {MSE.format(tiled)}, in "
                f"whole frames {MSE.format(whole)}; the network trains on whole frames"
            )
            crop = 0
    return _with_crop(config, crop)


def _with_crop(config: RunConfig, crop: int) -> RunConfig:
    return dataclasses.replace(config, data=dataclasses.replace(config.data, crop=crop))
