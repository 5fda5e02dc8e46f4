"""Handling of Ctrl-C (SIGINT) and SIGTERM in every phase of a command.

While the libraries load, a signal ends the process at once; afterwards it raises an exception. `DeferInterrupts` keeps such
an exception from being lost in a library, and a training run turns the first signal into a request to save and stop.
"""

from __future__ import annotations

import contextlib
import os
import signal
import sys
import threading
from collections.abc import Callable, Iterator
from types import FrameType
from typing import NoReturn, Self

from stlight_jax.errors import PreemptedError, TerminationInterrupt


def exit_on_signals() -> None:
    """Makes Ctrl-C and SIGTERM end the process with one line and status 130 or 143, until `raise_on_signals` is called.

    For the seconds in which the libraries load: some of them catch KeyboardInterrupt. An ignored signal, such as SIGINT in a
    shell's background, stays ignored.
    """
    if signal.getsignal(signal.SIGINT) is signal.default_int_handler:
        signal.signal(signal.SIGINT, _exit_interrupted)
    if signal.getsignal(signal.SIGTERM) is signal.SIG_DFL:
        signal.signal(signal.SIGTERM, _exit_terminated)


def exit_resumable_on_sigterm() -> None:
    """Makes SIGTERM end the process with one line and status 75, until `call_on_first_signal` or `raise_on_signals`.

    For a training run before its first step: nothing needs to be saved, and the same command resumes the run.
    """
    signal.signal(signal.SIGTERM, _exit_resumable)


def raise_on_signals() -> None:
    """Makes Ctrl-C raise KeyboardInterrupt again, and SIGTERM raise TerminationInterrupt if it has no handler yet."""
    if signal.getsignal(signal.SIGINT) is _exit_interrupted:
        signal.signal(signal.SIGINT, signal.default_int_handler)
    if signal.getsignal(signal.SIGTERM) in (signal.SIG_DFL, _exit_terminated):
        signal.signal(signal.SIGTERM, raise_termination)


def raise_termination(number: int, frame: FrameType | None) -> NoReturn:
    """Handles SIGTERM as Python handles Ctrl-C.

    Raises:
      TerminationInterrupt: Always.
    """
    raise TerminationInterrupt


def _exit_interrupted(number: int, frame: FrameType | None) -> NoReturn:
    os.write(2, b"interrupted\n")
    os._exit(130)


def _exit_terminated(number: int, frame: FrameType | None) -> NoReturn:
    os.write(2, b"terminated\n")
    os._exit(TerminationInterrupt.exit_status)


def _exit_resumable(number: int, frame: FrameType | None) -> NoReturn:
    os.write(2, b"stopped before the first step, so nothing had to be saved; run the same command to resume\n")
    os._exit(PreemptedError.exit_status)  # a library might catch an exception


def find_interrupt(error: BaseException) -> KeyboardInterrupt | None:
    """Finds the interrupt that led to an exception, such as the ImportError of a library that was interrupted while it loaded.

    Args:
      error: The exception.

    Returns:
      The first interrupt among the exception, its causes and its contexts, or None.
    """
    seen: set[int] = set()
    pending: list[BaseException | None] = [error]
    while pending:
        current = pending.pop()
        if isinstance(current, KeyboardInterrupt):
            return current
        if current is not None and id(current) not in seen:
            seen.add(id(current))
            pending += [current.__context__, current.__cause__]
    return None


_RAISING: dict[int, Callable] = {signal.SIGINT: signal.default_int_handler, signal.SIGTERM: raise_termination}


class DeferInterrupts(contextlib.ContextDecorator):
    """A context manager and decorator that keeps interrupts from being lost in the libraries that the block calls.

    A library may catch the exception of Ctrl-C or of SIGTERM, or fail because of it. The exception is then raised at the end
    of the block. Signals with other handlers than Python's own and `raise_termination` are not touched.

    Args:
      wait: Whether the first signal waits for the end of the block, for libraries that must not be interrupted. A second
        signal does not wait.
    """

    def __init__(self, wait: bool = False) -> None:
        self._wait = wait
        self._received: int | None = None
        self._handled: list[int] = []

    def _recreate_cm(self) -> DeferInterrupts:
        return DeferInterrupts(self._wait)

    def __enter__(self) -> Self:
        if threading.current_thread() is threading.main_thread():
            self._handled = [number for number, handler in _RAISING.items() if signal.getsignal(number) is handler]
        for number in self._handled:
            signal.signal(number, self._receive)
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        for number in self._handled:
            signal.signal(number, _RAISING[number])
        if kind is None or not issubclass(kind, KeyboardInterrupt):
            self.raise_received()

    def raise_received(self) -> None:
        """Raises the exception of a signal that was received since the last call.

        Raises:
          KeyboardInterrupt: A signal was received.
        """
        number, self._received = self._received, None
        if number is not None:
            _RAISING[number](number, None)

    def _receive(self, number: int, frame: FrameType | None) -> None:
        first, self._received = self._received is None, number
        if not (first and self._wait):
            _RAISING[number](number, frame)


@contextlib.contextmanager
def call_on_first_signal(callback: Callable[[], None]) -> Iterator[None]:
    """Calls `callback` at the first SIGTERM or Ctrl-C during the block; a second one has its usual effect.

    Args:
      callback: Called in the main thread; must not raise.
    """
    previous = {number: signal.getsignal(number) for number in _RAISING}
    if previous[signal.SIGTERM] is _exit_resumable:
        previous[signal.SIGTERM] = signal.SIG_DFL  # by now there may be something to save

    def handle(number: int, frame: FrameType | None) -> None:
        signal.signal(number, previous[number])
        callback()

    for number in previous:
        signal.signal(number, handle)
    try:
        yield
    finally:
        for number, handler in previous.items():
            signal.signal(number, handler)


def resend_unraisable_interrupt(unraisable: sys.UnraisableHookArgs) -> None:
    """Handles exceptions that Python cannot propagate; to be set as `sys.unraisablehook`.

    JAX has a callback of the garbage collector. The interrupt of a signal that arrives in it is sent again, unless
    `DeferInterrupts` has received the signal. Threads that write parts of a failed checkpoint end with "Event loop is
    closed", which is ignored: the failure itself is reported elsewhere. Other exceptions are printed.

    Args:
      unraisable: The exception and its place, from Python.
    """
    error = unraisable.exc_value
    if isinstance(error, KeyboardInterrupt):
        number = signal.SIGTERM if isinstance(error, TerminationInterrupt) else signal.SIGINT
        if signal.getsignal(number) is _RAISING[number]:
            threading.Timer(0.01, os.kill, [os.getpid(), number]).start()
    elif str(error) != "Event loop is closed":
        sys.__unraisablehook__(unraisable)
