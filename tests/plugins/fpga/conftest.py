"""Machines below a directory of the test."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from supervisor_fpga.simulate.machine import Machine
from supervisor_fpga.simulate.tree import Tree
from tests.bed.scratch import tmp_path
from tests.plugins.fpga.looks import Plant
from tests.plugins.fpga.machines import MACHINES

__all__ = ["plant", "tmp_path"]


@pytest.fixture
def plant(tmp_path: Path) -> Iterator[Plant]:
    """Write a machine, one of ``MACHINES`` by its name; it is removed at the end."""
    trees: list[Tree] = []

    def plant(machine: str | Machine) -> Tree:
        built = MACHINES[machine]() if isinstance(machine, str) else machine
        trees.append(Tree(tmp_path / f"machine{len(trees)}", built))
        return trees[-1]

    yield plant
    for tree in trees:
        tree.close()
