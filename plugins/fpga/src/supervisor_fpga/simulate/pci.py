"""PCI functions, as all families of cards have them."""

from collections.abc import Mapping

from supervisor_fpga.simulate.machine import Device

PROCESSING_ACCELERATOR = "0x120000"


def above(address: str) -> str:
    """A root bus and a bridge, one bus below the function's."""
    bus = f"{address[:5]}{int(address[5:7], 16) - 1:02x}"
    return f"pci{bus}/{bus}:01.0"


def number(address: str) -> int:
    """Domain, bus, device and function in one, as drivers number their instances by it."""
    return int(address[:4], 16) << 16 | int(address[5:7], 16) << 8 | int(address[8:10], 16) << 3 | int(address[11:], 16)


def function(
    address: str,
    vendor: str,
    device: str,
    driver: str = "",
    *,
    numa_node: int = 0,
    pci_class: str = PROCESSING_ACCELERATOR,
    iommu_group: int | None = None,
    attributes: Mapping[str, object] | None = None,
) -> Device:
    """The function itself, with a link at its full speed."""
    known: dict[str, object] = {
        "vendor": f"0x{vendor}",
        "device": f"0x{device}",
        "class": pci_class,
        "numa_node": numa_node,
        "current_link_speed": "8.0 GT/s PCIe",
        "max_link_speed": "8.0 GT/s PCIe",
        "current_link_width": 16,
        "max_link_width": 16,
    }
    return Device(
        f"{above(address)}/{address}",
        "bus/pci",
        known | dict(attributes or {}),
        driver=driver,
        links={} if iommu_group is None else {"iommu_group": f"kernel/iommu_groups/{iommu_group}"},
    )
