"""A YAML or JSON text as values that know their lines, with the plain scalars of YAML 1.1 as the Go world reads them.

``on`` and ``yes`` are booleans here, ``0:1`` is a text and no base-60 number. The text is read as events, so that one nested a
million deep is refused before anything has recursed into it.
"""

import re
from collections.abc import Iterator
from typing import Any, NamedTuple

LARGEST = 1 << 20
"""Bytes. A ConfigMap cannot hold more."""
DEEPEST = 32

_NULL = frozenset({"", "~", "null", "Null", "NULL"})
_TRUE = frozenset({"y", "Y", "yes", "Yes", "YES", "on", "On", "ON", "true", "True", "TRUE"})
_FALSE = frozenset({"n", "N", "no", "No", "NO", "off", "Off", "OFF", "false", "False", "FALSE"})
_INT = re.compile(r"[-+]?[0-9]{1,18}")
_TEXT_TAGS = frozenset({"!", "tag:yaml.org,2002:str"})
_TAGS = _TEXT_TAGS | {f"tag:yaml.org,2002:{kind}" for kind in ("map", "seq", "null", "bool", "int")}


class Marked(NamedTuple):
    """A value and its line, which counts from 1: a mapping of names to ``Marked``, a list of them, or a scalar."""

    line: int
    value: Any


class Unreadable(Exception):
    """The text as a whole cannot be used."""

    def __init__(self, line: int, text: str) -> None:
        super().__init__(text)
        self.line = line


def read(data: bytes) -> Marked:
    """The one document of a text; an empty text is an empty mapping. Raises ``Unreadable`` and nothing else."""
    import yaml  # not needed on nodes that never ran NVIDIA's plugin

    if len(data) > LARGEST:
        raise Unreadable(1, f"is longer than {LARGEST} bytes (1 MiB)")
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise Unreadable(data[: error.start].count(b"\n") + 1, "is not UTF-8 text") from None
    if text.lstrip().startswith("{"):
        text = text.replace("\t", " ")  # JSON may be indented by tabs, and they stand nowhere else in it
    try:
        return _document(yaml.parse(text, Loader=getattr(yaml, "CSafeLoader", yaml.SafeLoader)))
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        what = " ".join(filter(None, (error.problem, error.context)))
        raise Unreadable(mark.line + 1 if mark else 1, f"is not YAML: {what}") from None
    except yaml.YAMLError as error:
        raise Unreadable(1, f"is not YAML: {' '.join(str(error).split())}") from None


def plain(node: Marked) -> Any:
    """The value without lines."""
    if isinstance(node.value, dict):
        return {key: plain(child) for key, child in node.value.items()}
    if isinstance(node.value, list):
        return [plain(child) for child in node.value]
    return node.value


def _document(events: Iterator[Any]) -> Marked:
    import yaml

    root = None
    for event in events:
        if isinstance(event, yaml.NodeEvent):
            if root is not None:
                raise Unreadable(_line(event), "a second document starts here: one file holds one")
            root = _node(event, events, 1)
    return root if root is not None and root.value is not None else Marked(1, {})


def _node(event: Any, events: Iterator[Any], depth: int) -> Marked:
    import yaml

    if isinstance(event, yaml.AliasEvent):
        raise Unreadable(_line(event), f"the alias *{event.anchor} is not supported: write the value out")
    if event.tag is not None and event.tag not in _TAGS:
        raise Unreadable(_line(event), f"the tag {event.tag[:80]} is not supported")
    if isinstance(event, yaml.ScalarEvent):
        return Marked(_line(event), _scalar(event))
    if depth > DEEPEST:
        raise Unreadable(_line(event), f"is nested more than {DEEPEST} deep")
    if isinstance(event, yaml.SequenceStartEvent):
        items = []
        while not isinstance(item := next(events), yaml.SequenceEndEvent):
            items.append(_node(item, events, depth + 1))
        return Marked(_line(event), items)
    return Marked(_line(event), _mapping(events, depth))


def _mapping(events: Iterator[Any], depth: int) -> dict[str, Marked]:
    import yaml

    found: dict[str, Marked] = {}
    while not isinstance(event := next(events), yaml.MappingEndEvent):
        if not isinstance(event, yaml.ScalarEvent):
            raise Unreadable(_line(event), "a key must be a word")
        key, line = event.value, _line(event)
        if key in found:
            raise Unreadable(line, f"{key[:80]}: duplicate key, first in line {found[key].line}")
        found[key] = Marked(line, _node(next(events), events, depth + 1).value)
    return found


def _scalar(event: Any) -> Any:
    text: str = event.value
    if event.tag in _TEXT_TAGS or not (event.implicit[0] or event.tag):
        return text
    if text in _NULL:
        return None
    if text in _TRUE or text in _FALSE:
        return text in _TRUE
    return int(text) if _INT.fullmatch(text) else text


def _line(event: Any) -> int:
    return int(event.start_mark.line) + 1
