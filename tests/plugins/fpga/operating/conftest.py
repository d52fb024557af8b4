"""Yards of a test, which are cleared at its end."""

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from supervisor_fpga.simulate.machine import Machine
from tests.plugins.fpga.operating.yard import Yard


@pytest.fixture
def plant(tmp_path: Path) -> Iterator[Callable[..., Yard]]:
    """A yard with a machine, one of ``MACHINES`` by its name."""
    yards: list[Yard] = []

    def plant(machine: str | Machine = "dfl_a10", command: str = "") -> Yard:
        root = tmp_path / f"yard{len(yards)}"
        root.mkdir()
        yards.append(Yard(root, machine, command))
        return yards[-1]

    yield plant
    for yard in yards:
        yard.tree.close()
