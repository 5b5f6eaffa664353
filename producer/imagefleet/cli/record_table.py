"""Prints records as a table, or below each other if the terminal is too narrow; ids and URLs are never cut."""

from collections.abc import Iterable, Sequence
from typing import Final

from rich.console import Console
from rich.table import Table
from rich.text import Text

from imagefleet.errors import wrapped

#: Columns that are left out if all their cells are empty.
_RARE: Final = ("reason",)


def print_rows(console: Console, titles: Sequence[str], rows: Iterable[Sequence[str]]) -> None:
    """Print *rows* under *titles*; on a terminal that is too narrow, each as a block of lines without empty cells."""
    rows = list(rows)
    used = [number for number, title in enumerate(titles) if title not in _RARE or any(row[number] for row in rows)]
    titles, rows = [titles[number] for number in used], [[row[number] for number in used] for row in rows]
    table = Table(*titles, box=None, pad_edge=False)
    for row in rows:
        table.add_row(*map(Text, row))  # a prompt may hold [brackets], which are no markup
    if console.measure(table, options=console.options.update(width=10_000)).maximum <= console.width:
        console.print(table)
        return
    width = max(map(len, titles)) + 2
    for number, row in enumerate(rows):
        if number:
            console.print()
        for title, cell in zip(titles, row, strict=True):
            for index, line in enumerate(wrapped(cell, console.width - width).splitlines()):
                name = Text("" if index else title, style="bold")
                console.print(Text.assemble(name, " " * (width - len(name)), line), soft_wrap=True)
