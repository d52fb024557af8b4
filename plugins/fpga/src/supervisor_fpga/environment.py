"""What a container is told of its FPGAs in environment variables. Pure.

One function makes them for all functions of a container at once: lists that go in step cannot be joined out of those of single units.
"""

from collections.abc import Mapping, Sequence

import msgspec
from msgspec import Struct

from supervisor_fpga.config import Resource
from supervisor_fpga.naming import bare_id
from supervisor_fpga.nodes import nodes_of
from supervisor_fpga.report import Function
from supervisor_fpga.units import Unit

DEVICES = "FPGA_DEVICES"
"""The functions by their ids, with commas."""
DEVICE_INFO = "FPGA_DEVICE_INFO"
"""JSON: a list with an object for each function, in the same order."""

_LONGEST_VALUE = 32_768
"""The supervisor takes no longer one; Linux starts no program with one of 128 KiB."""


class FunctionInfo(Struct, frozen=True, rename="camel"):
    """A function in ``FPGA_DEVICE_INFO``; what is not known is empty."""

    id: str
    name: str
    """The kernel's."""
    backend: str
    pci: str
    card: str
    serial: str
    region: str
    numa_node: int | None
    vendor: str
    device: str
    driver: str
    shell: str
    shell_id: str
    interface_id: str
    afu_id: str
    """What it holds when the container starts; empty where only the driver will know then."""
    nodes: tuple[str, ...]
    """Paths in the container."""


def variables(units: Sequence[Unit]) -> Mapping[str, str]:
    """The variables for a container that gets these units of one resource, in this order.

    One that no program could be started with is left out; only a whole rack has so many functions.
    """
    told = {function.id: _told(function, unit.rule) for unit in units for function in unit.functions}
    if not told:
        return {}
    info = msgspec.json.encode([*told.values()]).decode()
    return {name: value for name, value in ((DEVICES, ",".join(told)), (DEVICE_INFO, info)) if len(value) <= _LONGEST_VALUE}


def _told(function: Function, rule: Resource) -> FunctionInfo:
    return FunctionInfo(
        id=function.id,
        name=function.name,
        backend=function.backend,
        pci=function.pci,
        card=function.card,
        serial=function.group,
        region=function.region,
        numa_node=function.numa_node,
        vendor=function.vendor,
        device=function.device,
        driver=function.driver,
        shell=function.shell,
        shell_id=function.shell_id,
        interface_id=function.interface_id,
        afu_id=function.afu_id if rule.program is None else bare_id(rule.program.afu_id),
        nodes=nodes_of(function, rule),
    )
