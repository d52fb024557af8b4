"""A machine's files below a directory, and how they follow what happens to it."""

from collections.abc import Callable
from pathlib import Path

from supervisor import FileTree, TreeDevice
from supervisor_fpga.simulate.machine import Machine, render


class Tree(FileTree):
    """A machine below a directory: ``sys`` and ``dev`` are in it. To be used by one thread at a time."""

    def __init__(self, root: Path, machine: Machine, node: Callable[[Path, TreeDevice], None] | None = None) -> None:
        """``node`` makes what is below ``dev``: plain files by default, where nobody opens them. Raises ``OSError``."""
        self.machine = machine
        super().__init__(root, render(machine), node)

    def become(self, machine: Machine) -> None:
        """Show this machine in place of the one before. Raises ``OSError``."""
        self.machine = machine
        self.show(render(machine))
