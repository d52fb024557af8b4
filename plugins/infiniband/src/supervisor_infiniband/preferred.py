"""Which ids to prefer for one container: whole devices that are near to each other, and parts of shared ones by the pool's wish.

Never an error, since the kubelet refuses the pod for one: what is not known is taken last, what is impossible is answered as far as
it goes. Nothing is read but the arguments, and the order in which the kubelet happens to list ids changes nothing.
"""

from collections.abc import Collection, Iterable, Mapping, Sequence
from itertools import takewhile
from typing import NamedTuple

from supervisor import natural_order
from supervisor_infiniband.units import Unit, base

Place = tuple[str, ...]
"""Where a device sits, from the outside in: NUMA node, PCI root, bridges, function."""


def prefer(units: Iterable[Unit], available: Sequence[str], must_include: Sequence[str], size: int) -> list[str]:
    """``size`` ids of ``available``, all of ``must_include`` first; fewer only where there are not so many.

    ``units`` are those of the resource, ``available`` what no container has yet.
    """
    known = {unit.id: unit for unit in units}
    must = list(dict.fromkeys(must_include))[: max(size, 0)]
    free = sorted(set(available).difference(must), key=lambda name: (natural_order(name), name))
    wanted = max(size, 0) - len(must)
    places = {name: _place(unit) for name in (*must, *free) if (unit := _unit(known, name)) is not None}
    if any(unit.pool.mode != "exclusive" for unit in known.values()):
        chosen = _parts(known, free, must, wanted)
    else:
        chosen = _near(
            [name for name in free if name in places], [places[name] for name in must if name in places], wanted, places
        )
    taken = set(chosen)
    others = [name for name in free if name not in taken]  # no unit that is known now; better than too few
    return [*must, *chosen, *others][: max(size, 0)]


def _unit(known: Mapping[str, Unit], name: str) -> Unit | None:
    return known.get(name) or known.get(base(name))


def _place(unit: Unit) -> Place:
    """Of a single device; a unit of several is nowhere."""
    if len(unit.devices) != 1:
        return ()
    device = unit.devices[0]
    node = "" if device.numa_node is None else str(device.numa_node)
    return (node, *filter(None, device.path.split("/")))


def _near(free: Sequence[str], given: Collection[Place], wanted: int, places: Mapping[str, Place], depth: int = 0) -> list[str]:
    """As many of the free ones as are wanted, out of as small a part of the tree of places as possible.

    Beside what is given; where that tells nothing, where they are nearest to each other; of such groups in the smallest, so that the
    larger ones stay whole for those who need them. Where no group has enough, all of the largest and then some of the others.
    """
    if wanted <= 0 or wanted >= len(free):
        return list(free) if wanted > 0 else []
    groups: dict[Place, list[str]] = {}
    for name in free:
        groups.setdefault(places[name][depth : depth + 1], []).append(name)
    if groups.keys() == {()} or (len(groups) == len(free) and not given):
        return list(free[:wanted])
    chosen: list[str] = []
    while groups and len(chosen) < wanted:
        group = _best(groups, given, wanted - len(chosen), places, depth)
        chosen += group.chosen
        del groups[group.step]
    return chosen


class _Group(NamedTuple):
    """What would be taken of one branch."""

    step: Place
    chosen: list[str]
    rank: tuple[int, ...]
    """The least is best."""


def _best(
    groups: Mapping[Place, Sequence[str]], given: Collection[Place], needed: int, places: Mapping[str, Place], depth: int
) -> _Group:
    """Of equals the first."""
    found = []
    for step, names in groups.items():
        beside = [place for place in given if place[depth : depth + 1] == step]
        if len(names) < needed:
            found.append(_Group(step, list(names), (-len(beside), 1, -len(names))))
        else:
            chosen = _near(names, beside, needed, places, depth + 1)
            narrow = _common([*beside, *(places[name] for name in chosen)])
            found.append(_Group(step, chosen, (-len(beside), 0, -narrow, len(names))))
    return min(found, key=lambda group: group.rank)


def _common(places: Collection[Place]) -> int:
    """How far down all have one way: that of the first and the last in their order."""
    steps = zip(min(places), max(places), strict=False)
    return sum(1 for _ in takewhile(lambda step: step[0] == step[1], steps))


class _Part:
    """What can be taken of one unit."""

    def __init__(self, unit: Unit) -> None:
        self.node = _place(unit)[:1]
        self.prefer = unit.pool.prefer
        self.total = unit.pool.replicas or 1
        self.free: list[str] = []
        """Ids, the next one last."""
        self.taken = 0
        """By the container that asks."""

    @property
    def used(self) -> int:
        """By all containers, as far as their ids are known."""
        return max(self.total - len(self.free), 0)


def _parts(known: Mapping[str, Unit], free: Sequence[str], must: Sequence[str], wanted: int) -> list[str]:
    """One id after the other, each of the unit that the pool prefers; where it sees no difference, on a NUMA node that is in use."""
    parts = {name: _Part(known[name]) for name in sorted(known, key=lambda name: (natural_order(name), name))}
    for name in reversed(free):
        if (unit := _unit(known, name)) is not None:
            parts[unit.id].free.append(name)
    for name in must:
        if (unit := _unit(known, name)) is not None:
            parts[unit.id].taken += 1
    chosen: list[str] = []
    while len(chosen) < wanted and (having := [part for part in parts.values() if part.free]):
        nodes = {part.node for part in parts.values() if part.taken and part.node}
        part = min(having, key=lambda part: _rank(part, part.node not in nodes, wanted - len(chosen)))
        chosen.append(part.free.pop())
        part.taken += 1
    return chosen


def _rank(part: _Part, far: bool, needed: int) -> tuple[int, ...]:
    """The least is taken first; of those that rank alike, the first.

    ``spread``: another device each time, the one that is used least. ``pack``: the same device, at first the one that is used most
    and has enough left, so that others stay free.
    """
    if part.prefer == "spread":
        return (part.taken, far, part.used)
    return (not part.taken, len(part.free) < needed, far, -part.used)
