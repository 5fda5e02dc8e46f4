"""Being asked to stop: by SIGTERM or SIGINT, or by the platform through JAX."""

from __future__ import annotations

import contextlib
import signal
import threading
from collections.abc import Iterator
from typing import Any

import jax
from jax.experimental import multihost_utils

from stlight_jax.console.messages import say
from stlight_jax.console.signals import leave_unsaved


class StopRequests:
    """Whether the run was asked to stop. Many processes agree on the moment at which they do.

    Attributes:
      requested: what was agreed on.
    """

    def __init__(self) -> None:
        self.requested = False
        self._heard = threading.Event()
        self._moments = 0

    def hear(self) -> None:
        """The request, of this process alone."""
        self._heard.set()

    def agree(self) -> bool:
        """Whether to stop now. Called by all processes equally often, after each step and each batch of a validation.

        JAX lets all of them come as far as the one that is farthest when the request is heard, by this count.
        """
        if jax.process_count() == 1:
            self.requested = self._heard.is_set()
        else:
            self._moments += 1
            self.requested |= multihost_utils.reached_preemption_sync_point(self._moments)
        return self.requested


@contextlib.contextmanager
def stop_requests() -> Iterator[StopRequests]:
    """Turns the first SIGTERM or SIGINT into a request that the loop can ask for; a second one acts as usual.

    In a run of many processes JAX itself listens to SIGTERM.
    """
    stop = StopRequests()
    if threading.current_thread() is not threading.main_thread() or jax.process_count() > 1:
        yield stop
        return
    previous = {}

    def request(number: int, frame: Any) -> None:
        stop.hear()
        signal.signal(number, previous[number])
        say("asked to stop: finishing this step and saving ...")

    for number in (signal.SIGTERM, signal.SIGINT):
        before = signal.signal(number, request)
        previous[number] = signal.SIG_DFL if before is leave_unsaved else before
    try:
        yield stop
    finally:
        for number, handler in previous.items():
            signal.signal(number, handler)
