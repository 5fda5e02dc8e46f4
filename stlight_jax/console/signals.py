"""Ctrl-C and SIGTERM while a command's libraries load, for seconds and with nothing to clean up."""

from __future__ import annotations

import contextlib
import os
import signal
import threading
from typing import Any, Self

from stlight_jax.errors import PreemptedError, Terminated


def leave_at_once() -> None:
    """Until `listen`, Ctrl-C ends the process with one line. (As an exception it might end in some library's `except`.)"""
    if signal.getsignal(signal.SIGINT) is signal.default_int_handler:  # else it is ignored, as in the background of a shell
        signal.signal(signal.SIGINT, _leave)


def leave_to_go_on_later() -> None:
    """Until there is a state to save, SIGTERM ends the process at once, with the status of a run that can go on."""
    signal.signal(signal.SIGTERM, leave_unsaved)


def listen() -> None:
    """Ctrl-C raises KeyboardInterrupt again."""
    if signal.getsignal(signal.SIGINT) is _leave:
        signal.signal(signal.SIGINT, signal.default_int_handler)


def _leave(number: int, frame: Any) -> None:
    os.write(2, b"interrupted\n")
    os._exit(130)


def leave_unsaved(number: int, frame: Any) -> None:
    """The handler that `leave_to_go_on_later` installs."""
    os.write(2, b"stopped as asked before a step was made, so there was nothing to save; run the same command to go on\n")
    os._exit(PreemptedError.exit_status)  # an exception might end in some library's `except`


def terminate(number: int, frame: Any) -> None:
    """A handler of SIGTERM that does with it what Python does with Ctrl-C."""
    raise Terminated


_ENDING = {signal.SIGINT: signal.default_int_handler, signal.SIGTERM: terminate}


class Attentive(contextlib.ContextDecorator):
    """A context manager, or decorator, for work in which Ctrl-C, and SIGTERM where `terminate` listens to it, are not lost.

    Their exceptions may end in some library's `except`, or make it fail; then they are raised when the work is over.

    Args:
      wait: whether the first one waits for the end of the work, so that no library is torn; the second one does not.
    """

    def __init__(self, wait: bool = False) -> None:
        self._wait = wait
        self._heard: int | None = None
        self._listening: list[int] = []

    def _recreate_cm(self) -> Attentive:
        return Attentive(self._wait)

    def __enter__(self) -> Self:
        if threading.current_thread() is threading.main_thread():
            self._listening = [number for number, handler in _ENDING.items() if signal.getsignal(number) is handler]
        for number in self._listening:
            signal.signal(number, self._end)
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        for number in self._listening:
            signal.signal(number, _ENDING[number])
        if kind is None or not issubclass(kind, KeyboardInterrupt):
            self._raise_what_was_heard()

    def _raise_what_was_heard(self) -> None:
        number, self._heard = self._heard, None
        if number is not None:
            _ENDING[number](number, None)

    def _end(self, number: int, frame: Any) -> None:
        first, self._heard = self._heard is None, number
        if first and self._wait:
            return
        _ENDING[number](number, frame)
