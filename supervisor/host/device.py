"""A device of the kernel: one directory of sysfs, and what its ancestors say about it."""

import functools
import posixpath
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING

from msgspec import Struct

from supervisor.host.udevdb import UdevRecord

if TYPE_CHECKING:
    from supervisor.host.view import HostView

MAX_NUMA_NODE = 63
"""The kubelet's topology masks hold 64 nodes."""


class UsbFacts(Struct, frozen=True):
    """The USB device that a device belongs to."""

    vendor: str
    """Four lower-case hexadecimal digits."""
    product: str
    serial: str
    """Empty where the maker gave none."""
    port: str
    """The chain of ports from the bus on, as in sysfs: ``1-1.2``."""


class HostDevice:
    """Facts of one device, each read when first asked for and kept for the life of its ``HostView``.

    A device that vanishes meanwhile answers with what is known, then with ``None`` and emptiness; it never raises.
    """

    def __init__(self, view: "HostView", path: str, uevent: Mapping[str, str]) -> None:
        self._view = view
        self.path = path
        """The directory in sysfs without links, in the host's words: ``/sys/devices/...``."""
        self.name = posixpath.basename(path).replace("!", "/")
        """The kernel's name; sysfs writes its slashes as exclamation marks."""
        self.uevent = uevent
        """The properties that the kernel itself gives."""

    def __repr__(self) -> str:
        return f"HostDevice({self.path!r})"

    def attribute(self, name: str) -> str | None:
        """The text of a sysfs attribute without its line end; ``None`` where there is none or it cannot be read."""
        return self._view.read(f"{self.path}/{name}")

    @functools.cached_property
    def subsystem(self) -> str | None:
        return self._view.link_name(f"{self.path}/subsystem")

    @functools.cached_property
    def driver(self) -> str | None:
        """The driver bound to this very device."""
        return self._view.link_name(f"{self.path}/driver")

    @property
    def devtype(self) -> str | None:
        return self.uevent.get("DEVTYPE")

    @property
    def node(self) -> str | None:
        """Its device node as the host names it, by the kernel's word; that the node exists is another matter."""
        name = self.uevent.get("DEVNAME")
        return None if not name else posixpath.join("/dev", name)

    @property
    def number(self) -> tuple[int, int] | None:
        """Major and minor."""
        major, minor = self.uevent.get("MAJOR", ""), self.uevent.get("MINOR", "")
        return (int(major), int(minor)) if major.isdecimal() and minor.isdecimal() else None

    @functools.cached_property
    def parent(self) -> "HostDevice | None":
        """The nearest directory above that is a device."""
        above = posixpath.dirname(self.path)
        while above.count("/") > 2:  # below /sys/devices
            if (device := self._view.device(above)) is not None:
                return device
            above = posixpath.dirname(above)
        return None

    def lineage(self) -> Iterator["HostDevice"]:
        """The device itself, then its ancestors."""
        device: HostDevice | None = self
        while device is not None:
            yield device
            device = device.parent

    @functools.cached_property
    def udev(self) -> UdevRecord | None:
        """Its record in the udev database; ``None`` without a database, and until udevd has written it."""
        if self.number is not None:
            kind = "b" if self.subsystem == "block" else "c"
            return self._view.udev_record(f"{kind}{self.number[0]}:{self.number[1]}")
        if self.subsystem == "net" and (index := self.uevent.get("IFINDEX")):
            return self._view.udev_record(f"n{index}")
        return self._view.udev_record(f"+{self.subsystem}:{posixpath.basename(self.path)}")

    @functools.cached_property
    def properties(self) -> Mapping[str, str]:
        """The kernel's properties and udev's on top, under the names that ``udevadm info`` shows."""
        own = dict(self.uevent) | {"DEVPATH": self.path.removeprefix("/sys")}
        known = {"SUBSYSTEM": self.subsystem, "DRIVER": self.driver, "DEVNAME": self.node}
        own |= {key: value for key, value in known.items() if value}
        return own | dict(self.udev.properties) if self.udev is not None else own

    @property
    def tags(self) -> frozenset[str]:
        return self.udev.tags if self.udev is not None else frozenset()

    @functools.cached_property
    def numa_node(self) -> int | None:
        """The NUMA node, its own or the nearest ancestor's; the firmware's -1 ("not said") is none."""
        for device in self.lineage():
            text = device.attribute("numa_node") or ""
            if text.isdecimal() and int(text) <= MAX_NUMA_NODE:
                return int(text)
        return None

    @functools.cached_property
    def pci_device(self) -> "HostDevice | None":
        """The PCI function that it is or hangs on."""
        return next((device for device in self.lineage() if device.subsystem == "pci"), None)

    @property
    def pci_address(self) -> str | None:
        """The address of its PCI function: ``0000:00:14.0``."""
        return None if self.pci_device is None else self.pci_device.name

    @functools.cached_property
    def usb_device(self) -> "HostDevice | None":
        """The whole USB device that it is or belongs to; an interface belongs to one."""
        return next((d for d in self.lineage() if d.subsystem == "usb" and d.devtype == "usb_device"), None)

    @functools.cached_property
    def usb(self) -> UsbFacts | None:
        if (device := self.usb_device) is None:
            return None
        return UsbFacts(
            vendor=(device.attribute("idVendor") or "").lower(),
            product=(device.attribute("idProduct") or "").lower(),
            serial=device.attribute("serial") or "",
            port=device.name,
        )
