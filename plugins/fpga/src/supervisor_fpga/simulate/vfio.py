"""Functions that are passed on by VFIO, and such that nothing drives: with the groups of the IOMMU, and the nodes of both interfaces."""

from supervisor_fpga.simulate import pci
from supervisor_fpga.simulate.intel import OFS, OFS_VF, VENDOR
from supervisor_fpga.simulate.machine import Device, Function, Machine, Node

_VFIO_MAJOR, _CDEV_MAJOR, _MISC_MAJOR = 245, 511, 10


def passed(address: str, group: int, number: int | None = None, *, device: str = OFS_VF, vendor: str = VENDOR) -> Function:
    """A function with the driver vfio-pci. ``number``: of its node for iommufd, where the kernel has that."""
    itself = pci.function(address, vendor, device, "vfio-pci", iommu_group=group)
    devices = [itself, Device(f"virtual/vfio/{group}", "class/vfio", node=Node(f"vfio/{group}", _VFIO_MAJOR, group))]
    if number is not None:
        node = Node(f"vfio/devices/vfio{number}", _CDEV_MAJOR, number)
        devices.append(Device(f"{itself.path}/vfio-dev/vfio{number}", "class/vfio-dev", node=node))
    return Function(address, tuple(devices))


def driven(address: str, driver: str, group: int | None = None, *, device: str = OFS, vendor: str = VENDOR) -> Function:
    """A function with another driver, or with none (empty)."""
    return Function(address, (pci.function(address, vendor, device, driver, iommu_group=group),))


def vfio_machine(*functions: Function, iommufd: bool = True) -> Machine:
    common = [Device("virtual/misc/vfio", "class/misc", node=Node("vfio/vfio", _MISC_MAJOR, 196))]
    if iommufd:
        common.append(Device("virtual/misc/iommu", "class/misc", node=Node("iommu", _MISC_MAJOR, 125)))
    modules = ("vfio", "vfio_pci", *(("iommufd",) if iommufd else ()))
    return Machine(functions, tuple(common), modules)
