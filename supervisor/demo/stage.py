"""How the demo is told: the same lines on a terminal, where they have colours, and in a log.

Nothing moves the cursor. rich draws, and it respects ``NO_COLOR``.
"""

import sys
from collections.abc import Iterable, Sequence

from rich.console import Console
from rich.table import Table
from rich.text import Text

from supervisor.status import printable

WIDEST = 110
"""Columns: longer lines are hard to read."""

_INDENT = 3
_STYLES = {"Healthy": "green", "Unhealthy": "red"}


class Stage:
    """Where the reader looks."""

    def __init__(self) -> None:
        """Write to standard output, whatever it can encode."""
        if hasattr(sys.stdout, "reconfigure"):
            sys.stdout.reconfigure(errors="replace", line_buffering=True)
        self._console = Console(highlight=False, markup=False, emoji=False)
        self._console.width = min(self._console.width, WIDEST) if self._console.is_terminal else WIDEST
        unicode = self._console.encoding.startswith("utf")
        self._yes, self._no, self._bar = ("✓", "✗", "│") if unicode else ("ok:", "FAILED:", "|")

    def title(self, text: str, sentence: str) -> None:
        """The name of the whole."""
        self._print(Text(text, "bold"))
        self._print(Text(sentence, "dim"))

    def act(self, number: int, title: str, sentence: str) -> None:
        """Begin an act."""
        self._console.print()
        self._print(Text(f"{number}  {title}", "bold cyan"))
        self.say(sentence)

    def say(self, sentence: str, style: str = "") -> None:
        """One paragraph."""
        self._print(Text(printable(sentence, 4096), style), _INDENT)

    def quote(self, lines: Iterable[str]) -> None:
        """What stands in a file, line by line, set apart."""
        self._console.print()
        for line in lines:
            self._print(Text.assemble((f"{self._bar} ", "dim"), printable(line)), _INDENT)
        self._console.print()

    def table(self, head: Sequence[str], rows: Iterable[Sequence[str]]) -> None:
        """Columns, set apart; words like ``Healthy`` have their colour."""
        table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), header_style="dim", show_header=any(head))
        for name in head:
            table.add_column(name, overflow="fold")
        for row in rows:
            table.add_row(*(Text(printable(cell), _STYLES.get(cell.partition(":")[0], "")) for cell in row))
        self._console.print()
        self._print(table, _INDENT)
        self._console.print()

    def done(self, sentence: str) -> None:
        """An act came true."""
        self._print(Text.assemble((f"{self._yes} ", "bold green"), printable(sentence, 4096)), _INDENT)

    def failed(self, sentence: str) -> None:
        """An act did not come true."""
        self._print(Text.assemble((f"{self._no} ", "bold red"), (printable(sentence, 4096), "red")), _INDENT)

    def end(self, title: str, lines: Sequence[tuple[str, str]]) -> None:
        """The last words: things, and what they are for."""
        self._console.print()
        self._print(Text(title, "bold"))
        if lines:
            self.table(("", ""), lines)

    def _print(self, what: Text | Table, indent: int = 0) -> None:
        """Print it line by line, so that none ends in the blanks with which rich fills it up."""
        options = self._console.options.update(width=max(20, self._console.width - indent))
        for segments in self._console.render_lines(what, options, pad=False):
            line = Text.assemble(" " * indent, *((each.text, each.style or "") for each in segments))
            line.rstrip()
            self._console.print(line, soft_wrap=True)
