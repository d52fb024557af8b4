"""Every way to match a device, on trees of files."""

import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.bed import hardware
from tests.bed.fakesys import Node, Tree
from tests.bed.strace import Trace
from tests.plugins.generic.rig import adapter, controller, look, paths, plugin_on

pytestmark = pytest.mark.root  # device nodes are made

ADAPTERS = "/devices/pci0000:00/0000:00:14.0/usb1"


@pytest.fixture
def serial(tree: Tree) -> Tree:
    """Two adapters of one maker and one of another, on a controller at NUMA node 1; udev knows the first."""
    controller(tree, numa_node=1)
    adapter(tree, "1", 0, serial="A1")
    adapter(tree, "2", 1, serial="B2")
    adapter(tree, "3", 10, vendor="10C4")
    tree.record(f"{ADAPTERS}/1-1/1-1:1.0/ttyUSB0/tty/ttyUSB0", properties={"ID_MODEL": "FT232R"}, tags=["systemd", "robot"])
    return tree


@pytest.mark.parametrize(
    ("match", "nodes"),
    [
        ("{path: '/dev/ttyUSB*'}", ["ttyUSB0", "ttyUSB1", "ttyUSB10"]),
        ("{path: '/dev/ttyUSB?'}", ["ttyUSB0", "ttyUSB1"]),
        ("{path: '/dev/**/00*'}", ["bus/usb/001/002", "bus/usb/001/003"]),
        ("{path: /dev/ttyUSB1}", ["ttyUSB1"]),
        ("{path: /dev/ttyUSB7}", []),
        ("{udev: {subsystem: tty}}", ["ttyUSB0", "ttyUSB1", "ttyUSB10"]),
        ("{udev: {subsystem: tty, name: 'ttyUSB1*'}}", ["ttyUSB1", "ttyUSB10"]),
        ("{udev: {subsystem: tty, driver: ftdi_sio}}", ["ttyUSB0", "ttyUSB1", "ttyUSB10"]),
        ("{udev: {subsystem: tty, driver: cp210x}}", []),
        ("{udev: {subsystem: tty, properties: {ID_MODEL: 'FT*'}}}", ["ttyUSB0"]),
        ("{udev: {subsystem: tty, properties: {ID_MODEL: 'FT'}}}", []),
        ("{udev: {subsystem: tty, properties: {MINOR: '1*'}}}", ["ttyUSB1", "ttyUSB10"]),
        ("{udev: {subsystem: tty, tags: [robot]}}", ["ttyUSB0"]),
        ("{udev: {subsystem: tty, tags: [robot, seat]}}", []),
        ("{udev: {subsystem: tty, attributes: {dev: '188:10'}}}", ["ttyUSB10"]),
        ("{udev: {subsystem: tty, attributes: {none: '*'}}}", []),
        ("{udev: {subsystem: tty, parent: {attributes: {serial: B2}}}}", ["ttyUSB1"]),
        (
            "{udev: {subsystem: tty, parent: {subsystem: usb, driver: usb, name: 1-3, attributes: {idVendor: 10C4}}}}",
            ["ttyUSB10"],
        ),
        ("{udev: {subsystem: tty, parent: {driver: ftdi_sio, attributes: {serial: B2}}}}", []),
        ("{udev: {subsystem: tty, usb: {vendor: '0403'}}}", ["ttyUSB0", "ttyUSB1"]),
        ("{udev: {subsystem: tty, usb: {vendor: 10c4}}}", ["ttyUSB10"]),
        ("{udev: {subsystem: tty, usb: {serial: '[AB]*', port: '*-2'}}}", ["ttyUSB1"]),
        ("{udev: {subsystem: usb, properties: {DEVTYPE: usb_device}, attributes: {serial: A1}}}", ["bus/usb/001/002"]),
        ("{usb: {vendor: '0403', product: '6001'}}", ["bus/usb/001/002", "bus/usb/001/003"]),
        ("{usb: {vendor: '0403', serial: B2}}", ["bus/usb/001/003"]),
        ("{usb: {product: '9999'}}", []),
    ],
)
def test_matches(serial: Tree, match: str, nodes: list[str]) -> None:
    """Each rule takes what it describes, one unit each, in the order in which people count."""
    devices = look(serial, match)
    assert paths(devices) == [(f"/dev/{node}",) for node in nodes]
    assert all(device.healthy for device in devices)


def test_the_numa_node_comes_from_sysfs(serial: Tree) -> None:
    """A device sits where its controller sits; a device that sits nowhere has no preference."""
    assert {device.topology.numa_nodes for device in look(serial, "{path: '/dev/ttyUSB*'}")} == {(1,)}
    hardware.misc(serial)
    assert look(serial, "{path: /dev/fuse}")[0].topology.numa_nodes == ()


def test_one_node_under_several_names_is_one_device(serial: Tree) -> None:
    """A pattern that finds a node and links to it offers the node, under its own name."""
    (serial.dev / "ttyUSB-arm").symlink_to("ttyUSB0")
    devices = look(serial, "{path: '/dev/ttyUSB*'}")
    assert paths(devices) == [("/dev/ttyUSB0",), ("/dev/ttyUSB1",), ("/dev/ttyUSB10",)]
    assert [node.container_path for device in devices for node in device.edits.device_nodes] == [None] * 3


def test_a_node_found_by_a_link_keeps_the_name_of_the_link(serial: Tree) -> None:
    """The runtime gets the node itself, and the container sees the name that the operator wrote."""
    (serial.dev / "serial/by-id").mkdir(parents=True)
    (serial.dev / "serial/by-id/usb-FTDI-if00").symlink_to("../../ttyUSB1")
    (device,) = look(serial, "{path: '/dev/serial/by-id/usb-FTDI*'}")
    (node,) = device.edits.device_nodes
    assert (node.host_path, node.container_path) == ("/dev/ttyUSB1", "/dev/serial/by-id/usb-FTDI-if00")


def test_alternatives_add_up_and_take_each_node_once(serial: Tree) -> None:
    """All matches of a resource together give its devices; what two of them find is offered once."""
    plugin = plugin_on(
        serial,
        "  - {name: example.com/a, match: [{path: /dev/ttyUSB1}, {udev: {subsystem: tty}}, {path: /dev/none}]}",
    )
    (devices,) = plugin.discover().values()
    assert paths(devices) == [("/dev/ttyUSB1",), ("/dev/ttyUSB0",), ("/dev/ttyUSB10",)]


def test_files_are_mounted(tree: Tree) -> None:
    """A mount takes whatever lies at the path, and gives it as a mount, not as a device."""
    (tree.dev / "shm").mkdir()
    (tree.dev / "shm/pulse-1").write_text("")
    (tree.dev / "shm/pulse-2").mkdir()
    (tree.dev / "shm/pulse-3").symlink_to("/etc/nothing")
    first, second = look(tree, "{mount: '/dev/shm/pulse-*', readOnly: false, containerPath: /run/pulse}")
    assert (first.healthy, second.healthy) == (True, True)
    assert first.edits.device_nodes == ()
    (mount,) = second.edits.mounts
    assert (mount.host_path, mount.container_path, mount.read_only) == ("/dev/shm/pulse-2", "/run/pulse", False)


@pytest.mark.parametrize(
    ("rule", "needs"),
    [
        ("tags: [robot]", "tag robot"),
        ("properties: {ID_MODEL: x}", "property ID_MODEL"),
        ("tags: [robot], properties: {ID_MODEL: x, MINOR: '0'}", "tag robot, property ID_MODEL"),
    ],
)
def test_without_the_udev_database_a_rule_that_needs_it_says_so(tree: Tree, rule: str, needs: str) -> None:
    """Properties and tags of udev are never silently absent."""
    plugin = plugin_on(tree, f"  - {{name: example.com/a, match: [{{udev: {{subsystem: tty, {rule}}}}}]}}")
    said = (
        f"example.com/a, match 1: {needs} can only be seen in the host's udev database, and /run/udev of the host is not there",
    )
    for index in range(2):
        assert plugin.discover() == {"example.com/a": ()}
        assert plugin.notices() == said
        hardware.usb_serial(tree, index)


def test_properties_of_the_kernel_need_no_database(tree: Tree) -> None:
    """What the kernel itself says is seen in sysfs, with udev or without, known to us beforehand or not."""
    tree.add("/devices/virtual/misc/odd", cls="misc", node=Node("odd", 10, 99), properties={"ODD_COLOUR": "green"})
    plugin = plugin_on(
        tree,
        "  - {name: example.com/a, match: [{udev: {subsystem: misc, properties: {DEVNAME: /dev/odd, ODD_COLOUR: g*}}}]}\n"
        "  - {name: example.com/b, match: [{udev: {subsystem: none, properties: {DEVTYPE: disk}}}]}",
    )
    found = plugin.discover()
    assert [len(devices) for devices in found.values()] == [1, 0]
    assert plugin.notices() == ("example.com/b, match 1: waits for a device: nothing fits udev subsystem=none DEVTYPE=disk",)


@pytest.mark.parametrize(
    ("make", "match", "reason"),
    [
        ("file", "{path: '/dev/ttyUSB*'}", "/dev/ttyUSB7 is a regular file, not a device node"),
        ("file", "{path: /dev/ttyUSB7}", "/dev/ttyUSB7 is a regular file, not a device node"),
        ("directory", "{path: /dev/ttyUSB7}", "/dev/ttyUSB7 is a directory, not a device node"),
    ],
)
def test_what_is_no_device_node_is_not_healthy(tree: Tree, make: str, match: str, reason: str) -> None:
    """A file where a device should be (left behind by a careless redirection) is offered to nobody, and says why."""
    target = tree.dev / "ttyUSB7"
    target.mkdir() if make == "directory" else target.write_text("oops")
    (device,) = look(tree, match)
    assert (device.healthy, device.reason) == (False, reason)


def test_a_pattern_passes_over_directories(tree: Tree) -> None:
    """Nobody means the directory when writing ``/dev/snd/*``."""
    (tree.dev / "snd/by-path").mkdir(parents=True)
    tree.add_node(Node("snd/timer", 116, 33))
    assert paths(look(tree, "{path: '/dev/snd/*'}")) == [("/dev/snd/timer",)]


def test_a_stale_node_is_not_handed_out(tree: Tree) -> None:
    """A node whose numbers are not those of its device would open another device."""
    tree.add("/devices/virtual/misc/fuse", cls="misc", node=Node("fuse", 10, 229))
    (tree.dev / "fuse").unlink()
    tree.add_node(Node("fuse", 10, 200))
    (device,) = look(tree, "{udev: {subsystem: misc}}")
    assert device.reason == "/dev/fuse is 10:200, but the kernel's fuse is 10:229"


def test_a_device_whose_node_is_not_there_yet_is_waited_for(tree: Tree) -> None:
    """sysfs first, the node a moment later: between the two there is no device to hand out."""
    hardware.misc(tree)
    (tree.dev / "fuse").unlink()
    plugin = plugin_on(tree, "  - {name: example.com/a, match: [{udev: {subsystem: misc}}]}")
    assert plugin.discover() == {"example.com/a": ()}
    assert plugin.notices() == ("example.com/a, match 1: waits for a device: nothing fits udev subsystem=misc",)
    tree.add_node(Node("fuse", 10, 229))
    assert len(plugin.discover()["example.com/a"]) == 1
    assert plugin.notices() == ()


LOOK = """
import sys
from supervisor import Host
from supervisor_generic import GenericConfig, GenericPlugin
from supervisor_generic.config import Match, Resource, UdevMatch, UsbMatch
root = sys.argv[1]
host = Host(f"{root}/sys", f"{root}/dev", f"{root}/proc", f"{root}/run/udev")
ways = (
    Match(path="/dev/**"), Match(path="/dev/away"), Match(mount="/sys/class/*"), Match(usb=UsbMatch(vendor="0403")),
    Match(udev=UdevMatch(subsystem="tty", tags=("robot",), properties={"ID_MODEL": "*"}, driver="*", usb=UsbMatch(port="*"))),
    Match(udev=UdevMatch(subsystem="mem")),
)
plugin = GenericPlugin(GenericConfig(resources=(Resource(name="example.com/a", match=ways),)), host)
for resource, devices in plugin.discover().items():
    print(*(node.host_path for device in devices for node in device.edits.device_nodes))
plugin.explain("null")
plugin.explain("ttyUSB0")
"""


def test_under_other_roots_nothing_real_is_touched(serial: Tree, strace: Callable[..., Trace], short_dir: Path) -> None:
    """With roots elsewhere no call names this machine's /sys, /dev or /run/udev, not even through absolute links."""
    (serial.dev / "away").symlink_to("/dev/null")
    (serial.dev / "null").symlink_to("/sys/class/mem/null")
    (serial.sys / "class/mem").symlink_to("/sys/devices/virtual/mem")
    script = short_dir / "look.py"
    script.write_text(LOOK)
    path = ":".join(entry for entry in sys.path if entry)
    idle = strace(sys.executable, "-c", "import supervisor_generic", PYTHONPATH=path)
    busy = strace(sys.executable, str(script), str(serial.root), PYTHONPATH=path)
    assert busy.status == 0, busy.errors
    assert "/dev/ttyUSB0" in busy.output.split()
    for real in ("/sys", "/dev", "/run"):
        assert busy.below(real) <= idle.below(real)
    assert busy.below(serial.root)
