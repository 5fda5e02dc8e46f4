"""Tables of text for the screen and for files."""

from collections.abc import Iterable, Sequence

import rich.box
from rich.console import Console
from rich.table import Table
from rich.text import Text


def text_table(
    headings: Sequence[str],
    rows: Iterable[Sequence[str] | None],
    title: str | None = None,
    width: int = 110,
    box: rich.box.Box = rich.box.HEAVY_HEAD,
) -> str:
    """Formats a table: the first column is left-aligned, all others are right-aligned.

    Args:
      headings: One heading for each column.
      rows: Cells of each row, one for each heading, shown without markup; None draws a line between two sections.
      title: Title above the table.
      width: Largest number of characters in a line.
      box: The style of the borders.

    Returns:
      The lines, without colours, each ending in a newline.
    """
    table = Table(box=box, title=None if title is None else Text(title))
    for number, heading in enumerate(headings):
        table.add_column(Text(heading), justify="right" if number else "left")
    for row in rows:
        if row is None:
            table.add_section()
        else:
            table.add_row(*map(Text, row))
    console = Console(width=width, color_system=None)
    with console.capture() as capture:
        console.print(table)
    return capture.get()
