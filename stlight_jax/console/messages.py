"""Messages on standard error."""

import contextlib
import subprocess
from collections.abc import Iterator

import rich.console

_MOST_CHARACTERS = 300


class Console(rich.console.Console):
    """A console that raises BrokenPipeError when standard error is closed; rich's own would end the process."""

    def on_broken_pipe(self) -> None:
        """Raises BrokenPipeError."""
        raise BrokenPipeError


console = Console(stderr=True, highlight=False)


_printed: set[str] | None = None  # messages of a context of `each_message_once`


@contextlib.contextmanager
def each_message_once() -> Iterator[None]:
    """Prints equal messages once until the end of the context, such as remarks on a file that is opened for several uses."""
    global _printed
    outer = _printed
    _printed = set() if outer is None else outer
    try:
        yield
    finally:
        _printed = outer


def print_message(message: str) -> None:
    """Prints a message on standard error, above a progress bar if one is shown.

    Write errors are ignored: text that does not fit on a full disk is printed with the next message.

    Args:
      message: One line of plain text.
    """
    if _printed is not None:
        if message in _printed:
            return
        _printed.add(message)
    with contextlib.suppress(OSError):
        console.print(message, markup=False, soft_wrap=True)


def one_line(error: BaseException) -> str:
    """Returns the message of an error on one line.

    Args:
      error: Any exception. A failed command is represented by the first line of its standard error with "error:" in it.

    Returns:
      The text without line breaks, without its middle if it is long, or the name of the error's class if it has no text.
    """
    text = str(error)
    if isinstance(error, subprocess.CalledProcessError):
        output = (error.stderr or b"").decode(errors="replace")
        text = next((line for line in output.splitlines() if "error:" in line), text)
    text = " ".join(text.split()) or type(error).__name__
    return text if len(text) <= _MOST_CHARACTERS else f"{text[: _MOST_CHARACTERS - 100]} ... {text[-100:]}"
