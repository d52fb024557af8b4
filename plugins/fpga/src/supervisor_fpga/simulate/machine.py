"""A machine with FPGAs, described as the devices of its kernel; ``render`` makes files of it, and ``changes`` other machines.

All values are frozen: what happens to a machine makes another one, and a tree follows by the difference. The links lead where the
kernel's do.
"""

import re
from collections.abc import Iterator, Mapping

from msgspec import Struct, structs

from supervisor import TreeDevice, TreeFiles, TreeFolder, TreeLink, Trouble, device_files, driver_files, spoil

_ADDRESS = re.compile(r"[0-9a-f]{4}:[0-9a-f]{2}:[0-9a-f]{2}\.[0-7]")
_FOLDERS = ("sys/bus/pci/devices", "sys/bus/platform/devices", "sys/class/misc", "sys/dev/char")


class Node(Struct, frozen=True):
    """A device node."""

    name: str
    """Below ``/dev``."""
    major: int
    minor: int
    present: bool = True
    """Otherwise the kernel knows of it, and udev has not made it."""


class Device(Struct, frozen=True):
    """One device of the kernel: a directory with attributes."""

    path: str
    """Below ``/sys/devices``; its last word is the kernel's name."""
    home: str = ""
    """Its bus or class, like ``bus/pci`` and ``class/fpga_manager``; empty for a directory that is no device."""
    attributes: Mapping[str, object] = {}
    """By path: text and numbers as they are read, without the line's end; ``bytes`` stand as they are, a ``Trouble`` for what it does."""
    driver: str = ""
    node: Node | None = None
    links: Mapping[str, str] = {}
    """By name, to what lies below ``/sys``."""

    @property
    def name(self) -> str:
        return self.path.rpartition("/")[2]

    def having(self, **attributes: object) -> "Device":
        """With other values of attributes. Those with a slash in them come by ``with_attributes``."""
        return self.with_attributes(attributes)

    def with_attributes(self, attributes: Mapping[str, object]) -> "Device":
        return structs.replace(self, attributes=dict(self.attributes) | dict(attributes))


class Function(Struct, frozen=True):
    """What comes and goes together: a PCI function, or an embedded FPGA, with all devices below and beside it."""

    id: str
    """PCI address, or the platform's name of it."""
    devices: tuple[Device, ...] = ()
    """Itself first."""
    pf: str = ""
    """``id`` of the physical function of a VF."""
    spoilt: Mapping[str, bytes | Trouble] = {}
    """What is wrong, by paths below ``sys/devices`` as in ``Device.path``: it takes the place of what is there."""

    @property
    def path(self) -> str:
        return self.devices[0].path


class Machine(Struct, frozen=True):
    """All of it, in the order in which the kernel has found it."""

    functions: tuple[Function, ...] = ()
    common: tuple[Device, ...] = ()
    """What belongs to none of them."""
    modules: tuple[str, ...] = ()
    """Those that are loaded."""

    def devices(self) -> Iterator[Device]:
        yield from self.common
        for function in self.functions:
            yield from function.devices

    def find(self, word: str) -> Function:
        """A function by its ``id``, with ``/port<n>`` too, or by the kernel's name of a device of its own. Raises ``KeyError``."""
        for function in self.functions:
            if word.partition("/")[0] == function.id or any(word == device.name for device in function.devices):
                return function
        raise KeyError(word)

    def with_function(self, function: Function) -> "Machine":
        """This function in the place of the one with its ``id``."""
        return structs.replace(self, functions=tuple(function if old.id == function.id else old for old in self.functions))

    def without(self, word: str) -> "Machine":
        """Without a function and its VFs. Raises ``KeyError``."""
        gone = self.find(word).id
        return structs.replace(self, functions=tuple(one for one in self.functions if gone not in {one.id, one.pf}))

    def joined(self, other: "Machine") -> "Machine":
        """With what another has, too."""
        common = {device.path: device for device in (*self.common, *other.common)}
        modules = dict.fromkeys((*self.modules, *other.modules))
        return Machine((*self.functions, *other.functions), tuple(common.values()), tuple(modules))


def render(machine: Machine) -> TreeFiles:
    """All files, links and nodes below the root of the tree."""
    files: TreeFiles = dict.fromkeys(_FOLDERS, TreeFolder())
    files["sys/module/firmware_class/parameters/path"] = b"\n"  # the kernel reads firmware from its own directories alone
    for module in machine.modules:
        files[f"sys/module/{module}/initstate"] = b"live\n"
    for device in machine.devices():
        _device(files, device)
    for function in machine.functions:
        if function.pf:
            _virtual(files, machine, function)
        for path, trouble in function.spoilt.items():
            spoil(files, f"sys/devices/{path}", trouble)
    return files


def _device(files: TreeFiles, device: Device) -> None:
    path = f"sys/devices/{device.path}"
    _bridges(files, device.path)
    if device.home:
        files |= device_files(path, device.home, _uevent(device), device.attributes)
    else:
        for name, value in device.attributes.items():
            files[f"{path}/{name}"] = value if isinstance(value, bytes | Trouble) else f"{value}\n".encode()
    if device.home.startswith("class/") and not device.path.startswith("virtual/"):
        files[f"{path}/device"] = TreeLink(path.rpartition("/")[0].rpartition("/")[0])
    if device.driver:
        files |= driver_files(path, device.home.removeprefix("bus/"), device.driver)
    for name, target in device.links.items():
        files[f"{path}/{name}"] = TreeLink(f"sys/{target}")
        if target.startswith("kernel/iommu_groups/"):
            files[f"sys/{target}/devices/{device.name}"] = TreeLink(path)
    if node := device.node:
        files[f"{path}/dev"] = f"{node.major}:{node.minor}\n".encode()
        files[f"sys/dev/char/{node.major}:{node.minor}"] = TreeLink(path)
        if node.present:
            files[f"dev/{node.name}"] = TreeDevice(node.major, node.minor)


def _uevent(device: Device) -> dict[str, str]:
    told = {"DRIVER": device.driver} if device.driver else {}
    if device.home == "bus/pci":
        ids = [str(device.attributes.get(name, "")).removeprefix("0x") for name in ("class", "vendor", "device")]
        told |= {"PCI_CLASS": ids[0].lstrip("0").upper(), "PCI_ID": f"{ids[1]}:{ids[2]}".upper(), "PCI_SLOT_NAME": device.name}
    if node := device.node:
        told |= {"MAJOR": str(node.major), "MINOR": str(node.minor), "DEVNAME": node.name}
    return told


def _bridges(files: TreeFiles, path: str) -> None:
    """The bridges above a PCI function, as devices of their own."""
    words = path.split("/")
    for depth, word in enumerate(words[:-1]):
        above = f"sys/devices/{'/'.join(words[: depth + 1])}"
        if _ADDRESS.fullmatch(word) and _ADDRESS.fullmatch(words[depth + 1]) and f"{above}/uevent" not in files:
            files |= device_files(above, "bus/pci", {"PCI_SLOT_NAME": word}, {"class": "0x060400", "numa_node": -1})


def _virtual(files: TreeFiles, machine: Machine, vf: Function) -> None:
    """The links between a virtual function and its physical one, which may not be seen here."""
    for pf in machine.functions:
        if pf.id == vf.pf:
            number = [one.id for one in machine.functions if one.pf == pf.id].index(vf.id)
            files[f"sys/devices/{pf.path}/virtfn{number}"] = TreeLink(f"sys/devices/{vf.path}")
            files[f"sys/devices/{vf.path}/physfn"] = TreeLink(f"sys/devices/{pf.path}")
