"""Machines below a directory of the test, and looks at them in this process."""

import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from supervisor_infiniband.simulate.machine import Machine
from supervisor_infiniband.simulate.tree import Tree
from supervisor_infiniband.sysfs.messages import Options
from supervisor_infiniband.sysfs.survey import Survey
from tests.plugins.infiniband.trees import MACHINES


@pytest.fixture
def plant(tmp_path: Path) -> Iterator[Callable[[str | Machine], Tree]]:
    """Write a machine, one of ``MACHINES`` by its name; it is removed at the end."""
    trees: list[Tree] = []

    def plant(machine: str | Machine) -> Tree:
        built = MACHINES[machine]() if isinstance(machine, str) else machine
        trees.append(Tree(tmp_path / f"machine{len(trees)}", built))
        return trees[-1]

    yield plant
    for tree in trees:
        tree.close()


def survey(tree: Tree, *, patience: float = 20.0, hw_counters: tuple[str, ...] = ()) -> Survey:
    """Of a planted machine, with the patience that a busy machine wants."""
    return Survey(Options(str(tree.sys), str(tree.dev), patience, hw_counters))


def until(happened: Callable[[], bool]) -> None:
    """Wait for something that shows only when it is looked at."""
    deadline = time.monotonic() + 30
    while not happened():
        assert time.monotonic() < deadline, "it has not happened"
        time.sleep(0.005)
