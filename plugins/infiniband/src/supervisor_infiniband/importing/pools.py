"""What both importers have in common: pools in the words of our configuration, checked, and what is said of them on the way."""

import glob
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import msgspec

from supervisor import Remark, SourceRefused, Translation
from supervisor_infiniband.config import Pool
from supervisor_infiniband.importing.reading import Place, Reader

PLUGIN = "infiniband"
MOST = 256
"""Resources and selectors of one file, together."""
LONGEST = 1000
"""Of a remark."""

FEWER_NODES = "Containers get uverbs and rdma_cm. There they got umad and issm, too: charDevices: [rdma_cm, umad, issm], if they need them."
"""What both of the other plugins give without being asked."""

Facts = Mapping[str, Any]
"""A match in plain values, under the keys of our configuration."""

_HEX = re.compile(r"[0-9A-Fa-f]{4}")
_LINK_TYPES = ("ether", "infiniband")


class Pools:
    """The pools translated so far, and the remarks."""

    def __init__(self) -> None:
        self.problems: list[Remark] = []
        self._pools: dict[str, Facts] = {}
        self._lost: list[Remark] = []
        self._notes: list[Remark] = []
        self._counted = 0

    def few(self, readers: Sequence[Reader], at: Place) -> Sequence[Reader]:
        """Resources or selectors, as they are. Raises ``SourceRefused`` where the file has more than any node needs."""
        self._counted += len(readers)
        if self._counted > MOST:
            raise SourceRefused((Remark(f"Expected at most {MOST} resources and selectors in one file", at),))
        return readers

    def lose(self, text: str, at: Place) -> None:
        self._lost.append(Remark(text[:LONGEST], at))

    def note(self, text: str, at: Place) -> None:
        self._notes.append(Remark(text[:LONGEST], at))

    def leave(self, *readers: Reader) -> None:
        """These have been read; what else is in them is nobody's."""
        self._lost += [remark for reader in readers for remark in reader.unread()]

    def add(self, pool: Facts, at: Place) -> bool:
        """A pool, unless our configuration would not take it, or has its name already; whether it is there now."""
        if pool["name"] in self._pools:
            self.lose(f"{pool['name']} is there already, above: this one is left out.", at)
            return False
        try:
            msgspec.convert(pool, Pool)
        except msgspec.ValidationError as error:
            self.lose(f"It is left out, since it cannot be said here: {error}.", at)
            return False
        self._pools[pool["name"]] = pool
        return True

    def __len__(self) -> int:
        return len(self._pools)

    def translation(self) -> Translation:
        """All of it. Raises ``SourceRefused`` where something was of a wrong type."""
        if self.problems:
            raise SourceRefused(tuple(self.problems))
        section = {"resources": list(self._pools.values())} if self._pools else None
        return Translation(PLUGIN, section, tuple(self._lost), tuple(self._notes) if self._pools else ())


def exact(name: str) -> str:
    """A pattern that fits this name alone."""
    return glob.escape(name)


class Narrowing:
    """What one selector of theirs asks for, as facts of a match. ``impossible``: nothing can fit it."""

    def __init__(self, reader: Reader, pools: Pools, kinds: Sequence[str]) -> None:
        self.facts: dict[str, Any] = {"kind": [*kinds]}
        self.impossible = False
        self._reader = reader
        self._pools = pools

    def names(self, theirs: str, ours: str, skip: Iterable[str] = ()) -> None:
        """A list of exact names; those to skip can never fit."""
        skipped = frozenset(skip)
        self.checked(theirs, ours, lambda name: "" if name and name not in skipped else "can be no RDMA device's", exact)

    def ids(self, theirs: str, ours: str) -> None:
        """A list of PCI ids."""
        self.checked(theirs, ours, lambda text: "" if _HEX.fullmatch(text) else "is not four hexadecimal digits")

    def link_types(self) -> None:
        self.checked(
            "linkTypes", "linkType", lambda text: "" if text in _LINK_TYPES else f"is none of {', '.join(_LINK_TYPES)}"
        )

    def checked(
        self, theirs: str, ours: str, problem: Callable[[str], str], form: Callable[[str], str] = str
    ) -> tuple[str, ...]:
        """A list of theirs under our key. A value with a problem is left out, since nothing fits it; the others go on."""
        given = self._reader.texts(theirs)
        good = []
        for number, value in enumerate(given):
            if why := problem(value):
                self._pools.lose(f"{value!r:.80} {why}: it fits nothing, and is left out.", (*self._reader.at(theirs), number))
            else:
                good.append(form(value))
        if good:
            self.facts[ours] = good
        elif given:
            self.impossible = True
        return tuple(good)
