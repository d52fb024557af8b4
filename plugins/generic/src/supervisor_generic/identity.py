"""Names of devices that outlive reboots, replugging and renumbering, and the ids made of them."""

import functools
import hashlib
import posixpath
import re
import threading
from collections.abc import Iterable, Mapping

from msgspec import Struct

from supervisor import HostDevice, HostNode, HostView, UsbFacts, natural_order

MAX_ID = 63
_REPLICA = "::"
_HASH_DIGITS = 8
_MAX_LABEL = MAX_ID - len(f"-{_REPLICA}99999") - _HASH_DIGITS

_ENUMERATED = (
    (re.compile(r"\A\d+-(\d[\d.]*(?::.*)?)\Z"), r"#-\1"),  # USB: the bus is counted, the chain of ports is not
    (re.compile(r"\A([0-9A-F]{4}:[0-9A-F]{4}:[0-9A-F]{4})\.[0-9A-F]{4}\Z"), r"\1.#"),  # HID: bus, vendor, product, a counter
    (re.compile(r"\A(sd|vd|xvd|hd)[a-z]+(\d*)\Z"), r"\1#\2"),  # disks are counted in letters, their partitions are not
)
_COUNT = re.compile(r"\d+")
_USB = "/sys/bus/usb/devices"
_CONTENT = ("wwid", "device/wwid", "dm/uuid", "md/uuid", "device/serial", "serial")


class Identity(Struct, frozen=True):
    """What tells a device from all others of this host."""

    key: str
    """The whole of it; compared, never shown."""
    label: str
    """The part that people recognise."""


def device_id(resource: str, key: str, label: str) -> str:
    """The id of a unit: the label, cut and in plain characters, and a hash of resource and key. At most 56 characters."""
    digest = hashlib.sha256(f"{resource}\0{key}".encode(errors="surrogatepass")).hexdigest()[:_HASH_DIGITS]
    plain = re.sub(r"[^-.:A-Za-z0-9]+|:(?=:)", "-", label)[:_MAX_LABEL].strip("-:") or "device"
    return f"{plain}-{digest}"


def replica_ids(unit: str, replicas: int) -> list[str]:
    """The ids of a unit's replicas. The first is the unit's own, so that it stays valid when ``replicas`` is raised."""
    return [unit, *(f"{unit}{_REPLICA}{number}" for number in range(1, replicas))]


def unit_of(replica: str) -> str:
    """The id of the unit that a replica's id belongs to."""
    return replica.partition(_REPLICA)[0]


@functools.lru_cache(maxsize=4096)
def mask(name: str) -> str:
    """A kernel name without what the kernel merely counted: ``ttyUSB3`` and ``ttyUSB7`` are both ``ttyUSB#``."""
    for pattern, replacement in _ENUMERATED:
        if pattern.match(name):
            return pattern.sub(replacement, name)
    return _COUNT.sub("#", name)


def place_among(name: str, siblings: Iterable[str]) -> str:
    """The masked name and its position among the siblings that differ only in number."""
    masked = mask(name)
    if masked == name:
        return name
    alike = sorted({name, *(other for other in siblings if mask(other) == masked)}, key=lambda n: (natural_order(n), n))
    return f"{masked}{alike.index(name)}"


class Memory:
    """What is remembered between looks. Two threads may look at a time, while one plugin object replaces another."""

    def __init__(self) -> None:
        self.lock = threading.Lock()
        """Held while ``roles`` is read and then changed."""
        self.roles: dict[str, Mapping[str, bool]] = {}
        """For each USB serial number, the plugged devices by their directory: whether each goes by the serial number alone."""
        self.serials: dict[str, tuple[int, str | None]] = {}
        """For each USB device, by its name in sysfs, its inode and serial number."""


class Identities:
    """The identities of one look."""

    def __init__(self, view: HostView, memory: Memory) -> None:
        self._view = view
        self._memory = memory
        self._settled: dict[str, Mapping[str, bool]] = {}
        self._by_serial: dict[str, list[str]] | None = None
        self._known: dict[str, Identity] = {}

    def of(self, node: HostNode, device: HostDevice | None) -> Identity:
        """Of what was found at a node.

        A link that the operator named is an identity by itself. Then, the first that there is: the USB serial number, the
        identity that a disk's maker gave it, the place on PCI, USB or the platform, udev's ID_SERIAL or ID_PATH, the path.
        """
        if node.name != node.path:
            return Identity(f"link {node.name}", node.name.removeprefix("/dev/"))
        if device is None:
            return Identity(f"node {node.path}", node.path.removeprefix("/dev/"))
        return self.of_device(device)

    def of_device(self, device: HostDevice) -> Identity:
        """Of a device of the kernel, with or without a node."""
        if device.path not in self._known:
            path = device.node or device.path
            self._known[device.path] = (
                self._by_usb_serial(device)
                or self._by_content(device)
                or self._by_place(device)
                or _by_udev(device)
                or Identity(f"node {path}", path.removeprefix("/dev/"))
            )
        return self._known[device.path]

    def _by_usb_serial(self, device: HostDevice) -> Identity | None:
        usb, whole = device.usb, device.usb_device
        if usb is None or whole is None or not usb.serial:
            return None
        key = _serial_key(usb)
        label = f"usb-{usb.vendor}-{usb.product}-{usb.serial}"
        if not self._goes_by_serial(key, usb.serial, whole.path):
            place = self._by_place(whole)
            key += f" at {place.key if place else usb.port}"
            label += f"-{usb.port.partition('-')[2]}"
        return Identity(f"{key} {self._tail(whole, device)}", _named(label, whole, device))

    def _goes_by_serial(self, key: str, serial: str, path: str) -> bool:
        """Whether a USB device goes by its serial number alone: of several that share it, one may.

        It is the one that did so before, else the first newcomer by its port. One that had to be told apart keeps its longer
        name for as long as it is plugged in, or an id that a pod holds could come to mean another device.
        """
        if key not in self._settled:
            plugged = sorted(self._sharing(key, serial, path), key=natural_order)
            with self._memory.lock:
                roles = {p: role for p, role in self._memory.roles.get(key, {}).items() if p in plugged}
                for newcomer in (p for p in plugged if p not in roles):
                    roles[newcomer] = not any(roles.values())
                self._memory.roles[key] = roles
            self._settled[key] = roles
        return self._settled[key].get(path, False)

    def _sharing(self, key: str, serial: str, path: str) -> list[str]:
        """The plugged USB devices of one vendor, product and serial number."""
        if self._by_serial is None:
            self._by_serial = {}
            for name, text in self._serials().items():
                self._by_serial.setdefault(text, []).append(name)
        alike = (self._view.device(f"{_USB}/{name}") for name in self._by_serial.get(serial, []))
        return [d.path for d in alike if d is not None and d.usb is not None and _serial_key(d.usb) == key] or [path]

    def _serials(self) -> Mapping[str, str]:
        """The serial number of each USB device by its name in sysfs; read once in the life of a device."""
        old = self._memory.serials
        self._memory.serials = {
            name: old[name] if name in old and old[name][0] == inode else (inode, self._view.read(f"{_USB}/{name}/serial"))
            for name, inode in self._view.inodes(_USB).items()
            if ":" not in name  # an interface
        }
        return {name: text for name, (_, text) in self._memory.serials.items() if text}

    def _by_content(self, device: HostDevice) -> Identity | None:
        if device.subsystem != "block":
            return None
        disk = device.parent if device.devtype == "partition" and device.parent is not None else device
        for attribute in _CONTENT:
            if text := (disk.attribute(attribute) or "").strip():
                part = "" if disk is device else f"-part{device.attribute('partition')}"
                return Identity(f"disk {attribute} {text}{part}", f"{text}{part}")
        return None

    def _by_place(self, device: HostDevice) -> Identity | None:
        for anchor in device.lineage():
            if anchor.subsystem in {"pci", "platform"}:
                key = f"{anchor.subsystem} {anchor.name} {self._tail(anchor, device)}"
                return Identity(key, _named(anchor.name, anchor, device))
        return None

    def _tail(self, anchor: HostDevice, device: HostDevice) -> str:
        """The way from an anchor down to a device, with positions in place of the kernel's numbers."""
        at, words = anchor.path, []
        for name in device.path.removeprefix(anchor.path).strip("/").split("/"):
            # An interface repeats the name of its USB device, which is a place; from the device down only ":1.0" counts.
            own = name.removeprefix(posixpath.basename(at)) if ":" in name else name
            words.append(own if own.startswith(":") else place_among(name, self._view.directories(at)))
            at = posixpath.join(at, name)
        return "/".join(words)


def _serial_key(usb: UsbFacts) -> str:
    return f"usb {usb.vendor}:{usb.product} {usb.serial}"


def _by_udev(device: HostDevice) -> Identity | None:
    """By what udev's rules found out; late for a new device, hence nearly last."""
    record = device.udev
    for name in ("ID_SERIAL", "ID_PATH"):
        if record is not None and record.initialized and (text := record.properties.get(name)):
            return Identity(f"{name} {text} {mask(device.name)}", text)
    return None


def _named(label: str, anchor: HostDevice, device: HostDevice) -> str:
    return label if device is anchor else f"{label}-{mask(posixpath.basename(device.path)).replace('#', '')}"
