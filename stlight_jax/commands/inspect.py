"""Counts parameters and multiply-accumulates of a network, part by part: `stlight inspect --config=moving_mnist:L`.

The paper counted with fvcore, which skips convolutions whose padding is given as "same", so both depthwise convolutions were
left out. A multiply-accumulate counts 1, batch norm in evaluation mode 2 per element; GELU, additions and the shuffle count 0.
The counts are for one sequence.
"""

import json
from collections.abc import Sequence

from absl import flags

from stlight_jax.commands.command import Command
from stlight_jax.commands.shared_flags import chosen_frame_size, define_config_flag, define_frame_size_flag


def _define_flags(values: flags.FlagValues, arguments: Sequence[str]) -> None:
    define_config_flag(values, arguments, required=True)
    define_frame_size_flag(values)
    flags.DEFINE_bool("json", False, "Print JSON instead of a table.", values)


def _run(values: flags.FlagValues) -> None:
    from stlight_jax.console.text_table import text_table
    from stlight_jax.data.load import check_config, network_config
    from stlight_jax.model.count import count

    config = check_config(values.config)
    counted = count(network_config(config), *chosen_frame_size(config, values.frame_size))
    if values.json:
        print(json.dumps(counted.as_json(), indent=2))
        return
    rows = [[name, *(f"{value:,}" for value in numbers)] for name, *numbers in (*counted.parts, counted.total)]
    title = f"STLight, {config.dataset} {config.size}, one sequence of {counted.height} x {counted.width}"
    headings = ["part", "parameters", "MAC, paper's counting", "MAC, true"]
    print(text_table(headings, [*rows[:-1], None, rows[-1]], title), end="")
    print(
        f"{counted.total.parameters / 1e6:.2f} M parameters, {counted.total.paper / 1e9:.2f} G as the paper counts, "
        f"{counted.total.true / 1e9:.2f} G with the depthwise convolutions, which the paper leaves out.\n"
        "Batch norm counts 2 per element in both."
    )


COMMAND = Command(__doc__, _define_flags, _run)
