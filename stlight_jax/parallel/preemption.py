"""Requests to stop a run: from SIGTERM or Ctrl-C, or from the platform through JAX."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Iterator

import jax
from jax.experimental import multihost_utils

from stlight_jax.console.messages import print_message
from stlight_jax.console.signals import call_on_first_signal


class StopRequests:
    """The state of requests to stop a run. All processes of a run agree on the step at which they stop.

    Attributes:
      requested: whether the processes have agreed to stop.
    """

    def __init__(self) -> None:
        self.requested = False
        self._received = threading.Event()
        self._calls = 0

    def receive(self) -> None:
        """Requests a stop of this process, which must be the only one of its run."""
        self._received.set()
        print_message("stop requested: finishing this step and saving ...")

    def agree(self) -> bool:
        """Returns whether to stop now.

        All processes must call it equally often: after each step and each batch of a validation. By the number of calls,
        JAX lets all processes proceed as far as the one that was farthest when the request arrived.
        """
        if jax.process_count() == 1:
            self.requested = self._received.is_set()
        else:
            self._calls += 1
            self.requested |= multihost_utils.reached_preemption_sync_point(self._calls)
        return self.requested


@contextlib.contextmanager
def stop_requests() -> Iterator[StopRequests]:
    """Turns the first SIGTERM or Ctrl-C during the block into a request to stop; a second one has its usual effect.

    In a run of several processes, JAX itself handles SIGTERM.
    """
    stop = StopRequests()
    single = jax.process_count() == 1 and threading.current_thread() is threading.main_thread()
    with call_on_first_signal(stop.receive) if single else contextlib.nullcontext():
        yield stop
