"""A machine's files below a directory, and how they follow what happens to it."""

from pathlib import Path

from supervisor import FileTree
from supervisor_fpga.simulate.machine import Machine, render


class Tree(FileTree):
    """A machine below a directory: ``sys`` and ``dev`` are in it. To be used by one thread at a time."""

    def __init__(self, root: Path, machine: Machine) -> None:
        """Device nodes are plain files: nobody opens them to see what is there. Raises ``OSError``."""
        self.machine = machine
        super().__init__(root, render(machine))

    def become(self, machine: Machine) -> None:
        """Show this machine in place of the one before. Raises ``OSError``."""
        self.machine = machine
        self.show(render(machine))
