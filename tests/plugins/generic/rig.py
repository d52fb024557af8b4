"""A generic plugin on a tree of files, and hardware whose numbers the test chooses."""

from collections.abc import Mapping, Sequence
from typing import Any

import msgspec
import yaml

from supervisor import Device
from supervisor_generic import GenericConfig, GenericPlugin
from tests.bed.fakesys import Node, Tree
from tests.host.test_view import host_of


def config_of(text: str) -> GenericConfig:
    """The section as the core decodes it from YAML."""
    return msgspec.convert(yaml.safe_load(text), GenericConfig)


def plugin_on(tree: Tree, text: str) -> GenericPlugin:
    """A plugin for the resources in ``text``, a YAML list."""
    return GenericPlugin(config_of(f"resources:\n{text}"), host_of(tree.root))


def look(tree: Tree, match: str, **resource: Any) -> Sequence[Device]:
    """What one resource with one match, in YAML, offers."""
    section = {"resources": [{"name": "example.com/thing", "match": [yaml.safe_load(match)], **resource}]}
    plugin = GenericPlugin(msgspec.convert(section, GenericConfig), host_of(tree.root))
    return plugin.discover()["example.com/thing"]


def paths(devices: Sequence[Device]) -> list[tuple[str, ...]]:
    """The nodes of each device, on the host."""
    return [tuple(node.host_path for node in device.edits.device_nodes) for device in devices]


def ids_by_path(devices: Sequence[Device]) -> Mapping[str, str]:
    """Which id each first node goes by."""
    return {nodes[0]: device.id for nodes, device in zip(paths(devices), devices, strict=True)}


def adapter(tree: Tree, port: str, number: int, *, serial: str = "", bus: int = 1, vendor: str = "0403", ports: int = 1) -> str:
    """A USB serial adapter at a port of a PCI controller, its first terminal counted ``number`` by the kernel."""
    name = f"{bus}-{port}"
    usb = tree.add(
        f"/devices/pci0000:00/0000:00:14.0/usb{bus}/{name}",
        bus="usb",
        driver="usb",
        node=Node(f"bus/usb/{bus:03d}/{number + 2:03d}", 189, 128 * (bus - 1) + number + 1),
        attrs={"idVendor": vendor, "idProduct": "6001"} | ({"serial": serial} if serial else {}),
        properties={"DEVTYPE": "usb_device"},
    )
    for at in range(ports):
        interface = tree.add(
            f"{usb}/{name}:1.{at}",
            bus="usb",
            driver="ftdi_sio",
            attrs={"bInterfaceNumber": f"{at:02d}"},
            properties={"DEVTYPE": "usb_interface"},
        )
        tty = f"ttyUSB{number + at}"
        tree.add(f"{interface}/{tty}/tty/{tty}", cls="tty", node=Node(tty, 188, number + at))
    return usb


def controller(tree: Tree, numa_node: int = 0) -> None:
    """The PCI controller that the adapters hang on."""
    tree.add("/devices/pci0000:00/0000:00:14.0", bus="pci", attrs={"numa_node": numa_node})
