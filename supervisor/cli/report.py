"""Findings for people and for programs: groups, aligned, each with its cure, and a last line that counts them."""

import os
import sys
import textwrap
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any, TextIO

import msgspec

from supervisor.model import Finding
from supervisor.status import printable

VERSION = 1
"""Of the JSON document. Raised when a field goes or changes its meaning; new fields may come any time."""

LEVELS = ("failure", "warning", "note", "ok")
_WIDTH = 118
_WIDEST_SUBJECT = 36
_COLOURS = {"failure": "\033[1;31m", "warning": "\033[33m", "note": "\033[36m", "ok": "\033[32m"}
_PLAIN = "\033[0m"

Groups = Mapping[str, Sequence[Finding]]


def count(groups: Groups) -> Mapping[str, int]:
    """How many findings there are of each level, the worst first."""
    found = Counter(finding.level for findings in groups.values() for finding in findings)
    return {level: found[level] for level in LEVELS}  # type: ignore[index]  # they are the levels


def as_json(groups: Groups) -> dict[str, Any]:
    """The same as a document."""
    return {
        "version": VERSION,
        "summary": count(groups),
        "groups": [{"name": name, "findings": msgspec.to_builtins(findings)} for name, findings in groups.items() if findings],
    }


def as_text(groups: Groups, *, colour: bool = False) -> str:
    """The same for people."""
    parts = ["\n".join((name, *(_lines(findings, colour=colour)))) for name, findings in groups.items() if findings]
    return "\n\n".join((*parts, summary(groups)))


def summary(groups: Groups) -> str:
    """All of it in one line."""
    counts = count(groups)
    words = [f"{counts[level]} {level}{'s' if counts[level] != 1 else ''}" for level in LEVELS[:-1]]
    verdict = "This node needs a cure" if counts["failure"] else "Nothing stands in the way"
    return f"{verdict}: {', '.join(words)}, {counts['ok']} fine."


def wants_colour(stream: TextIO = sys.stdout) -> bool:
    """On a terminal that can show it, unless the user does not want it (``NO_COLOR``)."""
    return stream.isatty() and not os.environ.get("NO_COLOR") and os.environ.get("TERM") != "dumb"


def _lines(findings: Sequence[Finding], *, colour: bool) -> list[str]:
    width = min(_WIDEST_SUBJECT, max(len(printable(finding.subject)) for finding in findings))
    return [line for finding in findings for line in _finding(finding, width, colour=colour)]


def _finding(finding: Finding, width: int, *, colour: bool) -> list[str]:
    subject = printable(finding.subject)
    margin = " " * (2 + 9 + width + 2)
    lines = _wrapped(finding.text, margin)
    if len(subject) > width:
        lines.insert(0, "")  # a long one has its line for itself
    if finding.cure:
        lines += _wrapped(f"Cure: {finding.cure}", margin)
    level = f"{finding.level:<9}"
    if colour:
        level = f"{_COLOURS[finding.level]}{level}{_PLAIN}"
    first = f"  {level}{subject:<{width}}  {lines[0].strip()}".rstrip()
    return [first, *lines[1:]]


def _wrapped(text: str, margin: str) -> list[str]:
    return textwrap.wrap(
        printable(text, 4096),
        max(_WIDTH, len(margin) + 40),
        initial_indent=margin,
        subsequent_indent=margin,
        break_long_words=False,
        break_on_hyphens=False,
    ) or [""]
