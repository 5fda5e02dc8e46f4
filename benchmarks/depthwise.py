"""Depthwise convolution by each implementation: `python benchmarks/depthwise.py [--native]`. Medians in milliseconds."""

from __future__ import annotations

import functools
import statistics
import time
from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np
from absl import flags
from rich.console import Console
from rich.table import Table

from stlight_jax import cli
from stlight_jax.errors import InputError
from stlight_jax.model import cpu_kernels
from stlight_jax.model.depthwise import depthwise_conv
from stlight_jax.progress import say
from stlight_jax.training.log import environment

_SHAPE = flags.DEFINE_list("shape", ["4", "32", "32", "256"], "Batch, height, width, channels.")
_NATIVE = flags.DEFINE_bool("native", False, "XLA's grouped convolution too; on a CPU its gradients take minutes.")
_ROUNDS = flags.DEFINE_integer("rounds", 15, "Calls of each, taking turns.", lower_bound=1)
_KERNELS = ((7, 3), (5, 3), (3, 1))  # side, dilation


def main() -> None:
    """Runs all implementations in turns and prints their table."""
    if len(_SHAPE.value) != 4 or not all(side.isdigit() and int(side) for side in _SHAPE.value):
        raise InputError(f"--shape is {','.join(_SHAPE.value)}; it must be four whole numbers: batch,height,width,channels")
    shape = tuple(int(side) for side in _SHAPE.value)
    random = np.random.default_rng(0)
    x, cotangent = (jnp.asarray(random.standard_normal(shape), jnp.float32) for _ in range(2))
    names = ["taps"]
    if reason := cpu_kernels.why_unavailable():
        say(f"without the CPU kernels: {reason}")
    else:
        names.append("cpu")
    if _NATIVE.value:
        names.append("native")
    table = Table("", *names, title=f"milliseconds, {list(shape)} float32")
    for side, dilation in _KERNELS:
        kernel = jnp.asarray(random.standard_normal((side, side, 1, shape[-1])), jnp.float32)
        calls: dict[str, dict[str, Callable]] = {"forward": {}, "gradients": {}}
        for name in names:
            op = functools.partial(depthwise_conv, dilation=dilation, implementation=name)
            calls["forward"][name] = functools.partial(jax.jit(op), x, kernel)
            calls["gradients"][name] = functools.partial(jax.jit(gradients(op)), x, kernel, cotangent)
        for what, by_name in calls.items():
            times = in_turns(by_name, _ROUNDS.value)
            table.add_row(f"{side}x{side}, dilation {dilation}: {what}", *(f"{1e3 * times[name]:.2f}" for name in names))
    Console(width=110).print(table, f"{environment()['devices'][0]}, jax {jax.__version__}", highlight=False)


def gradients(op: Callable) -> Callable:
    """With respect to both arguments of `op`, given a cotangent; the compiler leaves the forward pass out."""
    return lambda x, kernel, cotangent: jax.vjp(op, x, kernel)[1](cotangent)


def in_turns(calls: dict[str, Callable], rounds: int) -> dict[str, float]:
    """Median seconds of each call, after one to warm up."""
    times: dict[str, list[float]] = {name: [] for name in calls}
    for turn in range(rounds + 1):
        for name, call in calls.items():
            begun = time.perf_counter()
            jax.block_until_ready(call())
            if turn:
                times[name].append(time.perf_counter() - begun)
    return {name: statistics.median(found) for name, found in times.items()}


if __name__ == "__main__":
    cli.run(main)
