"""Which ids to prefer for one container: whole GPUs that are near to each other, and parts of GPUs by the sharing policy.

Never an error, since the kubelet refuses the pod for one: what is not known is taken last, what is impossible is answered as far as
it goes. Nothing is read but the arguments, and the order in which the kubelet happens to list ids changes nothing.
"""

from collections.abc import Iterable, Sequence
from typing import Literal

from supervisor import natural_order
from supervisor_nvidia_gpu.nearest import nearest
from supervisor_nvidia_gpu.topology import Topology
from supervisor_nvidia_gpu.units import Unit, physical

Policy = Literal["distributed", "packed", "spread"]
"""``distributed``: of the GPU that is used least. ``packed``: of the one that is used most and has some left. ``spread``: as
distributed, but of as many different GPUs as there are."""


def prefer(
    units: Iterable[Unit], topology: Topology, available: Sequence[str], must_include: Sequence[str], size: int, policy: Policy
) -> list[str]:
    """``size`` ids of ``available``, all of ``must_include`` first; fewer only where there are not so many.

    ``units`` are those of the resource, ``available`` what no container has yet.
    """
    must = list(dict.fromkeys(must_include))[: max(size, 0)]
    free = sorted(set(available).difference(must), key=lambda name: (natural_order(name), name))
    wanted = max(size, 0) - len(must)
    known = {unit.id: unit for unit in units}
    if any(unit.shared or unit.mig is not None for unit in known.values()):
        chosen = _parts(known, topology, free, must, wanted, policy)
    else:
        chosen = _whole(known, topology, free, must, wanted)
    others = set(free).difference(chosen)  # no device that is known now; better than too few
    return [*must, *chosen, *(name for name in free if name in others)][: max(size, 0)]


def _whole(known: dict[str, Unit], topology: Topology, free: Sequence[str], must: Sequence[str], wanted: int) -> list[str]:
    """The GPUs that are nearest to each other and to those that must be there."""
    given = [name for name in must if name in known]
    gpus = sorted([*given, *(name for name in free if name in known)], key=lambda name: topology.positions.get(name, -1))
    scores = [[topology.score(one, other) for other in gpus] for one in gpus]
    chosen = nearest(scores, [gpus.index(name) for name in given], len(given) + wanted)
    return [gpus[at] for at in chosen if gpus[at] not in given]


class _Part:
    """What can be taken of one unit, or of one GPU with several."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.free: list[str] = []
        """Ids of a unit, the next one last."""
        self.left = 0
        """Free ones, of all units of a GPU."""
        self.total = 0
        self.taken = 0
        """By the container that asks."""

    @property
    def used(self) -> int:
        """By all containers."""
        return self.total - self.left

    def take(self) -> None:
        self.left -= 1
        self.taken += 1


class _Gpu(_Part):
    """A GPU and its units: one, or its MIG devices."""

    def __init__(self, name: str) -> None:
        super().__init__(name)
        self.near = 0
        """The scores with the GPUs that the container has something of."""
        self.units: dict[str, _Part] = {}


def _parts(
    known: dict[str, Unit], topology: Topology, free: Sequence[str], must: Sequence[str], wanted: int, policy: Policy
) -> list[str]:
    """One id after the other, each of the GPU and of its unit that the policy prefers."""
    gpus = _count(known, free, must)
    for gpu in [gpu for gpu in gpus if gpu.taken]:
        _approach(gpus, gpu, topology)
    chosen: list[str] = []
    while len(chosen) < wanted and (having := [gpu for gpu in gpus if gpu.left]):
        gpu = min(having, key=lambda gpu: (*_rank(gpu, policy), -gpu.near))
        unit = min((unit for unit in gpu.units.values() if unit.left), key=lambda unit: _rank(unit, policy))
        chosen.append(unit.free.pop())
        unit.take()
        gpu.take()
        if gpu.taken == 1:
            _approach(gpus, gpu, topology)
    return chosen


def _rank(part: _Part, policy: Policy) -> tuple[int, int]:
    """The least is taken first; of those that rank alike, the first by GPU index and MIG index."""
    if policy == "packed":
        return (0, -part.used)
    return (part.taken if policy == "spread" else 0, part.used)


def _count(known: dict[str, Unit], free: Sequence[str], must: Sequence[str]) -> list[_Gpu]:
    """All GPUs, by their index, with what is free and what this container must have."""
    gpus: dict[str, _Gpu] = {}
    for unit in known.values():
        gpu = gpus.setdefault(unit.gpu.uuid, _Gpu(unit.gpu.uuid))
        part = gpu.units.setdefault(unit.id, _Part(unit.id))
        part.total = unit.replicas
        gpu.total += unit.replicas
    for name in reversed(free):
        if (found := known.get(physical(name))) is not None:
            gpu = gpus[found.gpu.uuid]
            gpu.units[found.id].free.append(name)
            gpu.units[found.id].left += 1
            gpu.left += 1
    for name in must:
        if (found := known.get(physical(name))) is not None:
            gpu = gpus[found.gpu.uuid]
            gpu.units[found.id].taken += 1
            gpu.taken += 1
    return list(gpus.values())


def _approach(gpus: Iterable[_Gpu], chosen: _Gpu, topology: Topology) -> None:
    """Something is taken of a GPU: those near to it are preferred from now on, where the policy sees no difference."""
    for gpu in gpus:
        gpu.near += topology.score(gpu.name, chosen.name)
