"""Messages on standard error."""

from __future__ import annotations

import contextlib

import rich.console
import rich.progress


class Console(rich.console.Console):
    """Leaves it to others what to do when nobody reads what is printed, where rich would end the process."""

    def on_broken_pipe(self) -> None:
        raise BrokenPipeError


console = Console(stderr=True, highlight=False)


def silence() -> None:
    """From now on this process shows nothing: another one speaks for it."""
    console.quiet = True


def say(message: str) -> None:
    """Prints what is being done now, above any bar. What cannot be printed now, for want of space, comes with the next line.

    Where nobody reads it, it is not said.
    """
    with contextlib.suppress(OSError):
        console.print(message, markup=False, soft_wrap=True)
