"""Devices of the kernel as sysfs and the udev database show them."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from supervisor import HostDevice, UsbFacts
from supervisor.host import UdevRecord, natural_order, parse_record
from tests.bed import hardware
from tests.bed.fakesys import Node, Tree
from tests.host.test_view import view_of


def tty(tree: Tree) -> HostDevice:
    """The terminal of the first serial adapter."""
    (device,) = view_of(tree).devices("tty")
    return device


def test_a_device_knows_its_ancestry(tree: Tree) -> None:
    """Driver, parents, USB facts and PCI address of a serial adapter come from the directories above it."""
    tree.add("/devices/pci0000:00/0000:00:14.0", bus="pci", attrs={"numa_node": "1"})
    hardware.usb_serial(tree, 0, serial="A50285BI")
    device = tty(tree)
    assert device.path == "/sys/devices/pci0000:00/0000:00:14.0/usb1/1-1/1-1:1.0/ttyUSB0/tty/ttyUSB0"
    assert [(d.name, d.subsystem, d.driver) for d in device.lineage()] == [
        ("ttyUSB0", "tty", None),
        ("1-1:1.0", "usb", "ftdi_sio"),
        ("1-1", "usb", "usb"),
        ("0000:00:14.0", "pci", None),
    ]
    assert device.usb == UsbFacts(vendor="0403", product="6001", serial="A50285BI", port="1-1")
    assert (device.pci_address, device.numa_node) == ("0000:00:14.0", 1)
    assert (device.node, device.number) == ("/dev/ttyUSB0", (188, 0))


@pytest.mark.parametrize(("own", "above", "known"), [(-1, 0, 0), (1, 0, 1), (-1, -1, None), ("x", 3, 3), (64, -1, None)])
def test_the_nearest_numa_node_that_says_something_counts(tree: Tree, own: int | str, above: int, known: int | None) -> None:
    """The firmware's -1 is no node, and neither is one that no kubelet can hold."""
    bridge = tree.add("/devices/pci0000:00/0000:00:01.0", bus="pci", attrs={"numa_node": above})
    tree.add(f"{bridge}/0000:01:00.0", bus="pci", attrs={"numa_node": own})
    device = view_of(tree).device("/sys/bus/pci/devices/0000:01:00.0")
    assert device is not None
    assert device.numa_node == known


def test_what_is_no_device_is_not_listed(tree: Tree) -> None:
    """Files of a class directory and directories without a uevent file are passed over."""
    tree.add("/devices/virtual/infiniband_verbs/uverbs0", cls="infiniband_verbs")
    (tree.sys / "class/infiniband_verbs/abi_version").write_text("6\n")
    (tree.sys / "class/infiniband_verbs/odd").mkdir()
    assert [device.name for device in view_of(tree).devices("infiniband_verbs")] == ["uverbs0"]
    assert view_of(tree).devices("none") == ()


def test_only_the_named_devices_are_looked_at(tree: Tree) -> None:
    """With a pattern of names, the others' directories are not even read."""
    for index in (0, 2, 10):
        hardware.disk(tree, index)
    view = view_of(tree)
    assert [device.name for device in view.devices("block", "loop*")] == ["loop0", "loop2", "loop10"]
    assert [device.name for device in view.devices("block", "loop?")] == ["loop0", "loop2"]
    assert view.devices("block", "loop2") == (view.device("/sys/devices/virtual/block/loop2"),)


def test_properties_without_a_database_are_the_kernels(tree: Tree) -> None:
    """Without a record a device still has what the kernel says, under the names that udevadm shows."""
    hardware.disk(tree)
    (device,) = view_of(tree).devices("block")
    assert device.udev is None
    assert device.tags == frozenset()
    assert dict(device.properties) == {
        "DEVNAME": "/dev/loop0",
        "DEVPATH": "/devices/virtual/block/loop0",
        "MAJOR": "7",
        "MINOR": "0",
        "SUBSYSTEM": "block",
    }


def test_properties_with_a_database_are_udevs_too(tree: Tree) -> None:
    """A record adds properties, tags and symlinks, whatever kind of id udev keeps it under."""
    tree.add("/devices/virtual/net/tap0", cls="net", properties={"IFINDEX": "7", "INTERFACE": "tap0"})
    tree.add("/devices/pci0000:00/0000:00:02.0", bus="pci")
    *_, terminal = hardware.usb_serial(tree)
    (block,) = hardware.disk(tree)
    for devpath in (terminal, block, "/devices/pci0000:00/0000:00:02.0"):
        tree.record(devpath, properties={"ID_SERIAL": devpath}, tags=["seat"], symlinks=[f"by-id{devpath}"])
    (tree.udev / "data/n7").write_text("E:ID_NET_NAME=tap\n")
    view = view_of(tree)
    for subsystem, devpath in (("tty", terminal), ("block", block), ("pci", "/devices/pci0000:00/0000:00:02.0")):
        (device,) = view.devices(subsystem)
        assert device.properties["ID_SERIAL"] == devpath
        assert device.tags == {"seat"}
        assert device.udev is not None
        assert device.udev.symlinks == (f"/dev/by-id{devpath}",)
        assert device.udev.initialized
    (net,) = view.devices("net")
    assert net.properties["ID_NET_NAME"] == "tap"


def test_an_empty_database_is_none(tree: Tree) -> None:
    """A directory that the kubelet made for a mount that is not there must not pass for udev's."""
    assert not view_of(tree).udev_database_available()
    (tree.udev / "data/c1:3").write_text("E:A=b\n")
    assert view_of(tree).udev_database_available()


def test_slashes_in_kernel_names_are_written_with_exclamation_marks(tree: Tree) -> None:
    """An old disk array's ``cciss/c0d0`` keeps its name, its node and its record."""
    tree.add("/devices/virtual/block/cciss!c0d0", cls="block", node=Node("cciss/c0d0", 104, 0, block=True))
    (device,) = view_of(tree).devices("block")
    assert (device.name, device.node) == ("cciss/c0d0", "/dev/cciss/c0d0")


LINE = st.text(st.characters(codec="utf-8", exclude_categories=("Cc", "Zl", "Zp")), min_size=1, max_size=8)
KEY = LINE.filter(lambda text: "=" not in text)


@given(st.dictionaries(KEY, LINE, max_size=3), st.frozensets(LINE, max_size=3), st.lists(LINE, max_size=3), st.booleans())
def test_a_record_is_read_as_it_was_written(
    properties: dict[str, str],
    tags: frozenset[str],
    links: list[str],
    initialized: bool,
) -> None:
    """Whatever udevd writes into a record comes out of it."""
    lines = [f"E:{key}={value}" for key, value in properties.items()] + [f"Q:{tag}" for tag in tags] + ["V:1"]
    lines += [f"S:{link}" for link in links] + ["I:12"] * initialized + ["G:of another time", "L:-100", "nonsense", ""]
    assert parse_record("\n".join(lines)) == UdevRecord(
        properties=properties,
        tags=tags,
        symlinks=tuple(f"/dev/{link}" for link in links),
        initialized=initialized,
    )


def test_an_old_udev_has_one_kind_of_tags() -> None:
    """Before udev 247 a record has no current tags; all its tags count."""
    assert parse_record("G:seat\nG:uaccess\n").tags == {"seat", "uaccess"}
    assert parse_record("G:seat\nV:1\n").tags == frozenset()


@given(st.lists(st.integers(0, 300), unique=True))
def test_people_count_numbers(numbers: list[int]) -> None:
    """Names that differ in a number are ordered by the number."""
    names = [f"pcmC{number}D0p" for number in numbers]
    assert sorted(names, key=natural_order) == [f"pcmC{number}D0p" for number in sorted(numbers)]
