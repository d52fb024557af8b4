"""Which ids to prefer for one container: FPGAs that are near to each other.

Never an error, since the kubelet refuses the pod for one: what is not known is taken last, what is impossible is answered as far as
it goes. Nothing is read but the arguments, and the order in which the kubelet happens to list ids changes nothing.
"""

from collections.abc import Collection, Iterable, Mapping, Sequence

from supervisor_fpga import pci
from supervisor_fpga.report import Function
from supervisor_fpga.units import Unit

Place = tuple[str, str, str]
"""Where a unit sits, from the outside in: NUMA node, PCI root, card."""
_DEPTH = 3


def prefer(units: Iterable[Unit], available: Sequence[str], must_include: Sequence[str], size: int) -> list[str]:
    """``size`` ids of ``available``, all of ``must_include`` first; fewer only where there are not so many.

    ``units`` are those of the resource, ``available`` what no container has yet. Of those that exclude each other only one can start.
    """
    known = {unit.id: unit for unit in units}
    must = list(dict.fromkeys(must_include))[: max(size, 0)]
    free = sorted(set(available).difference(must), key=lambda name: (pci.order(name), name))
    places = {name: _place(known[name]) for name in (*must, *free) if name in known}
    given = [places[name] for name in must if name in places]
    chosen = _near(_distinct(known, must, free), given, max(size, 0) - len(must), places)
    taken = set(chosen)
    others = [name for name in free if name not in taken]  # better than too few
    return [*must, *chosen, *others][: max(size, 0)]


def _distinct(known: Mapping[str, Unit], must: Iterable[str], free: Iterable[str]) -> list[str]:
    """The first of those that are free for each piece of hardware that is not given yet."""
    claimed = {known[name].claim for name in must if name in known} - {""}
    found = []
    for name in free:
        if name in known and (claim := known[name].claim) not in claimed:
            found.append(name)
            claimed |= {claim} - {""}
    return found


def _place(unit: Unit) -> Place:
    """What not all its functions have in common is not known."""
    numa, root, card = ({part(function) for function in unit.functions} for part in (_numa, _root, _card))
    return _single(numa), _single(root), _single(card)


def _single(found: set[str]) -> str:
    return found.pop() if len(found) == 1 else ""


def _numa(function: Function) -> str:
    return "" if function.numa_node is None else str(function.numa_node)


def _root(function: Function) -> str:
    """Like ``pci0000:3a``, by the path below ``/sys/devices``."""
    return next((step for step in function.path.split("/") if step.startswith("pci")), "")


def _card(function: Function) -> str:
    return function.group or function.card


def _near(free: Sequence[str], given: Collection[Place], wanted: int, places: Mapping[str, Place], depth: int = 0) -> list[str]:
    """As many of the free ones as are wanted, out of as small a part of the tree of places as possible.

    Beside what is given; else where there are enough, and of such groups in the smallest, so that the larger ones stay whole for those
    who need them. Where no group has enough, all of the largest and then some of the others.
    """
    if wanted <= 0 or wanted >= len(free) or depth == _DEPTH:
        return list(free[: max(wanted, 0)])
    groups: dict[str, list[str]] = {}
    for name in free:
        groups.setdefault(places[name][depth], []).append(name)
    chosen: list[str] = []
    while len(chosen) < wanted:
        needed = wanted - len(chosen)
        beside = {step: [place for place in given if step and place[depth] == step] for step in groups}
        step = min(groups, key=lambda step: _rank(len(groups[step]), needed, len(beside[step])))
        chosen += _near(groups.pop(step), beside[step], needed, places, depth + 1)
    return chosen


def _rank(free: int, needed: int, beside: int) -> tuple[int, ...]:
    """The least is best; of equals, the first."""
    return (-beside, 0, free) if free >= needed else (-beside, 1, -free)
