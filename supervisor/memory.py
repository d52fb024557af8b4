"""The memory of a package as its plugins hold it, and what lies between them and the file: plain bytes of JSON."""

import threading
from collections.abc import Iterable, Mapping
from typing import Any, Protocol

import msgspec

EMPTY = b"{}"


class Keeper(Protocol):
    """Where encoded memories come from and go to. For any thread; raises nothing."""

    def recall(self) -> bytes:
        """What the newest owner kept, or ``EMPTY``."""

    def keep(self, memory: bytes) -> None:
        """Take the newest memory. Returns at once."""


class PackageMemory:
    """The ``Memory`` that a package is given."""

    def __init__(self, keeper: Keeper) -> None:
        self._keeper = keeper

    def recall(self) -> Mapping[str, Any]:
        return decoded(self._keeper.recall())

    def keep(self, value: Mapping[str, Any]) -> None:
        self._keeper.keep(encoded(value))


def encoded(value: Mapping[str, Any]) -> bytes:
    """Equal values give equal bytes. Raises ``TypeError`` and ``ValueError`` for what JSON cannot hold."""
    if not isinstance(value, Mapping):
        raise TypeError(f"a memory is a mapping, not {type(value).__name__}")
    try:
        return msgspec.json.encode(dict(value), order="deterministic")
    except RecursionError as error:
        raise ValueError("a memory must not be nested without end") from error


def decoded(memory: bytes) -> dict[str, Any]:
    return msgspec.json.decode(memory, type=dict[str, Any])


class Nothing:
    """A keeper without a place to keep anything."""

    def recall(self) -> bytes:
        return EMPTY

    def keep(self, memory: bytes) -> None:
        pass


NOTHING = Nothing()
FORGETFUL = PackageMemory(NOTHING)
"""For commands that only look, and for tests: recalls nothing and keeps nothing."""


class Gate:
    """Holds the newest memory back until this process owns the node and the plugins that wait for that have taken over."""

    def __init__(self, keeper: Keeper) -> None:
        self._keeper = keeper
        self._lock = threading.Lock()
        self._held: bytes | None = None
        self._awaited: set[str] | None = None
        self._closed = False

    def open(self, awaited: Iterable[str]) -> None:
        """This process owns the node; ``awaited`` names the plugins that are yet to take over."""
        with self._lock:
            self._awaited = set(awaited)
            self._let_through()

    def taken_over(self, plugin: str) -> None:
        with self._lock:
            if self._awaited is not None:
                self._awaited.discard(plugin)
                self._let_through()

    def shut(self) -> None:
        """This process does not own the node."""
        with self._lock:
            self._awaited = None

    def close(self) -> None:
        """Its plugins are retired: what they still say counts no more."""
        with self._lock:
            self._closed = True

    def recall(self) -> bytes:
        return self._keeper.recall()

    def keep(self, memory: bytes) -> None:
        with self._lock:
            self._held = memory
            self._let_through()

    def _let_through(self) -> None:
        if self._held is not None and self._awaited == set() and not self._closed:
            self._keeper.keep(self._held)
            self._held = None
