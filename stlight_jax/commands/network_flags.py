"""The flags that name a network: --workdir and --model for a trained one, and the sizes of frames; and what they stand for."""

import contextlib
import dataclasses
import pathlib
import sys

from absl import flags
from ml_collections.config_flags import get_config_filename

from stlight_jax.commands.config_source import stored_config, stored_description
from stlight_jax.config import RunConfig
from stlight_jax.config.sections import MOST_FRAMES, ModelSection
from stlight_jax.console.messages import print_message
from stlight_jax.errors import InputError
from stlight_jax.inference.shipped_networks import ONNX_SUFFIX, SUFFIX, shipped
from stlight_jax.storage.paths import is_remote


def define_network_flags(values: flags.FlagValues) -> None:
    """Defines --workdir and --model, of which `chosen_network` takes one."""
    text = (
        f"The network: folder of a run or of a checkpoint, a {SUFFIX} file, or the name of a shipped network such as "
        f"moving_mnist; predict also runs an {ONNX_SUFFIX} file."
    )
    flags.DEFINE_string("workdir", None, text, values)
    flags.DEFINE_string("model", None, "The network; the same as --workdir, for the name of a shipped one.", values)


def chosen_network(values: flags.FlagValues) -> str:
    """Returns the network that --workdir or --model names.

    Raises:
      InputError: if both flags are given or none, or the network does not exist.
    """
    if bool(values.workdir) == bool(values.model):
        raise InputError(
            "give either --workdir=RUN, a network you have trained, or --model=NAME, a shipped one such as moving_mnist"
        )
    name = values.workdir or values.model
    if name not in shipped() and not is_remote(name) and not pathlib.Path(name).expanduser().exists():
        flag = "workdir" if values.workdir else "model"
        raise InputError(f"--{flag}={name}: no such file or folder; the shipped networks are {', '.join(shipped())}")
    return name


class _FrameSizeParser(flags.ArgumentParser):
    """Parses HEIGHTxWIDTH."""

    def parse(self, text: str) -> tuple[int, int]:
        """Returns (height, width)."""
        sides = text.split("x")
        if len(sides) != 2 or not all(side.isascii() and side.isdecimal() and int(side) for side in sides):
            raise ValueError("expected HEIGHTxWIDTH, such as 64x64")
        return int(sides[0]), int(sides[1])


def define_frame_size_flag(
    values: flags.FlagValues, help_text: str = "HEIGHTxWIDTH of the frames in pixels, if neither the config nor a run fixes it."
) -> None:
    """Defines --frame_size, whose value is (height, width)."""
    flags.DEFINE(_FrameSizeParser(), "frame_size", None, help_text, values)


def check_config_or_network(values: flags.FlagValues) -> None:
    """Refuses a command line that does not name one network, by --config, --workdir or --model.

    Raises:
      InputError: if no flag or several are given, or the network does not exist.
    """
    if values.config is None and not (values.workdir or values.model):
        raise InputError("give --config=NAME:SIZE, such as moving_mnist:L, or a trained network, --workdir=RUN or --model=NAME")
    if values.config is None:
        chosen_network(values)
    elif values.workdir or values.model:
        raise InputError("--config and --workdir or --model name two networks; leave out one of them")


def network_to_count(values: flags.FlagValues) -> tuple[RunConfig, tuple[int, int]]:
    """Finds the config of a network and the size of its frames, without its weights.

    A config of own frames leaves channels and frame size to the data. They are those of the run, of the data in `data.root`, or
    one channel, which is printed.

    Args:
      values: flags --config, or --workdir and --model, and --frame_size.

    Returns:
      The config with its channels and its patch size, and (height, width) of the frames in pixels.

    Raises:
      InputError: if the size is not known, or the data cannot be opened.
    """
    from stlight_jax.data.datasets.all_datasets import find_dataset
    from stlight_jax.data.load import check_config, frame_size, network_config, open_training, with_windows

    source = chosen_network(values) if values.config is None else get_config_filename(values["config"])
    config = check_config(stored_config(source) if values.config is None else values.config)
    size = values.frame_size or frame_size(config) or stored_description(source).get("frame_size")
    channels = len(find_dataset(config.dataset).channels)
    is_open = not channels and 0 in (config.model.in_channels, config.model.out_channels)
    if (size is None or is_open) and config.data.root:
        with contextlib.redirect_stdout(sys.stderr):  # the report of a first reading; the counts go to standard output
            config = with_windows(config)
            validation = open_training(config)[1]
        _, height, width, channels = validation.shape
        size = size or (height, width)
    if size is None:
        raise InputError("the config does not fix the size of the frames; give --frame_size=HEIGHTxWIDTH")
    height, width = size
    complete = dataclasses.replace(config, model=config.model.for_data(channels or 1, height * width))
    _print_assumptions(config, network_config(complete), is_open and not channels)
    return complete, (height, width)


def _print_assumptions(config: RunConfig, network: ModelSection, one_channel: bool) -> None:
    """Prints the values of a network that stand for keys that the config leaves to the data."""
    frames = f"{MOST_FRAMES} frames (model.in_frames, model.out_frames)"
    assumed = [frames] if 0 in (config.model.in_frames, config.model.out_frames) else []
    assumed += ["1 channel (model.in_channels, model.out_channels)"] if one_channel else []
    assumed += [f"the shortcut {network.shortcut} (model.shortcut)"] if config.model.shortcut == "auto" else []
    assumed += [f"the input {network.input} (model.input)"] if config.model.input == "auto" else []
    assumed += ["no periods (data.periods)"] if getattr(config.data, "periods", "") == "auto" else []
    assumed += [f"{network.hidden_dim} channels of the grid (model.hidden_dim)"] if not config.model.hidden_dim else []
    if assumed:
        print_message(f"assumed, because the config leaves them open: {', '.join(assumed)}; set these keys, or name a run")
