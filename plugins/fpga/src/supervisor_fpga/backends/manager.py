"""Embedded FPGAs (Zynq, Kria, SoCs of Intel's): the kernel's FPGA manager, ``Documentation/ABI/testing/sysfs-class-fpga-{manager,bridge,region}``.

What is programmed, no file says. Nodes are what the fabric's drivers have made: the render node of zocl, UIO devices below a region.
"""

import posixpath
from collections.abc import Iterable, Iterator
from typing import Literal

from msgspec import structs

from supervisor import HostDevice, HostView
from supervisor_fpga.backends import attributes as values
from supervisor_fpga.backends import hwmon, pcie
from supervisor_fpga.backends.attributes import Attributes
from supervisor_fpga.backends.protocol import Found
from supervisor_fpga.report import Backend, Evidence, Function, Node

ZOCL = "zocl-drm"
"""The driver by which XRT works on embedded FPGAs."""
_OF_DFL = "/dfl-fme."
"""In the paths of what belongs to a card of DFL, which is another back end's."""
_ZEROS = "0" * 32


class Manager:
    """FPGA managers that are not part of a DFL card."""

    name: Backend = "manager"

    def find(self, view: HostView) -> Found:
        managers = [device for device in view.devices("fpga_manager") if _OF_DFL not in device.path]
        addresses = [device.pci_address for device in managers]
        found = (
            _function(view, device, alone=len(managers) == 1, own_address=addresses.count(device.pci_address) == 1)
            for device in managers
        )
        return Found(tuple(found))

    def read(self, attributes: Attributes, function: Function) -> Function:
        parts = {kind: tuple(_parts(attributes, kind, function)) for kind in ("fpga_bridge", "fpga_region")}
        said = (attributes.text(f"{path}/compat_id") for path in parts["fpga_region"])
        interface = next((text for text in said if text is not None), "")
        known = values.identity(interface)
        return structs.replace(
            function,
            interface_id=known,
            problem=f"the compat_id of its region is {interface[:40]!a}, which is no id"
            if interface and known in {"", _ZEROS}
            else "",
            evidence=Evidence(
                state=attributes.text(f"{function.path}/state") or "",
                status=attributes.lines(f"{function.path}/status"),
                bridges={posixpath.basename(path): attributes.text(f"{path}/state") or "" for path in parts["fpga_bridge"]},
                sensors=hwmon.sensors(attributes, _beneath(function)),
                pci_link=pcie.link(attributes, _beneath(function)) if function.pci else None,
            ),
        )


def _function(view: HostView, manager: HostDevice, *, alone: bool, own_address: bool) -> Function:
    pci, parent = manager.pci_device, manager.parent
    own = pci.name if pci is not None and own_address else manager.name
    ways: tuple[Literal["fpga-manager", "fpgad"], ...] = ("fpgad",)
    if "firmware" in view.names(manager.path):  # only vendors' kernels have it
        ways = ("fpga-manager", *ways)
    return Function(
        id=own,
        backend="manager",
        name=manager.name,
        path=manager.path,
        pci="" if pci is None else pci.name,
        card=pci.name if pci is not None else parent.name if parent is not None else own,
        region=own,
        kind="platform" if pci is None else "pf",
        vendor=pcie.number(pci, "vendor"),
        device=pcie.number(pci, "device"),
        driver=(parent.driver or "") if parent is not None else "",
        shell=manager.attribute("name") or "",
        numa_node=manager.numa_node,
        nodes=tuple(_nodes(view, manager, alone=alone)),
        programmable=ways,
    )


def _nodes(view: HostView, manager: HostDevice, *, alone: bool) -> Iterator[Node]:
    """Those of the fabric's drivers. Where there are several managers, only what lies below one is known to be its own."""
    parent = manager.parent
    above = [parent.path] if parent is not None else []
    if alone:
        regions = (device for device in view.devices("fpga_region") if _OF_DFL not in device.path)
        above += [region.parent.path for region in regions if region.parent is not None]
    devices = [device for device in view.devices("uio") if device.path.startswith(tuple(f"{path}/" for path in above))]
    if alone:
        devices += [device for device in view.devices("drm", "renderD*") if _driver_above(device) == ZOCL]
    for device in devices:
        if device.node is not None:
            yield Node(device.node, "user", view.node(device.node) is not None)


def _driver_above(device: HostDevice) -> str:
    return (device.parent.driver or "") if device.parent is not None else ""


def _parts(attributes: Attributes, kind: str, function: Function) -> Iterator[str]:
    """Bridges and regions: all where there is one manager, else those below its own device."""
    alone = len(_of(attributes, "fpga_manager")) == 1
    beneath = f"{_beneath(function)}/"
    return (path for path in _of(attributes, kind) if alone or path.startswith(beneath))


def _of(attributes: Attributes, kind: str) -> list[str]:
    links: Iterable[str] = (attributes.link(f"/sys/class/{kind}/{name}") for name in attributes.names(f"/sys/class/{kind}"))
    return [path for path in links if path and _OF_DFL not in path]


def _beneath(function: Function) -> str:
    """The device that its manager hangs on."""
    return function.path.partition("/fpga_manager/")[0]
