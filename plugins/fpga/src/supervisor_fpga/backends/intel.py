"""What Intel's two generations of drivers have in common: a management engine (FME) for each card, and ports with one accelerator each.

A port is on its card's physical function, or it was released from there and is a VF's; then the VF has no engine of its own, and in a
virtual machine none can be seen. Ids: the PCI address of its function, with ``/port<n>`` on a card that has more than one.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any

from msgspec import Struct, structs

from supervisor import HostDevice, HostView
from supervisor_fpga.backends import attributes as values
from supervisor_fpga.backends import pcie
from supervisor_fpga.backends.attributes import Attributes
from supervisor_fpga.backends.protocol import Found
from supervisor_fpga.report import Backend, Function, Node

ZEROS = "0" * 32
MOST_PORTS = 64
"""Of one card; the hardware has 4."""


class Family(Struct, frozen=True):
    """How a generation of drivers names things."""

    name: Backend
    home: str
    """Class of the device that holds the parts of a PCI function."""
    port: str
    fme: str
    bridge: str
    """How the directories begin of which the engine has one for each port; empty where there are none."""
    regions: str
    """How those begin that say what fits its regions."""
    module: str
    """The kernel module that drives ports."""


class Part(Struct, frozen=True):
    """The parts of one PCI function."""

    base: HostDevice
    pci: HostDevice | None
    card: str
    is_virtual: bool
    ports: tuple[str, ...]
    fmes: tuple[str, ...]
    """Names of directories."""


class Card(Struct, frozen=True):
    """All parts of one card."""

    id: str
    parts: tuple[Part, ...]
    ports: int
    """How many it has, released ones included, as far as names tell."""
    fme: HostDevice | None
    programmable: bool
    """Not every engine can: some shells are made for one purpose."""


def find(view: HostView, family: Family) -> Found:
    """Every port; a card none of whose ports is anywhere is refused."""
    parts = [part for base in view.devices(family.home) if (part := _part(view, family, base)) is not None]
    functions: list[Function] = []
    refused: dict[str, str] = {}
    notices: list[str] = []
    for card in _cards(view, family, parts):
        ports = [_function(view, family, card, part, name) for part in card.parts for name in part.ports]
        functions += ports
        missing = card.ports - len(ports)
        if not ports:
            refused[card.id] = "no port of it is there: they are released, and no virtual function has them"
        elif missing > 0:
            notices.append(f"{card.id}: {missing} of its {card.ports} ports belong to no function: they are released")
    return Found(tuple(functions), tuple(notices), refused)


def _part(view: HostView, family: Family, base: HostDevice) -> Part | None:
    """``None`` for what holds no parts, like the regions below an engine."""
    names = view.directories(base.path)
    ports = tuple(name for name in names if name.startswith(f"{family.port}."))
    fmes = tuple(name for name in names if name.startswith(f"{family.fme}."))
    if not ports and not fmes:
        return None
    pci = base.pci_device
    carrier = None if pci is None else view.resolve(f"{pci.path}/physfn")
    itself = pci or base.parent or base
    card = itself.name if carrier is None else carrier.rpartition("/")[2]
    return Part(base, pci, card, carrier is not None, ports, fmes)


def _cards(view: HostView, family: Family, parts: Sequence[Part]) -> Iterator[Card]:
    for card in dict.fromkeys(part.card for part in parts):
        own = tuple(part for part in parts if part.card == card)
        engines = [f"{part.base.path}/{name}" for part in own for name in part.fmes]
        fme = view.device(engines[0]) if engines else None
        names = view.directories(engines[0]) if engines else ()
        bridges = sum(name.startswith(family.bridge) for name in names) if family.bridge else 0
        programmable = any(name.startswith(family.regions) for name in names)
        yield Card(card, own, max(bridges, sum(len(part.ports) for part in own)), fme, programmable)


def _function(view: HostView, family: Family, card: Card, part: Part, name: str) -> Function:
    """With an empty ``id`` where only the port itself knows which of its card's it is."""
    path = f"{part.base.path}/{name}"
    port = view.device(path)
    single = card.ports <= 1
    own = part.pci.name if part.pci is not None else card.id
    driver = None if port is None else port.driver
    return Function(
        id=own if single else "",
        backend=family.name,
        name=name,
        path=path,
        pci=part.pci.name if part.pci is not None else "",
        card=card.id,
        region=f"{card.id}/region0" if single else "",
        kind="platform" if part.pci is None else "vf" if part.is_virtual else "pf",
        vendor=pcie.number(part.pci, "vendor"),
        device=pcie.number(part.pci, "device"),
        driver=(part.pci.driver or "") if part.pci is not None else (driver or ""),
        numa_node=part.base.numa_node,
        nodes=tuple(_nodes(view, port, name, card.fme)),
        programmable=("dfl-ioctl",) if card.programmable else (),
        resettable=True,
        waiting_for="" if driver else f"no driver is bound to its port: the kernel module {family.module} is missing",
    )


def _nodes(view: HostView, port: HostDevice | None, name: str, fme: HostDevice | None) -> Iterator[Node]:
    path = (port.node if port is not None else None) or f"/dev/{name}"
    yield Node(path, "port", view.node(path) is not None)
    if fme is not None and fme.node is not None:
        yield Node(fme.node, "fme", view.node(fme.node) is not None)


class Places(Struct, frozen=True):
    """Where a function is read; empty where there is none."""

    port: str
    pci: str
    """Its own."""
    carrier: str
    """The card's physical function, where that can be seen."""
    fme: str


def places(attributes: Attributes, family: Family, function: Function) -> Places:
    """By the links, which ask no hardware."""
    own = function.path.partition(f"/{family.home}/")[0]
    carrier = attributes.link(f"{own}/physfn") or own
    above = f"{carrier}/{family.home}"
    engines = (
        f"{above}/{base}/{name}"
        for base in attributes.names(above)
        for name in attributes.names(f"{above}/{base}")
        if name.startswith(f"{family.fme}.")
    )
    return Places(function.path, own, carrier, next(engines, ""))


def completed(attributes: Attributes, function: Function, interface: str | None, **facts: Any) -> Function:
    """With its ids: that of the accelerator from the port, ``interface`` as the engine says it. ``facts`` are taken over.

    ``None`` stands for what cannot be read now; a port says nothing while it is disabled.
    """
    number = attributes.number(f"{function.path}/id")
    afu = attributes.text(f"{function.path}/afu_id")
    if not function.id:
        if number is None or not 0 <= number < MOST_PORTS:
            return structs.replace(function, problem="it does not say which port of its card it is")
        own = function.pci if function.kind == "vf" else f"{function.card}/port{number}"
        function = structs.replace(function, id=own, region=f"{function.card}/region{number}")
    accelerator = values.identity(afu or "")
    facts |= {"interface_id": values.identity(interface or ""), "afu_id": "" if accelerator == ZEROS else accelerator}
    problem, content_problem = _problem(function, interface), _content_problem(function, afu)
    return structs.replace(function, **facts, problem=problem, content_problem=content_problem)


def _problem(function: Function, interface: str | None) -> str:
    """An interface id that cannot be; all ones are a matter of health."""
    if function.programmable and interface is None:
        return "the interface id of its region cannot be read"
    if interface is not None and (why := _odd(interface)):
        return f"the interface id of its region {why}"
    return ""


def _content_problem(function: Function, afu: str | None) -> str:
    """An accelerator id that cannot be. That what can be programmed holds nothing now is none of that."""
    if afu is None or (values.identity(afu) == ZEROS and function.programmable):
        return ""
    return f"its afu_id {why}" if (why := _odd(afu)) else ""


def _odd(text: str) -> str:
    if not text:
        return "is empty"
    if not (found := values.identity(text)):
        short = text if len(text) <= 40 else f"{text[:40]}…"
        return f"is {short!a}, which is no id"
    return "is all zeros" if found == ZEROS else ""


def errors(attributes: Attributes, registers: Mapping[str, str]) -> dict[str, int]:
    """Those registers that are not 0, by the names given for their paths."""
    found = ((name, attributes.number(path)) for name, path in registers.items())
    return {name: value for name, value in found if value}


def first(attributes: Attributes, directory: str, beginnings: Iterable[str], choose: Callable[[str], bool] = bool) -> str:
    """The first path below a directory along names that begin so; empty where there is none."""
    path = directory
    for beginning in beginnings:
        name = next((name for name in attributes.names(path) if name.startswith(beginning) and choose(name)), None)
        if name is None:
            return ""
        path = f"{path}/{name}"
    return path
