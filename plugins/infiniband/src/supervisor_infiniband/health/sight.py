"""What is seen of a port at one moment, in one of five words, and the sentence that says it to people."""

from typing import Literal

from supervisor_infiniband.report import Link, PhysState, Port, PortState, RdmaDevice

PortKey = tuple[str, int]
"""The id of a device and the number of its port; 0 is the device itself, which answers (``active``) or does not (``silent``)."""

Kind = Literal["active", "waiting", "down", "idle", "silent"]
"""``waiting``: linked, but nobody has configured it (``awaited``). ``idle``: down, which a VF or SF may well be until a pod has it.
``silent``: reading it does not come back."""

_UNLINKED = frozenset({PhysState.SLEEP, PhysState.POLLING, PhysState.DISABLED, PhysState.TRAINING})
"""Physical states in which no port can be active (InfiniBand Architecture Specification, volume 1, the link state machine)."""


def seen(device: RdmaDevice, port: Port, link: Link) -> Kind:
    """What is seen of a port whose link is this now."""
    if link.active and not _contradicts(device, link):
        return "active"
    if link.state in {PortState.INIT, PortState.ARMED}:
        return "waiting"
    return "idle" if excuse(device, port, link) else "down"


def _contradicts(device: RdmaDevice, link: Link) -> bool:
    """Whether the physical state denies that the port is active. That of VFs and SFs is their drivers' invention."""
    return not is_function(device) and link.phys_state in _UNLINKED


def is_function(device: RdmaDevice) -> bool:
    """Whether it is a VF or an SF, which shares the port of another function."""
    return device.kind in {"vf", "sf"}


def excuse(device: RdmaDevice, port: Port, link: Link) -> str:
    """Why it means nothing that this port is down; empty: it means something.

    VFs and SFs are brought up when a pod gets them, by whoever puts their interface into it. One whose interface is up here already
    is meant to work here.
    """
    if not is_function(device):
        return ""
    if guid := unset_guid(device, port):
        return guid
    if not link.netdevs:
        return "its interface is absent or in another network namespace"
    if any(netdev.up for netdev in link.netdevs):
        return ""
    return f"its interface {', '.join(netdev.name for netdev in link.netdevs)} is administratively down"


def unset_guid(device: RdmaDevice, port: Port) -> str:
    """Which GUID nobody has configured, in a sentence; empty: none, as far as is known."""
    if _is_unset(device.node_guid):
        return f"its node GUID is {device.node_guid}"
    return f"the GUID of its port {port.number} is {port.guid}" if _is_unset(port.guid) else ""


def _is_unset(guid: str) -> bool:
    return set(guid.replace(":", "").lower()) in ({"0"}, {"f"})


def awaited(port: Port) -> str:
    """What a port waits for that has a link and is not active: on Ethernet only iWARP ports do (``iw_query_port`` in the kernel's
    ``drivers/infiniband/core/device.c``).
    """
    return "an IPv4 address of its interface" if port.link_layer == "Ethernet" else "a subnet manager"


def telling(link: Link) -> str:
    """What a port is in, for people: no more than changes what one would do about it."""
    state = link.state.name if link.state else "no state that it tells"
    match link.phys_state:
        case PhysState.UNKNOWN:
            return state
        case PhysState.TRAINING if link.state is PortState.INIT:
            return f"{state}, physically linked"  # as iWARP has it
        case PhysState.LINK_UP | PhysState.RECOVERY:
            return f"{state}, physically linked"
        case PhysState.DISABLED:
            return f"{state}, physically disabled"
        case _:
            return f"{state}, physically without a link"
