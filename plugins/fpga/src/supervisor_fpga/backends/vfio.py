"""PCI functions that are passed on by VFIO: those that the configuration names, and nothing else.

What one container gets is an IOMMU group, since its members can reach each other's memory. The nodes of both interfaces are found: that
of groups (``/dev/vfio/<group>``), and that of iommufd (``/dev/vfio/devices/vfio<n>``). Source: ``Documentation/driver-api/vfio.rst``.
"""

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence

from msgspec import structs

from supervisor import HostDevice, HostView
from supervisor_fpga.backends import pcie
from supervisor_fpga.backends.attributes import Attributes
from supervisor_fpga.backends.protocol import Found
from supervisor_fpga.config import Vfio
from supervisor_fpga.report import Backend, Evidence, Function, Node

_GROUPS = "/sys/kernel/iommu_groups"
_FAMILY = "vfio"
"""In the name of each driver that does this, vendors' own included: ``vfio-pci``, ``mlx5_vfio_pci``."""
_HARMLESS = frozenset({"pci-stub", "pcieport"})
"""Drivers that the kernel suffers in a group that is passed on."""
_BRIDGE = "0x0604"
"""The class of bridges, which do not count."""
_MADE_UP = "vfio-noiommu"
"""The kernel's name of a group where there is no IOMMU; VFIO's own for it begins with ``noiommu-``."""


class PassThrough:
    """Functions by vendor and device."""

    name: Backend = "vfio"

    def __init__(self, wanted: Collection[Vfio]) -> None:
        self._wanted = {(each.vendor.lower(), each.device.lower()) for each in wanted}

    def find(self, view: HostView) -> Found:
        if not self._wanted:
            return Found()
        devices = list(view.devices("pci"))
        named = [device for device in devices if self._is_wanted(device)]
        names = {device.name for device in named}
        groups = _groups(view, devices if named else ())
        return Found(tuple(_function(view, device, groups, names) for device in named))

    def read(self, attributes: Attributes, function: Function) -> Function:
        return structs.replace(function, evidence=Evidence(pci_link=pcie.link(attributes, function.path)))

    def _is_wanted(self, device: HostDevice) -> bool:
        return (pcie.number(device, "vendor"), pcie.number(device, "device")) in self._wanted


def _groups(view: HostView, devices: Iterable[HostDevice]) -> Mapping[str, Sequence[HostDevice]]:
    """The members of each IOMMU group. PCI functions tell their own; where groups themselves can be seen, so can other members."""
    found: dict[str, dict[str, HostDevice]] = {}
    for device in devices:
        if group := view.link_name(f"{device.path}/iommu_group"):
            found.setdefault(group, {})[device.name] = device
    for group, members in found.items():
        for name in view.names(f"{_GROUPS}/{group}/devices"):
            if name not in members and (member := view.device(f"{_GROUPS}/{group}/devices/{name}")) is not None:
                members[name] = member
    return {group: tuple(members.values()) for group, members in found.items()}


def _function(
    view: HostView, device: HostDevice, groups: Mapping[str, Sequence[HostDevice]], named: Collection[str]
) -> Function:
    group = view.link_name(f"{device.path}/iommu_group") or ""
    waiting = _waiting(view, device, group, groups.get(group, ()), named)
    return Function(
        id=device.name,
        backend="vfio",
        name=device.name,
        path=device.path,
        pci=device.name,
        card=pcie.physical(view, device) or device.name,
        kind=pcie.kind(view, device),
        vendor=pcie.number(device, "vendor"),
        device=pcie.number(device, "device"),
        driver=device.driver or "",
        numa_node=device.numa_node,
        nodes=() if waiting else tuple(_nodes(view, device, group)),
        iommu_group=group,
        waiting_for=waiting,
    )


def _waiting(view: HostView, device: HostDevice, group: str, members: Iterable[HostDevice], named: Collection[str]) -> str:
    """Why it cannot be passed on now; empty: it can."""
    if device.driver is None:
        return "no driver is bound to it: it needs vfio-pci"
    if _FAMILY not in device.driver:
        return f"it has the driver {device.driver}: it needs vfio-pci"
    if not group:
        return "it is in no IOMMU group: the IOMMU is switched off"
    if view.read(f"{_GROUPS}/{group}/name") == _MADE_UP or view.device(f"/sys/class/vfio/noiommu-{group}") is not None:
        return "there is no IOMMU that keeps it from the memory of others"
    others = (member for member in members if member.name != device.name)
    return next(filter(None, (_obstacle(group, member, named) for member in others)), "")


def _obstacle(group: str, member: HostDevice, named: Collection[str]) -> str:
    """Why another member of a group keeps all from being passed on; empty: it does not."""
    if member.driver in {None, *_HARMLESS} or (member.attribute("class") or "").startswith(_BRIDGE):
        return ""
    if _FAMILY not in (member.driver or ""):
        return f"{member.name} of its IOMMU group {group} has the driver {member.driver}: all of them need vfio-pci"
    if member.name in named:
        return ""
    return f"{member.name} of its IOMMU group {group} would go with it, and the configuration does not name that"


def _nodes(view: HostView, device: HostDevice, group: str) -> Iterator[Node]:
    """What the kernel has made, be it one interface or both; where it tells of none, the one that it always had."""
    own = [each.node for each in view.devices("vfio-dev") if each.node is not None and each.pci_address == device.name]
    by_group = view.device(f"/sys/class/vfio/{group}") is not None or not own
    for path in [*([f"/dev/vfio/{group}"] if by_group else []), *own]:
        yield Node(path, "group", view.node(path) is not None)
    for path in [*(["/dev/vfio/vfio"] if by_group else []), *(["/dev/iommu"] if own else [])]:
        yield Node(path, "iommu", view.node(path) is not None)
