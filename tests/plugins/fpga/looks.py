"""Looks at planted machines in this process."""

import time
from collections.abc import Callable, Sequence

from supervisor_fpga.config import Declared, Vfio
from supervisor_fpga.report import Function, Report
from supervisor_fpga.simulate.machine import Machine
from supervisor_fpga.simulate.tree import Tree
from supervisor_fpga.sysfs.messages import Options
from supervisor_fpga.sysfs.survey import Survey

Plant = Callable[[str | Machine], Tree]
"""Writes a machine, one of ``MACHINES`` by its name, and removes it at the end of the test."""

NAMED = (Vfio("8086", "bccf"),)
"""What a configuration says where it wants all functions for VFIO that the machines have,"""
ACME = (Declared(name="acme", subsystem="acme"),)
"""and the cards that nobody else knows."""


def survey(tree: Tree, *, patience: float = 20.0, vfio: Sequence[Vfio] = (), declared: Sequence[Declared] = ()) -> Survey:
    """Of a planted machine, with the patience that a busy machine wants."""
    return Survey(Options(str(tree.sys), str(tree.dev), patience, tuple(vfio), tuple(declared)))


def look(plant: Plant, machine: str | Machine, *, vfio: Sequence[Vfio] = (), declared: Sequence[Declared] = ()) -> Report:
    """A first look at a machine none of whose cards hangs."""
    return survey(plant(machine), vfio=vfio, declared=declared).look().report


def by_id(report: Report) -> dict[str, Function]:
    """The functions."""
    return {function.id: function for function in report.functions}


def until(happened: Callable[[], bool]) -> None:
    """Wait for something that shows only when it is looked at."""
    deadline = time.monotonic() + 30
    while not happened():
        assert time.monotonic() < deadline, "it has not happened"
        time.sleep(0.005)
