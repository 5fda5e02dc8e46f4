"""Depthwise convolution by each implementation: `python benchmarks/depthwise.py`. Medians in milliseconds.

On a GPU: `--shape=16,32,32,1400 --dtype=bfloat16 --implementations=native,phases,taps`.
"""

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
from stlight_jax.model.depthwise import IMPLEMENTATIONS, depthwise_conv
from stlight_jax.progress import say
from stlight_jax.training.log import environment

_SHAPE = flags.DEFINE_list("shape", ["4", "32", "32", "256"], "Batch, height, width, channels.")
_DTYPE = flags.DEFINE_enum("dtype", "float32", ["float32", "bfloat16"], "Of frames and kernels.")
_IMPLEMENTATIONS = flags.DEFINE_list(
    "implementations", ["taps", "cpu"], f"Of {', '.join(IMPLEMENTATIONS)}; on a CPU the gradients of native take minutes."
)
_ROUNDS = flags.DEFINE_integer("rounds", 15, "Turns of each.", lower_bound=1)
_CALLS = 5  # of a turn, one after the other, so that a GPU need not wait for the next
_KERNELS = ((7, 3), (5, 3), (3, 1))  # side, dilation


def main() -> None:
    """Runs all implementations in turns and prints their table."""
    if len(_SHAPE.value) != 4 or not all(side.isdigit() and int(side) for side in _SHAPE.value):
        raise InputError(f"--shape is {','.join(_SHAPE.value)}; it must be four whole numbers: batch,height,width,channels")
    if unknown := set(_IMPLEMENTATIONS.value) - set(IMPLEMENTATIONS):
        raise InputError(f"--implementations names {', '.join(sorted(unknown))}; choose among {', '.join(IMPLEMENTATIONS)}")
    shape = tuple(int(side) for side in _SHAPE.value)
    random = np.random.default_rng(0)
    x, cotangent = (jnp.asarray(random.standard_normal(shape), _DTYPE.value) for _ in range(2))
    names = list(_IMPLEMENTATIONS.value)
    if "cpu" in names and (reason := cpu_kernels.why_unavailable()):
        say(f"without the CPU kernels: {reason}")
        names.remove("cpu")
    table = Table("", *names, title=f"milliseconds, {list(shape)} {_DTYPE.value}")
    for side, dilation in _KERNELS:
        kernel = jnp.asarray(random.standard_normal((side, side, 1, shape[-1])), _DTYPE.value)
        calls: dict[str, dict[str, Callable]] = {"forward": {}, "gradients": {}}
        for name in names:
            op = functools.partial(depthwise_conv, dilation=dilation, implementation=name, precision=jax.lax.Precision.HIGHEST)
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
    """Median seconds of each call, after a turn to warm up."""
    times: dict[str, list[float]] = {name: [] for name in calls}
    for turn in range(rounds + 1):
        for name, call in calls.items():
            begun = time.perf_counter()
            jax.block_until_ready([call() for _ in range(_CALLS)])
            if turn:
                times[name].append((time.perf_counter() - begun) / _CALLS)
    return {name: statistics.median(found) for name, found in times.items()}


if __name__ == "__main__":
    cli.run(main)
