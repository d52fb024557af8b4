"""From where FPGAs are operated, and what cannot be operated from there."""

import os
import posixpath
from collections.abc import Iterable, Iterator

from supervisor import Border, Host
from supervisor_fpga.operating.messages import PROGRAM, Options
from supervisor_fpga.report import Function
from supervisor_fpga.starting import is_made_ready
from supervisor_fpga.units import Unit

COMPONENT = "components/fpga-programming"
"""What a deployment lacks where nothing can be operated."""


def border(host: Host, *, simulated: bool = False) -> Border:
    """The border to the process that operates FPGAs: in the helper where there is one, else a child of this process. Starts nothing.

    That process writes into no machine that another calls simulated: its own environment has to say so. So one that is simulated has a
    child for itself, whatever helper there is; ``host`` is where its tree lies.
    """
    if simulated:
        os.environ["FPGA_SIMULATED"] = posixpath.dirname(host.sysfs)
    return Border(PROGRAM, host, Options(host.sysfs, host.dev), helped=not simulated)


def helped(operator: Border) -> bool:
    """Whether it is the helper that operates, or would."""
    return operator.where.startswith("helper")


def notices(units: Iterable[Unit], host: Host, operator: Border) -> Iterator[str]:
    """What will never be made ready, as far as that shows without opening a device: one sentence for each resource."""
    if helped(operator):
        return
    found: dict[str, list[str]] = {}
    for unit in units:
        if is_made_ready(unit.rule) and any(not reachable(function, host) for function in unit.functions):
            found.setdefault(unit.resource, []).append(unit.id)
    for resource, ids in found.items():
        many = f" and {len(ids) - 1} more" if len(ids) > 1 else ""
        yield (
            f"containers with {resource} cannot start: {ids[0]}{many} cannot be programmed or reset from here, and there is no helper "
            f"({COMPONENT})"
        )


def reachable(function: Function, host: Host) -> bool:
    """Whether this process might write to what operates a function; opens nothing. A device that is not there may come."""
    ports = [node.path for node in function.nodes if node.role == "port" and node.present]
    paths = [local for path in ports or [function.path] if (local := host.local(path)) is not None]
    return all(os.access(path, os.R_OK | os.W_OK) for path in paths if os.path.lexists(path))
