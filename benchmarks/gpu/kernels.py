"""Where the time goes: stage `kernels`. Depthwise convolutions, traces of the network, and variants of its training program."""

from __future__ import annotations

import functools
import importlib.util
import time
from typing import Any

import jax
import numpy as np

from benchmarks.depthwise import TASKS, as_numpy, in_turns, make_calls, random_arrays
from benchmarks.gpu.program_check import LIMITS, device_kind
from benchmarks.gpu.records import Deadline, Records
from benchmarks.gpu.trace_summary import summarise
from benchmarks.gpu.training_run import STEPS_PER_CALL, DeviceTraining, recipe
from stlight_jax.config import RunConfig
from stlight_jax.errors import ParityError

STAGE = "kernels"
_TORCH = ("torch:nchw", "torch:channels_last")
_CHECKED_CHANNELS = 16
WIDTHS = {"L": 1400, "d544": 544}
_VARIANTS: tuple[dict[str, Any], ...] = (
    {},
    {"rematerialise": "nothing"},
    {"scan_unroll": 4},
    {"scan_unroll": 16},
    {"depthwise": "native"},
)


def kernels(records: Records, deadline: Deadline, toy: bool) -> None:
    """Runs the stage.

    Args:
      records: results of all visits.
      deadline: end of the stage.
      toy: whether to take small shapes and networks, for tests.
    """
    widths = {"toy": 16} if toy else WIDTHS
    shape = (2, 8, 8) if toy else (16, 32, 32)
    kernel_sizes = ((5, 3),) if toy else ((7, 3), (3, 1))  # side, dilation
    for name, width in widths.items():
        for side, dilation in kernel_sizes:
            _depthwise(records, deadline, name, ((*shape, width), side, dilation), "bfloat16")
    configs = {name: recipe(toy=toy, hidden_dim=width) for name, width in widths.items()}
    for name, config in configs.items():
        records.measure(STAGE, f"trace of training {name}", deadline, functools.partial(_trace, config))
    for name, width in reversed(widths.items()):  # launches matter for small networks most
        for options in _VARIANTS[: 2 if toy else None]:
            label = ", ".join(f"{key} {value}" for key, value in options.items()) or "as it is"
            config = recipe(toy=toy, hidden_dim=width, **options)
            for steps in (STEPS_PER_CALL, 1) if not options else (STEPS_PER_CALL,):
                item = f"training {name}, {label}, {steps} steps a call"
                records.measure(STAGE, item, deadline, functools.partial(_time_training, config, steps))
    for name, width in widths.items():
        _depthwise(records, deadline, name, ((*shape, width), *kernel_sizes[0]), "float32")


def _depthwise(records: Records, deadline: Deadline, name: str, sizes: tuple[tuple[int, ...], int, int], dtype: str) -> None:
    shape, side, dilation = sizes
    item = f"depthwise {name} {side}x{side} dilation {dilation} {dtype}"
    records.measure(STAGE, item, deadline, lambda: _time_depthwise(shape, side, dilation, dtype))


def _time_depthwise(shape: tuple[int, ...], side: int, dilation: int, dtype: str) -> dict[str, Any]:
    """Checks and times all implementations of a depthwise convolution."""
    arrays = random_arrays(shape, side)
    names = ("native", "phases", *(_TORCH if importlib.util.find_spec("torch") else ()))
    calls = {name: make_calls(name, arrays, dtype, dilation) for name in names}
    expected = numpy_depthwise(*(array[..., :_CHECKED_CHANNELS] for array in arrays), dilation)
    record: dict[str, Any] = {"shape": list(shape), "milliseconds": {}, "errors": {}}
    for task in TASKS:
        for name in names:
            found = as_numpy(name, task, calls[name][task]())[..., :_CHECKED_CHANNELS]
            error = float(np.linalg.norm(found - expected[task]) / np.linalg.norm(expected[task]))
            record["errors"].setdefault(task, {})[name] = error
            limit = LIMITS[dtype][0]
            if not error <= limit:
                raise ParityError(f"{name}, {task}: the error is {error:.2g}; expected at most {limit:g}, as in NumPy")
        times = in_turns(
            {name: calls[name][task] for name in names}, rounds=9, calls_in_turn=20 if device_kind() == "gpu" else 1
        )
        record["milliseconds"][task] = {name: 1e3 * seconds for name, seconds in times.items()}
    return record


def numpy_depthwise(x: np.ndarray, kernel: np.ndarray, cotangent: np.ndarray, dilation: int) -> dict[str, np.ndarray]:
    """Computes a depthwise convolution and its gradients in float64, tap by tap.

    Args:
      x: `[b, h, w, d]`.
      kernel: `[k, k, 1, d]`.
      cotangent: of the output, like `x`.
      dilation: distance between neighbouring taps.

    Returns:
      Task -> result.
    """
    x, kernel, cotangent = (array.astype(np.float64) for array in (x, kernel, cotangent))
    side, (_, height, width, _) = kernel.shape[0], x.shape
    margin = side // 2 * dilation
    padded = np.pad(x, ((0, 0), (margin, margin), (margin, margin), (0, 0)))
    output, of_padded, of_kernel = np.zeros_like(x), np.zeros_like(padded), np.zeros_like(kernel)
    for row in range(side):
        for column in range(side):
            rows = slice(row * dilation, row * dilation + height)
            columns = slice(column * dilation, column * dilation + width)
            output += padded[:, rows, columns] * kernel[row, column]
            of_padded[:, rows, columns] += cotangent * kernel[row, column]
            of_kernel[row, column, 0] = (padded[:, rows, columns] * cotangent).sum((0, 1, 2))
    of_input = of_padded[:, margin : margin + height, margin : margin + width]
    return {"forward": output, "input gradient": of_input, "filter gradient": of_kernel}


def _trace(config: RunConfig) -> dict[str, Any]:
    """Traces the training program."""
    steps = 5
    training = DeviceTraining(config)
    work = training.work(0, np.arange(steps))
    state = training.fresh_state()
    program = training.program.lower(state, work, training.digits).compile()
    latest = [program(state, work, training.digits)[0]]

    def call() -> jax.Array:
        latest[0], losses = program(latest[0], work, training.digits)
        return losses

    jax.block_until_ready(call())
    return summarise(call, 2, program.as_text(), steps)


def _time_training(config: RunConfig, steps: int) -> dict[str, Any]:
    """Times the training program."""
    training = DeviceTraining(config)
    work, state = training.work(0, np.arange(steps)), training.fresh_state()
    begun = time.perf_counter()
    state, losses = training.program(state, work, training.digits)
    losses.block_until_ready()
    first = time.perf_counter() - begun
    calls = max(3, 2 * STEPS_PER_CALL // steps)
    times = []
    for _ in range(3):
        begun = time.perf_counter()
        for _ in range(calls):
            state, losses = training.program(state, work, training.digits)
        losses.block_until_ready()
        times.append(1e3 * (time.perf_counter() - begun) / (calls * steps))
    return {"milliseconds_per_step": sorted(times), "first_call_seconds": first}
