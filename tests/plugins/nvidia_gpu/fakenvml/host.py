"""The rest of a node with GPUs: what the kernel and NVIDIA's driver show of a layout in sysfs, procfs and /dev."""

import shutil
from pathlib import Path

from supervisor import Host
from tests.bed.fakesys import Node, Tree
from tests.plugins.nvidia_gpu.fakenvml.layouts import Gpu, Layout

NVIDIA_MAJOR, UVM_MAJOR, CAPS_MAJOR, DRM_MAJOR = 195, 510, 234, 226
CONTROL_NODES = (
    Node("nvidiactl", NVIDIA_MAJOR, 255),
    Node("nvidia-modeset", NVIDIA_MAJOR, 254),
    Node("nvidia-uvm", UVM_MAJOR, 0),
    Node("nvidia-uvm-tools", UVM_MAJOR, 1),
    Node("nvidia-caps/nvidia-cap1", CAPS_MAJOR, 1),
    Node("nvidia-caps/nvidia-cap2", CAPS_MAJOR, 2),
)
"""They exist whatever the GPUs are; the last two let an administrator configure and watch MIG."""

GPUS, GPU_INSTANCES, COMPUTE_INSTANCES = 32, 15, 8
"""How many of each the driver has capabilities for."""


def gi_minor(gpu: int, gi: int) -> int:
    """The capability to use a GPU instance: its minor number. `gpu` is the minor number of the GPU."""
    return 3 + (gpu * GPU_INSTANCES + gi) * (1 + COMPUTE_INSTANCES)


def ci_minor(gpu: int, gi: int, ci: int) -> int:
    """The capability to use a compute instance."""
    return gi_minor(gpu, gi) + 1 + ci


def mig_minors() -> str:
    """``/proc/driver/nvidia-caps/mig-minors``, which is the same on all machines."""
    lines = ["config 1", "monitor 2"]
    for gpu in range(GPUS):
        for gi in range(GPU_INSTANCES):
            lines.append(f"gpu{gpu}/gi{gi}/access {gi_minor(gpu, gi)}")
            lines += [f"gpu{gpu}/gi{gi}/ci{ci}/access {ci_minor(gpu, gi, ci)}" for ci in range(COMPUTE_INSTANCES)]
    return "".join(f"{line}\n" for line in lines)


def caps(gpu: Gpu) -> dict[str, Node]:
    """The capabilities of the instances of a GPU, by the names that the driver has for them."""
    found = {}
    for mig in gpu.mig:
        home = f"gpu{gpu.minor}/gi{mig.gi}"
        for name, minor in (
            (f"{home}/access", gi_minor(gpu.minor, mig.gi)),
            (f"{home}/ci{mig.ci}/access", ci_minor(gpu.minor, mig.gi, mig.ci)),
        ):
            found[name] = Node(f"nvidia-caps/nvidia-cap{minor}", CAPS_MAJOR, minor)
    return found


class GpuHost:
    """A device tree that follows the layout that it is shown."""

    def __init__(self, tree: Tree) -> None:
        """Other hardware may be in `tree` too."""
        self.tree = tree
        self._gpus: dict[str, Gpu] = {}

    @property
    def proc(self) -> Path:
        return self.tree.root / "proc"

    @property
    def roots(self) -> Host:
        """Where a plugin finds all this."""
        tree = self.tree
        return Host(sysfs=str(tree.sys), dev=str(tree.dev), proc=str(self.proc), run_udev=str(tree.udev))

    def show(self, layout: Layout) -> None:
        """From now on the GPUs are these; what stays as it was is not touched. The driver is loaded."""
        self._load(layout.driver)
        wanted = {gpu.uuid: gpu for gpu in layout.gpus}
        for uuid, gpu in list(self._gpus.items()):
            there = wanted.get(uuid)
            if there is None or (there.pci, there.minor) != (gpu.pci, gpu.minor):
                self._remove(gpu)
            else:
                self._cut(gpu, there)
        for uuid, gpu in wanted.items():
            if uuid not in self._gpus:
                self._add(gpu, layout.driver)
        self._gpus = wanted

    def unload(self) -> None:
        """The driver is gone with its nodes; the GPUs are still on the bus."""
        for gpu in self._gpus.values():
            self._put_on_bus(gpu, held=False)
            for node in self._nodes(gpu):
                (self.tree.dev / node.name).unlink()
        self._gpus = {}
        for node in CONTROL_NODES:
            (self.tree.dev / node.name).unlink(missing_ok=True)
        for directory in (self.proc / "driver", self.tree.sys / "module/nvidia"):
            shutil.rmtree(directory)

    def _load(self, driver: str) -> None:
        home = self.proc / "driver/nvidia"
        (home / "gpus").mkdir(parents=True, exist_ok=True)
        (self.tree.sys / "module/nvidia").mkdir(parents=True, exist_ok=True)
        (self.tree.sys / "module/nvidia/version").write_text(f"{driver}\n")
        module = f"NVIDIA UNIX Open Kernel Module for x86_64  {driver}  Release Build  (dvs-builder@example)"
        (home / "version").write_text(f"NVRM version: {module}\nGCC version:  gcc version 12.2.0 (Debian 12.2.0-14)\n")
        (self.proc / "driver/nvidia-caps").mkdir(exist_ok=True)
        (self.proc / "driver/nvidia-caps/mig-minors").write_text(mig_minors())
        for node in CONTROL_NODES:
            self._make(node)

    def _make(self, node: Node) -> None:
        if not (self.tree.dev / node.name).exists():
            self.tree.add_node(node)

    @staticmethod
    def _devpath(gpu: Gpu) -> str:
        return f"/devices/pci{gpu.sysfs[:7]}/{gpu.sysfs}"

    @staticmethod
    def _nodes(gpu: Gpu) -> tuple[Node, ...]:
        return (Node(f"nvidia{gpu.minor}", NVIDIA_MAJOR, gpu.minor), *caps(gpu).values())

    def _add(self, gpu: Gpu, driver: str) -> None:
        self._put_on_bus(gpu, held=True)
        for node in self._nodes(gpu):
            self._make(node)
        folder = self.proc / "driver/nvidia/gpus" / gpu.sysfs
        folder.mkdir()
        (folder / "information").write_text(_information(gpu, driver))

    def _put_on_bus(self, gpu: Gpu, *, held: bool) -> None:
        """The PCI device, held by its driver or by none."""
        (vendor, device), (maker, card) = ((number & 0xFFFF, number >> 16) for number in gpu.pci_ids)
        devpath = self._devpath(gpu)
        if self.tree.path(devpath).exists():
            self.tree.remove(devpath)
        self.tree.add(
            devpath,
            bus="pci",
            driver="nvidia" if held else None,
            attrs={
                "vendor": f"0x{vendor:04x}",
                "device": f"0x{device:04x}",
                "subsystem_vendor": f"0x{maker:04x}",
                "subsystem_device": f"0x{card:04x}",
                "class": "0x030200",
                "numa_node": -1 if gpu.numa is None else gpu.numa,
            },
            properties={
                "PCI_CLASS": "30200",
                "PCI_ID": f"{vendor:04X}:{device:04X}",
                "PCI_SUBSYS_ID": f"{maker:04X}:{card:04X}",
                "PCI_SLOT_NAME": gpu.sysfs,
            },
        )
        # The card of the host's own display comes first.
        for name, minor in ((f"card{gpu.minor + 1}", gpu.minor + 1), (f"renderD{gpu.minor + 128}", gpu.minor + 128)):
            if held:
                self.tree.add(f"{devpath}/drm/{name}", cls="drm", node=Node(f"dri/{name}", DRM_MAJOR, minor))

    def _remove(self, gpu: Gpu) -> None:
        del self._gpus[gpu.uuid]
        self.tree.remove(self._devpath(gpu))
        for node in self._nodes(gpu):
            (self.tree.dev / node.name).unlink()
        shutil.rmtree(self.proc / "driver/nvidia/gpus" / gpu.sysfs)

    def _cut(self, before: Gpu, now: Gpu) -> None:
        old, new = set(self._nodes(before)), set(self._nodes(now))
        for node in old - new:
            (self.tree.dev / node.name).unlink()
        for node in new - old:
            self._make(node)


def _information(gpu: Gpu, driver: str) -> str:
    facts = {
        "Model": gpu.name,
        "IRQ": 128 + gpu.minor,
        "GPU UUID": gpu.uuid,
        "Video BIOS": "92.00.36.00.10",
        "Bus Type": "PCIe",
        "DMA Size": "47 bits",
        "DMA Mask": "0x7fffffffffff",
        "Bus Location": gpu.sysfs,
        "Device Minor": gpu.minor,
        "GPU Firmware": driver,
        "GPU Excluded": "No",
    }
    return "".join(f"{name + ':':<16}\t {fact}\n" for name, fact in facts.items())
