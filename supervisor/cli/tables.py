"""Answers for people and for programs: plain tables that any terminal shows, and JSON."""

import sys
import textwrap
from collections.abc import Iterable, Sequence
from typing import Any

import msgspec

from supervisor.status import printable

_GAP = "  "


def table(head: Sequence[str], rows: Iterable[Sequence[str]], indent: str = "") -> str:
    """Columns as wide as they need to be. A cell may have several lines; control characters are made harmless."""
    cells = [[[printable(line) for line in cell.split("\n")] for cell in row] for row in ([*head], *rows)]
    widths = [max(len(line) for row in cells for line in row[column]) for column in range(len(head))]
    lines = []
    for row in cells:
        for number in range(max(map(len, row))):
            texts = (cell[number] if number < len(cell) else "" for cell in row)
            line = _GAP.join(text.ljust(width) for text, width in zip(texts, widths, strict=True))
            lines.append((indent + line).rstrip())
    return "\n".join(lines)


def paragraph(title: str, texts: Iterable[str]) -> str:
    """A heading and its sentences, each wrapped under a bullet; nothing where there is none."""
    bullets = [
        textwrap.fill(printable(text, 4096), 118, initial_indent="  - ", subsequent_indent="    ", break_long_words=False)
        for text in texts
    ]
    return "\n".join((title, *bullets)) if bullets else ""


def show(*parts: str) -> None:
    """Print what is not empty, with an empty line between two parts."""
    if text := "\n\n".join(part for part in parts if part):
        print(text)


def show_json(value: Any) -> None:
    """Print one JSON document, indented, and nothing else."""
    sys.stdout.buffer.write(msgspec.json.format(msgspec.json.encode(value), indent=2) + b"\n")
    sys.stdout.buffer.flush()


def complain(*texts: str) -> None:
    """Print lines to standard error, where they are in nobody's way."""
    for text in texts:
        print(text, file=sys.stderr)
