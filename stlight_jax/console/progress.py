"""Progress of long work: a bar on a terminal, a line every 15 seconds elsewhere."""

import time
from collections.abc import Iterable, Iterator
from typing import Any, Self

import rich.console
import rich.progress

from stlight_jax.console.messages import console, print_message
from stlight_jax.console.signals import DeferInterrupts

_SECONDS_BETWEEN_LINES = 15.0


class Progress(DeferInterrupts):
    """Shows the progress of work; a context manager.

    An interrupt that a library has caught is raised by the next call of `advance` or `note`, or at the end.

    Args:
      title: Title of the work.
      total: Units of work.
      done: Units that are done at the start.
      unit: Name of one unit.
    """

    def __init__(self, title: str, total: int, done: int = 0, unit: str = "step"):
        super().__init__()
        self._title, self._total, self._done, self._unit = title, total, done, unit
        self._first, self._started = done, time.monotonic()
        self._last_line = self._started
        self._bar = None
        if console.is_terminal:
            self._bar = rich.progress.Progress(
                rich.progress.TextColumn("{task.description}"),
                rich.progress.BarColumn(),
                rich.progress.TextColumn(f"{unit} {{task.completed:.0f}}/{{task.total:.0f}}"),
                rich.progress.TextColumn("{task.fields[figures]}"),
                rich.progress.TextColumn("ETA {task.fields[eta]}"),
                console=console,
            )
            self._task = self._bar.add_task(title, total=total, completed=done, figures="", eta="?")

    def __enter__(self) -> Self:
        if self._bar is not None:
            self._bar.start()
        return super().__enter__()

    def __exit__(self, kind: type[BaseException] | None, *details: object) -> None:
        if self._bar is not None:
            self._bar.stop()
        super().__exit__(kind, *details)

    def restart_clock(self, done: int) -> None:
        """Excludes the time until now from the estimate, because it includes a compilation.

        Args:
          done: Units done until now.
        """
        self._first, self._started = done, time.monotonic()

    def advance(self, done: int, figures: str = "") -> None:
        """Shows that `done` units of the total are done.

        Args:
          done: Units done, including those at the start.
          figures: Text to show beside them.

        Raises:
          KeyboardInterrupt: After a signal whose exception was lost in a library.
        """
        self.raise_received()
        self._done = done
        if self._bar is not None:
            self._bar.update(self._task, completed=done, figures=figures, eta=self._eta())
        elif time.monotonic() - self._last_line >= _SECONDS_BETWEEN_LINES or done == self._total:
            self._last_line = time.monotonic()
            parts = [f"{self._title}: {self._unit} {done}/{self._total}", figures, f"ETA {self._eta()}"]
            print_message("  ".join(part for part in parts if part))

    def note(self, figures: str) -> None:
        """Shows figures of the current unit; raises as `advance`."""
        self.advance(self._done, figures)

    @property
    def seconds_left(self) -> float | None:
        """Expected seconds until all is done; None if they are not known yet."""
        timed = self._done - self._first
        return (time.monotonic() - self._started) / timed * (self._total - self._done) if timed > 0 else None

    def _eta(self) -> str:
        left = self.seconds_left
        if left is None:
            return "?"
        seconds = round(left)
        hours, rest = divmod(seconds, 3600)
        return f"{hours}:{rest // 60:02}:{rest % 60:02}" if hours else f"{rest // 60}:{rest % 60:02}"


def track(items: Iterable[Any], title: str, total: int, unit: str = "batch") -> Iterator[Any]:
    """Yields the items and shows how many of `total` are done, see `Progress`."""
    with Progress(title, total, unit=unit) as progress:
        for done, item in enumerate(items, 1):
            yield item
            progress.advance(done)
