"""What happens to machines: each function makes the machine after it. They raise ``KeyError`` for what the machine has not."""

import re
from collections.abc import Iterable, Iterator
from itertools import count

from msgspec import structs

from supervisor import Trouble
from supervisor_infiniband.report import PhysState, PortState
from supervisor_infiniband.simulate.cards import vf
from supervisor_infiniband.simulate.files import QUERIED
from supervisor_infiniband.simulate.machine import FREE, VIRTUAL, Function, Hca, Machine, Port

STATES = {
    "up": (PortState.ACTIVE, PhysState.LINK_UP),
    "down": (PortState.DOWN, PhysState.POLLING),
    "init": (PortState.INIT, PhysState.LINK_UP),
}
"""What a port can come to: ``init`` has a link, and no subnet manager."""


def port(machine: Machine, word: str, number: int, state: str) -> Machine:
    """One port of an RDMA device in another of the ``STATES``, and the carrier of its interface with it.

    Raises ``ValueError`` for a state that its network does not know.
    """
    function, hca = machine.find(word)
    if not 1 <= number <= len(hca.ports):
        raise KeyError(f"{word}/{number}")
    before = hca.ports[number - 1]
    after, phys = STATES[state]
    if before.link_layer == "Ethernet":
        if state == "init":
            raise ValueError(f"{word}/{number} is Ethernet, which has no subnet managers")
        phys = PhysState.DISABLED if state == "down" else phys
    changed = structs.replace(before, state=after, phys_state=phys)
    ports = (*hca.ports[: number - 1], changed, *hca.ports[number:])
    interfaces = tuple(
        structs.replace(one, carrier=state == "up") if one.port == number - 1 else one for one in function.interfaces
    )
    machine = machine.with_function(structs.replace(function, interfaces=interfaces))
    return machine.with_hca(hca.name, structs.replace(hca, ports=ports))


def without(machine: Machine, word: str) -> Machine:
    """Without the function of an RDMA device, and what it carries; of a device made of software, without that."""
    function, hca = machine.find(word)
    if function.id == VIRTUAL:
        return machine.with_function(structs.replace(function, hcas=tuple(other for other in function.hcas if other != hca)))
    return structs.replace(machine, functions=tuple(one for one in machine.functions if function.id not in {one.id, one.pf}))


def restored(machine: Machine, word: str, beginning: Machine) -> Machine:
    """With the function of an RDMA device, and what it carries, as in the beginning; with new numbers."""
    function, hca = beginning.find(word)
    if function.id == VIRTUAL:
        now = machine.function(VIRTUAL)
        others = (other for other in now.hcas if other.name != hca.name)
        return numbered(machine.with_function(structs.replace(now, hcas=(*others, _unnumbered(hca)))))
    back = [one for one in beginning.functions if function.id in {one.id, one.pf}]
    kept = tuple(one for one in machine.functions if function.id not in {one.id, one.pf})
    fresh = tuple(structs.replace(one, hcas=tuple(_unnumbered(hca) for hca in one.hcas)) for one in back)
    return numbered(structs.replace(machine, functions=(*kept, *fresh)))


def renamed(machine: Machine, word: str, name: str) -> Machine:
    """With another name of an RDMA device, as by udev's rules or ``rdma dev set``. Raises ``ValueError`` if it is taken."""
    _, hca = machine.find(word)
    if name != hca.name and any(other.name == name for _, other in machine.hcas()):
        raise ValueError(f"there is {name} already")
    return machine.with_hca(hca.name, structs.replace(hca, name=name))


def with_vfs(machine: Machine, word: str, number: int) -> Machine:
    """With so many virtual functions of a physical one, new ones, as by writing ``sriov_numvfs``. Raises ``ValueError``."""
    pf, _ = machine.find(word)
    if number > pf.total_vfs:
        raise ValueError(f"{pf.id} can have {pf.total_vfs} virtual functions")
    kept = [one for one in machine.functions if one.pf != pf.id or one.bus != "pci"]
    names = _free_names(hca.name for one in kept for hca in one.hcas)
    vfs = [vf(pf, index, next(names)) for index in range(number)]
    return numbered(structs.replace(machine, functions=(*kept, *vfs)))


def moved(machine: Machine, word: str, *, away: bool) -> Machine:
    """With an RDMA device in another network namespace, or back in the host's; both give it new numbers."""
    _, hca = machine.find(word)
    return numbered(machine.with_hca(hca.name, structs.replace(_unnumbered(hca), away=away)))


def hanging(machine: Machine, word: str, *, hangs: bool) -> Machine:
    """With an RDMA device whose firmware answers no more, or answers again."""
    _, hca = machine.find(word)
    paths = [f"ports/{number}/{name}" for number in range(1, len(hca.ports) + 1) for name in QUERIED]
    spoilt = {path: trouble for path, trouble in hca.spoilt.items() if path not in paths}
    if hangs:
        spoilt |= dict.fromkeys(paths, Trouble.HANGS)
    return machine.with_hca(hca.name, structs.replace(hca, spoilt=spoilt))


def numbered(machine: Machine) -> Machine:
    """With the lowest free numbers of character devices and interfaces in place of all ``FREE``, in order, as the kernel deals."""
    hcas = [hca for _, hca in machine.hcas()]
    ports = [port for hca in hcas for port in hca.ports]
    uverbs = _free(hca.uverbs for hca in hcas)
    umads, issms = _free(port.umad for port in ports), _free(port.issm for port in ports)
    indices = _free((one.ifindex for function in machine.functions for one in function.interfaces), first=2)

    def dealt(port: Port) -> Port:
        umad = next(umads) if port.umad == FREE else port.umad
        return structs.replace(port, umad=umad, issm=next(issms) if port.issm == FREE else port.issm)

    def complete(hca: Hca) -> Hca:
        number = next(uverbs) if hca.uverbs == FREE else hca.uverbs
        return structs.replace(hca, uverbs=number, ports=tuple(dealt(port) for port in hca.ports))

    def known(function: Function) -> Function:
        interfaces = tuple(
            structs.replace(one, ifindex=next(indices)) if one.ifindex == FREE else one for one in function.interfaces
        )
        return structs.replace(function, interfaces=interfaces, hcas=tuple(complete(hca) for hca in function.hcas))

    return structs.replace(machine, functions=tuple(known(function) for function in machine.functions))


def _unnumbered(hca: Hca) -> Hca:
    ports = tuple(
        structs.replace(port, umad=None if port.umad is None else FREE, issm=None if port.issm is None else FREE)
        for port in hca.ports
    )
    return structs.replace(hca, uverbs=None if hca.uverbs is None else FREE, ports=ports)


def _free(taken: Iterable[int | None], first: int = 0) -> Iterator[int]:
    known = set(taken)
    return (number for number in count(first) if number not in known)


def _free_names(taken: Iterable[str]) -> Iterator[str]:
    known = {name for name in taken if re.fullmatch(r"mlx5_[0-9]+", name)}
    return (f"mlx5_{number}" for number in count() if f"mlx5_{number}" not in known)
