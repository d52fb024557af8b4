"""Which network interfaces lie on which port."""

import re
from collections.abc import Iterable, Mapping, Sequence

from msgspec import Struct

from supervisor_infiniband.report import NetDevice
from supervisor_infiniband.sysfs import attributes
from supervisor_infiniband.sysfs.attributes import Attributes, Nonsense

MOST = 64
"""Interfaces of one function, and of one port."""

_ARPHRD = {1: "ether", 32: "infiniband"}
"""``include/uapi/linux/if_arp.h``"""
_REPRESENTOR = re.compile(r"(c[0-9]+)?pf[0-9]+.*")
_UPLINK = re.compile(r"p[0-9]+.*")
_UP = 1
"""``IFF_UP``"""
_ODD_DIGITS = frozenset({b"1", b"3", b"5", b"7", b"9", b"b", b"d", b"f"})


class Interface(Struct, frozen=True):
    """A network interface, with what tells its port."""

    netdev: NetDevice
    """Without what changes: ``up`` and ``carrier``."""
    directory: str
    place: int = 0
    """The port from 0 on, by the driver."""
    guid: str = ""
    """Of the port, by the hardware address of IPoIB: four groups of four digits."""


def own_names(net: str) -> list[str]:
    """The interfaces of a function, uplink first. Representors stand for functions behind its switch and are not its own. May hang."""
    found = attributes.names(net)[:MOST] if net else []
    if len(found) < 2:  # to ask for the name of a port takes the lock of the whole network stack
        return found
    said = {name: (attributes.raw(f"{net}/{name}/phys_port_name") or b"").decode(errors="replace").strip() for name in found}
    own = [name for name in found if not _REPRESENTOR.fullmatch(said[name])]
    return sorted(own, key=lambda name: not _UPLINK.fullmatch(said[name]))


def read(net: str, names: Iterable[str]) -> list[Interface]:
    """Those that are there. May hang. Raises ``Nonsense``."""
    found = (_interface(Attributes(f"{net}/{name}", f"net/{name}/"), name) for name in names)
    return [interface for interface in found if interface is not None]


def by_port(interfaces: Sequence[Interface], guids: Mapping[int, str]) -> dict[int, list[Interface]]:
    """The interfaces of each port, by number, given the ports' GUIDs (empty: not known).

    An IPoIB interface has the GUID of its port (not that of the node) in its address; all others are told by the driver, of whom a
    function with one port needs no word.
    """
    found: dict[int, list[Interface]] = {port: [] for port in guids}
    for interface in interfaces:
        port = _port(interface, guids)
        if port in found:
            found[port].append(interface)
    return found


def _port(interface: Interface, guids: Mapping[int, str]) -> int:
    if interface.guid.strip("0:") and all(guids.values()):
        return next((port for port, guid in guids.items() if guid == interface.guid), 0)
    return next(iter(guids)) if len(guids) == 1 else interface.place + 1


def _interface(attribute: Attributes, name: str) -> Interface | None:
    kind = attribute.value("type", attributes.number)
    if kind is None:  # it has gone
        return None
    place = attribute.value("dev_port", attributes.number) or attribute.value("dev_id", attributes.number) or 0
    address = attribute.text("address").lower().replace(":", "") if kind == 32 else ""
    guid = ":".join(address[at : at + 4] for at in range(24, 40, 4)) if len(address) == 40 else ""
    netdev = NetDevice(name, ifindex=attribute.value("ifindex", attributes.number), link_type=_ARPHRD.get(kind, str(kind)))
    return Interface(netdev, attribute.directory, place, guid)


def sample(directory: str) -> tuple[bytes | None, bytes | None]:
    """What ``state`` wants: the flags, and the carrier of one that is up (the kernel refuses to tell that of others). May hang."""
    flags = attributes.raw(f"{directory}/flags")
    up = flags is not None and flags.rstrip()[-1:] in _ODD_DIGITS
    return flags, attributes.raw(f"{directory}/carrier") if up else None


def state(interface: Interface, flags: bytes, carrier: bytes | None) -> NetDevice:
    """The interface as it is now. Raises ``Nonsense``."""
    try:
        up = bool(attributes.number(flags.decode(errors="replace").strip()) & _UP)
    except ValueError as error:
        raise Nonsense(f"net/{interface.netdev.name}/flags says {flags[:40]!a}, which is {error}") from error
    known = interface.netdev
    told = None if carrier is None or not up else carrier.strip() == b"1"
    return NetDevice(known.name, up=up, carrier=told, ifindex=known.ifindex, link_type=known.link_type)
