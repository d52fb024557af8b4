"""CDI devices in place of device nodes: one spec for each resource, a device for each unit. Pure but for the files' rules, the core's.

What a container was given by its nodes keeps their numbers when it starts again; a CDI device is looked up anew, and names those of now.
"""

import re
import zlib
from collections import Counter
from collections.abc import Iterable, Iterator

from supervisor import CdiDevice, CdiEdits, CdiFiles, CdiNode, CdiSpec, cdi_spec
from supervisor_fpga.nodes import paths_of
from supervisor_fpga.report import Function
from supervisor_fpga.units import Unit

PREFIX = "device-plugin-supervisor-fpga_"
"""Of our files' names."""

_DEVICE = re.compile(r"[A-Za-z0-9]([-_.:A-Za-z0-9]*[A-Za-z0-9])?")
_NOT_OF_A_CLASS = re.compile(r"[^-_A-Za-z0-9]")
_OF_ALL = "iommu"
"""The role of nodes that are nobody's own."""


def class_of(resource: str) -> str:
    """The CDI class of a resource: its name without the domain, and a checksum of all of it."""
    name = resource.rpartition("/")[2]
    return f"fpga-{_NOT_OF_A_CLASS.sub('-', name)}-{zlib.crc32(resource.encode()):08x}"


def name_of(unit_id: str) -> str:
    """A unit's id in the characters that CDI allows: ``0000:3b:00.0-region0_0294fe1e``. Not every id has such a name."""
    return unit_id.replace("/", "-").replace("@", "_")


def qualified(unit: Unit, vendor: str) -> str:
    """The full name of a unit's CDI device."""
    return f"{vendor}/{class_of(unit.resource)}={name_of(unit.id)}"


def specs(units: Iterable[Unit], vendor: str) -> tuple[CdiSpec, ...]:
    """One for each resource. Units without a node now are left out: what their file says of them stays.

    So are those whose name would be odd, since a runtime would refuse the whole file for it, or would mean another one, too.
    """
    units = [*units]
    named = Counter((unit.resource, name_of(unit.id)) for unit in units)
    found: dict[str, list[CdiDevice]] = {}
    for unit in units:
        name, paths = name_of(unit.id), paths_of((unit,))
        if paths and named[unit.resource, name] == 1 and _DEVICE.fullmatch(name):
            device = CdiDevice(name, CdiEdits(device_nodes=tuple(CdiNode(path) for path in paths)))
            found.setdefault(unit.resource, []).append(device)
    return tuple(cdi_spec(f"{vendor}/{class_of(resource)}", tuple(devices)) for resource, devices in found.items())


def files(functions: Iterable[Function]) -> CdiFiles:
    """The rules of our files, as of this look.

    A device of before is kept under its name, for a container may hold it, unless one of its nodes is another function's now: no old
    container may get what has been given to somebody else.
    """
    owners: dict[str, set[str]] = {}
    for function in functions:
        for node in function.nodes:
            if node.present and node.role != _OF_ALL:
                owners.setdefault(node.path, set()).update(_names(function))

    def stale(spec: CdiSpec, device: CdiDevice) -> bool:
        paths = (node.path for node in device.container_edits.device_nodes)
        return any(not _is_one(device.name, owners[path]) for path in paths if path in owners)

    return CdiFiles(PREFIX, stale)


def _names(function: Function) -> Iterator[str]:
    """Of all units that may have it."""
    yield from (name_of(each) for each in (function.id, function.region, function.card, function.group) if each)


def _is_one(name: str, names: Iterable[str]) -> bool:
    """Behind the name of what is programmed, that of the resource follows."""
    return any(name == each or name.startswith(f"{each}_") for each in names)
