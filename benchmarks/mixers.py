"""Times a stack of mixer blocks on a CPU: layer by layer, as one kernel, and its matrix products alone.

    python benchmarks/mixers.py [--sizes=256x16x4,256x16x1,96x16x1] [--side=32] [--repeats=40]

A size is channels x blocks x batch. One table has predictions; the other has the gradients of a training step, whose products
are three for each of a prediction. The contestants take turns, so that a busy machine slows all of them; the lowest and the
median milliseconds are printed.
"""

from __future__ import annotations

import dataclasses
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
from stlight_jax.model.ops import cpu_kernels, cpu_training
from stlight_jax.model.stlight import MixerBlock
from stlight_jax.model.stlight_config import STLightConfig

_SIZES = flags.DEFINE_list("sizes", ["256x16x4", "256x16x1", "96x16x1"], "Channels x blocks x batch.")
_SIDE = flags.DEFINE_integer("side", 32, "Side of the square images, in patches.", lower_bound=1)
_REPEATS = flags.DEFINE_integer("repeats", 40, "Calls of each contestant.", lower_bound=1)
_FRAMES: dict[str, Any] = {"in_frames": 10, "out_frames": 10, "in_channels": 1, "out_channels": 1, "patch_size": 2}


_Programs = dict[str, Callable[[], Any]]


def _stack(config: STLightConfig, folded: bool) -> nn.Module:
    axes = {"params": 0, "batch_stats": 0}
    blocks = nn.scan(MixerBlock, variable_axes=axes, split_rngs={"params": True}, in_axes=nn.broadcast, length=config.depth)
    return blocks(config, None, folded)


def _variables(stack: nn.Module, images: jax.Array) -> Any:
    return jax.jit(lambda key: stack.init(key, images, False))(jax.random.key(1))


def _program(function: Callable[..., Any], *arguments: Any) -> Callable[[], Any]:
    options = compiler_options(jax.devices()[0])
    compiled = jax.jit(function, compiler_options=options).lower(*arguments).compile()
    return lambda: jax.block_until_ready(compiled(*arguments))


def predictions(config: STLightConfig, batch: int, side: int) -> _Programs:
    """Compiles the predictions of a size.

    Args:
      config: the network.
      batch: number of images.
      side: of the images, in patches.

    Returns:
      Name -> a function that runs a program and waits for its result.
    """
    images = jax.random.normal(jax.random.key(0), (batch, side, side, config.hidden_dim))
    params = _variables(_stack(config, True), images)["params"]

    def by_layers(images: jax.Array) -> jax.Array:
        stack = _stack(dataclasses.replace(config, dtype=images.dtype.name), True)
        result: jax.Array = stack.apply({"params": params}, images, False)[0]
        return result

    def one_kernel(images: jax.Array) -> jax.Array:
        return cpu_kernels.mixers(images, params, config.dilation)

    def products(images: jax.Array) -> jax.Array:
        def multiply(x: jax.Array, kernel: jax.Array) -> tuple[jax.Array, None]:
            return jnp.dot(x, kernel, precision=jax.lax.Precision.HIGHEST), None

        return jax.lax.scan(multiply, images.reshape(-1, config.hidden_dim), params["pointwise"]["kernel"])[0]

    rounded = images.astype(jnp.bfloat16)
    return {
        "layer by layer": _program(by_layers, images),
        "one kernel": _program(one_kernel, images),
        "products alone": _program(products, images),
        "layer by layer, bfloat16": _program(by_layers, rounded),
        "one kernel, bfloat16": _program(one_kernel, rounded),
    }


def gradients(config: STLightConfig, batch: int, side: int) -> _Programs:
    """Compiles the forward and backward passes of a size; see `predictions`."""
    images = jax.random.normal(jax.random.key(0), (batch, side, side, config.hidden_dim))
    cotangent = jax.random.normal(jax.random.key(2), images.shape)
    variables = _variables(_stack(config, False), images)

    def by_layers(params: Any, images: jax.Array) -> jax.Array:
        stack = _stack(dataclasses.replace(config, dtype=images.dtype.name), False)
        (y, _), _ = stack.apply({**variables, "params": params}, images, True, mutable=["batch_stats"])
        return jnp.vdot(y.astype(cotangent.dtype), cotangent)

    def one_kernel(params: Any, images: jax.Array) -> jax.Array:
        y, _ = cpu_training.mixers(images, params, config.dilation)
        return jnp.vdot(y.astype(cotangent.dtype), cotangent)

    return {
        f"{name}{suffix}": _program(jax.grad(loss, (0, 1)), variables["params"], images.astype(dtype))
        for dtype, suffix in ((jnp.float32, ""), (jnp.bfloat16, ", bfloat16"))
        for name, loss in (("layer by layer", by_layers), ("one kernel", one_kernel))
    }


def main() -> None:
    """Prints the tables."""
    if reason := cpu_kernels.why_unavailable() or cpu_training.why_unavailable():
        raise InputError(f"the CPU kernels are not available: {reason}")
    for title, compile_programs in (("predictions", predictions), ("gradients", gradients)):
        rows: list[tuple[str, ...]] = []
        headings: tuple[str, ...] = ()
        for size in _SIZES.value:
            try:
                channels, depth, batch = map(int, size.split("x"))
            except ValueError:
                raise InputError(f"--sizes: {size} is no size; expected channels x blocks x batch, such as 256x16x4") from None
            config = STLightConfig(hidden_dim=channels, depth=depth, near_kernel=3, far_kernel=7, dilation=3, **_FRAMES)
            programs = compile_programs(config, batch, _SIDE.value)
            seconds: dict[str, list[float]] = {name: [] for name in programs}
            for _ in range(_REPEATS.value):
                for name, run in programs.items():
                    begun = time.perf_counter()
                    run()
                    seconds[name].append(time.perf_counter() - begun)
            headings = ("channels x blocks x batch", *programs)
            milliseconds = {name: 1e3 * np.array(times) for name, times in seconds.items()}
            rows.append((size, *(f"{times.min():.1f} ({np.median(times):.1f})" for times in milliseconds.values())))
        print(text_table(headings, rows, f"{title}: milliseconds, lowest (median)"))


if __name__ == "__main__":
    run_script(main)
