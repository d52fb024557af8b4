"""AMD's Alveo cards by the drivers of XRT: a user function (``xocl``), and mostly a management function beside it (``xclmgmt``).

The drivers tell which is which: neither their numbers, which old shells have the other way round, nor a list of vendors. While a card is
reset the driver takes away nearly all that it says, its sub-devices included. Source: XRT, ``userpf/xocl_sysfs.c`` and ``xocl_subdev.c``.
"""

import posixpath
import re
from collections.abc import Iterator

from msgspec import structs

from supervisor import HostDevice, HostView
from supervisor_fpga.backends import attributes as values
from supervisor_fpga.backends import hwmon, pcie
from supervisor_fpga.backends.attributes import Attributes
from supervisor_fpga.backends.protocol import Found
from supervisor_fpga.report import Backend, Evidence, Function, Node

USER, MANAGEMENT = "xocl", "xclmgmt"

_ROM = "rom."
_KNOW_SERIAL = ("xmc.", "hwmon_sdm.")
"""Sub-devices that know the serial number: the card's controller, of which newer cards have another."""
_QUEUE = "dma."
_SHELL = re.compile(r"[A-Za-z0-9][-_.:+A-Za-z0-9]{0,63}")
"""The names of shells (VBNV: vendor, board, name, version); the hardware has 64 bytes for them."""
_TIMESTAMP = re.compile(r"[0-9A-Za-z]{1,20}")
_NO_NODE = "its driver has made no device node for it"
_NOT_READY = "its driver is not ready: the management function of its card, or the daemon that speaks for it, does not answer"
_IN_RESET = "its driver says nothing of its shell, as while it starts or resets the card"


class Xrt:
    """User functions."""

    name: Backend = "xrt"

    def find(self, view: HostView) -> Found:
        users = _bound(view, USER)
        managers = {_slot(device.name): device for device in _bound(view, MANAGEMENT)}
        slots = [_slot(_physical(view, user)) for user in users]
        functions = (_function(view, user, managers.get(slot)) for user, slot in zip(users, slots, strict=True))
        refused = {
            manager.name: f"it manages its card, and no function of that has the driver {USER}, which users need"
            for slot, manager in managers.items()
            if slot not in slots
        }
        return Found(tuple(functions), refused=refused)

    def read(self, attributes: Attributes, function: Function) -> Function:
        parts = attributes.names(function.path)
        rom = next((f"{function.path}/{name}" for name in parts if name.startswith(_ROM)), "")
        shell = attributes.text(f"{rom}/VBNV") if rom else None
        timestamp = (attributes.text(f"{rom}/timestamp") or "") if rom else ""
        offline = attributes.number(f"{function.path}/dev_offline") not in {None, 0}  # negative: the driver cannot tell
        ready = attributes.number(f"{function.path}/ready")
        waiting = "" if offline else function.waiting_for or _waiting(shell, ready)
        return structs.replace(
            function,
            group=_serial(attributes, function, parts),
            shell=shell if shell and _SHELL.fullmatch(shell) else "",
            timestamp=timestamp if _TIMESTAMP.fullmatch(timestamp) else "",
            shell_id=_only_id(attributes, f"{function.path}/logic_uuids"),
            interface_id=_only_id(attributes, f"{function.path}/interface_uuids"),
            afu_id=values.programmed(attributes.text(f"{function.path}/xclbinuuid") or ""),
            waiting_for=waiting,
            problem="" if offline or waiting else _problem(shell),
            evidence=_evidence(attributes, function, offline=offline),
        )


def _bound(view: HostView, driver: str) -> list[HostDevice]:
    place = f"/sys/bus/pci/drivers/{driver}"
    found = (view.device(f"{place}/{name}") for name in view.names(place))
    return [device for device in found if device is not None and device.subsystem == "pci"]


def _slot(address: str) -> str:
    """What the functions of one card have in common."""
    return address.rpartition(".")[0]


def _physical(view: HostView, user: HostDevice) -> str:
    return pcie.physical(view, user) or user.name


def _card(view: HostView, user: HostDevice) -> str:
    """The card's first function, which is the same whatever drivers are loaded; a virtual machine may not have it."""
    physical = _physical(view, user)
    first = f"{_slot(physical)}.0"
    return first if view.resolve(f"/sys/bus/pci/devices/{first}") is not None else physical


def _function(view: HostView, user: HostDevice, manager: HostDevice | None) -> Function:
    nodes = tuple(_nodes(view, user, manager))
    own = next((posixpath.basename(node.path) for node in nodes if node.role == "user"), "")
    return Function(
        id=user.name,
        backend="xrt",
        name=own or user.name,
        path=user.path,
        pci=user.name,
        card=_card(view, user),
        region=f"{user.name}/region0",
        kind=pcie.kind(view, user),
        vendor=pcie.number(user, "vendor"),
        device=pcie.number(user, "device"),
        driver=USER,
        numa_node=user.numa_node,
        nodes=nodes,
        programmable=("xrt",),
        resettable=True,
        waiting_for="" if own else _NO_NODE,
    )


def _nodes(view: HostView, user: HostDevice, manager: HostDevice | None) -> Iterator[Node]:
    """What a tenant works with first."""
    for device in view.devices("drm", "renderD*"):
        if device.node is not None and device.pci_address == user.name:
            yield Node(device.node, "user", view.node(device.node) is not None)
    for device in view.devices("xrt_user"):
        path = device.node
        if path is not None and device.pci_address == user.name and posixpath.basename(path).startswith(_QUEUE):
            yield Node(path, "dma", view.node(path) is not None)
    for device in view.devices("xrt_mgmt", f"{MANAGEMENT}*") if manager is not None else ():
        if manager is not None and device.node is not None and device.pci_address == manager.name:
            yield Node(device.node, "management", view.node(device.node) is not None)


def _waiting(shell: str | None, ready: int | None) -> str:
    """Drivers from before 2018.3 do not say whether they are ready."""
    if ready == 0:
        return _NOT_READY
    return _IN_RESET if shell is None and ready is None else ""


def _problem(shell: str | None) -> str:
    if shell is None:
        return "it has no ROM that could be read, so its shell is not known"
    if not shell:
        return "the name of its shell is empty"
    return "" if _SHELL.fullmatch(shell) else f"the name of its shell is {shell[:40]!a}, which is no name"


def _serial(attributes: Attributes, function: Function, parts: tuple[str, ...]) -> str:
    """Of the card."""
    said = (attributes.text(f"{function.path}/{name}/serial_num") for name in parts if name.startswith(_KNOW_SERIAL))
    return next((serial for text in said if (serial := values.serial(text or ""))), "")


def _only_id(attributes: Attributes, path: str) -> str:
    """The one id in a list; of several nothing says which counts."""
    found = attributes.lines(path)
    return values.identity(found[0]) if len(found) == 1 else ""


def _evidence(attributes: Attributes, function: Function, *, offline: bool) -> Evidence:
    """Both functions of a card have the same sensors: the management function is asked where the other has none."""
    above, own = posixpath.split(function.path)
    beside = [f"{above}/{name}" for name in attributes.names(above) if _slot(name) == _slot(own) and name != own]
    return Evidence(
        offline=offline,
        sensors=hwmon.sensors(attributes, function.path) or hwmon.sensors(attributes, *beside),
        pci_link=pcie.link(attributes, function.path),
    )
