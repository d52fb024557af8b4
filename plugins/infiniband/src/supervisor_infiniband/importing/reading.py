"""A mapping of somebody else's file: what stands under its keys, of which type, and which of them nobody has asked for.

Keys are found whatever their case, since both plugins read their files so (Go's ``encoding/json``); ``null`` is absent.
"""

from collections.abc import Iterator, Mapping
from typing import Any, TypeVar

from supervisor import Remark

T = TypeVar("T")

Place = tuple[str | int, ...]


class Reader:
    """Reads one mapping. What is of a wrong type is noted in ``problems``, which all readers of a file share, and taken for absent."""

    def __init__(self, value: object, at: Place, problems: list[Remark]) -> None:
        self.place = at
        self._problems = problems
        self._keys: dict[str, str] = {}
        self._values: dict[str, Any] = {}
        self._asked: set[str] = set()
        if isinstance(value, Mapping):
            self._keys = {str(key).lower(): key for key in value}
            self._values = {name: value[key] for name, key in self._keys.items() if value[key] is not None}
        else:
            self._complain(at, "a mapping", value)

    def __contains__(self, name: str) -> bool:
        self._asked.add(name.lower())
        return name.lower() in self._values

    def at(self, name: str) -> Place:
        """Where a value stands, or would."""
        return (*self.place, self._keys.get(name.lower(), name))

    def text(self, name: str) -> str:
        return self._typed(name, str, "a text") or ""

    def number(self, name: str) -> int | None:
        return self._typed(name, int, "a whole number")

    def flag(self, name: str) -> bool:
        return self._typed(name, bool, "true or false") or False

    def texts(self, name: str) -> tuple[str, ...]:
        """A list of texts."""
        found = []
        for place, item in self._items(name):
            if isinstance(item, str):
                found.append(item)
            else:
                self._complain(place, "a text", item)
        return tuple(found)

    def mappings(self, name: str, *, or_one: bool = False) -> tuple["Reader", ...]:
        """A list of mappings, or, ``or_one``, one that stands there without a list."""
        value = self._value(name)
        if or_one and isinstance(value, Mapping):
            return (Reader(value, self.at(name), self._problems),)
        return tuple(Reader(item, place, self._problems) for place, item in self._items(name))

    def unread(self) -> Iterator[Remark]:
        """A remark on each key that nobody has asked for."""
        for name in self._values:
            if name not in self._asked:
                text = "The other plugin reads no such key here, nor is anything made of it: is it misspelt?"
                yield Remark(text, self.at(name))

    def _value(self, name: str) -> Any:
        self._asked.add(name.lower())
        return self._values.get(name.lower())

    def _typed(self, name: str, kind: type[T], words: str) -> T | None:
        value = self._value(name)
        if value is None or type(value) is kind:  # a bool is an int, too
            return value
        self._complain(self.at(name), words, value)
        return None

    def _items(self, name: str) -> Iterator[tuple[Place, Any]]:
        value = self._value(name)
        if isinstance(value, list):
            yield from (((*self.at(name), number), item) for number, item in enumerate(value))
        elif value is not None:
            self._complain(self.at(name), "a list", value)

    def _complain(self, at: Place, words: str, value: object) -> None:
        self._problems.append(Remark(f"Expected {words}, got {type(value).__name__}", at))
