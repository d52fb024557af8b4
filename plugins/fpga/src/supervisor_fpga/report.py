"""What one look has found, in frozen values, in the words of the kernel's drivers.

``None`` and emptiness mean "not there, or cannot be read"; what is merely absent is no error. A *function* is what one container can use by
itself: a port with its accelerator, a user function, a VF, an FPGA manager's fabric. A *region* is what can be programmed. A *card* is one
PCI device, or one embedded FPGA; cards with one serial number are a *group*.
Sources: ``Documentation/ABI/testing/sysfs-platform-dfl-{port,fme}``, ``sysfs-class-fpga-{manager,region,bridge}``, ``vfio``.
"""

from collections.abc import Mapping
from typing import Literal

from msgspec import Struct

Backend = Literal["dfl", "opae", "manager", "xrt", "ma35", "vfio", "declared"]

Role = Literal["user", "port", "fme", "management", "dma", "group", "iommu"]
"""What a device node is for. ``user`` and ``port`` are what a tenant works with; ``fme`` and ``management`` change the whole card;
``dma`` is a queue of its own; ``group`` and ``iommu`` belong to VFIO."""


class Node(Struct, frozen=True):
    """A device node of a function."""

    path: str
    """As the host names it."""
    role: Role
    present: bool = True


class Sensor(Struct, frozen=True):
    """A value of the hardware monitor with its limits, in SI units (°C, W, V)."""

    name: str
    kind: Literal["temperature", "power", "voltage"]
    value: float | None = None
    limit: float | None = None
    """At which the card protects itself (``crit``, ``emergency``, ``threshold2``)."""
    alarm: bool = False


class PciLink(Struct, frozen=True):
    """The PCI Express link of a function; ``None`` where it cannot be told."""

    speed: float | None = None
    """GT/s."""
    max_speed: float | None = None
    width: int | None = None
    max_width: int | None = None


class Evidence(Struct, frozen=True):
    """What speaks for or against the health of a function, read at each poll."""

    state: str = ""
    """Of its FPGA manager: ``operating``, ``write error``, …"""
    status: tuple[str, ...] = ()
    """Errors that its manager reports."""
    bridges: Mapping[str, str] = {}
    """State of each bridge of its region, by name."""
    errors: Mapping[str, int] = {}
    """Error registers that are not 0, by the kernel's file name, like ``port/errors`` and ``fme/catfatal_errors``."""
    power_state: int | None = None
    """Of a DFL port: 0 normal, 1 AP1, 2 AP2, 6 AP6."""
    offline: bool = False
    """The driver says that the card is offline (XRT)."""
    sensors: tuple[Sensor, ...] = ()
    pci_link: PciLink | None = None


class Function(Struct, frozen=True):
    """One function."""

    id: str
    """PCI address, with ``/port<n>`` where a card has several; a platform name, like ``fpga0``. The same over reboots and reprogramming."""
    backend: Backend
    name: str = ""
    """The kernel's of now: ``dfl-port.0``, ``renderD128``, ``fpga0``."""
    path: str = ""
    """Below ``/sys/devices``."""
    pci: str = ""
    card: str = ""
    """``id`` of its card: the physical function's address, or the platform device."""
    group: str = ""
    """The card's serial number where it has one; cards that share it are one group."""
    region: str = ""
    """``id`` of the region that it is programmed in; functions of one region exclude each other. Never depends on what is programmed."""
    kind: Literal["pf", "vf", "platform"] = "pf"
    vendor: str = ""
    """Four lower-case digits."""
    device: str = ""
    driver: str = ""
    shell: str = ""
    """Shell or static region, as the vendor names it: VBNV, ``bitstream_id``."""
    shell_id: str = ""
    """Which shell exactly, where it has an id of its own (XRT: its logic uuid): 32 digits without dashes."""
    timestamp: str = ""
    interface_id: str = ""
    """What a bitstream has to fit: 32 digits without dashes."""
    afu_id: str = ""
    """What is programmed now: 32 digits without dashes."""
    numa_node: int | None = None
    nodes: tuple[Node, ...] = ()
    programmable: tuple[Literal["dfl-ioctl", "fpga-manager", "fpgad", "xrt"], ...] = ()
    """Ways by which its driver could program it."""
    resettable: bool = False
    iommu_group: str = ""
    waiting_for: str = ""
    """Why it cannot be used as it is, although nothing is broken: no driver, a member of its IOMMU group with another driver."""
    evidence: Evidence = Evidence()
    unresponsive: bool = False
    problem: str = ""
    """Why what was read makes no sense, in one sentence: it is quarantined."""
    content_problem: str = ""
    """The same of what it holds now: it is quarantined but for those who do not care what that is, like whoever programs it."""


class Report(Struct, frozen=True):
    """The newest look."""

    functions: tuple[Function, ...] = ()
    """By ``id``, in the order of the bus, then all others in natural order."""
    notices: tuple[str, ...] = ()
    """What is waited for and what could not be seen, in sentences."""
    refused: Mapping[str, str] = {}
    """What looks like an FPGA and is no function, by name, with the reason."""
    simulated: str = ""


class Change(Struct, frozen=True):
    """What is known now of one function that differs from the newest look: all of what changes without an event."""

    function: str
    evidence: Evidence = Evidence()
    afu_id: str = ""
    """What is programmed now."""
    unresponsive: bool = False
    """Reading it does not come back; the rest is what was known last."""


class Poll(Struct, frozen=True):
    """What has changed since the newest look: a ``Change`` for each function that differs from it."""

    changes: tuple[Change, ...] = ()
    structure: bool = False
    """Something else has changed: only a look can tell what."""
