"""Times the depthwise convolution in each implementation: `python benchmarks/depthwise.py`. Medians in milliseconds.

On a GPU you can compare with PyTorch:
`--shape=16,32,32,1400 --dtype=bfloat16 --implementations=native,phases,torch:nchw,torch:channels_last`.
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

from stlight_jax.commands.run_command import run_script
from stlight_jax.console.messages import print_message
from stlight_jax.errors import InputError
from stlight_jax.model.ops import cpu_kernels
from stlight_jax.model.ops.depthwise import IMPLEMENTATIONS, depthwise_conv
from stlight_jax.runs.environment import describe_environment

_SHAPE = flags.DEFINE_list("shape", ["4", "32", "32", "256"], "Batch, height, width, channels.")
_DTYPE = flags.DEFINE_enum("dtype", "float32", ["float32", "bfloat16"], "dtype of frames and kernels.")
_IMPLEMENTATIONS = flags.DEFINE_list(
    "implementations",
    ["taps", "cpu"],
    f"A selection of {', '.join(IMPLEMENTATIONS)}; on a CPU the gradients of native take minutes.",
)
_ROUNDS = flags.DEFINE_integer("rounds", 15, "Turns of each implementation.", lower_bound=1)
_TORCH = ("torch:nchw", "torch:channels_last")
_CALLS = 5  # per turn, one after the other, so that a GPU does not wait for the next call
_KERNELS = ((7, 3), (5, 3), (3, 1))  # side, dilation


def main() -> None:
    """Times all implementations in turns and prints their table."""
    if len(_SHAPE.value) != 4 or not all(side.isdigit() and int(side) for side in _SHAPE.value):
        raise InputError(f"--shape is {','.join(_SHAPE.value)}; it must be four whole numbers: batch,height,width,channels")
    known = (*IMPLEMENTATIONS, *_TORCH)
    if unknown := set(_IMPLEMENTATIONS.value) - set(known):
        raise InputError(f"--implementations names {', '.join(sorted(unknown))}; choose among {', '.join(known)}")
    shape = tuple(int(side) for side in _SHAPE.value)
    random = np.random.default_rng(0)
    x, cotangent = (jnp.asarray(random.standard_normal(shape), _DTYPE.value) for _ in range(2))
    names = list(_IMPLEMENTATIONS.value)
    if "cpu" in names and (reason := cpu_kernels.why_unavailable()):
        print_message(f"leaving out the CPU kernels: {reason}")
        names.remove("cpu")
    table = Table("", *names, title=f"milliseconds, {list(shape)} {_DTYPE.value}")
    for side, dilation in _KERNELS:
        kernel = jnp.asarray(random.standard_normal((side, side, 1, shape[-1])), _DTYPE.value)
        calls: dict[str, dict[str, Callable]] = {"forward": {}, "input gradient": {}, "filter gradient": {}}
        for name in names:
            if name in _TORCH:
                for task, call in torch_calls(name, shape, side, dilation).items():
                    calls[task][name] = call
                continue
            op = functools.partial(depthwise_conv, dilation=dilation, implementation=name, precision=jax.lax.Precision.HIGHEST)
            calls["forward"][name] = functools.partial(jax.jit(op), x, kernel)
            of_input = jax.jit(lambda x, kernel, cotangent, op=op: jax.vjp(lambda x: op(x, kernel), x)[1](cotangent))
            of_kernel = jax.jit(lambda x, kernel, cotangent, op=op: jax.vjp(lambda k: op(x, k), kernel)[1](cotangent))
            calls["input gradient"][name] = functools.partial(of_input, x, kernel, cotangent)
            calls["filter gradient"][name] = functools.partial(of_kernel, x, kernel, cotangent)
        for task, by_name in calls.items():
            times = in_turns(by_name, _ROUNDS.value)
            table.add_row(f"{side}x{side}, dilation {dilation}: {task}", *(f"{1e3 * times[name]:.2f}" for name in names))
    Console(width=110).print(table, f"{describe_environment()['devices'][0]}, jax {jax.__version__}", highlight=False)


def torch_calls(name: str, shape: tuple[int, ...], side: int, dilation: int) -> dict[str, Callable]:
    """Makes calls of PyTorch's convolution and of its gradients on random arrays, on the GPU if the machine has one.

    Args:
      name: "torch:nchw" or "torch:channels_last".
      shape: batch, height, width, channels.
      side: side of the kernel.
      dilation: dilation of the kernel.

    Returns:
      {"forward", "input gradient", "filter gradient"}: functions that return when the device is done.
    """
    import torch
    import torch.nn.functional as F

    device = "cuda" if torch.cuda.is_available() else "cpu"
    torch.backends.cudnn.benchmark, torch.backends.cudnn.allow_tf32 = True, False
    batch, height, width, channels = shape
    layout = torch.channels_last if name == "torch:channels_last" else torch.contiguous_format
    kinds = {"device": device, "dtype": getattr(torch, _DTYPE.value)}
    x, cotangent = (torch.randn(batch, channels, height, width, **kinds).to(memory_format=layout) for _ in range(2))
    kernel = torch.randn(channels, 1, side, side, **kinds)

    def convolved(x: torch.Tensor, kernel: torch.Tensor) -> torch.Tensor:
        return F.conv2d(x, kernel, padding=side // 2 * dilation, dilation=dilation, groups=channels)

    def gradient(index: int) -> Callable:
        arguments = [x, kernel]
        arguments[index] = arguments[index].detach().requires_grad_()
        y = convolved(*arguments)
        return lambda: torch.autograd.grad(y, [arguments[index]], cotangent, retain_graph=True)

    def synchronised(call: Callable) -> Callable:
        def wait() -> None:
            call()
            if device == "cuda":
                torch.cuda.synchronize()

        return wait

    calls = {"forward": lambda: convolved(x, kernel), "input gradient": gradient(0), "filter gradient": gradient(1)}
    return {name: synchronised(call) for name, call in calls.items()}


def in_turns(calls: dict[str, Callable], rounds: int) -> dict[str, float]:
    """Returns the median seconds of each call, after one turn to warm up."""
    times: dict[str, list[float]] = {name: [] for name in calls}
    for turn in range(rounds + 1):
        for name, call in calls.items():
            begun = time.perf_counter()
            jax.block_until_ready([call() for _ in range(_CALLS)])
            if turn:
                times[name].append((time.perf_counter() - begun) / _CALLS)
    return {name: statistics.median(found) for name, found in times.items()}


if __name__ == "__main__":
    run_script(main)
