"""A machine's files below a directory, and how they follow what happens to it."""

from collections.abc import Callable
from pathlib import Path

from msgspec import structs

from supervisor import FileTree, TreeDevice
from supervisor_fpga.simulate.changes import is_written
from supervisor_fpga.simulate.machine import Device, Function, Machine, render


class Tree(FileTree):
    """A machine below a directory: ``sys`` and ``dev`` are in it. To be used by one thread at a time.

    What operates FPGAs may write into its attributes meanwhile, as drivers do: what happens next happens to the machine as it is then.
    """

    def __init__(self, root: Path, machine: Machine, node: Callable[[Path, TreeDevice], None] | None = None) -> None:
        """``node`` makes what is below ``dev``: plain files by default, where nobody opens them. Raises ``OSError``."""
        self._machine = machine
        super().__init__(root, render(machine), node)

    @property
    def machine(self) -> Machine:
        """What is there now. Raises ``OSError``."""
        functions = tuple(self._learnt(function) for function in self._machine.functions)
        self._machine = structs.replace(self._machine, functions=functions)
        return self._machine

    def become(self, machine: Machine) -> None:
        """Show this machine in place of the one before. Raises ``OSError``."""
        self._machine = machine
        self.show(render(machine))

    def _learnt(self, function: Function) -> Function:
        written = {device.path: self._written(device) for device in function.devices}
        if not any(written.values()):
            return function
        devices = tuple(device.with_attributes(written[device.path]) for device in function.devices)
        return structs.replace(function, devices=devices)

    def _written(self, device: Device) -> dict[str, object]:
        """Attributes whose files say something else than we have written."""
        changed: dict[str, object] = {}
        for name in filter(is_written, device.attributes):
            path = f"sys/devices/{device.path}/{name}"
            before, now = self.files.get(path), self.learn(path)
            if now is not None and now != before:
                changed[name] = now
        return changed
