"""Times a stack of mixer blocks in a prediction on a CPU: layer by layer, as one kernel, and its matrix products alone.

    python benchmarks/mixers.py [--sizes=256x16x4,256x16x1,96x16x1] [--side=32] [--repeats=40]

A size is channels x blocks x batch. The contestants take turns, so that a busy machine slows all of them; the lowest and the
median milliseconds are printed.
"""

from __future__ import annotations

import dataclasses
import statistics
import time
from collections.abc import Callable
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
from absl import flags

from stlight_jax import InputError
from stlight_jax.commands.run_command import run_script
from stlight_jax.console.text_table import text_table
from stlight_jax.inference.predictor import compiler_options
from stlight_jax.model.ops import cpu_kernels
from stlight_jax.model.stlight import MixerBlock
from stlight_jax.model.stlight_config import STLightConfig

_SIZES = flags.DEFINE_list("sizes", ["256x16x4", "256x16x1", "96x16x1"], "Channels x blocks x batch.")
_SIDE = flags.DEFINE_integer("side", 32, "Side of the square images, in patches.", lower_bound=1)
_REPEATS = flags.DEFINE_integer("repeats", 40, "Calls of each contestant.", lower_bound=1)
_FRAMES: dict[str, Any] = {"in_frames": 10, "out_frames": 10, "in_channels": 1, "out_channels": 1, "patch_size": 2}


def contestants(config: STLightConfig, batch: int, side: int) -> dict[str, Callable[[], Any]]:
    """Compiles the programs of a size.

    Args:
      config: the network.
      batch: number of images.
      side: of the images, in patches.

    Returns:
      Name -> a function that runs a program and waits for its result.
    """

    def stack(config: STLightConfig) -> nn.Module:
        blocks = nn.scan(
            MixerBlock, variable_axes={"params": 0}, split_rngs={"params": True}, in_axes=nn.broadcast, length=config.depth
        )
        return blocks(config, None, True)

    images = jax.random.normal(jax.random.key(0), (batch, side, side, config.hidden_dim))
    variables = jax.jit(lambda key: stack(config).init(key, images, False))(jax.random.key(1))
    kernels = variables["params"]["pointwise"]["kernel"]

    def by_layers(images: jax.Array) -> jax.Array:
        dtype = "bfloat16" if images.dtype == jnp.bfloat16 else "float32"
        result: jax.Array = stack(dataclasses.replace(config, dtype=dtype)).apply(variables, images, False)[0]
        return result

    def one_kernel(images: jax.Array) -> jax.Array:
        return cpu_kernels.mixers(images, variables["params"], config.dilation)

    def products(images: jax.Array) -> jax.Array:
        def multiply(x: jax.Array, kernel: jax.Array) -> tuple[jax.Array, None]:
            return jnp.dot(x, kernel, precision=jax.lax.Precision.HIGHEST), None

        return jax.lax.scan(multiply, images.reshape(-1, config.hidden_dim), kernels)[0]

    def program(function: Callable[[jax.Array], jax.Array], dtype: Any) -> Callable[[], Any]:
        given = images.astype(dtype)
        compiled = jax.jit(function, compiler_options=compiler_options(jax.devices()[0])).lower(given).compile()
        return lambda: compiled(given).block_until_ready()

    return {
        "layer by layer": program(by_layers, jnp.float32),
        "one kernel": program(one_kernel, jnp.float32),
        "products alone": program(products, jnp.float32),
        "layer by layer, bfloat16": program(by_layers, jnp.bfloat16),
        "one kernel, bfloat16": program(one_kernel, jnp.bfloat16),
    }


def main() -> None:
    """Prints the table."""
    if reason := cpu_kernels.why_unavailable():
        raise InputError(f"the CPU kernels are not available: {reason}")
    rows: list[tuple[str, ...]] = []
    headings: tuple[str, ...] = ()
    for size in _SIZES.value:
        try:
            channels, depth, batch = map(int, size.split("x"))
        except ValueError:
            raise InputError(f"--sizes: {size} is no size; expected channels x blocks x batch, such as 256x16x4") from None
        config = STLightConfig(hidden_dim=channels, depth=depth, near_kernel=3, far_kernel=7, dilation=3, **_FRAMES)
        programs = contestants(config, batch, _SIDE.value)
        seconds: dict[str, list[float]] = {name: [] for name in programs}
        for _ in range(_REPEATS.value):
            for name, run in programs.items():
                begun = time.perf_counter()
                run()
                seconds[name].append(time.perf_counter() - begun)
        headings = ("channels x blocks x batch", *programs)
        rows.append(
            (size, *(f"{1e3 * np.min(times):.1f} ({1e3 * statistics.median(times):.1f})" for times in seconds.values()))
        )
    print(text_table(headings, rows, "milliseconds, lowest (median)"))


if __name__ == "__main__":
    run_script(main)
