"""Measures the time of training steps, their waiting for data, and the pauses between them.

Steps run asynchronously, so the time that the host waits is not that of the devices. A separate thread records when each
step is done. The devices wait for data from that moment, or from the host's request for the next batch if that is later, until
the host has the batch.
"""

from __future__ import annotations

import collections
import concurrent.futures
import contextlib
import queue
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from typing import Any, NamedTuple

import jax
import numpy as np

from stlight_jax.console.messages import print_message

# A warning is printed if the devices wait for data for a larger part of the time, measured over at least so many steps and
# seconds.
_ACCEPTED_WAIT = 0.05
_CHECKED_STEPS = 50
_CHECKED_SECONDS = 10.0
# From the first warning to the second; doubled after each, so that long runs do not repeat the same line a hundred times.
_SECONDS_BETWEEN_WARNINGS = 600.0


class _LaunchedStep(NamedTuple):
    """A step that is running or queued.

    Attributes:
      batch_requested: When the host asked for its batch.
      batch_received: When the host had the batch.
      paused: Seconds of all pauses before the step.
      done: When the step was done, once it is.
    """

    batch_requested: float
    batch_received: float
    paused: float
    done: concurrent.futures.Future[float]


class StepClock:
    """Measures the steps of one run; a context manager.

    The measurement begins when the first step is done, so it excludes compilation, and it excludes pauses. Waiting for data is
    measured in this process only; slow data of another process make the steps of all processes longer. A batch whose transfer
    to the devices is not complete when its step is launched makes that step longer, too.

    Args:
      batch_size: Sequences per step, over all processes.
      advice: Remedies for slow data, printed at the end of the warning.
    """

    def __init__(self, batch_size: int, advice: str):
        self._batch_size, self._advice = batch_size, advice
        self._watched: queue.SimpleQueue[tuple[Any, concurrent.futures.Future[float]] | None] = queue.SimpleQueue()
        # A daemon, so that a step that never ends does not keep the process from ending.
        threading.Thread(target=self._watch, name="step clock", daemon=True).start()
        self._launched: collections.deque[_LaunchedStep] = collections.deque()
        self._batch_requested = self._batch_received = 0.0
        self._last: tuple[float, float] | None = None  # when the last counted step was done, and the pauses before it
        self._pauses: collections.defaultdict[str, float] = collections.defaultdict(float)
        # Sums over the counted steps: their number, their seconds without pauses, and those of waiting for data.
        self._total = self._logged = self._checked = np.zeros(3)
        self._recent: collections.deque[float] = collections.deque([0.0], 51)
        self._next_warning, self._warning_interval = 0.0, _SECONDS_BETWEEN_WARNINGS

    def __enter__(self) -> StepClock:
        return self

    def __exit__(self, *_: object) -> None:
        self._watched.put(None)

    def batches(self, source: Iterable[Any]) -> Iterator[Any]:
        """Yields the batches of `source` and measures how long they take to arrive."""
        iterator = iter(source)
        while True:
            self._batch_requested = time.monotonic()
            with jax.profiler.TraceAnnotation("next batch"):
                try:
                    batch = next(iterator)
                except StopIteration:
                    return
            self._batch_received = time.monotonic()
            yield batch

    def launched(self, results: Any) -> None:
        """Registers a step on the last batch.

        Args:
          results: Arrays that are ready when the step is done.
        """
        paused = sum(self._pauses.values())
        done: concurrent.futures.Future[float] = concurrent.futures.Future()
        self._watched.put((results, done))
        self._launched.append(_LaunchedStep(self._batch_requested, self._batch_received, paused, done))

    def settled(self) -> None:
        """Waits for the oldest launched step and counts it. Prints a warning if the data are too slow."""
        step = self._launched.popleft()
        done = step.done.result()
        if self._last is not None:
            before, paused = self._last
            seconds = done - before - (step.paused - paused)
            data_wait = max(0.0, step.batch_received - max(step.batch_requested, before))
            self._total = self._total + np.array([1, seconds, data_wait])
            self._recent.append(float(self._total[1]))
        self._last = done, step.paused
        self._warn_of_slow_data()

    @contextlib.contextmanager
    def paused(self, kind: str) -> Iterator[Callable[[], float]]:
        """Excludes the time of a block from that of the steps, after waiting for all launched steps.

        Args:
          kind: Name of the pause in `summary`.

        Yields:
          A function that returns the seconds since the block began.
        """
        concurrent.futures.wait([step.done for step in self._launched])
        begun = time.monotonic()
        try:
            yield lambda: time.monotonic() - begun
        finally:
            self._pauses[kind] += time.monotonic() - begun

    @property
    def rate(self) -> float:
        """Sequences per second over the last 50 steps."""
        return (len(self._recent) - 1) * self._batch_size / max(self._recent[-1] - self._recent[0], 1e-9)

    def figures(self) -> dict[str, float]:
        """Returns means over the steps since the last call, for the metrics log.

        Returns:
          "step_seconds", from the end of a step to the end of the next one, without pauses; "data_wait_seconds", the part of it
          in which the devices waited for data; "sequences_per_second". Empty if no step was counted since the last call.
        """
        (steps, seconds, data_wait), self._logged = (self._total - self._logged).tolist(), self._total
        if not steps:
            return {}
        return {
            "sequences_per_second": steps * self._batch_size / max(seconds, 1e-9),
            "step_seconds": seconds / steps,
            "data_wait_seconds": data_wait / steps,
        }

    def summary(self) -> str:
        """Returns the times of all steps and pauses in one line."""
        steps, seconds, data_wait = self._total.tolist()
        waiting = 100 * data_wait / max(seconds, 1e-9)
        parts = [f"{1000 * seconds / steps:.4g} ms per step, {waiting:.1f} % of it waiting for data"] if steps else []
        pauses = ", ".join(f"{kind} {length:.1f} s" for kind, length in sorted(self._pauses.items()))
        return "; ".join(parts + ([f"pauses: {pauses}"] if pauses else []))

    def _watch(self) -> None:
        while (launched := self._watched.get()) is not None:
            results, done = launched
            try:
                done.set_result(_time_when_ready(results))
            except BaseException as error:  # raised by `settled`
                done.set_exception(error)

    def _warn_of_slow_data(self) -> None:
        steps, seconds, data_wait = (self._total - self._checked).tolist()
        if steps < _CHECKED_STEPS or seconds < _CHECKED_SECONDS:
            return
        self._checked = self._total
        if data_wait > _ACCEPTED_WAIT * seconds and self._total[1] >= self._next_warning:
            self._next_warning = self._total[1] + self._warning_interval
            self._warning_interval *= 2
            waiting = 100 * data_wait / seconds
            print_message(f"the devices waited for data in {waiting:.0f} % of the last {seconds:.0f} s: {self._advice}")


def _time_when_ready(results: Any) -> float:
    jax.block_until_ready(results)
    return time.monotonic()
