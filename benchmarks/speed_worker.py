"""A contestant of `speed.py`, in its own process: reads orders as JSON lines and answers with timings.

Orders: {"task": TASK, "prepare": true} builds and warms up; {"task": TASK, "seconds": S} times calls for about S seconds.
Tasks: train (forward, backward, Adam), throughput (forward, whole batch), latency (forward, batch 1), memory (of training: on
a CPU the growth of the peak resident size over ten steps, on a GPU the peak of allocated memory); JAX also matmul_inference and
matmul_train, the network's matrix products alone. The runtimes of `speed_runtimes.py` do throughput and latency only. Inputs
are on the device before the clock starts. {"task": "numbers", "of": [TASK, ...], "path": FILE} writes numbers that the programs
of train, throughput and latency compute, see `sampled` in `speed_networks.py`.
"""

from __future__ import annotations

import contextlib
import json
import os
import resource
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

# Large pages for large arrays save a tenth of a training step on a CPU, and freed memory that is kept, as `train` keeps it, at
# least as much; PyTorch gets both, too. All contestants share a GPU.
_KEPT = "glibc.malloc.arena_max=1:glibc.malloc.mmap_max=0:glibc.malloc.trim_threshold=0xffffffffffffffff"
ENVIRONMENTS = {
    "cpu": {"GLIBC_TUNABLES": f"glibc.malloc.hugetlb=1:{_KEPT}", "JAX_PLATFORMS": "cpu"},
    "gpu": {"XLA_PYTHON_CLIENT_PREALLOCATE": "false", "JAX_PLATFORMS": "cuda"},
}
_SLOW_SECONDS = 60.0  # a longer first call is not repeated to warm up


def main() -> None:
    """Serves orders until standard input ends. Arguments: framework, mode, network and frames as JSON."""
    if "--help" in sys.argv:
        print(__doc__)
        return
    framework, mode, spec = sys.argv[1], sys.argv[2], json.loads(sys.argv[3])
    contestant = _contestant(framework, mode, spec)
    ready: dict[str, Callable[[], None]] = {}
    for line in sys.stdin:
        order = json.loads(line)
        task = order["task"]
        if order.get("prepare"):
            begun = time.perf_counter()
            ready[task] = contestant.build(task)
            ready[task]()
            first = time.perf_counter() - begun
            if first < _SLOW_SECONDS:
                ready[task]()
                ready[task]()
            answer: dict[str, Any] = {"first_call_seconds": first, "versions": contestant.versions}
        elif task == "memory":
            answer = contestant.device_memory() or {"growth_mib": _memory_growth(ready["train"]), "peak_mib": _peak_mib()}
        elif task == "numbers":
            numbers = [contestant.numbers(each) for each in order["of"]]
            np.savez(order["path"], **{name: values for found in numbers for name, values in found.items()})
            answer = {}
        else:
            answer = {"seconds": _timed(ready[task], order["seconds"])}
        print(json.dumps(answer), flush=True)


def _contestant(framework: str, mode: str, spec: dict[str, Any]) -> Any:
    # Imported here, because an interpreter with PyTorch may lack JAX, and the other way round.
    if framework == "jax":
        from speed_jax import JaxContestant

        return JaxContestant(mode, spec)
    if framework == "torch":
        from speed_torch import TorchContestant

        return TorchContestant(mode, spec)
    from speed_runtimes import RuntimeContestant

    return RuntimeContestant(framework, spec)


def _timed(call: Callable[[], None], seconds: float) -> list[float]:
    times: list[float] = []
    end = time.perf_counter() + seconds
    while not times or time.perf_counter() < end:
        begun = time.perf_counter()
        call()
        times.append(time.perf_counter() - begun)
    return times


def _peak_mib() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def _memory_growth(step: Callable[[], None]) -> float:
    before = _peak_mib()
    for _ in range(10):
        step()
    return _peak_mib() - before


class Contestant:
    """A worker process, seen from the program that gives the orders.

    Args:
      name: framework and mode, such as "jax:auto".
      spec: an entry of `speed_networks.NETWORKS`, with "device" and "precision".
      python: Python interpreter.
      environment: variables of the process, in addition to the present ones.
    """

    def __init__(self, name: str, spec: dict[str, Any], python: str, environment: Mapping[str, str]):
        framework, _, mode = name.partition(":")
        command = [python, __file__, framework, mode, json.dumps(spec)]
        pipe = subprocess.PIPE
        self.name = name
        self._process = subprocess.Popen(command, stdin=pipe, stdout=pipe, text=True, env=os.environ | dict(environment))

    def order(self, seconds_to_answer: float | None = None, **order: Any) -> dict[str, Any]:
        """Sends an order and returns its answer.

        Args:
          seconds_to_answer: time after which the process is ended; None to wait as long as it takes.
          **order: the order.

        Raises:
          ChildProcessError: the process has stopped.
        """
        timer = threading.Timer(seconds_to_answer or 0, self._process.kill)
        if seconds_to_answer is not None:
            timer.start()
        answer = ""
        try:
            self._process.stdin.write(json.dumps(order) + "\n")
            self._process.stdin.flush()
            answer = self._process.stdout.readline()
        except BrokenPipeError:
            pass  # it has stopped, as below
        finally:
            timer.cancel()
        if not answer:
            raise ChildProcessError(f"{self.name} stopped with status {self._process.wait()}")
        time.sleep(0.3)  # until its threads sleep
        return json.loads(answer)

    def close(self) -> None:
        """Ends the process."""
        with contextlib.suppress(BrokenPipeError):  # it has ended already
            self._process.stdin.close()
        self._process.wait()


if __name__ == "__main__":
    main()
