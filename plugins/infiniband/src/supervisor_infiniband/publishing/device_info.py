"""Device-info files of the Network Plumbing Working Group: what Multus passes on to a CNI plugin of a pod's device.

Source: its Device Information Specification 1.1.0, by which a file is found under the names of the resource and of the device.
Multus reads it whenever it makes the pod's network, also when the kubelet does so again while no supervisor runs; so a file stays as
long as a pod may hold its device, and the one of a device that has moved into a pod says what it said before.
"""

import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Literal

import msgspec
from msgspec import Struct

from supervisor import NodeFolder
from supervisor_infiniband.report import RdmaDevice
from supervisor_infiniband.units import Unit

VERSION: Literal["1.1.0"] = "1.1.0"

_MODE = 0o444
_SUFFIX = "-device.json"
_ADDRESS = re.compile(r"[0-9a-f]{4,8}:[0-9a-f]{2}:[0-9a-f]{2}\.[0-7]")
"""What an id begins with that has a GUID behind it, where one function has several devices."""


class Pci(Struct, frozen=True, omit_defaults=True, forbid_unknown_fields=True, rename="kebab"):
    """The device, as a PCI function."""

    pci_address: str
    rdma_device: str = ""
    pf_pci_address: str = ""


class DeviceInfo(Struct, frozen=True, forbid_unknown_fields=True):
    """One file."""

    type: Literal["pci"]
    version: Literal["1.1.0"]
    pci: Pci


class DeviceInfoState(Struct, frozen=True):
    """What the directory says, as far as it concerns us."""

    directory: str = ""
    names: frozenset[str] = frozenset()
    """Files that say what they should, and those of devices that cannot be told of now."""
    problem: str = ""
    """Why not all files are as they should be, in one sentence; empty when they are."""

    def lacking(self, unit: Unit) -> str:
        """Why a pod with this unit would be without its file, in one short sentence; empty if it would not."""
        name = file_name(unit.resource, unit.id)
        if not unit.pool.device_info or not _describable(unit) or name in self.names:
            return ""
        return self.problem or f"{self.directory}/{name} is not written yet"


def file_name(resource: str, device_id: str) -> str:
    return f"{resource}-{device_id}".replace("/", "-") + _SUFFIX


def undescribed(units: Iterable[Unit]) -> tuple[str, ...]:
    """Sentences about devices for which a file is asked, and whose kind has no place in one."""
    return tuple(
        f"{unit.id} gets no device-info file, since it is no PCI function of its own"
        for unit in units
        if unit.pool.device_info and not _describable(unit)
    )


def publish(directory: str, units: Sequence[Unit]) -> DeviceInfoState:
    """Make the files say what these units are. Only the owner of the node may call it. Raises nothing."""
    folder, wanted = NodeFolder(directory), _wanted(units)
    why = folder.problem
    try:
        for name, data in wanted.items() if not why else ():
            folder.write(name, data, _MODE)
        if not why:
            folder.sweep(wanted.__contains__)
    except OSError as error:
        why = f"does not let us ({error.strerror or error})"
    problem = f"device-info files cannot be written: {directory} {why}" if why else ""
    return msgspec.structs.replace(check(directory, units), problem=problem)


def check(directory: str, units: Sequence[Unit]) -> DeviceInfoState:
    """Read back what the directory says of these units; nothing is written. Raises nothing."""
    folder = NodeFolder(directory)
    good = {name for name, data in _wanted(units).items() if folder.read(name) == data}
    away = {file_name(unit.resource, unit.id) for unit in units if _describable(unit) and unit.devices[0].elsewhere}
    return DeviceInfoState(directory, frozenset(good | {name for name in away if _is_ours(folder, name)}))


def left(directory: str) -> tuple[str, ...]:
    """The paths of our files. Raises ``OSError`` where the directory is not there or cannot be read."""
    folder = NodeFolder(directory)
    return tuple(
        folder.at(name) for name in folder.names() if _is_ours(folder, name) or folder.unfinished(name).endswith(_SUFFIX)
    )


def _wanted(units: Iterable[Unit]) -> Mapping[str, bytes]:
    """Of units that can be told of now."""
    return {
        file_name(unit.resource, unit.id): _encode(_info(unit.devices[0]))
        for unit in units
        if unit.pool.device_info and _describable(unit) and not unit.devices[0].elsewhere
    }


def _describable(unit: Unit) -> bool:
    """A sub-function has its parent's address alone, and the parent is not what the container gets."""
    return len(unit.devices) == 1 and unit.devices[0].kind in {"pf", "vf"} and bool(unit.devices[0].pci)


def _info(device: RdmaDevice) -> DeviceInfo:
    above = _ADDRESS.match(device.pf) if device.kind == "vf" else None
    return DeviceInfo("pci", VERSION, Pci(device.pci, device.name, above[0] if above else ""))


def _encode(info: DeviceInfo) -> bytes:
    return msgspec.json.format(msgspec.json.encode(info), indent=2) + b"\n"


def _is_ours(folder: NodeFolder, name: str) -> bool:
    """By the form: the name is given by the specification, and no other writer's bytes are laid out as these are."""
    if not name.endswith(_SUFFIX):
        return False
    data = folder.read(name) or b""
    try:
        return _encode(msgspec.json.decode(data, type=DeviceInfo)) == data
    except (ValueError, RecursionError):
        return False
