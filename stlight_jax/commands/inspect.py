"""`python -m stlight_jax inspect`: parameters and multiply-accumulates of an STLight network, part by part.

The paper counted with fvcore, which knows no convolution whose padding is given as "same": both depthwise convolutions
were left out. Otherwise a multiply-accumulate counts 1, evaluation-mode batch norm 2 per element, GELU, additions and
the shuffle 0, for one sequence. `MultiplyAccumulates.paper` counts so, `.true` adds the depthwise convolutions.
"""

from __future__ import annotations

import json
from typing import Any

from absl import flags
from ml_collections import config_flags
from rich.table import Table

from stlight_jax.config import check, frame_size
from stlight_jax.console.messages import Console
from stlight_jax.errors import InputError
from stlight_jax.model.count import count


def define_flags() -> None:
    config_flags.DEFINE_config_file("config", None, "File in configs/, with a size: configs/moving_mnist.py:L.")
    flags.DEFINE_string("frame_size", None, "HEIGHTxWIDTH of the frames, where the config does not say.")
    flags.DEFINE_bool("json", False, "Print JSON.")
    flags.mark_flag_as_required("config")


def main() -> None:
    config = flags.FLAGS.config
    model = check(config)
    counted = count(model, *chosen_frame_size(config, flags.FLAGS.frame_size))
    if flags.FLAGS.json:
        print(json.dumps(counted.as_json(), indent=2))
        return
    table = Table("part", title=f"STLight, {config.dataset} {config.size}, one sequence of {counted.height} x {counted.width}")
    for column in ("parameters", "MAC, paper's counting", "MAC, true"):
        table.add_column(column, justify="right")
    for part in counted.parts:
        table.add_row(part.name, *(f"{value:,}" for value in part[1:]))
    table.add_section()
    table.add_row("total", *(f"{value:,}" for value in counted.total[1:]), style="bold")
    total = counted.total
    table.caption = (
        f"{total.parameters / 1e6:.2f} M parameters, {total.paper / 1e9:.2f} G as the paper counts, {total.true / 1e9:.2f} G "
        "with the depthwise convolutions, which the paper leaves out. Batch norm counts 2 per element in both."
    )
    Console().print(table)


def chosen_frame_size(config: Any, given: str | None) -> tuple[int, int]:
    """(height, width) of a config's frames, or as `--frame_size` says. Raises InputError where neither does."""
    if given:
        sides = given.split("x")
        if len(sides) != 2 or not all(side.isdecimal() and int(side) for side in sides):
            raise InputError(f"--frame_size={given}: expected HEIGHTxWIDTH, such as 64x64")
        return int(sides[0]), int(sides[1])
    known = frame_size(config)
    if known is None:
        raise InputError("the config does not say how large the frames are; give --frame_size=HEIGHTxWIDTH")
    return known
