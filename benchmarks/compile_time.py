"""Times the compilation of a training step by depth: `python benchmarks/compile_time.py --depths=8,32`.

The time should not grow with the depth.
"""

from __future__ import annotations

import statistics
import time

import jax
from absl import flags
from rich.console import Console
from rich.table import Table
from speed_jax import JaxContestant
from speed_networks import NETWORKS

from stlight_jax.commands.run_command import run_script
from stlight_jax.console.messages import print_message

_NETWORK = flags.DEFINE_enum("network", "d256", list(NETWORKS), "Network of `speed_networks.py`.")
_DEPTHS = flags.DEFINE_list("depths", ["8", "32"], "Numbers of mixer blocks.")
_ROUNDS = flags.DEFINE_integer("rounds", 3, "Compilations of each depth, in turns.")


def main() -> None:
    """Compiles each depth a few times and prints medians of the first step, less a later one."""
    jax.config.update("jax_enable_compilation_cache", False)
    seconds: dict[str, list[float]] = {depth: [] for depth in _DEPTHS.value}
    for turn in range(_ROUNDS.value + 1):
        for depth in _DEPTHS.value:
            print_message(f"round {turn}: depth {depth}")
            spec = NETWORKS[_NETWORK.value]
            spec = {**spec, "network": {**spec["network"], "depth": int(depth)}}
            jax.clear_caches()
            step = JaxContestant("auto", spec).build("train")
            begun = time.perf_counter()
            step()
            first = time.perf_counter() - begun
            begun = time.perf_counter()
            step()
            if turn:  # the first round includes libraries that are loaded once
                seconds[depth].append(first - (time.perf_counter() - begun))
    table = Table("depth", "compilation, s", title=_NETWORK.value)
    for depth, found in seconds.items():
        table.add_row(depth, f"{statistics.median(found):.1f} ({min(found):.1f} to {max(found):.1f})")
    Console(width=100).print(table)
    print(
        f"last over first: {statistics.median(seconds[_DEPTHS.value[-1]]) / statistics.median(seconds[_DEPTHS.value[0]]):.2f}"
    )


if __name__ == "__main__":
    run_script(main)
