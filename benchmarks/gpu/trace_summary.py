"""Where the time of a program goes: a summary of a trace of JAX's profiler, by kernel and by part of the network."""

from __future__ import annotations

import collections
import pathlib
import re
import tempfile
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import jax

# An instruction's name, and the name of the operation that it was compiled from.
_INSTRUCTION = re.compile(r"^\s*(?:ROOT )?%?([\w.-]+) = .*op_name=\"([^\"]*)\"", re.MULTILINE)
_PARTS = ("near", "far", "spatial_norm", "pointwise_norm", "pointwise", "patch_encoder", "patch_reassembly")
_LONGEST = 30


def summarise(call: Callable[[], Any], calls: int, program: str = "", steps: int = 1) -> dict[str, Any]:
    """Traces calls and sums up the time of their kernels.

    Args:
      call: starts the program; it is compiled already.
      calls: number of calls.
      program: text of the compiled program, which names the parts of the network; "" for kernels only.
      steps: steps of the network in a call.

    Returns:
      Milliseconds per step: from the first kernel to the end of the last one ("span"), "busy" in kernels, by part and
      direction, and of the longest kernels with their number of launches per step.
    """
    with tempfile.TemporaryDirectory() as folder:
        jax.profiler.start_trace(folder)
        try:
            jax.block_until_ready([call() for _ in range(calls)])
        finally:
            jax.profiler.stop_trace()
        (path,) = pathlib.Path(folder).rglob("*.xplane.pb")
        events = list(_kernels(jax.profiler.ProfileData.from_file(str(path))))
    if not events:
        raise ValueError("the trace has no kernels; expected those of the program: the profiler may lack its right or library")
    names = operation_names(program)
    kernels, parts = collections.Counter(), collections.Counter()
    launches = collections.Counter()
    for kernel, instruction, _, nanoseconds in events:
        part = part_of(names.get(instruction) or names.get(kernel, ""))
        parts[part] += nanoseconds
        key = f"{part} | {instruction or '-'} | {kernel[:100]}"
        kernels[key] += nanoseconds
        launches[key] += 1
    each = 1e-6 / (calls * steps)
    span = max(start + length for *_, start, length in events) - min(start for *_, start, _ in events)
    return {
        "span": each * span,
        "busy": each * sum(parts.values()),
        "launches": len(events) / (calls * steps),
        "parts": {part: each * total for part, total in parts.most_common()},
        "kernels": {key: [each * total, launches[key] / (calls * steps)] for key, total in kernels.most_common(_LONGEST)},
    }


def operation_names(program: str) -> dict[str, str]:
    """Returns the names of the operations that a compiled program comes from, by instruction and by kernel."""
    names = dict(_INSTRUCTION.findall(program))
    return {re.sub(r"[.-]", "_", instruction): name for instruction, name in names.items()} | names


def part_of(operation: str) -> str:
    """Returns the part of the network that an operation belongs to, and its direction.

    Args:
      operation: as JAX names it, such as "jit(f)/jvp(STLight)/mixers_before_skip/far/conv_general_dilated".
    """
    steps = re.split(r"[/()]", operation)
    part = next((part for part in _PARTS if part in steps), "")
    if not part:
        part = "between convolutions" if any(step.startswith("mixers_") for step in steps) else "other"
    return f"{part}, backward" if "transpose" in steps else part


def _kernels(data: Any) -> Iterator[tuple[str, str, float, float]]:
    """Yields kernel, instruction, start and length in nanoseconds of everything that ran on the device."""
    for plane in data.planes:
        on_gpu = plane.name.startswith("/device:GPU")
        if not on_gpu and plane.name != "/host:CPU":
            continue
        for line in plane.lines:
            if on_gpu and not line.name.startswith("Stream"):
                continue  # lines of groups of kernels, derived from the streams
            for event in line.events:
                facts: Mapping[str, Any] = dict(event.stats)
                if on_gpu or "hlo_op" in facts:
                    yield event.name, str(facts.get("hlo_op", "")), event.start_ns, event.duration_ns
