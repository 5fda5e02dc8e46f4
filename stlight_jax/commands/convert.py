"""Converts PyTorch weights to a checkpoint, and back.

To a checkpoint: `stlight convert --config=moving_mnist:L --weights=FILE --out=WORKDIR`. With --config=RUN the checkpoint also
keeps the description of the run's training data.
To PyTorch: `stlight convert --workdir=RUN --out=FILE`.
"""

import functools
from collections.abc import Sequence

from absl import flags
from ml_collections.config_flags import get_config_filename

from stlight_jax.commands.command import Command
from stlight_jax.commands.config_source import stored_description
from stlight_jax.commands.network_flags import chosen_network, define_frame_size_flag, define_network_flags, network_to_count
from stlight_jax.commands.shared_flags import BEST, check_exists, define_config_flag, define_value_range_flag
from stlight_jax.errors import InputError

_OF_WEIGHTS = ("config", "key_map", "weights_key", "ignore_unexpected", "frame_size", "value_range")
_OF_WORKDIR = ("checkpoint",)


def _define_flags(values: flags.FlagValues, arguments: Sequence[str]) -> None:
    define_config_flag(
        values, arguments, help_text="With --weights: the config of their network, such as moving_mnist:L, or a run."
    )
    text = functools.partial(flags.DEFINE_string, flag_values=values)
    text("weights", None, "File of PyTorch weights to read, of torch.save or safetensors.")
    text("key_map", None, "With --weights: JSON file that maps the names of another implementation to ours.")
    text(
        "weights_key",
        None,
        "With --weights: where the weights are in the file, such as state_dict_ema; by default the averaged (EMA, SWA) ones if "
        "the file has averaged and raw weights.",
    )
    flags.DEFINE_bool(
        "ignore_unexpected", False, "With --weights: leave tensors out that the network lacks, such as those of a loss.", values
    )
    define_frame_size_flag(values, "With --weights: HEIGHTxWIDTH of the frames, in pixels; that of the config by default.")
    define_value_range_flag(
        values, "With --weights: LOW,HIGH, the stored values taken as 0 and 1; the run's or 0,255 by default."
    )
    define_network_flags(values)
    text("checkpoint", "best", f"With --workdir: {BEST}, last, or a step.")
    text("out", None, "Where to write: a new workdir, or with --workdir a file of PyTorch weights.", required=True)


def _check(values: flags.FlagValues) -> None:
    if bool(values.weights) == bool(values.workdir or values.model):
        raise InputError("give --weights=FILE with --config to bring weights in, or --workdir=RUN to write them for PyTorch")
    for flag in _OF_WORKDIR if values.weights else _OF_WEIGHTS:
        if values[flag].present:
            raise InputError(f"--{flag} has no meaning with --{'weights' if values.weights else 'workdir'}; leave it out")
    if not values.weights:
        chosen_network(values)
    elif values.config is None:
        raise InputError("--weights needs --config=NAME:SIZE; a file of weights does not contain the sizes of its network")
    for flag in ("weights", "key_map"):
        check_exists(values[flag].value, flag)


def _run(values: flags.FlagValues) -> None:
    from stlight_jax.torch_reference import weight_files
    from stlight_jax.torch_reference.convert import checkpoint_from_torch, torch_from_checkpoint

    if not values.weights:
        torch_from_checkpoint(chosen_network(values), values.checkpoint, values.out)
        return
    config, frame_size = network_to_count(values)
    description = stored_description(get_config_filename(values["config"]))
    if values.value_range:
        description["value_range"] = {"stored": list(values.value_range), "network": [0.0, 1.0]}
        description.pop("scaling", None)
    checkpoint_from_torch(
        config.to_config_dict(),
        values.weights,
        values.out,
        weight_files.read_key_map(values.key_map) if values.key_map else None,
        description | {"frame_size": list(frame_size)},
        weights_key=values.weights_key,
        ignore_unexpected=values.ignore_unexpected,
    )


COMMAND = Command(__doc__, _define_flags, _run, _check)
