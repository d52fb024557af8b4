"""One RDMA device, read in one go: what may hang is all in here and in ``ports``."""

import re
from collections.abc import Callable, Iterable, Sequence
from typing import Any

from msgspec import Struct, structs

from supervisor import glob_pattern
from supervisor_infiniband.report import Gid, PciLink, Port, RdmaDevice
from supervisor_infiniband.sysfs import attributes, interfaces, ports
from supervisor_infiniband.sysfs.attributes import Attributes, Nonsense
from supervisor_infiniband.sysfs.functions import Function
from supervisor_infiniband.sysfs.interfaces import Interface
from supervisor_infiniband.sysfs.nodes import Nodes
from supervisor_infiniband.sysfs.ports import Polled, Sample

MOST_PORTS = 32
MOST_COUNTERS = 128

_PORT = re.compile(r"[1-9][0-9]{0,2}")
_MADE_UPON = "parent"
"""The attribute of a device made of software that names the interface under it."""


class Place(Struct, frozen=True):
    """Where an RDMA device is read, and what is known without asking it."""

    name: str
    directory: str
    function: Function
    nodes: Nodes
    net: str
    """The class of all interfaces."""
    hw_counters: tuple[str, ...] = ()
    """Shell patterns."""

    @property
    def facts(self) -> RdmaDevice:
        return structs.replace(self.function.facts, uverbs=self.nodes.uverbs.get(self.name))


class Reading(Struct, frozen=True):
    """What was read."""

    device: RdmaDevice
    polled: tuple[Polled, ...] = ()
    samples: tuple[Sample, ...] = ()
    """What the files of each port said."""
    own_counters: tuple[str, ...] = ()
    """The chosen names in its own ``hw_counters``."""
    pci: str = ""
    """Where its PCI function is read; empty where that has no link of its own."""

    @property
    def endpoint(self) -> bool | None:
        """Whether it can carry traffic; ``None`` where that cannot be told."""
        return None if self.device.problem else bool(self.device.endpoints)


def read(place: Place) -> Reading | None:
    """Ask it everything; ``None`` when it has gone meanwhile. May hang. What makes no sense becomes its ``problem``."""
    known: dict[str, Any] = {}
    try:
        polled, samples = _read(place, known)
    except Nonsense as error:
        if not attributes.names(place.directory):
            return None
        return Reading(structs.replace(place.facts, **known, problem=str(error)))
    own = _chosen(f"{place.directory}/hw_counters", place.hw_counters)
    return Reading(structs.replace(place.facts, **known), polled, samples, own, place.function.pci)


def _read(place: Place, known: dict[str, Any]) -> tuple[tuple[Polled, ...], tuple[Sample, ...]]:
    """Fill in what is known, as far as it goes. Raises ``Nonsense``."""
    attribute = Attributes(place.directory)
    known["node_guid"] = attribute.value("node_guid", attributes.guid) or ""
    known["sys_image_guid"] = attribute.value("sys_image_guid", attributes.guid) or ""
    for name in ("node_type", "board_id", "hca_type"):
        known[name] = attribute.text(name)
    known["pf_netdevs"] = tuple(interfaces.own_names(place.function.pf_net))
    if place.function.pci:
        known["pci_link"] = _pci_link(Attributes(place.function.pci))
    numbers = [int(name) for name in attributes.names(f"{place.directory}/ports") if _PORT.fullmatch(name)][:MOST_PORTS]
    if not numbers:
        raise Nonsense("it has no ports: it is half gone, or its driver has not finished")
    known["firmware"] = attribute.text("fw_ver")
    found = [_port(place, number) for number in numbers]
    polled = _polled(place, found)
    samples = tuple(ports.sample(where) for where in polled)
    links = [ports.link(where, sample) for where, sample in zip(polled, samples, strict=True)]
    known["ports"] = tuple(structs.replace(port, link=link) for port, link in zip(found, links, strict=True))
    return polled, samples


def _port(place: Place, number: int) -> Port:
    key = (place.name, number)
    return ports.facts(number, _directory(place, number), place.nodes.umad.get(key), place.nodes.issm.get(key))


def _polled(place: Place, found: Sequence[Port]) -> tuple[Polled, ...]:
    own = interfaces.read(place.function.net, interfaces.own_names(place.function.net))
    below = Attributes(place.directory).text(_MADE_UPON)
    own += interfaces.read(place.net, {below} - {"", *(one.netdev.name for one in own)})
    of_port = interfaces.by_port(own, {port.number: port.guid for port in found})
    return tuple(
        Polled(
            number=port.number,
            directory=(directory := _directory(place, port.number)),
            interfaces=tuple(_with_those_of_gids(place.net, of_port[port.number], port.gids)),
            counters=tuple(attributes.names(f"{directory}/counters")[:MOST_COUNTERS]),
            hw_counters=_chosen(f"{directory}/hw_counters", place.hw_counters),
        )
        for port in found
    )


def _with_those_of_gids(net: str, own: list[Interface], gids: Iterable[Gid]) -> list[Interface]:
    """The interfaces of a port, then those that only its GIDs name: bonds, VLANs."""
    known = {one.netdev.name for one in own}
    further = dict.fromkeys(gid.netdev for gid in gids if gid.netdev and gid.netdev not in known and "/" not in gid.netdev)
    return (own + interfaces.read(net, list(further)[: interfaces.MOST]))[: interfaces.MOST]


def _directory(place: Place, number: int) -> str:
    return f"{place.directory}/ports/{number}"


def _chosen(directory: str, patterns: Iterable[str]) -> tuple[str, ...]:
    matches: list[Callable[[str], object]] = [glob_pattern(pattern).match for pattern in patterns]
    names = attributes.names(directory) if matches else []
    return tuple(name for name in names if any(match(name) for match in matches))[:MOST_COUNTERS]


def _pci_link(pci: Attributes) -> PciLink | None:
    """Raises ``Nonsense``."""
    link = PciLink(
        speed=pci.value("current_link_speed", attributes.link_speed),
        max_speed=pci.value("max_link_speed", attributes.link_speed),
        width=pci.value("current_link_width", attributes.number),
        max_width=pci.value("max_link_width", attributes.number),
    )
    return None if link == PciLink() else link
