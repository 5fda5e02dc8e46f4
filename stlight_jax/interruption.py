"""Ctrl-C and SIGTERM while a command's libraries load, for seconds and with nothing to clean up."""

from __future__ import annotations

import os
import signal
from typing import Any

from stlight_jax.errors import PreemptedError


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
