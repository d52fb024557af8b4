"""CDI devices in place of device nodes: one spec for each resource, a device for each unit. Pure but for the files' rules, the core's.

What a container was given by its nodes keeps their numbers when it starts again; a CDI device is looked up anew, and names those of now.
"""

import re
import zlib
from collections.abc import Iterable

from supervisor import CdiDevice, CdiEdits, CdiFiles, CdiNode, CdiSpec, cdi_spec
from supervisor_infiniband.config import DOMAIN
from supervisor_infiniband.nodes import FOLDER, devices_of, nodes_of
from supervisor_infiniband.report import Report
from supervisor_infiniband.units import Unit

PREFIX = "device-plugin-supervisor-infiniband_"
"""Of our files' names."""
ALL = "all"
"""The one device of a resource whose units are the whole pool; others are called as their units."""

_CLASS = re.compile(r"[A-Za-z][-_A-Za-z0-9]*[A-Za-z0-9]")
_DEVICE = re.compile(r"[A-Za-z0-9]([-_.:A-Za-z0-9]*[A-Za-z0-9])?")
_NOT_OF_A_CLASS = re.compile(r"[^-_A-Za-z0-9]")
_UVERBS = f"{FOLDER}/uverbs"


def class_of(resource: str) -> str:
    """The CDI class of a resource: ``hca`` for ``rdma/hca``. One that says less than the resource's name has its checksum, too."""
    domain, _, name = resource.partition("/")
    if domain == DOMAIN and _CLASS.fullmatch(name):
        return name
    return f"r-{_NOT_OF_A_CLASS.sub('-', name)}-{zlib.crc32(resource.encode()):08x}"


def qualified(unit: Unit, vendor: str) -> str:
    """The full name of a unit's CDI device."""
    return f"{vendor}/{class_of(unit.resource)}={_name(unit)}"


def specs(units: Iterable[Unit], report: Report, vendor: str) -> tuple[CdiSpec, ...]:
    """One for each resource. Units that have no node for verbs now are left out: what their file says of them stays.

    So are those with an odd id, since a runtime would refuse the whole file for it.
    """
    found: dict[str, list[CdiDevice]] = {}
    for unit in units:
        paths = _paths(unit, report)
        if any(path.startswith(_UVERBS) for path in paths) and _DEVICE.fullmatch(_name(unit)):
            device = CdiDevice(_name(unit), CdiEdits(device_nodes=tuple(CdiNode(path) for path in paths)))
            found.setdefault(unit.resource, []).append(device)
    return tuple(cdi_spec(f"{vendor}/{class_of(resource)}", tuple(devices)) for resource, devices in found.items())


def files(units: Iterable[Unit], report: Report) -> CdiFiles:
    """The rules of our files, as of this look.

    A device of before is kept under its name, for a container may hold it, unless its ``uverbs`` belongs to another device now: no old
    container may get what has been given to somebody else. A whole pool is kept whatever it was.
    """
    owners = {f"{FOLDER}/{device.uverbs}": device.id for device in report.devices if device.uverbs is not None}
    owners |= {path: unit.id for unit in units if unit.pool.mode != "pool" for path in _paths(unit, report)}

    def stale(spec: CdiSpec, device: CdiDevice) -> bool:
        verbs = (node.path for node in device.container_edits.device_nodes if node.path.startswith(_UVERBS))
        return device.name != ALL and any(owners.get(path, device.name) != device.name for path in verbs)

    return CdiFiles(PREFIX, stale)


def _name(unit: Unit) -> str:
    return ALL if unit.pool.mode == "pool" else unit.id


def _paths(unit: Unit, report: Report) -> tuple[str, ...]:
    paths = (path for device in devices_of((unit,), report) for path in nodes_of(device, unit.pool, report))
    return tuple(dict.fromkeys(paths))
