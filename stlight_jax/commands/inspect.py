"""Counts parameters and multiply-accumulates of a network, part by part: `stlight inspect --config=moving_mnist:L`.

The network is that of a config, or a trained one: `stlight inspect --workdir=RUN`.

The paper counted with fvcore, which skips convolutions whose padding is given as "same", so both depthwise convolutions were
left out. A multiply-accumulate counts 1, batch norm in evaluation mode 2 per element; GELU, additions and the shuffle count 0.
The counts are for one sequence.
"""

import json
from collections.abc import Sequence

from absl import flags
from rich import filesize

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
    define_frame_size_flag(values)
    flags.DEFINE_bool("json", False, "Print JSON instead of a table.", values)


def _run(values: flags.FlagValues) -> None:
    from stlight_jax.console.text_table import text_table
    from stlight_jax.data.load import network_config
    from stlight_jax.model.count import count

    config, frame_size = network_to_count(values)
    counted = count(network_config(config), *frame_size)
    if values.json:
        print(json.dumps(counted.as_json(), indent=2))
        return
    rows = [[name, *(f"{value:,}" for value in numbers)] for name, *numbers in (*counted.parts, counted.total)]
    title = f"STLight, {config.dataset} {config.size}, one sequence of {counted.height} x {counted.width}"
    headings = ["part", "parameters", "MAC, paper's counting", "MAC, true"]
    print(text_table(headings, [*rows[:-1], None, rows[-1]], title), end="")
    print(
        f"{_in_unit(counted.total.parameters)} parameters, {_in_unit(counted.total.paper)} as the paper counts, "
        f"{_in_unit(counted.total.true)} with the depthwise convolutions, which the paper leaves out.\n"
        "Batch norm counts 2 per element in both."
    )


def _in_unit(number: int) -> str:
    unit, name = filesize.pick_unit_and_suffix(number, ["", "k", "M", "G", "T"], 1000)
    return f"{number / unit:.2f} {name}".rstrip()


COMMAND = Command(__doc__, _define_flags, _run, check_config_or_network)
