"""RDMA devices in a bed: the machines of the InfiniBand plugin's tests, with the uevents of what happens to them."""

import os
import stat
from pathlib import Path

from supervisor import TreeDevice
from supervisor_infiniband.simulate import changes
from supervisor_infiniband.simulate.machine import Machine
from supervisor_infiniband.simulate.tree import Tree
from tests.bed.nsbed import BOTH, Bed, Source


def _mknod(path: Path, node: TreeDevice) -> None:
    os.mknod(path, 0o666 | stat.S_IFCHR, os.makedev(node.major, node.minor))


class Fabric:
    """The RDMA devices of a bed, in its tree. What they become is written first and announced then, as the kernel does."""

    def __init__(self, bed: Bed, machine: Machine) -> None:
        """Without events: this is what is there when the machine starts."""
        self.bed = bed
        self._tree = Tree(bed.tree.root, machine, _mknod)

    @property
    def machine(self) -> Machine:
        """What is there now."""
        return self._tree.machine

    @property
    def sys(self) -> Path:
        return self._tree.sys

    def become(self, machine: Machine, sources: tuple[Source, ...] = BOTH) -> None:
        """Show another machine. Devices that have gone are announced from the leaves, then those that have come from the root."""
        old, modules = self._tree.devices(), self.machine.modules
        properties = {devpath: self.bed.tree.properties(devpath) for devpath in old}
        self._tree.become(machine)
        new = self._tree.devices()
        for devpath in sorted(old.keys() - new.keys(), reverse=True):
            self.bed.announce("remove", devpath, old[devpath], properties[devpath], sources)
        for before, after, action in ((modules, machine.modules, "remove"), (machine.modules, modules, "add")):
            for module in before:
                if module not in after:
                    self.bed.announce(action, f"/module/{module}", "module", {}, sources)
        for devpath in sorted(new.keys() - old.keys()):
            self.bed.emit("add", devpath, sources)

    def rename(self, name: str, new: str) -> None:
        """Give an RDMA device another name, as udev's rules do after it has come."""
        function, _ = self.machine.find(name)
        home = f"/{function.path}/infiniband"
        self._tree.become(changes.renamed(self.machine, name, new))
        self.bed.emit("move", f"{home}/{new}", DEVPATH_OLD=f"{home}/{name}")
