"""What a container gets with its units: device nodes, or CDI devices that stand for them, and variables. Pure.

Units carry what they add by themselves; where a container has several, the variables must be made of all at once. No node is mounted:
a mount would keep the label that the host gives it, and the runtime makes nodes by itself.
"""

from collections.abc import Sequence

from supervisor import ContainerEdits, DeviceNode
from supervisor_fpga.cdi import qualified
from supervisor_fpga.environment import variables
from supervisor_fpga.nodes import lacking, paths_of
from supervisor_fpga.publishing import Published
from supervisor_fpga.report import Report
from supervisor_fpga.units import Unit

SIMULATED_NODE = "/dev/null"
"""On every host, and harmless to open: it lets a container start, and show what it was given, where no FPGA is."""


def edits(unit: Unit, report: Report, published: Published) -> ContainerEdits:
    """What one unit adds to its container."""
    return joint((unit,), report, published)


def joint(units: Sequence[Unit], report: Report, published: Published) -> ContainerEdits:
    """What several units of one resource add to their container.

    A unit whose CDI device container runtimes do not know now is given by its nodes, which do the same: an unknown one keeps a
    container from starting.
    """
    named = {unit.id: qualified(unit, published.vendor) for unit in units if unit.rule.cdi}
    by_cdi = {unit_id: name for unit_id, name in named.items() if name in published.cdi.names}
    paths = paths_of([unit for unit in units if unit.id not in by_cdi])
    return ContainerEdits(
        device_nodes=tuple(DeviceNode(SIMULATED_NODE, path) if report.simulated else DeviceNode(path) for path in paths),
        envs=variables(units),
        cdi_devices=tuple(by_cdi.values()),
    )


def refusal(units: Sequence[Unit]) -> str:
    """Why ``Allocate`` must fail for these units, in one short sentence; empty if it need not."""
    missing = next((path for unit in units for path in lacking(unit)), "")
    return f"there is no {missing} now" if missing else ""
