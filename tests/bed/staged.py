"""Simulated hardware in a bed, with the uevents of what happens to it."""

import os
import stat
from collections.abc import Callable
from pathlib import Path
from typing import Generic, Protocol, TypeVar

from supervisor import FileTree, TreeDevice
from tests.bed.nsbed import BOTH, Bed, Source


class Loading(Protocol):
    """A machine with the modules that its kernel has loaded."""

    @property
    def modules(self) -> tuple[str, ...]: ...


Machine = TypeVar("Machine", bound=Loading)


def mknod(path: Path, node: TreeDevice) -> None:
    """Make a character device that can be opened where the kernel knows its number."""
    os.mknod(path, 0o666 | stat.S_IFCHR, os.makedev(node.major, node.minor))


class Staged(Generic[Machine]):
    """The machine of a bed, in its tree. What it becomes is written first and announced then, as the kernel does."""

    def __init__(self, bed: Bed, tree: FileTree, machine: Machine, become: Callable[[Machine], None]) -> None:
        """Without events: this is what is there when the machine starts."""
        self.bed = bed
        self.sys = tree.sys
        self._tree = tree
        self._become = become
        self._machine = machine

    @property
    def machine(self) -> Machine:
        """What is there now."""
        return self._machine

    def become(self, machine: Machine, sources: tuple[Source, ...] = BOTH) -> None:
        """Show another machine. Devices that have gone are announced from the leaves, then those that have come from the root."""
        old, modules = self._tree.devices(), self._machine.modules
        properties = {devpath: self.bed.tree.properties(devpath) for devpath in old}
        self.change(machine)
        new = self._tree.devices()
        for devpath in sorted(old.keys() - new.keys(), reverse=True):
            self.bed.announce("remove", devpath, old[devpath], properties[devpath], sources)
        for before, after, action in ((modules, machine.modules, "remove"), (machine.modules, modules, "add")):
            for module in before:
                if module not in after:
                    self.bed.announce(action, f"/module/{module}", "module", {}, sources)
        for devpath in sorted(new.keys() - old.keys()):
            self.bed.emit("add", devpath, sources)

    def change(self, machine: Machine) -> None:
        """Show another machine, and announce nothing."""
        self._become(machine)
        self._machine = machine
