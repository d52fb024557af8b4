"""HTML as a tree, read strictly: what a browser would silently mend is an error here."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from html.parser import HTMLParser

VOID = {"meta", "link", "input", "br"}
"""Elements that have no end tag."""


@dataclass
class Element:
    """One element with its attributes, and what stands in it in order."""

    tag: str
    attributes: dict[str, str] = field(default_factory=dict)
    children: list[Element | str] = field(default_factory=list)

    def __iter__(self) -> Iterator[Element]:
        """Itself and all elements within, in document order."""
        yield self
        for child in self.children:
            if isinstance(child, Element):
                yield from child

    @property
    def text(self) -> str:
        """What it says."""
        return "".join(child if isinstance(child, str) else child.text for child in self.children)

    @property
    def shape(self) -> list[tuple[str, tuple[str, ...]]]:
        """The elements and the names of their attributes, without anything that is said."""
        return [(element.tag, tuple(element.attributes)) for element in self]

    def all(self, tag: str, **attributes: str) -> list[Element]:
        """The elements of this kind with these attributes; ``class_`` names one of the classes."""
        wanted = attributes.pop("class_", "")
        return [
            element
            for element in self
            if element.tag == tag
            and attributes.items() <= element.attributes.items()
            and (not wanted or wanted in element.attributes.get("class", "").split())
        ]

    def one(self, tag: str, **attributes: str) -> Element:
        """The only one of this kind. Raises ``ValueError`` for none or several."""
        (found,) = self.all(tag, **attributes)
        return found


class _Reader(HTMLParser):
    def __init__(self) -> None:
        super().__init__(convert_charrefs=True)
        self.root = Element("")
        self._open = [self.root]

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        names = [name for name, _ in attrs]
        assert len(set(names)) == len(names), f"<{tag}> has an attribute twice: {names}"
        element = Element(tag, {name: value or "" for name, value in attrs})
        self._open[-1].children.append(element)
        if tag not in VOID:
            self._open.append(element)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.handle_starttag(tag, attrs)
        if tag not in VOID:
            self.handle_endtag(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self._open[-1].tag == tag, f"</{tag}> ends <{self._open[-1].tag}>"
        self._open.pop()

    def handle_data(self, data: str) -> None:
        self._open[-1].children.append(data)

    def handle_comment(self, data: str) -> None:
        raise AssertionError(f"a comment: {data}")

    def finish(self) -> Element:
        self.close()
        assert self._open == [self.root], f"not ended: {[element.tag for element in self._open[1:]]}"
        (html,) = (child for child in self.root.children if isinstance(child, Element))
        return html


def parse(document: bytes) -> Element:
    """The ``html`` element. Raises ``AssertionError`` for tags that do not match."""
    reader = _Reader()
    reader.feed(document.decode())
    return reader.finish()
