"""RDMA devices in a bed: the machines of the InfiniBand plugin's tests."""

from supervisor_infiniband.simulate import changes
from supervisor_infiniband.simulate.machine import Machine
from supervisor_infiniband.simulate.tree import Tree
from tests.bed.nsbed import Bed
from tests.bed.staged import Staged, mknod


class Fabric(Staged[Machine]):
    """The RDMA devices of a bed."""

    def __init__(self, bed: Bed, machine: Machine) -> None:
        """Without events: this is what is there when the machine starts."""
        tree = Tree(bed.tree.root, machine, mknod)
        super().__init__(bed, tree, machine, tree.become)

    def rename(self, name: str, new: str) -> None:
        """Give an RDMA device another name, as udev's rules do after it has come."""
        function, _ = self.machine.find(name)
        home = f"/{function.path}/infiniband"
        self.change(changes.renamed(self.machine, name, new))
        self.bed.emit("move", f"{home}/{new}", DEVPATH_OLD=f"{home}/{name}")
