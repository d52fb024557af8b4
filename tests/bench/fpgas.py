"""A node with FPGAs for the bench: files in place of a kernel and its cards, bitstreams for them, and the supervisor that offers them."""

from __future__ import annotations

import contextlib
import hashlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from supervisor.kubelet.simulator import KubeletSimulator
from supervisor_fpga.operating.simulated import bitstream
from supervisor_fpga.simulate.intel import A10_INTERFACE, NLB0, NLB3, Card, dfl_machine
from supervisor_fpga.simulate.machine import Machine
from supervisor_fpga.simulate.tree import Tree
from tests.bench.lab import PATIENCE, Lab, Supervisor

CARDS = 16
READY, RESET, OTHER = "bench.example/ready", "bench.example/reset", "bench.example/other"
"""Regions that hold already what they should, functions that are only reset, and regions that hold something else."""
FILE = 16
"""MiB of a bitstream, about that of an Arria 10's."""
_BUSES = range(16, 16 + 15 * CARDS, 15)


def sixteen_cards(afus: Sequence[str] = (NLB0,)) -> Machine:
    """Half of them at each of two processors; they hold these in turn."""
    cards = (
        Card(f"0000:{bus:02x}:00.0", numa_node=bus // 128, afus=(afus[number % len(afus)],))
        for number, bus in enumerate(_BUSES)
    )
    return dfl_machine([*cards])


class Cards:
    """The cards themselves, and a directory of bitstreams, before anything offers them."""

    def __init__(self, lab: Lab, helper: str = "no-helper") -> None:
        """``helper``: name of the helper's socket in ``folder``."""
        self.folder = lab.new_folder()
        self.tree = Tree(self.folder / "machine", sixteen_cards((NLB3, NLB0)))
        self._helper = helper
        self._files = self.folder / "bitstreams"
        self._files.mkdir(mode=0o755)
        content = bitstream(A10_INTERFACE, NLB3, bytes(FILE << 20))
        (self._files / "nlb3.gbs").write_bytes(content)
        (self._files / "nlb3.gbs").chmod(0o644)
        self._checksum = hashlib.sha256(content).hexdigest()

    @property
    def roots(self) -> dict[str, Any]:
        """The section ``host``."""
        return {
            "dev": str(self.tree.dev),
            "sysfs": str(self.tree.sys),
            "helper": {"socket": str(self.folder / self._helper)},
        }

    @property
    def environment(self) -> dict[str, str]:
        """By which the process that operates FPGAs does it to these."""
        return {"FPGA_BITSTREAMS": str(self._files), "FPGA_SIMULATED": str(self.tree.root)}

    @property
    def locks(self) -> str:
        """The directory with a lock for each region."""
        return f"{self.tree.root}/locks"

    def section(self, deadline: float) -> dict[str, Any]:
        """The plugin's section."""
        program = {"bitstream": "nlb3.gbs", "sha256": self._checksum, "afuId": NLB3}
        rules: Sequence[Mapping[str, Any]] = (
            {"name": RESET, "match": [{"numaNode": [1]}], "reset": True},
            {"name": READY, "match": [{"id": self._ids(NLB3)}], "program": program},
            {"name": OTHER, "match": [{"id": self._ids(NLB0)}], "program": program},
        )
        return {"resources": rules, "programming": ["dfl-ioctl"], "startDeadline": deadline}

    def path(self, function: str, device: str) -> Path:
        """The directory of one device of a function, by the beginning of its name."""
        found = self.tree.machine.find(function)
        return self.tree.sys / "devices" / next(each.path for each in found.devices if each.name.startswith(device))

    def _ids(self, afu: str) -> list[str]:
        return [
            function.id
            for function in self.tree.machine.functions
            if any(device.attributes.get("afu_id") == afu for device in function.devices)
        ]


@dataclass(frozen=True)
class FpgaNode:
    """Cards that are offered."""

    cards: Cards
    kubelet: KubeletSimulator
    supervisor: Supervisor

    def process(self, module: str) -> int:
        """The child of the supervisor that runs this module."""
        children = Path(f"/proc/{self.supervisor.pid}/task").glob("*/children")
        for pid in (pid for file in children for pid in file.read_text().split()):
            with contextlib.suppress(OSError):
                if module.encode() in Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0"):
                    return int(pid)
        raise LookupError(f"{module} does not run")


@contextlib.contextmanager
def fpga_node(lab: Lab, cards: Cards, deadline: float = 25.0) -> Iterator[FpgaNode]:
    """Offer them; the kubelet has the lists. ``deadline``: of a start, in seconds."""
    with lab.kubelet() as kubelet:
        plugins = {"fpga": cards.section(deadline), "bench-pulse": {"enabled": False}}
        supervisor = Supervisor(lab, kubelet, (READY, RESET, OTHER), plugins, cards.roots, cards.environment)
        try:
            with supervisor:
                supervisor.lists()
                kubelet.wait_status(READY, 4, 4, PATIENCE)
                yield FpgaNode(cards, kubelet, supervisor)
        finally:
            cards.tree.close()
