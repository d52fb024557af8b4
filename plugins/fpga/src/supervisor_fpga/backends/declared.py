"""Hardware that no other back end knows, as the configuration describes it: devices of a subsystem, and the nodes that belong to them.

A device has the first description that fits. What the kernel itself knows decides while devices are found; further attributes, which a
driver may take from the hardware, when they are read.
"""

import glob
import posixpath
from collections.abc import Iterator, Sequence

from msgspec import structs

from supervisor import HostDevice, HostView, glob_pattern
from supervisor_fpga.backends import hwmon, pcie
from supervisor_fpga.backends.attributes import Attributes
from supervisor_fpga.backends.protocol import Found
from supervisor_fpga.config import Declared
from supervisor_fpga.report import Backend, Evidence, Function, Node

MOST_NODES = 64
"""Of one function."""

_OWN = "{node}"


class Described:
    """Devices by their descriptions. The ``shell`` of each function is the name of its description."""

    name: Backend = "declared"

    def __init__(self, declared: Sequence[Declared]) -> None:
        self._declared = tuple(declared)

    def find(self, view: HostView) -> Found:
        fitting: dict[HostDevice, Declared] = {}
        for one in self._declared:
            for device in view.devices(one.subsystem):
                if device not in fitting and _may_be(one, one.subsystem, device.name, *_numbers(device)):
                    fitting[device] = one
        alike: dict[str | None, list[HostDevice]] = {}
        for device in fitting:
            alike.setdefault(device.pci_address, []).append(device)
        return Found(
            tuple(_function(view, device, one, alike[device.pci_address]) for device, one in fitting.items())
        )  # fmt: skip

    def read(self, attributes: Attributes, function: Function) -> Function:
        subsystem = posixpath.basename(attributes.link(f"{function.path}/subsystem"))
        kernel = (subsystem, function.name, function.vendor, function.device)
        misfits = []
        for one in self._declared:
            if not _may_be(one, *kernel):
                continue
            if not (why := _misfit(attributes, function.path, one)):
                return _read(attributes, function, one)
            misfits.append(why)
        return structs.replace(function, id="", problem="; ".join(misfits)[:300] or "it is not the device that it was")


def _numbers(device: HostDevice) -> tuple[str, str]:
    return pcie.number(device.pci_device, "vendor"), pcie.number(device.pci_device, "device")


def _may_be(one: Declared, subsystem: str, name: str, vendor: str, device: str) -> bool:
    """Whether a device fits, as far as the kernel itself knows it."""
    return (
        subsystem == one.subsystem
        and (one.kernel_name is None or _fits(one.kernel_name, name))
        and (one.vendor is None or one.vendor.lower() == vendor)
        and (one.device is None or one.device.lower() == device)
    )


def _misfit(attributes: Attributes, path: str, one: Declared) -> str:
    """Which attribute does not fit; empty: all do."""
    for name, pattern in one.attributes.items():
        said = attributes.text(f"{path}/{name}")
        if said is None:
            return f"it has no {name}, as {one.name} has"
        if not _fits(pattern, said):
            return f"its {name} is {said[:40]!a}, and that of {one.name} is {pattern!a}"
    return ""


def _fits(pattern: str, text: str) -> bool:
    return glob_pattern(pattern.lower()).match(text.lower()) is not None


def _function(view: HostView, device: HostDevice, one: Declared, alike: Sequence[HostDevice]) -> Function:
    """``alike``: all with its PCI address, in their natural order, in which the kernel's names may begin anywhere."""
    pci = device.pci_device
    own = device.name
    if pci is not None:
        own = pci.name if len(alike) == 1 else f"{pci.name}/port{alike.index(device)}"
    vendor, number = _numbers(device)
    return Function(
        id=own,
        backend="declared",
        name=device.name,
        path=device.path,
        pci="" if pci is None else pci.name,
        card=own if pci is None else pcie.physical(view, pci) or pci.name,
        kind="platform" if pci is None else pcie.kind(view, pci),
        vendor=vendor,
        device=number,
        driver=next((each.driver for each in device.lineage() if each.driver), ""),
        shell=one.name,
        numa_node=device.numa_node,
        nodes=tuple(_nodes(view, device, one)),
    )


def _nodes(view: HostView, device: HostDevice, one: Declared) -> Iterator[Node]:
    """By their true names: container runtimes take no links for devices."""
    nodes: dict[str, Node] = {}
    for path in (path for pattern in one.nodes for path in _paths(view, device, pattern)):
        found = view.node(path)
        there = found is not None and found.kind != "directory" and found.path.startswith("/dev/")
        name = found.path if found is not None and there else path
        nodes[name] = Node(name, "user", there)
    yield from [*nodes.values()][:MOST_NODES]


def _paths(view: HostView, device: HostDevice, pattern: str) -> tuple[str, ...]:
    """The nodes that a pattern stands for; where there is none, the pattern itself, which then is missing."""
    if pattern == _OWN:
        return (device.node or f"/dev/{device.name}",)
    path = pattern.replace("{name}", glob.escape(device.name))
    if device.number is not None:
        path = path.replace("{minor}", str(device.number[1]))
    return view.glob(path) or (path,)


def _read(attributes: Attributes, function: Function, one: Declared) -> Function:
    if one.name != function.shell:  # found as another, which has other nodes
        view = HostView(attributes.host)
        device = view.device(function.path)
        nodes = () if device is None else tuple(_nodes(view, device, one))
        function = structs.replace(function, shell=one.name, nodes=nodes)
    itself = attributes.link(f"/sys/bus/pci/devices/{function.pci}") if function.pci else ""
    return structs.replace(
        function,
        evidence=Evidence(
            sensors=hwmon.sensors(attributes, *dict.fromkeys((itself or function.path, function.path))),
            pci_link=pcie.link(attributes, itself) if itself else None,
        ),
    )
