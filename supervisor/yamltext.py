"""A YAML text becomes a tree of nodes, each with its line and column; what a configuration must not hold is refused. And back: ``write``.

The text is read as events, not composed by PyYAML: only events show every anchor and explicit tag, and a text nested a million
deep is refused before anything has recursed into it. Scalars mean what the core schema of YAML 1.2 says: ``no`` and ``12:30``
are strings.
"""

import re
from collections.abc import Iterator
from typing import Any, NamedTuple

import yaml

DEEPEST = 64
"""Nesting that no sensible configuration reaches."""

_LOADER: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
_CORE_TAG = "tag:yaml.org,2002:"
_LINE_END = re.compile("\r\n|[\r\n\x85\u2028\u2029]")
_UNPRINTABLE = re.compile("[^\t\n\r\x20-\x7e\x85\xa0-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]|(?<!^)\ufeff")
_NULL = frozenset({"", "~", "null", "Null", "NULL"})
_BOOL = {"true": True, "True": True, "TRUE": True, "false": False, "False": False, "FALSE": False}
_INT = re.compile(r"[-+]?[0-9]+|0o[0-7]+|0x[0-9a-fA-F]+")
_FLOAT = re.compile(r"[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?")
_NOT_FINITE = re.compile(r"[-+]?\.(inf|Inf|INF)|\.(nan|NaN|NAN)")
_PLAIN_KEY = re.compile(r"[-\w/]+")


class Position(NamedTuple):
    """A place in the text; both numbers count from 1."""

    line: int
    column: int


class Problem(NamedTuple):
    """What is wrong, and where. ``at`` is ``None`` for what concerns the file as a whole."""

    at: Position | None
    path: str
    text: str


class Node:
    """One value of the text. ``value`` holds plain Python values and is made of the children's own ``value`` objects."""

    __slots__ = ("at", "children", "key_at", "path", "plain", "value")

    def __init__(self, at: Position | None, path: str = "", value: Any = None, *, plain: str | None = None) -> None:
        self.at = at
        self.key_at = at
        """Where the key stands under which this is found."""
        self.path = path
        """How people name it: ``plugins.generic.resources[0].name``."""
        self.value = value
        self.plain = plain
        """The text of a scalar that stands without quotes, else ``None``."""
        self.children: dict[Any, Node] = {}
        """By key, or by number from 0: removing one keeps the others' numbers."""

    def copy(self) -> "Node":
        """A tree of its own, containers included."""
        twin = Node(self.at, self.path, self.value, plain=self.plain)
        twin.key_at = self.key_at
        twin.children = {key: child.copy() for key, child in self.children.items()}
        twin.rebuild()
        return twin

    def without(self, *keys: str) -> "Node":
        """The same mapping without some of its keys."""
        twin = Node(self.at, self.path, {})
        twin.children = {key: child for key, child in self.children.items() if key not in keys}
        twin.rebuild()
        return twin

    def rebuild(self) -> None:
        """Make ``value`` anew after ``children`` have changed."""
        if isinstance(self.value, dict):
            self.value = {key: child.value for key, child in self.children.items()}
        elif isinstance(self.value, list):
            self.value = [child.value for child in self.children.values()]


def read(data: bytes) -> tuple[Node | None, list[Problem]]:
    """The tree of a text and all that is wrong with it; no tree where the text cannot be read at all.

    Never raises for any ``data``, and reports as much as it can before it gives up.
    """
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        at = _position_of(data[: error.start].decode("utf-8-sig"))
        return None, [Problem(at, "", f"is not UTF-8 text (byte 0x{data[error.start]:02x}): is it a binary file?")]
    if found := _UNPRINTABLE.search(text):
        at = _position_of(text[: found.start()])
        return None, [Problem(at, "", f"holds the character U+{ord(found[0]):04X}: is it a binary file?")]
    return _Reader(text).read()


def _position_of(before: str) -> Position:
    lines = _LINE_END.split(before)
    return Position(len(lines), len(lines[-1]) + 1)


def write(value: Any) -> str:
    """Plain values as a text that ``read`` understands as the same: what it would take for a number or a word stands in quotes.

    Raises ``yaml.YAMLError`` for what is no plain value.
    """
    return str(yaml.dump(value, Dumper=_Writer, sort_keys=False, allow_unicode=True, default_flow_style=False, width=120))


class _Writer(yaml.SafeDumper):
    """Writes lists below their keys, indented, those of scalars in one line, and nothing by reference."""

    def increase_indent(self, flow: bool = False, indentless: bool = False) -> None:  # noqa: FBT002  # PyYAML's own signature
        super().increase_indent(flow, False)

    def ignore_aliases(self, data: Any) -> bool:
        return True

    def represent_items(self, items: list[Any]) -> yaml.SequenceNode:
        flat = not any(isinstance(item, dict | list) for item in items)
        return self.represent_sequence(f"{_CORE_TAG}seq", items, flow_style=flat)

    def represent_text(self, text: str) -> yaml.ScalarNode:
        plain = _resolve(text) == (text, None) and not _LINE_END.search(
            text
        )  # between other quotes some line ends become others
        return self.represent_scalar(f"{_CORE_TAG}str", text, style=None if plain else '"')


_Writer.add_representer(list, _Writer.represent_items)
_Writer.add_representer(str, _Writer.represent_text)


class _GiveUp(Exception):
    """What follows in the text can no longer be understood; its problem has been noted."""


class _Reader:
    def __init__(self, text: str) -> None:
        self._text = text
        self._events: Iterator[Any] = yaml.parse(text, Loader=_LOADER)
        self._problems: list[Problem] = []

    def read(self) -> tuple[Node | None, list[Problem]]:
        root = None
        try:
            root = self._document()
        except _GiveUp:
            pass
        except yaml.MarkedYAMLError as error:
            self._refuse_syntax(error)
        except yaml.YAMLError as error:
            self._refuse(Position(1, 1), "", f"is not YAML: {error}")
        return root, self._problems

    def _document(self) -> Node | None:
        root = None
        for event in self._events:
            if isinstance(event, yaml.DocumentStartEvent) and root is not None:
                self._refuse(_at(event.start_mark), "", "a second document starts here: one file holds one")
                return root
            if isinstance(event, yaml.NodeEvent):
                root = self._node(event, "", 1)
        return root

    def _refuse(self, at: Position, path: str, text: str) -> None:
        self._problems.append(Problem(at, path, text))

    def _refuse_syntax(self, error: yaml.MarkedYAMLError) -> None:
        mark = error.problem_mark or error.context_mark
        at = _at(mark) if mark is not None else Position(1, 1)
        end = _position_of(self._text.rstrip("\n"))  # an unfinished text is wrong in its last line, not after it
        what = " ".join(filter(None, (error.problem, error.context)))
        self._refuse(min(at, end), "", f"is not YAML: {what}")

    def _node(self, event: yaml.NodeEvent, path: str, depth: int) -> Node | None:
        """The node that ``event`` begins, or ``None`` for one that is refused as a whole."""
        at = _at(event.start_mark)
        if isinstance(event, yaml.AliasEvent):
            self._refuse(at, path, f"aliases (*{shortened(str(event.anchor))}) are not allowed: write the value out")
            return None
        if event.anchor is not None:
            self._refuse(
                at, path, f"anchors (&{shortened(event.anchor)}) are not allowed: write the value out where it is needed"
            )
        if depth > DEEPEST:
            self._refuse(at, path, f"is nested more than {DEEPEST} deep")
            raise _GiveUp
        if isinstance(event, yaml.ScalarEvent):
            return self._scalar(event, path)
        if isinstance(event, yaml.SequenceStartEvent):
            self._check_tag(event, path, "seq")
            return self._sequence(Node(at, path, []), depth)
        self._check_tag(event, path, "map")
        return self._mapping(Node(at, path, {}), depth)

    def _check_tag(self, event: Any, path: str, kind: str) -> None:
        if event.tag not in {None, "!", _CORE_TAG + kind}:
            self._refuse(_at(event.start_mark), path, f"the tag {shortened(event.tag)} is not allowed")

    def _sequence(self, node: Node, depth: int) -> Node:
        for number, event in enumerate(self._events):
            if isinstance(event, yaml.SequenceEndEvent):
                break
            child = self._node(event, f"{node.path}[{number}]", depth + 1)
            if child is not None:
                node.children[number] = child
        node.rebuild()
        return node

    def _mapping(self, node: Node, depth: int) -> Node:
        for event in self._events:
            if isinstance(event, yaml.MappingEndEvent):
                break
            at = _at(event.start_mark)
            key = self._key(event, node, depth)
            path = node.path if key is None else _join(node.path, key)
            child = self._node(next(self._events), path, depth + 1)
            if key is None or child is None:
                continue
            child.key_at = at
            if (first := node.children.setdefault(key, child)) is not child:
                line = first.key_at.line if first.key_at else 0
                self._refuse(at, path, f"duplicate key, first in line {line}")
        node.rebuild()
        return node

    def _key(self, event: yaml.NodeEvent, mapping: Node, depth: int) -> str | None:
        seen = len(self._problems)
        node = self._node(event, mapping.path, depth + 1)
        if node is None or len(self._problems) > seen:
            return None
        if node.plain == "<<":
            self._refuse(_at(event.start_mark), mapping.path, "merge keys (<<) are not allowed: write the keys out")
            return None
        if isinstance(node.value, str):
            return node.value
        cure = f'write "{shortened(node.plain)}"' if node.plain else "write a word"
        self._refuse(_at(event.start_mark), mapping.path, f"a key must be a string: {cure}")
        return None

    def _scalar(self, event: yaml.ScalarEvent, path: str) -> Node | None:
        at = _at(event.start_mark)
        plain = event.implicit[0] and event.tag is None
        kind = (event.tag or "").removeprefix(_CORE_TAG)
        if plain or kind in {"null", "bool", "int", "float"}:
            value, problem = _resolve(event.value)
        else:
            value, problem = event.value, None
        if problem is None and event.tag is not None and kind not in {"!", "str", _kind(value)}:
            problem = f"the tag {shortened(event.tag)} is not allowed"
        if problem is not None:
            self._refuse(at, path, problem)
            return None
        return Node(at, path, value, plain=event.value if plain else None)


def _resolve(text: str) -> tuple[Any, str | None]:
    """What a scalar without quotes means, or why it is refused."""
    if text in _NULL:
        return None, None
    if text in _BOOL:
        return _BOOL[text], None
    if _INT.fullmatch(text):
        return _integer(text)
    if _NOT_FINITE.fullmatch(text):
        return None, f"{text} is not a finite number"
    if _FLOAT.fullmatch(text):
        number = float(text)
        return (number, None) if abs(number) != float("inf") else (None, "the number is too large")
    return text, None


def _integer(text: str) -> tuple[int | None, str | None]:
    digits = text.lstrip("+-")
    if digits[0] == "0" and digits.isdigit() and digits != "0":
        return None, f'a number must not begin with 0: write "{shortened(text)}" in quotes, or 0o… for an octal one'
    number = int(text, 0) if len(text) <= 24 else 1 << 64
    if not -(1 << 63) <= number < 1 << 63:
        return None, "the number does not fit into 64 bits"
    return number, None


def _kind(value: Any) -> str:
    return {type(None): "null", str: "str"}.get(type(value), type(value).__name__)


def _join(path: str, key: str) -> str:
    if not _PLAIN_KEY.fullmatch(key):
        return f"{path}[{shortened(key)!r}]"
    return f"{path}.{shortened(key)}" if path else shortened(key)


def shortened(text: str, most: int = 80) -> str:
    """A word of the file as a message may hold it."""
    return text if len(text) <= most else f"{text[: most - 1]}…"


def _at(mark: Any) -> Position:
    return Position(mark.line + 1, mark.column + 1)
