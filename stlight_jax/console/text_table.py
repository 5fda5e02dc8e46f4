"""Tables of text for the screen and for files."""

import itertools
import shutil
from collections.abc import Iterable, Sequence

import rich.box
from rich.cells import cell_len
from rich.console import Console
from rich.table import Table
from rich.text import Text


def text_table(
    headings: Sequence[str],
    rows: Iterable[Sequence[str] | None],
    title: str | None = None,
    width: int | None = None,
    box: rich.box.Box = rich.box.HEAVY_HEAD,
) -> str:
    """Formats a table: the first column is left-aligned, all others are right-aligned.

    A table that is too wide becomes several below each other, each with the first column.

    Args:
      headings: One heading for each column.
      rows: Cells of each row, one for each heading, shown without markup; None draws a line between two sections.
      title: Title above each table.
      width: Largest number of characters in a line; None takes the terminal's.
      box: The style of the borders.

    Returns:
      The lines, without colours, each ending in a newline.
    """
    width = terminal_width() if width is None else width
    lines = [None if row is None else list(row) for row in rows]
    tables = [
        _table([headings[0], *headings[part]], [line and [line[0], *line[part]] for line in lines], title, box)
        for part in _parts([headings, *filter(None, lines)], width)
    ]
    console = Console(width=width, color_system=None)
    with console.capture() as capture:
        for table in tables:
            console.print(table)
    return capture.get()


def terminal_width() -> int:
    """Returns the number of characters in a line of the terminal: 80 where standard output is no terminal."""
    return shutil.get_terminal_size().columns


def _parts(lines: Sequence[Sequence[str]], width: int) -> list[slice]:
    """Divides the columns after the first into as few parts of about one size as fit."""
    first, *widths = (max(map(cell_len, column)) + len("│  ") for column in itertools.zip_longest(*lines, fillvalue=""))
    for count in range(1, len(widths) + 1):
        size = -(-len(widths) // count)
        parts = [slice(begin, begin + size) for begin in range(0, len(widths), size)]
        if all(first + sum(widths[part]) < width for part in parts):
            break
    return [slice(part.start + 1, part.stop + 1) for part in parts] if widths else [slice(1, None)]


def _table(headings: Sequence[str], rows: Iterable[Sequence[str] | None], title: str | None, box: rich.box.Box) -> Table:
    table = Table(box=box, title=None if title is None else Text(title))
    for number, heading in enumerate(headings):
        table.add_column(Text(heading), justify="right" if number else "left")
    for row in rows:
        if row is None:
            table.add_section()
        else:
            table.add_row(*map(Text, row))
    return table
