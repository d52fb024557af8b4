"""A node with an NVIDIA driver, made of files: the driver's root, device nodes, capabilities, and the directory of CDI specs.

All lies below one directory, which stands for the host's own root: ``/dev`` is ``<root>/dev``.
"""

import socket
import struct
from collections.abc import Iterable
from pathlib import Path

from supervisor import Host
from supervisor_nvidia_gpu.driver_root import DriverRoot
from supervisor_nvidia_gpu.report import Gpu
from tests.bed.fakesys import Node, Tree
from tests.host.test_view import host_of

DRIVER = "580.65.06"
DEBIAN = "usr/lib/x86_64-linux-gnu"
SONAMES = {
    "libcuda": "libcuda.so.1",
    "libnvidia-ml": "libnvidia-ml.so.1",
    "libnvidia-glcore": f"libnvidia-glcore.so.{DRIVER}",
    "libnvidia-allocator": "libnvidia-allocator.so.1",
}
NULL = (1, 3)
"""The numbers of ``/dev/null``: a node that any container may have."""


def elf(soname: str | None, machine: int = 62) -> bytes:
    """The least that is a 64-bit shared library with a name: two segments, a dynamic section and its strings."""
    names = b"\0" + (soname or "").encode() + b"\0"
    dynamic_at = 64 + 2 * 56
    entries = [(5, dynamic_at + 16 * 3), *([(14, 1)] if soname is not None else []), (0, 0), (0, 0)][:3]
    dynamic = b"".join(struct.pack("<QQ", *entry) for entry in entries)
    size = dynamic_at + len(dynamic) + len(names)
    head = struct.pack("<16sHHIQQQIHHHHHH", b"\x7fELF\x02\x01\x01", 3, machine, 1, 0, 64, 0, 0, 64, 56, 2, 0, 0, 0)
    load = struct.pack("<IIQQQQQQ", 1, 4, 0, 0, 0, size, size, 4096)
    section = struct.pack("<IIQQQQQQ", 2, 4, dynamic_at, dynamic_at, dynamic_at, len(dynamic), len(dynamic), 8)
    return head + load + section + dynamic + names


class Place:
    """The node. ``driver`` is the driver's root as the host names it: ``/``, or that of a driver container."""

    def __init__(self, root: Path, driver: str = "/") -> None:
        self.root = root
        self.tree = Tree(root)
        self.cdi = root / "run/cdi"
        self.cdi.mkdir(parents=True, exist_ok=True)
        self.driver = DriverRoot(driver, str(root))

    @property
    def host(self) -> Host:
        return host_of(self.root)

    def install(self, directory: str = DEBIAN, version: str = DRIVER) -> None:
        """Libraries of one version with the links that an installer makes, a program, firmware and settings."""
        for stem, soname in SONAMES.items():
            name = soname.replace(DRIVER, version)
            file = self.write(f"{directory}/{stem}.so.{version}", elf(name))
            if name != file.name:
                (file.parent / name).unlink(missing_ok=True)
                (file.parent / name).symlink_to(file.name)
        self.write("usr/bin/nvidia-smi", b"#!/bin/sh\n")
        self.write(f"lib/firmware/nvidia/{version}/gsp_ga10x.bin", b"firmware")
        self.write("usr/share/vulkan/icd.d/nvidia_icd.json", b"{}")

    def write(self, path: str, data: bytes) -> Path:
        """A file of the driver's root."""
        file = Path(self.driver.place, path)
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(data)
        return file

    def link(self, path: str, target: str) -> None:
        """A link in the driver's root."""
        file = Path(self.driver.place, path)
        file.parent.mkdir(parents=True, exist_ok=True)
        file.symlink_to(target)

    def listen(self, path: str) -> None:
        """A socket file in the driver's root; nobody answers."""
        file = Path(self.driver.place, path)
        file.parent.mkdir(parents=True, exist_ok=True)
        with socket.socket(socket.AF_UNIX) as server:
            server.bind(str(file))

    def nodes(self, *names: str) -> None:
        """Device nodes by their names below ``/dev``, all like ``/dev/null``."""
        for name in names:
            self.tree.add_node(Node(name, *NULL))

    def control(self) -> None:
        """The nodes that GPUs share."""
        self.nodes("nvidiactl", "nvidia-uvm", "nvidia-uvm-tools", "nvidia-modeset")

    def rights(self, gpus: Iterable[Gpu], first: int = 3) -> None:
        """Rights to use each MIG device, in the driver's own file, and their nodes."""
        lines = ["config 1", "monitor 2"]
        self.nodes("nvidia-caps/nvidia-cap1", "nvidia-caps/nvidia-cap2")
        for gpu in gpus:
            for mig in gpu.mig:
                instance = f"gpu{gpu.minor}/gi{mig.gpu_instance}"
                for right in (f"{instance}/access", f"{instance}/ci{mig.compute_instance}/access"):
                    minor = first + len(lines) - 2
                    lines.append(f"{right} {minor}")
                    self.nodes(f"nvidia-caps/nvidia-cap{minor}")
        file = self.root / "proc/driver/nvidia-caps/mig-minors"
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text("\n".join(lines) + "\n")

    def graphics(self, gpu: Gpu, number: int = 0) -> None:
        """The nodes for graphics of a GPU, and its directory in sysfs that tells which they are."""
        self.tree.add(f"/devices/pci0000:00/{gpu.pci}", bus="pci")
        for name in (f"card{number}", f"renderD{128 + number}"):
            (self.tree.sys / f"devices/pci0000:00/{gpu.pci}/drm/{name}").mkdir(parents=True)
            self.nodes(f"dri/{name}")
