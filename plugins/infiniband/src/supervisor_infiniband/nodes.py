"""Which character devices a container gets with an RDMA device, as far as the host has them now.

The numbers in their names are given in the order in which drivers come, so that each is known by its own link in sysfs and none is made
of another.
"""

from collections.abc import Iterator, Sequence

from supervisor_infiniband.config import Pool
from supervisor_infiniband.report import Port, RdmaDevice, Report
from supervisor_infiniband.units import Unit

FOLDER = "/dev/infiniband"
"""Where libibverbs, librdmacm and libibumad look, on the host and in containers."""
RDMA_CM = "rdma_cm"


def devices_of(units: Sequence[Unit], report: Report) -> tuple[RdmaDevice, ...]:
    """The devices that a container gets with these units of one pool: each once, in the order of the units.

    Of the unit of a whole pool, those that can be had: what has moved away or has lost its node costs nobody the others.
    """
    found = {
        device.id: device
        for unit in units
        for device in unit.devices
        if unit.pool.mode != "pool" or not missing(device, unit.pool, report)
    }
    return tuple(found.values())


def nodes_of(device: RdmaDevice, pool: Pool, report: Report) -> tuple[str, ...]:
    """Paths on the host: ``uverbs``, and what the pool asks for besides, without what is not there."""
    wanted = (device.uverbs, *(name for kind in pool.char_devices for name in _named(kind, device)))
    return tuple(f"{FOLDER}/{name}" for name in dict.fromkeys(wanted) if name is not None and name in report.nodes)


def missing(device: RdmaDevice, pool: Pool, report: Report) -> str:
    """Why no container can use a device now, in one short sentence; empty if one can.

    ``uverbs`` is all that verbs need; of the rest only what the pool requires counts.
    """
    if device.elsewhere:
        return f"{device.name} ({device.id}) is in use in another network namespace"
    if device.uverbs not in report.nodes:
        return f"{device.name} ({device.id}) has no node {FOLDER}/{device.uverbs or 'uverbs*'}"
    for kind in pool.require:
        if not all(name in report.nodes for name in _named(kind, device)):
            return f"{device.name} ({device.id}) has no node {FOLDER}/{kind}{'' if kind == RDMA_CM else '*'}, which is required"
    return ""


def _named(kind: str, device: RdmaDevice) -> Iterator[str | None]:
    """``rdma_cm`` is one for the whole host, the others are one for each port."""
    if kind == RDMA_CM:
        yield RDMA_CM
    else:
        yield from (_of_port(kind, port) for port in device.endpoints)


def _of_port(kind: str, port: Port) -> str | None:
    return port.umad if kind == "umad" else port.issm
