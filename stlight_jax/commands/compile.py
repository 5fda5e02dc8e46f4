"""Compiles a config for slices of a TPU pod, without a TPU: `stlight compile --config=moving_mnist:L --topology=v5e:4x4`.

The programs of training and prediction are compiled by the TPU's own compiler (libtpu, extra `[tpu-aot]`) and analysed: memory,
arithmetic, traffic, collectives. Times follow from a chip's published peaks; they are lower bounds, not measurements.
"""

from collections.abc import Sequence

from absl import flags

from stlight_jax.commands.command import Command
from stlight_jax.commands.network_flags import (
    check_config_or_network,
    define_frame_size_flag,
    define_network_flags,
    network_to_count,
)
from stlight_jax.commands.shared_flags import define_config_flag


def _define_flags(values: flags.FlagValues, arguments: Sequence[str]) -> None:
    define_config_flag(values, arguments)
    define_network_flags(values)
    slices = "Slices, separated by commas: CHIP:LAYOUT, such as v5e:4x4 or v4:2x2x4."
    flags.DEFINE_list("topology", None, slices, values, required=True)
    flags.DEFINE_integer("batch_per_chip", 16, "Sequences per chip and step.", lower_bound=1, flag_values=values)
    flags.DEFINE_bool("search", True, "Search the largest batch per chip that fits the first slice.", values)
    define_frame_size_flag(values)
    flags.DEFINE_string("out", None, "Folder for compile.json, compile.txt and compile.png; none by default.", values)


def _run(values: flags.FlagValues) -> None:
    from stlight_jax.tpu_planning.compile_report import report_compilation

    config, frame_size = network_to_count(values)
    report_compilation(config, frame_size, values.topology, values.batch_per_chip, values.search, values.out)


COMMAND = Command(__doc__, _define_flags, _run, check_config_or_network)
