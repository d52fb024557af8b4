"""A memory in memory, for plugins that keep something over restarts."""

from collections.abc import Mapping
from typing import Any

from supervisor.memory import EMPTY, PackageMemory, decoded, encoded


class FakeMemory(PackageMemory):
    """What an earlier process kept, and what the plugin keeps now; as strict as the real one about what JSON can hold.

    ``recall`` returns the newest value, as in the process that owns the node. Hand the same object to the next plugin to
    test a restart.
    """

    def __init__(self, recalled: Mapping[str, Any] | None = None) -> None:
        self._bytes = _Bytes(EMPTY if recalled is None else encoded(recalled))
        super().__init__(self._bytes)

    @property
    def kept(self) -> list[dict[str, Any]]:
        """Every value that was kept, oldest first."""
        return [decoded(memory) for memory in self._bytes.kept]


class _Bytes:
    def __init__(self, newest: bytes) -> None:
        self.newest = newest
        self.kept: list[bytes] = []

    def recall(self) -> bytes:
        return self.newest

    def keep(self, memory: bytes) -> None:
        self.newest = memory
        self.kept.append(memory)
