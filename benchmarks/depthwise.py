"""Times the depthwise convolution in each implementation: `python benchmarks/depthwise.py`. Medians in milliseconds.

On a GPU you can compare with PyTorch:
`--shape=16,32,32,1400 --dtype=bfloat16 --implementations=native,phases,torch:nchw,torch:channels_last`.
"""

from __future__ import annotations

import functools
import statistics
import time
from collections.abc import Callable
from typing import Any

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
TORCH = ("torch:nchw", "torch:channels_last")
TASKS = ("forward", "input gradient", "filter gradient")
KERNELS = ((7, 3), (5, 3), (3, 1))  # side, dilation


def main() -> None:
    """Times all implementations in turns and prints their table."""
    if len(_SHAPE.value) != 4 or not all(side.isdigit() and int(side) for side in _SHAPE.value):
        raise InputError(f"--shape is {','.join(_SHAPE.value)}; it must be four whole numbers: batch,height,width,channels")
    known = (*IMPLEMENTATIONS, *TORCH)
    if unknown := set(_IMPLEMENTATIONS.value) - set(known):
        raise InputError(f"--implementations names {', '.join(sorted(unknown))}; choose among {', '.join(known)}")
    shape = tuple(int(side) for side in _SHAPE.value)
    names = list(_IMPLEMENTATIONS.value)
    if "cpu" in names and (reason := cpu_kernels.why_unavailable()):
        print_message(f"leaving out the CPU kernels: {reason}")
        names.remove("cpu")
    table = Table("", *names, title=f"milliseconds, {list(shape)} {_DTYPE.value}")
    for side, dilation in KERNELS:
        arrays = random_arrays(shape, side)
        by_name = {name: make_calls(name, arrays, _DTYPE.value, dilation) for name in names}
        for task in TASKS:
            times = in_turns({name: calls[task] for name, calls in by_name.items()}, _ROUNDS.value)
            table.add_row(f"{side}x{side}, dilation {dilation}: {task}", *(f"{1e3 * times[name]:.2f}" for name in names))
    Console(width=110).print(table, f"{describe_environment()['devices'][0]}, jax {jax.__version__}", highlight=False)


def random_arrays(shape: tuple[int, ...], side: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Makes an input, a kernel and an output's cotangent.

    Args:
      shape: batch, height, width, channels.
      side: side of the kernel.

    Returns:
      float32 `[b, h, w, d]`, `[side, side, 1, d]` and `[b, h, w, d]`.
    """
    random = np.random.default_rng(0)
    shapes = (shape, (side, side, 1, shape[-1]), shape)
    x, kernel, cotangent = (random.standard_normal(each, np.float32) for each in shapes)
    return x, kernel, cotangent


def make_calls(name: str, arrays: tuple[np.ndarray, ...], dtype: str, dilation: int) -> dict[str, Callable[[], Any]]:
    """Makes the calls of an implementation.

    Args:
      name: an implementation, or "torch:nchw", "torch:channels_last".
      arrays: as from `random_arrays`.
      dtype: "float32" or "bfloat16".
      dilation: dilation of the kernel.

    Returns:
      Task -> a function that returns its result on the device: output, input gradient or filter gradient.
    """
    if name in TORCH:
        return _torch_calls(name, arrays, dtype, dilation)
    op = functools.partial(depthwise_conv, dilation=dilation, implementation=name, precision=jax.lax.Precision.HIGHEST)
    x, kernel, cotangent = (jnp.asarray(array, dtype) for array in arrays)
    of_input = jax.jit(lambda x, kernel, cotangent: jax.vjp(lambda x: op(x, kernel), x)[1](cotangent)[0])
    of_kernel = jax.jit(lambda x, kernel, cotangent: jax.vjp(lambda kernel: op(x, kernel), kernel)[1](cotangent)[0])
    return {
        "forward": functools.partial(jax.jit(op), x, kernel),
        "input gradient": functools.partial(of_input, x, kernel, cotangent),
        "filter gradient": functools.partial(of_kernel, x, kernel, cotangent),
    }


def _torch_calls(name: str, arrays: tuple[np.ndarray, ...], dtype: str, dilation: int) -> dict[str, Callable[[], Any]]:
    """Makes calls of PyTorch's convolution and of its gradients, on the GPU if the machine has one; see `make_calls`."""
    import torch
    import torch.nn.functional as F

    device = "cuda" if torch.cuda.is_available() else "cpu"
    torch.backends.cudnn.benchmark, torch.backends.cudnn.allow_tf32 = True, False
    layout = torch.channels_last if name == "torch:channels_last" else torch.contiguous_format
    tensors = [torch.from_numpy(array).to(device, getattr(torch, dtype)) for array in arrays]
    x, cotangent = (tensors[index].permute(0, 3, 1, 2).contiguous(memory_format=layout) for index in (0, 2))
    kernel = tensors[1].permute(3, 2, 0, 1).contiguous()

    def convolved(x: torch.Tensor, kernel: torch.Tensor) -> torch.Tensor:
        padding = kernel.shape[-1] // 2 * dilation
        return F.conv2d(x, kernel, padding=padding, dilation=dilation, groups=x.shape[1])

    def gradient(index: int) -> Callable[[], Any]:
        arguments = [x, kernel]
        arguments[index] = arguments[index].detach().requires_grad_()
        y = convolved(*arguments)
        return lambda: torch.autograd.grad(y, [arguments[index]], cotangent, retain_graph=True)[0]

    return {"forward": lambda: convolved(x, kernel), "input gradient": gradient(0), "filter gradient": gradient(1)}


def as_numpy(name: str, task: str, result: Any) -> np.ndarray:
    """Returns a result of `make_calls` as float32 in the layout of `random_arrays`."""
    if name not in TORCH:
        return np.asarray(result, np.float32)
    axes = (2, 3, 1, 0) if task == "filter gradient" else (0, 2, 3, 1)
    return result.float().permute(*axes).cpu().numpy()


def wait(results: list[Any]) -> None:
    """Waits until the device has computed results of `make_calls`."""
    if isinstance(results[0], jax.Array):
        jax.block_until_ready(results)
    elif results[0].device.type == "cuda":
        import torch

        torch.cuda.synchronize()


def in_turns(calls: dict[str, Callable], rounds: int, calls_in_turn: int = 5) -> dict[str, float]:
    """Returns the median seconds of each call, after one turn to warm up.

    Args:
      calls: name -> a function that starts the work.
      rounds: turns of each function.
      calls_in_turn: calls one after the other, so that a GPU does not wait for the next one.
    """
    times: dict[str, list[float]] = {name: [] for name in calls}
    for turn in range(rounds + 1):
        for name, call in calls.items():
            begun = time.perf_counter()
            wait([call() for _ in range(calls_in_turn)])
            if turn:
                times[name].append((time.perf_counter() - begun) / calls_in_turn)
    return {name: statistics.median(found) for name, found in times.items()}


if __name__ == "__main__":
    run_script(main)
