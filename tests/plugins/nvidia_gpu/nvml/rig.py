"""A node with the fake NVML and what its kernel says about the same GPUs."""

import os
import shutil
from collections.abc import Iterable
from pathlib import Path

from supervisor import Host
from supervisor_nvidia_gpu.probe import Probe
from tests.plugins.nvidia_gpu.fakenvml import FakeNvml, Gpu, Layout


def kernel(proc: Path, gpus: Iterable[Gpu], driver: str = "580.65.06") -> None:
    """What the driver writes below /proc about the GPUs that it holds; what it wrote before is gone."""
    folder = proc / "driver/nvidia"
    shutil.rmtree(folder, ignore_errors=True)
    (folder / "gpus").mkdir(parents=True)
    (folder / "version").write_text(
        f"NVRM version: NVIDIA UNIX Open Kernel Module for x86_64  {driver}  Release Build  (dvs-builder@U22)\n"
        "GCC version:  gcc version 12.3.0 (Ubuntu 12.3.0-1ubuntu1~22.04)\n"
    )
    for gpu in gpus:
        place = folder / "gpus" / gpu.sysfs
        place.mkdir()
        (place / "information").write_text(
            f"Model: \t\t {gpu.name}\nIRQ:   \t\t 183\nGPU UUID: \t {gpu.uuid}\nVideo BIOS: \t 96.00.89.00.01\n"
            f"Bus Type: \t PCIe\nBus Location: \t {gpu.sysfs}\nDevice Minor: \t {gpu.minor}\nGPU Excluded:\t No\n"
        )


class Node:
    """The fake NVML and the kernel's side of it, shown together or each by itself."""

    def __init__(self, nvml: FakeNvml, folder: Path) -> None:
        self.nvml = nvml
        self.proc = folder / "proc"
        self.proc.mkdir()
        helper = nvml.root.parent / "helper.sock"  # that folder's name is short
        self.host = Host(proc=str(self.proc), sysfs=str(folder / "sys"), helper_socket=str(helper))
        self._probes: list[Probe] = []

    def show(self, layout: Layout) -> None:
        """The driver holds these GPUs."""
        self.nvml.show(layout)
        kernel(self.proc, layout.gpus, layout.driver)

    def unload(self) -> None:
        """No driver is loaded."""
        self.nvml.unload()
        shutil.rmtree(self.proc / "driver", ignore_errors=True)

    def probe(self, *, usage: bool = False, deadline: float = 20.0) -> Probe:
        """A probe of this node, closed at the end of the test. Its deadline is one for a busy machine."""
        probe = Probe(self.host, mount=os.fspath(self.nvml.root), usage=usage, deadline=deadline)
        self._probes.append(probe)
        return probe

    def close(self) -> None:
        for probe in self._probes:
            probe.close()
