"""A tree of nodes becomes a typed value, and everything that does not fit its type is found, not only the first thing.

``msgspec.convert`` stops at its first error. So the offending node is taken out and the rest is tried again; what is then wrong
only because something was taken out is no news and is left out of the report.
"""

import difflib
import re
from collections.abc import Iterable, Iterator, Sequence
from itertools import pairwise
from typing import Any

import msgspec
from msgspec import inspect

from supervisor.yamltext import Node, Problem, shortened

MOST_PROBLEMS = 50
"""More than this nobody reads at once."""

_STEP = re.compile(r"\.(?P<field>[^.\[\]`]+)|\[(?P<number>\d+)\]|\[(?P<any>\.\.\.)\]")
_UNKNOWN = re.compile(r"Object contains unknown field `(.*)`", re.DOTALL)
_MISSING = re.compile(r"Object missing required field `(.*)`", re.DOTALL)
_PLACED = re.compile(r"([A-Za-z_]\w*(?:\.\w+|\[\d+\])*): (.+)", re.DOTALL)
_WORDS = {"object": "mapping", "array": "list"}
_LIKE_BOOL = frozenset({"yes", "no", "on", "off", "y", "n"})


def decode(root: Node, type_: Any, other_keys: Iterable[str] = ()) -> tuple[Any, list[Problem]]:
    """``root`` as a ``type_``, and all problems; the value means nothing if there are any.

    ``other_keys`` are known at the top although ``type_`` lacks them: they are proposed for misspelt ones. A ``ValueError`` of a
    struct's ``__post_init__`` may begin with a path inside that struct (``resources[1].name: …``) and is then placed there.
    """
    try:
        return msgspec.convert(root.value, type_), []
    except msgspec.ValidationError:
        return _Search(root.copy(), type_, tuple(other_keys)).run()


class _Search:
    """Takes the tree apart, one problem after the other."""

    def __init__(self, root: Node, type_: Any, other_keys: tuple[str, ...]) -> None:
        self._root = root
        self._type = type_
        self._info = inspect.type_info(type_)
        self._other_keys = other_keys
        self._problems: list[Problem] = []
        self._taken: dict[int, set[Any]] = {}
        """Node (by ``id``; the tree keeps it alive) to the keys taken out of it."""

    def run(self) -> tuple[Any, list[Problem]]:
        while (error := self._error()) is not None:
            if len(self._problems) >= MOST_PROBLEMS:
                self._problems.append(Problem(None, "", f"more problems follow after these {MOST_PROBLEMS}"))
                break
            if not self._take_out(error):
                break
        return None, self._problems

    def _error(self) -> str | None:
        try:
            msgspec.convert(self._root.value, self._type)
        except msgspec.ValidationError as error:
            return str(error)
        return None

    def _take_out(self, error: str) -> bool:
        """Note one problem and remove what causes it. False when nothing is left that could be removed."""
        message, of_key, trail = self._find(error)
        node = trail[-1][1]
        infos = [self._info]
        for key, _ in trail[1:]:
            infos = [found for info in infos for found in _inside(info, key)]
        if (unknown := _UNKNOWN.fullmatch(message)) and unknown[1] in node.children:
            child = node.children[unknown[1]]
            known = {name for info in infos for name in _fields(info)}
            also = self._other_keys if node is self._root else ()
            self._note(child.key_at, child.path, f"unknown key{did_you_mean(unknown[1], (*known, *also))}")
            return self._remove(trail, unknown[1])
        if missing := _MISSING.fullmatch(message):
            if missing[1] not in self._taken.get(id(node), ()):
                choices = [*_choices(found for info in infos for found in _inside(info, missing[1]))]
                cure = f": write {missing[1]}: {choices[0]}" if len(choices) == 1 else ""
                self._note(node.at, node.path, f"the key {missing[1]} is missing{cure}")
        elif of_key:
            self._note(node.key_at, node.path, f"as a key: {_say(message, None, ())}")
        elif id(node) not in self._taken:
            self._note_all(node, message, infos)
        if len(trail) == 1:
            return False
        return self._remove(trail[:-1], trail[-1][0])

    def _note(self, at: Any, path: str, text: str) -> None:
        self._problems.append(Problem(at, path, text))

    def _note_all(self, node: Node, message: str, infos: Sequence[inspect.Type]) -> None:
        if not isinstance(node.value, dict):
            self._note(node.at, node.path, _say(message, node, infos))
            return
        for line in message.splitlines():
            place, text = node, _say(line, node, infos)
            if (placed := _PLACED.fullmatch(line)) and (inner := _follow(node, placed[1])) is not None:
                place, text = inner, placed[2]
            self._note(place.at, place.path, text)

    def _remove(self, trail: Sequence[tuple[Any, Node]], key: Any) -> bool:
        """Take ``key`` out of the last node of the way; one that is empty then is as good as taken out of the one before."""
        parent = trail[-1][1]
        position = list(parent.children).index(key)
        del parent.children[key]
        if isinstance(parent.value, dict):
            del parent.value[key]
        else:
            del parent.value[position]
        self._taken.setdefault(id(parent), set()).add(key)
        for (_, outer), (name, inner) in reversed([*pairwise(trail)]):
            if inner.children:
                break
            self._taken.setdefault(id(outer), set()).add(name)
        return True

    def _find(self, error: str) -> tuple[str, bool, list[tuple[Any, Node]]]:
        """Message, whether it is about a key, and the way from the root to the node it is about."""
        message, _, place = error.rpartition(" - at `")
        trail: list[tuple[Any, Node]] = [("", self._root)]
        if not message:
            return error, False, trail
        narrowed: list[tuple[Node, dict[str, Any]]] = []
        steps: list[re.Match[str] | None] = [*_STEP.finditer(place)]
        of_key = place.startswith("key` in `")
        for step in [*steps, None] if of_key else steps:
            node = trail[-1][1]
            key = self._first_bad(node, error, narrowed) if step is None or step["any"] else _named(node, step)
            if key is None:
                of_key = False
                break
            trail.append((key, node.children[key]))
        for node, everything in narrowed:
            node.value.update(everything)
        return message, of_key, trail

    def _first_bad(self, node: Node, error: str, narrowed: list[tuple[Node, dict[str, Any]]]) -> Any:
        """Which entry of a mapping ``error`` is about: msgspec does not say, but it takes them in order.

        Leaves that entry as the mapping's last one, so that the search inside it meets no later one with the same error.
        """
        everything = dict(node.value)
        keys = list(everything)
        narrowed.append((node, everything))

        def keep(count: int) -> None:
            node.value.clear()
            node.value.update((key, everything[key]) for key in keys[:count])

        low, high = 0, len(keys)  # the first `low` entries do not give this error, the first `high` do
        while high - low > 1:
            middle = (low + high) // 2
            keep(middle)
            if self._error() == error:
                high = middle
            else:
                low = middle
        keep(high)
        return keys[low] if keys else None


def _named(node: Node, step: re.Match[str]) -> Any:
    """The child that a step of msgspec's path names, by key or by the number it has now."""
    if step["field"]:
        return step["field"] if step["field"] in node.children else None
    keys, number = list(node.children), int(step["number"])
    return keys[number] if number < len(keys) else None


def _follow(node: Node, path: str) -> Node | None:
    found: Node | None = node
    for step in _STEP.finditer(f".{path}"):
        key: Any = step["field"] or int(step["number"])
        found = found.children.get(key) if found is not None else None
    return found


def _inside(info: inspect.Type, key: Any) -> Iterator[inspect.Type]:
    """What may stand under ``key`` in such a value."""
    for kind in _alternatives(info):
        match kind:
            case inspect.StructType(fields=fields):
                yield from (field.type for field in fields if field.encode_name == key)
            case inspect.DictType(value_type=inner):
                yield inner
            case inspect.TupleType(item_types=inner_types):
                yield from inner_types[key : key + 1] if isinstance(key, int) else ()
            case inspect.CollectionType(item_type=inner):
                yield inner
            case _:
                pass


def _alternatives(info: inspect.Type) -> Iterator[inspect.Type]:
    """The type itself, or the members of a union, without their descriptions."""
    match info:
        case inspect.Metadata(type=inner):
            yield from _alternatives(inner)
        case inspect.UnionType(types=members):
            for member in members:
                yield from _alternatives(member)
        case _:
            yield info


def _fields(info: inspect.Type) -> Iterator[str]:
    for kind in _alternatives(info):
        if isinstance(kind, inspect.StructType):
            yield from (field.encode_name for field in kind.fields)


def _say(message: str, node: Node | None, infos: Sequence[inspect.Type]) -> str:
    """msgspec's message in the words of a YAML file, with what helps to mend it."""
    plain = node.plain if node is not None else None
    value = node.value if node is not None else None
    if message.startswith("Invalid enum value") and (choices := [*_choices(infos)]):
        wanted = choices[0] if len(choices) == 1 else f"one of {', '.join(choices)}"
        return f"Expected {wanted}, got {shortened(repr(value))}{did_you_mean(str(value), choices)}"
    if "matching regex" in message and (described := next(_descriptions(infos), None)):
        return f"Expected {described}, got {shortened(repr(value))}"
    text = re.sub(r"`([^`]*)`", lambda found: " or ".join(_word(word) for word in found[1].split(" | ")), message)
    if plain is not None and "str" in text.partition(", got ")[0] and not isinstance(value, str) and value is not None:
        return f'{text}: write "{shortened(plain)}" in quotes'
    if "bool" in text.partition(", got ")[0] and str(value).lower() in _LIKE_BOOL:
        return f"{text}: write true or false"
    return text


def _word(name: str) -> str:
    return _WORDS.get(name, name)


def _choices(infos: Iterable[inspect.Type]) -> Iterator[str]:
    for info in infos:
        for kind in _alternatives(info):
            match kind:
                case inspect.LiteralType(values=values):
                    yield from map(str, values)
                case inspect.EnumType(cls=cls):
                    yield from (str(member.value) for member in cls)
                case _:
                    pass


def _descriptions(infos: Iterable[inspect.Type]) -> Iterator[str]:
    for info in infos:
        match info:
            case inspect.Metadata(extra_json_schema=extra) if extra and "description" in extra:
                yield extra["description"]
            case inspect.UnionType(types=members):
                yield from _descriptions(members)
            case _:
                pass


def did_you_mean(word: str, known: Iterable[str]) -> str:
    """A half-sentence that proposes the nearest known word, or nothing."""
    near = difflib.get_close_matches(word, sorted(known), n=1)
    return f"; did you mean {near[0]}?" if near else ""
