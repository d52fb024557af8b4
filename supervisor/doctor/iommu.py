"""What it takes to give a whole PCI device to a virtual machine, or to a program with a driver of its own: IOMMU and VFIO."""

from collections.abc import Iterator

from supervisor.doctor.site import Site, seen
from supervisor.host import HostView
from supervisor.model import Finding

_LISTED, _PCI = "/sys/kernel/iommu_groups", "/sys/bus/pci/devices"
_OPTIONS = ("intel_iommu=", "amd_iommu=", "iommu=", "arm-smmu", "vfio")


def groups(site: Site) -> Iterator[Finding]:
    """Is there an IOMMU, and is it on?"""
    view = site.view
    count, whose = len(_groups(view)), "devices" if seen(view, "/sys/kernel") else "PCI devices"
    said = " ".join(word for word in (view.read("/proc/cmdline") or "").split() if word.startswith(_OPTIONS))
    asked = f" (the kernel was started with {said})" if said else ""
    if count:
        yield Finding("ok", "IOMMU", f"{count} groups of {whose}{asked}.")
    elif not seen(view, "/sys/kernel"):
        yield Finding(
            "note",
            "IOMMU",
            f"It cannot be seen here: {_LISTED} is not mounted, and no PCI device is seen to be in a group{asked}.",
            f"Run doctor on the node itself, or mount {_LISTED} of the host, read-only, at {site.host.sysfs}/kernel/iommu_groups.",
        )
    else:
        yield Finding(
            "note",
            "IOMMU",
            f"No group of devices: none can be passed through by VFIO{asked}.",
            "If you need that: switch on VT-d, AMD-Vi or SMMU in the firmware, and start the kernel with intel_iommu=on iommu=pt "
            "(AMD and ARM: iommu=pt).",
        )


def _groups(view: HostView) -> frozenset[str]:
    """All of them; where the kernel's list is not mounted, as in a pod, those that PCI devices say they are in."""
    said = (view.link_name(f"{_PCI}/{name}/iommu_group") for name in view.names(_PCI))
    return frozenset(view.names(_LISTED)) or frozenset(filter(None, said))


def vfio(site: Site) -> Iterator[Finding]:
    """Is the driver there that passes devices through?"""
    view = site.view
    if not _groups(view):
        return
    if view.node("/dev/vfio/vfio") is None:
        cure = "If you need it: modprobe vfio-pci, and name it in /etc/modules-load.d for the next boot."
        yield Finding("note", "VFIO", "/dev/vfio/vfio is not there: the driver is not loaded.", cure)
    else:
        yield Finding("ok", "VFIO", f"It is loaded; {len(view.names('/sys/bus/pci/drivers/vfio-pci'))} entries of vfio-pci.")
    if (view.read("/sys/module/vfio/parameters/enable_unsafe_noiommu_mode") or "N") == "Y":
        text = "Devices may be passed through without an IOMMU: their users can read and write all memory of the node."
        yield Finding("warning", "VFIO", text, "Unset the parameter enable_unsafe_noiommu_mode of the module vfio.")
