"""Ctrl-C while a command's libraries load, for seconds and with nothing to clean up."""

from __future__ import annotations

import os
import signal
from typing import Any


def leave_at_once() -> None:
    """Until `listen`, Ctrl-C ends the process with one line. (As an exception it might end in some library's `except`.)"""
    if signal.getsignal(signal.SIGINT) is signal.default_int_handler:  # else it is ignored, as in the background of a shell
        signal.signal(signal.SIGINT, _leave)


def listen() -> None:
    """Ctrl-C raises KeyboardInterrupt again."""
    if signal.getsignal(signal.SIGINT) is _leave:
        signal.signal(signal.SIGINT, signal.default_int_handler)


def _leave(number: int, frame: Any) -> None:
    os.write(2, b"interrupted\n")
    os._exit(130)
