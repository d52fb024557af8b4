"""Which device nodes a container gets with a unit, as the host has them now."""

from collections.abc import Iterator, Sequence

from supervisor_fpga.config import Resource
from supervisor_fpga.health.symptoms import missing_nodes
from supervisor_fpga.report import Function
from supervisor_fpga.units import Unit


def nodes_of(function: Function, rule: Resource) -> tuple[str, ...]:
    """Paths on the host: those of the roles that the rule names, without what is not there."""
    return tuple(node.path for node in function.nodes if node.role in rule.nodes and node.present)


def paths_of(units: Sequence[Unit]) -> tuple[str, ...]:
    """All of a container with these units, each once: functions of VFIO share theirs."""
    return tuple(dict.fromkeys(path for unit in units for each in unit.functions for path in nodes_of(each, unit.rule)))


def lacking(unit: Unit) -> Iterator[str]:
    """What is not there, and a container would need."""
    for function in unit.functions:
        yield from (f"{path} of {function.id}" for path in missing_nodes(function, unit.rule.nodes))
