"""The ids of RDMA devices: pure. Mostly that of the function; where several true end points are on one, the node GUID tells them apart."""

from collections.abc import Iterable, Mapping

from msgspec import Struct

from supervisor import natural_order


class Candidate(Struct, frozen=True):
    """An RDMA device that wants an id."""

    name: str
    base: str
    """Of its function; empty for a virtual one."""
    guid: str = ""
    """Node GUID, with or without colons; empty where it cannot be read."""
    endpoint: bool | None = True
    """Whether it can carry traffic; ``None`` where that cannot be told now."""

    @property
    def digits(self) -> str:
        """Those of its node GUID; empty for one that says nothing."""
        digits = self.guid.replace(":", "")
        return digits if digits.strip("0") else ""


class Identities(Struct, frozen=True):
    """Who is who."""

    ids: Mapping[str, str] = {}
    """By kernel name."""
    refused: Mapping[str, str] = {}
    """By kernel name: why it has none."""


def settle(candidates: Iterable[Candidate], before: Identities) -> Identities:
    """An id for each that can have one. Those that cannot be asked now are what they were ``before``."""
    ids: dict[str, str] = {}
    refused: dict[str, str] = {}
    groups: dict[str, list[Candidate]] = {}
    for one in sorted(candidates, key=lambda one: natural_order(one.name)):
        if one.endpoint is False or (one.endpoint is None and one.name in before.refused):
            refused[one.name] = before.refused.get(one.name, "") if one.endpoint is None else _NO_END_POINT
        elif base := one.base or (f"guid-{one.digits}" if one.digits else before.ids.get(one.name, "")):
            groups.setdefault(base, []).append(one)
        else:
            refused[one.name] = "it has no PCI function, auxiliary device or node GUID to be told by"
    for base, group in groups.items():
        _tell_apart(base, group, before, ids, refused)
    return Identities(ids, refused)


_NO_END_POINT = "no port of it is an end point: none has a GID table or can be managed by a CM"


def _tell_apart(base: str, group: list[Candidate], before: Identities, ids: dict[str, str], refused: dict[str, str]) -> None:
    """Give ids to those of one function."""
    if len(group) == 1:
        (one,) = group
        earlier = before.ids.get(one.name, "")
        ids[one.name] = earlier if earlier.startswith(f"{base}-") else base  # the other one may be away, and come back
        return
    for one in sorted(group, key=lambda one: before.ids.get(one.name) != base):  # whoever has an id keeps it
        own = f"{base}-{one.digits}" if one.base and one.digits else base
        earlier = before.ids.get(one.name, "")
        if one.endpoint is None and earlier.startswith(base):
            own = earlier
        if own in ids.values():
            holder = next(name for name, given in ids.items() if given == own)
            refused[one.name] = f"it cannot be told from {holder}: both are on {base}, and no GUID tells them apart"
        else:
            ids[one.name] = own
