"""What can be told at a glance, by names alone: whether there may be an FPGA at all, and whether anything has come or gone."""

import os
from collections.abc import Collection, Iterable, Mapping

from supervisor import Host, HostView
from supervisor_fpga.config import Declared

_CLASSES = ("fpga_region", "fpga_manager", "fpga_bridge", "fpga", "misc", "drm", "uio", "vfio", "vfio-dev")
_DRIVERS = ("xocl", "xclmgmt")
"""Of AMD's cards, by which their functions are found."""
_PLACES = (
    *(f"/sys/class/{name}" for name in _CLASSES),
    *(f"/sys/bus/pci/drivers/{name}" for name in (*_DRIVERS, "vfio-pci")),
    "/sys/bus/pci/devices",
    "/sys/bus/platform/devices",
    "/sys/kernel/iommu_groups",
    "/dev",
    "/dev/dri",
    "/dev/vfio",
    "/dev/vfio/devices",
    "/dev/xfpga",
)
"""Where something appears or vanishes when a function comes, goes, or gets another driver or node."""
_OWN = ("/sys/class/fpga_region", "/sys/class/fpga_manager", "/sys/class/fpga")
_ON_MISC = "ama_transcoder"
_PROCESSING_ACCELERATOR = "0x1200"
"""The class of PCI in which FPGAs are, and others, too."""

Fingerprint = Mapping[str, frozenset[str]]


def fingerprint(host: Host, declared: Iterable[Declared]) -> Fingerprint:
    """The names in each place. Where two differ it is worth to find functions anew; that may show the same ones."""
    further = (place for one in declared for place in (f"/sys/class/{one.subsystem}", f"/sys/bus/{one.subsystem}/devices"))
    return {place: _names(host, place) for place in (*_PLACES, *further)}


def may_have_some(host: Host) -> bool:
    """Whether a driver for FPGAs is loaded, as far as can be seen: without a sysfs it cannot, and then there may be some."""
    if not _names(host, "/sys/class"):
        return True
    return (
        any(_names(host, place) for place in _OWN)
        or any(_names(host, f"/sys/bus/pci/drivers/{name}") for name in _DRIVERS)
        or any(name.startswith(_ON_MISC) for name in _names(host, "/sys/class/misc"))
    )


def unbound(view: HostView, known: Collection[str] = ()) -> dict[str, str]:
    """PCI functions that look like FPGAs and have no driver, by address, with the reason that they are not offered."""
    found = {}
    for address in view.names("/sys/bus/pci/devices"):
        path = f"/sys/bus/pci/devices/{address}"
        if address in known or not (view.read(f"{path}/class") or "").startswith(_PROCESSING_ACCELERATOR):
            continue
        if view.link_name(f"{path}/driver") is None:
            found[address] = "it is a processing accelerator, perhaps an FPGA, and no driver is bound to it"
    return found


def _names(host: Host, directory: str) -> frozenset[str]:
    local = host.local(directory)
    try:
        return frozenset() if local is None else frozenset(os.listdir(local))
    except OSError:
        return frozenset()
