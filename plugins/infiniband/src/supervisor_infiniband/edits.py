"""What a container gets with its units: character devices, or CDI devices that stand for them, and variables. Pure.

Units carry what they add by themselves; where a container has several, the variables must be made of all at once.
"""

from collections.abc import Iterator, Sequence

from supervisor import ContainerEdits, DeviceNode
from supervisor_infiniband.environment import variables
from supervisor_infiniband.nodes import devices_of, missing, nodes_of
from supervisor_infiniband.publishing import Published
from supervisor_infiniband.publishing.cdi import qualified
from supervisor_infiniband.report import Report
from supervisor_infiniband.units import Unit

SIMULATED_NODE = "/dev/null"
"""On every host, and harmless to open: it lets a container start, and show what it was given, where no RDMA device is."""


def edits(unit: Unit, report: Report, published: Published) -> ContainerEdits:
    """What one unit adds to its container."""
    return joint((unit,), report, published)


def joint(units: Sequence[Unit], report: Report, published: Published) -> ContainerEdits:
    """What several units of one pool add to their container.

    A unit whose CDI device container runtimes do not know now is given by its nodes, which do the same: an unknown one keeps a
    container from starting.
    """
    named = {unit.id: qualified(unit, published.vendor) for unit in units if unit.pool.cdi}
    by_cdi = {unit_id: name for unit_id, name in named.items() if name in published.cdi.names}
    nodes = _nodes([unit for unit in units if unit.id not in by_cdi], report)
    return ContainerEdits(
        device_nodes=tuple(dict.fromkeys(nodes)), envs=variables(units, report), cdi_devices=tuple(by_cdi.values())
    )


def refusal(units: Sequence[Unit], report: Report, published: Published) -> str:
    """Why ``Allocate`` must fail for these units, in one short sentence; empty if it need not."""
    for unit in units:
        lacking = [why for device in unit.devices if (why := missing(device, unit.pool, report))]
        if len(lacking) == len(unit.devices):
            return lacking[0] if lacking else f"{unit.resource} has no RDMA device now"
        if not report.simulated and (why := published.device_info.lacking(unit)):
            return why
    return ""


def _nodes(units: Sequence[Unit], report: Report) -> Iterator[DeviceNode]:
    for unit in units:
        for device in devices_of((unit,), report):
            for path in nodes_of(device, unit.pool, report):
                yield DeviceNode(SIMULATED_NODE, path) if report.simulated else DeviceNode(path)
