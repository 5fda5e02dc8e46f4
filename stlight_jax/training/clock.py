"""Where the time of a training goes: its steps, how long they waited for data, and the pauses between them.

Steps run behind the host's back, so what the host waits for tells little. A thread of its own notes when each step was done;
the devices waited for data from then on, or from when the host asked for the next batch if that was later, until it had it.
"""

from __future__ import annotations

import collections
import concurrent.futures
import contextlib
import queue
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from typing import Any, NamedTuple, TypeVar

import jax

from stlight_jax.console.messages import say

_Batch = TypeVar("_Batch")
_NO_MORE = object()
# The devices may wait for data so large a part of the time; judged over so many steps and seconds at least.
_BEARABLE = 0.05
_JUDGED_STEPS = 50
_JUDGED_SECONDS = 10.0
# Between two warnings at first; twice as long each time, for nobody reads the same line a hundred times.
_SECONDS_BETWEEN_WARNINGS = 600.0


class _Spent(NamedTuple):
    """Steps, their seconds without pauses, and those of these in which the devices waited for data."""

    steps: int = 0
    seconds: float = 0.0
    data_wait: float = 0.0

    def since(self, earlier: _Spent) -> _Spent:
        return _Spent(*(now - then for now, then in zip(self, earlier, strict=True)))


class _UnderWay(NamedTuple):
    """A step: when the host asked for its batch and had it, the seconds of pauses before it, and when it will be done."""

    asked: float
    had: float
    paused: float
    done: concurrent.futures.Future[float]


class StepClock:
    """Measures one run's steps; a context manager.

    Time begins when the first step is done, so compilation is left out, and so are pauses. The waiting is this process's: where
    another one's data are slow, the steps of all are long. A batch still on its way to the devices when its step is launched
    makes that step longer, too.

    Args:
      batch_size: sequences per step, of all processes.
      advice: what to do when data come too slowly, for the warning.
    """

    def __init__(self, batch_size: int, advice: str):
        self._batch_size, self._advice = batch_size, advice
        self._to_watch: queue.SimpleQueue[tuple[Any, concurrent.futures.Future[float]] | None] = queue.SimpleQueue()
        # A step that never ends must not keep the process from ending.
        threading.Thread(target=self._watch, name="step clock", daemon=True).start()
        self._under_way: collections.deque[_UnderWay] = collections.deque()
        self._asked = self._had = 0.0
        self._last: tuple[float, float] | None = None  # when the last settled step was done, and the pauses before it
        self._pauses: collections.Counter[str] = collections.Counter()
        self._all = self._logged = self._judged = _Spent()
        self._recent: collections.deque[float] = collections.deque([0.0], 51)
        self._next_warning, self._quiet = 0.0, _SECONDS_BETWEEN_WARNINGS

    def __enter__(self) -> StepClock:
        return self

    def __exit__(self, *_: object) -> None:
        self._to_watch.put(None)

    def batches(self, source: Iterable[_Batch]) -> Iterator[_Batch]:
        """The batches of `source`, timed."""
        iterator = iter(source)
        while True:
            self._asked = time.monotonic()
            with jax.profiler.TraceAnnotation("next batch"):
                batch = next(iterator, _NO_MORE)
            self._had = time.monotonic()
            if batch is _NO_MORE:
                return
            yield batch

    def launched(self, results: Any) -> None:
        """To be called when a step on the last batch is under way; `results` are arrays that are ready when it is done."""
        paused = self._pauses.total()
        done: concurrent.futures.Future[float] = concurrent.futures.Future()
        self._to_watch.put((results, done))
        self._under_way.append(_UnderWay(self._asked, self._had, paused, done))

    def settled(self) -> None:
        """Waits for the oldest step under way and counts it. Says so when data come too slowly."""
        step = self._under_way.popleft()
        done = step.done.result()
        if self._last is not None:
            before, paused = self._last
            this = _Spent(1, done - before - (step.paused - paused), max(0.0, step.had - max(step.asked, before)))
            self._all = _Spent(*(a + b for a, b in zip(self._all, this, strict=True)))
            self._recent.append(self._all.seconds)
        self._last = done, step.paused
        self._judge()

    @contextlib.contextmanager
    def paused(self, kind: str) -> Iterator[Callable[[], float]]:
        """What happens inside is no part of the steps. Waits for those under way, then gives what tells the seconds since."""
        concurrent.futures.wait([step.done for step in self._under_way])
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
        """Of the mean step since the last call; nothing if there was none.

        Returns:
          "step_seconds": from step to step, without pauses; "data_wait_seconds": how long of these the devices waited for data;
          "sequences_per_second".
        """
        spent, self._logged = self._all.since(self._logged), self._all
        if not spent.steps:
            return {}
        return {
            "sequences_per_second": spent.steps * self._batch_size / max(spent.seconds, 1e-9),
            "step_seconds": spent.seconds / spent.steps,
            "data_wait_seconds": spent.data_wait / spent.steps,
        }

    def summary(self) -> str:
        """The whole in one line, for people."""
        steps, seconds, data_wait = self._all
        waiting = 100 * data_wait / max(seconds, 1e-9)
        of_steps = [f"{1000 * seconds / steps:.4g} ms per step, {waiting:.1f} % of it waiting for data"] if steps else []
        pauses = ", ".join(f"{kind} {length:.1f} s" for kind, length in sorted(self._pauses.items()))
        return "; ".join(of_steps + ([f"pauses: {pauses}"] if pauses else []))

    def _watch(self) -> None:
        while (step := self._to_watch.get()) is not None:
            results, done = step
            try:
                done.set_result(_time_when_ready(results))
            except BaseException as error:  # raised where the step is settled
                done.set_exception(error)

    def _judge(self) -> None:
        spent = self._all.since(self._judged)
        if spent.steps < _JUDGED_STEPS or spent.seconds < _JUDGED_SECONDS:
            return
        self._judged = self._all
        if spent.data_wait > _BEARABLE * spent.seconds and self._all.seconds >= self._next_warning:
            self._next_warning, self._quiet = self._all.seconds + self._quiet, 2 * self._quiet
            waiting = 100 * spent.data_wait / spent.seconds
            say(f"the devices waited for data in {waiting:.0f} % of the last {spent.seconds:.0f} s: {self._advice}")


def _time_when_ready(results: Any) -> float:
    jax.block_until_ready(results)
    return time.monotonic()
