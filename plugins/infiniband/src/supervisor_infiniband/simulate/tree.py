"""A machine's files below a directory, and how they follow what happens to it."""

from collections.abc import Callable, Iterator
from pathlib import Path

from msgspec import structs

from supervisor import FileTree, TreeDevice
from supervisor_infiniband.simulate.files import render
from supervisor_infiniband.simulate.machine import Machine


class Tree(FileTree):
    """A machine below a directory: ``sys`` and ``dev`` are in it. To be used by one thread at a time."""

    def __init__(self, root: Path, machine: Machine, node: Callable[[Path, TreeDevice], None] | None = None) -> None:
        """``node`` makes what is below ``dev``: plain files by default, where nobody opens them. Raises ``OSError``."""
        self.machine = machine
        super().__init__(root, render(machine), node)

    def become(self, machine: Machine) -> None:
        """Show this machine in place of the one before. Raises ``OSError``."""
        for before, after, name in _renamed(self.machine, machine):
            self._rename(before, after, name)
        self.machine = machine
        self.show(render(machine))

    def _rename(self, before: str, after: str, name: str) -> None:
        """Give an RDMA device another name, where it is to be seen. Its character devices tell it first."""
        old = before.rpartition("/")[2]
        if f"sys/class/infiniband/{old}" not in self.files:
            return
        for path in [path for path, content in self.files.items() if path.endswith("/ibdev") and content == _line(old)]:
            self.put(path, _line(name))
        self.move(before, after, f"sys/class/infiniband/{old}")


def _renamed(before: Machine, after: Machine) -> Iterator[tuple[str, str, str]]:
    """The directories of RDMA devices that have nothing but another name, before and after, and that name."""
    taken = {hca.name for _, hca in before.hcas()}
    now = {(function.id, hca.node_guid, hca.uverbs): hca for function, hca in after.hcas()}
    for function, hca in before.hcas():
        new = now.get((function.id, hca.node_guid, hca.uverbs), hca)
        if new.name not in taken and new == structs.replace(hca, name=new.name):
            home = f"sys/{function.path}/infiniband"
            yield f"{home}/{hca.name}", f"{home}/{new.name}", new.name


def _line(name: str) -> bytes:
    """As an attribute has it."""
    return f"{name}\n".encode()
