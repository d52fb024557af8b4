"""What one look at the host's sysfs has found, in frozen values, in the words of the kernel and of verbs.

``None`` and emptiness mean "not there, or cannot be read"; what is merely absent is no error. Source of the names:
``Documentation/ABI/stable/sysfs-class-infiniband``.
"""

from collections.abc import Mapping
from enum import IntEnum
from typing import Literal

from msgspec import Struct

Kind = Literal["pf", "vf", "sf", "virtual"]
"""A physical function of PCI (one without SR-IOV, too), a virtual one, a sub-function of the auxiliary bus, or none of these (rxe, siw)."""

NetnsMode = Literal["shared", "exclusive", ""]
"""``/sys/module/ib_core/parameters/netns_mode``; empty where it cannot be read, as without the module."""


class PortState(IntEnum):
    """``enum ib_port_state``; what the kernel does not name is ``NOP``."""

    NOP = 0
    DOWN = 1
    INIT = 2
    ARMED = 3
    ACTIVE = 4
    ACTIVE_DEFER = 5


class PhysState(IntEnum):
    """``enum ib_port_phys_state``; 0 where it cannot be told."""

    UNKNOWN = 0
    SLEEP = 1
    POLLING = 2
    DISABLED = 3
    TRAINING = 4
    LINK_UP = 5
    RECOVERY = 6
    PHY_TEST = 7


class NetDevice(Struct, frozen=True):
    """A network interface on a port. One in another network namespace is not seen, which is normal."""

    name: str
    up: bool | None = None
    """Administratively (``IFF_UP`` in ``flags``)."""
    carrier: bool | None = None
    """``None`` while it is administratively down: the kernel then answers EINVAL."""
    ifindex: int | None = None
    link_type: str = ""
    """``ether``, ``infiniband``, or the ARPHRD number in digits."""


class Gid(Struct, frozen=True):
    """An entry of a port's GID table that is in use."""

    index: int
    gid: str
    """Eight groups of four lower-case digits."""
    kind: str = ""
    """``IB/RoCE v1`` or ``RoCE v2``."""
    netdev: str = ""


class Link(Struct, frozen=True):
    """What changes on a port without an event: asked of the device's firmware at each poll."""

    state: PortState = PortState.NOP
    phys_state: PhysState = PhysState.UNKNOWN
    netdevs: tuple[NetDevice, ...] = ()

    @property
    def active(self) -> bool:
        return self.state in {PortState.ACTIVE, PortState.ACTIVE_DEFER}


class Port(Struct, frozen=True):
    """One port of an RDMA device."""

    number: int
    """From 1 on."""
    link: Link = Link()
    link_layer: str = ""
    """``InfiniBand``, ``Ethernet`` or ``Unknown``."""
    rate: float | None = None
    """Gb/s; meaningless while the port is not active."""
    guid: str = ""
    """Port GUID: the lower half of GID 0, as ``xxxx:xxxx:xxxx:xxxx``."""
    lid: int | None = None
    sm_lid: int | None = None
    cap_mask: int | None = None
    pkeys: tuple[int, ...] = ()
    """Without the empty slots (0)."""
    gids: tuple[Gid, ...] = ()
    gid_table: bool = False
    """Whether it has one, be it empty; ports that are for management alone have none."""
    umad: str | None = None
    """``umad0``: the kernel's name of the port's character device."""
    issm: str | None = None

    @property
    def endpoint(self) -> bool:
        """Whether it can carry traffic: it has a GID table, or the capability to be managed by a CM (bit 16)."""
        return self.gid_table or any(gid.index == 0 for gid in self.gids) or bool((self.cap_mask or 0) & 1 << 16)


class PciLink(Struct, frozen=True):
    """The PCI Express link of a function; ``None`` where it cannot be told (virtual functions have none of their own)."""

    speed: float | None = None
    """GT/s."""
    max_speed: float | None = None
    width: int | None = None
    """Lanes."""
    max_width: int | None = None

    @property
    def degraded(self) -> bool:
        """Whether it has trained below what both of its ends can do, as far as the function knows."""
        slow = self.speed is not None and self.max_speed is not None and self.speed < self.max_speed
        narrow = self.width is not None and self.max_width is not None and 0 < self.width < self.max_width
        return slow or narrow


class RdmaDevice(Struct, frozen=True):
    """One RDMA device: an entry of ``/sys/class/infiniband``, or one that has moved to another network namespace."""

    id: str
    """PCI address, else the name on the auxiliary bus, else ``guid-<16 digits>``; the same over renames and reboots."""
    name: str
    """``mlx5_0``, ``rocep59s0f0``: the kernel's of now."""
    kind: Kind
    path: str = ""
    """Of its PCI function (an SF's: of the auxiliary device) below ``/sys/devices``; empty for virtual ones."""
    pci: str = ""
    """Address of the PCI function that it is or hangs on."""
    vendor: str = ""
    """Four lower-case digits, as in the selectors: ``15b3``."""
    device: str = ""
    driver: str = ""
    numa_node: int | None = None
    pf: str = ""
    """``id`` of the physical function of a VF, or of the function that carries an SF; empty for others, and where it cannot be told."""
    pf_netdevs: tuple[str, ...] = ()
    """Interfaces of that function, uplink first; what operators call the PF name."""
    index: int | None = None
    """Of a VF on its PF, or the SF number."""
    vfs: int = 0
    """Virtual functions that it has now."""
    node_type: str = ""
    """``1: CA``, ``4: RNIC``, …"""
    node_guid: str = ""
    sys_image_guid: str = ""
    firmware: str = ""
    board_id: str = ""
    hca_type: str = ""
    ports: tuple[Port, ...] = ()
    uverbs: str | None = None
    """``uverbs0``: the kernel's name of its character device; ``None`` where ib_uverbs has made none."""
    pci_link: PciLink | None = None
    elsewhere: bool = False
    """Moved to another network namespace (RDMA mode ``exclusive``): its character devices are here, the rest is not seen."""
    unresponsive: bool = False
    """Reading it has not come back in time: of what its firmware tells, nothing is known."""
    problem: str = ""
    """Why what was read makes no sense, in one sentence: it is quarantined."""

    @property
    def endpoints(self) -> tuple[Port, ...]:
        return tuple(port for port in self.ports if port.endpoint)


class Counters(Struct, frozen=True):
    """Counters of one port, by the kernel's file names, in the kernel's units (``port_*_data``: made octets)."""

    device: str
    """``RdmaDevice.id``"""
    port: int
    """0: of the whole device (its own ``hw_counters``)."""
    values: Mapping[str, int]
    hw_values: Mapping[str, int] = {}


class Report(Struct, frozen=True):
    """The newest look."""

    devices: tuple[RdmaDevice, ...] = ()
    """By PCI address, those of one function by ``id`` in natural order."""
    netns_mode: NetnsMode = ""
    nodes: frozenset[str] = frozenset()
    """Character devices below ``/dev/infiniband`` that exist, by name: ``uverbs0``, ``rdma_cm``."""
    refused: Mapping[str, str] = {}
    """Kernel names that are no end point or cannot be told apart, with the reason, in a sentence."""
    notices: tuple[str, ...] = ()
    """What could not be seen, in sentences."""
    simulated: str = ""
    """The layout's name where this machine is simulated."""


class Change(Struct, frozen=True):
    """The state of a port is another than at the poll before, or a device has stopped or begun to answer."""

    device: str
    port: int = 0
    link: Link | None = None
    """``None``: it does not answer."""


class Poll(Struct, frozen=True):
    """What one poll has found: changes, and counters every so often."""

    changes: tuple[Change, ...] = ()
    counters: tuple[Counters, ...] = ()
    structure: bool = False
    """Whether devices, their character devices or their interfaces may be others than at the newest look: only a look can tell."""
