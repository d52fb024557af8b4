"""What it takes to give a whole PCI device to a virtual machine, or to a program with a driver of its own: IOMMU and VFIO."""

from collections.abc import Iterator

from supervisor.doctor.site import Site
from supervisor.model import Finding

_OPTIONS = ("intel_iommu=", "amd_iommu=", "iommu=", "arm-smmu", "vfio")


def groups(site: Site) -> Iterator[Finding]:
    """Is there an IOMMU, and is it on?"""
    view = site.view
    count = len(view.names("/sys/kernel/iommu_groups"))
    said = " ".join(word for word in (view.read("/proc/cmdline") or "").split() if word.startswith(_OPTIONS))
    asked = f" (the kernel was started with {said})" if said else ""
    if count:
        yield Finding("ok", "IOMMU", f"{count} groups of devices{asked}.")
    else:
        yield Finding(
            "note",
            "IOMMU",
            f"No group of devices: none can be passed through by VFIO{asked}.",
            "If you need that: switch on VT-d, AMD-Vi or SMMU in the firmware, and start the kernel with intel_iommu=on iommu=pt "
            "(AMD and ARM: iommu=pt).",
        )


def vfio(site: Site) -> Iterator[Finding]:
    """Is the driver there that passes devices through?"""
    view = site.view
    if not view.names("/sys/kernel/iommu_groups"):
        return
    if view.node("/dev/vfio/vfio") is None:
        cure = "If you need it: modprobe vfio-pci, and name it in /etc/modules-load.d for the next boot."
        yield Finding("note", "VFIO", "/dev/vfio/vfio is not there: the driver is not loaded.", cure)
    else:
        yield Finding("ok", "VFIO", f"It is loaded; {len(view.names('/sys/bus/pci/drivers/vfio-pci'))} entries of vfio-pci.")
    if (view.read("/sys/module/vfio/parameters/enable_unsafe_noiommu_mode") or "N") == "Y":
        text = "Devices may be passed through without an IOMMU: their users can read and write all memory of the node."
        yield Finding("warning", "VFIO", text, "Unset the parameter enable_unsafe_noiommu_mode of the module vfio.")
