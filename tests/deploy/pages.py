"""What pages of Markdown hold that a machine can check: links, anchors, tables, code, and the words in backticks."""

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

ROOT = Path(__file__).parents[2]

_FENCE = re.compile(r"^(?P<indent> *)```(?P<language>\w*)\n(?P<text>.*?)^ *```$", re.MULTILINE | re.DOTALL)
_HEADING = re.compile(r"^#+ +(.+?) *$", re.MULTILINE)
_LINK = re.compile(r"\[(?P<text>(?:[^\[\]]|\\.)*)\]\((?P<target>[^()\s]+)\)")
_WORD = re.compile(r"`([^`]+)`")


@dataclass(frozen=True)
class Page:
    """One file, read once."""

    path: Path

    @cached_property
    def text(self) -> str:
        return self.path.read_text()

    @cached_property
    def prose(self) -> str:
        """The text without its blocks of code."""
        return _FENCE.sub("", self.text)

    def blocks(self, *languages: str) -> list[str]:
        """The code of these languages, without its indentation."""
        found = (match for match in _FENCE.finditer(self.text) if match["language"] in languages)
        return [re.sub(f"^{match['indent']}", "", match["text"], flags=re.MULTILINE) for match in found]

    def code(self) -> str:
        """All that a reader may copy: commands, and what stands in backticks, a line each."""
        spans = (" ".join(word.split()) for word in _WORD.findall(self.prose))
        return "\n".join([*self.blocks("sh", "console"), *spans]).replace("\\\n", " ")

    def anchors(self) -> set[str]:
        """The names by which its headings can be linked to, as GitHub makes them."""
        return {slug(title) for title in _HEADING.findall(self.prose)}

    def links(self) -> list[str]:
        """Where it leads to, but for other hosts."""
        targets = (match["target"] for match in _LINK.finditer(re.sub(r"`[^`]*`", "", self.prose)))
        return [target for target in targets if "://" not in target]

    def tables(self) -> Iterator[tuple[Sequence[str], list[list[str]]]]:
        """The titles and the rows of each table."""
        for table in re.findall(r"(?:^\|.*\|\n?)+", self.prose, re.MULTILINE):
            titles, _, *rows = ([cell.strip() for cell in line.strip("|").split("|")] for line in table.splitlines())
            yield titles, rows


def slug(title: str) -> str:
    """The anchor of a heading: lower case, punctuation dropped, a hyphen for each space."""
    plain = _LINK.sub(lambda link: link["text"], title)
    return re.sub(r"[^\w\- ]", "", plain.lower()).replace(" ", "-")


def words(cell: str) -> list[str]:
    """What stands in backticks."""
    return _WORD.findall(cell)
