"""Standard output whose reader may go away."""

import contextlib
import os
import select
import sys
from collections.abc import Iterator


@contextlib.contextmanager
def exit_quietly_without_reader() -> Iterator[None]:
    """Ends the process with status 0 if the reader of standard output has gone, as in `stlight inspect ... | head -1`.

    Raises:
      BrokenPipeError: if another pipe than standard output has lost its reader.
    """
    try:
        yield
        print(end="", flush=True)
    except BrokenPipeError:
        poll = select.poll()
        poll.register(sys.stdout, 0)
        if not poll.poll(0):
            raise
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # Python flushes standard output at its exit
        sys.exit(0)
