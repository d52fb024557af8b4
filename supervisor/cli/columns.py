"""Columns for a terminal that stay quick with thousands of rows: most cells fit, and only those that do not are wrapped."""

from collections.abc import Iterator, Mapping, Sequence
from itertools import zip_longest
from types import MappingProxyType

from rich.cells import cell_len
from rich.console import Console, ConsoleOptions
from rich.segment import Segment
from rich.style import Style
from rich.text import Text

from supervisor.status import printable

LEAST = 8
"""Terminal columns that one which gives way keeps."""

_HEAD = "dim"


class Columns:
    """Rows of text below their heads. What rich draws."""

    def __init__(self, *head: str, styles: Mapping[str, str] = MappingProxyType({}), gap: int = 2, indent: int = 0) -> None:
        """A star marks those that give way where the terminal is narrow. ``styles``: of cells that are one of these words."""
        self._rows = [[name.rstrip("*") for name in head]]
        self._yielding = [name.endswith("*") for name in head]
        self._styles = styles
        self._gap, self._indent = " " * gap, " " * indent
        self._headed = any(self._rows[0])

    def add(self, *cells: str) -> None:
        """One row; a cell may have several lines. Control characters are made harmless."""
        self._rows.append(["\n".join(printable(line, 4096) for line in cell.split("\n")) for cell in cells])

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> Iterator[Segment]:
        """The rows, line by line."""
        widths = self._widths(options.max_width)
        head, *rows = self._rows
        if self._headed:
            yield from self._lines([[name] for name in head], widths, [console.get_style(_HEAD)] * len(head))
        for row in rows:
            folded = [_folded(cell, width, console) for cell, width in zip(row, widths, strict=True)]
            yield from self._lines(folded, widths, [console.get_style(self._styles.get(cell, "none")) for cell in row])

    def _widths(self, room: int) -> list[int]:
        """As wide as the widest cell, less what the terminal lacks, taken from the widest that give way."""
        cells = zip(*self._rows, strict=True)
        widths = [max(cell_len(line) for cell in column for line in cell.split("\n")) for column in cells]
        lacking = len(self._indent) + sum(widths) + len(self._gap) * (len(widths) - 1) - room
        givers = [number for number, yielding in enumerate(self._yielding) if yielding]
        while lacking > 0 and givers:
            widest = max(givers, key=widths.__getitem__)
            if widths[widest] <= LEAST:
                break
            widths[widest] -= 1
            lacking -= 1
        return widths

    def _lines(self, cells: Sequence[Sequence[str]], widths: Sequence[int], styles: Sequence[Style]) -> Iterator[Segment]:
        """One row, of as many lines as its highest cell."""
        for line in zip_longest(*cells, fillvalue=""):
            between = self._indent
            for text, width, style in zip(line, widths, styles, strict=True):
                yield Segment(between)
                yield Segment(text, style)
                between = " " * (width - cell_len(text)) + self._gap
            yield Segment.line()


def _folded(cell: str, width: int, console: Console) -> list[str]:
    if "\n" not in cell and cell_len(cell) <= width:
        return [cell]
    return [line.plain.rstrip() for line in Text(cell).wrap(console, width, overflow="fold")]
