"""FPGAs in a bed: the machines of the FPGA plugin's tests."""

from supervisor_fpga.simulate.machine import Machine
from supervisor_fpga.simulate.tree import Tree
from tests.bed.nsbed import Bed
from tests.bed.staged import Staged, mknod


class Cards(Staged[Machine]):
    """The FPGAs of a bed."""

    def __init__(self, bed: Bed, machine: Machine) -> None:
        """Without events: this is what is there when the machine starts."""
        tree = Tree(bed.tree.root, machine, mknod)
        super().__init__(bed, tree, machine, tree.become)
