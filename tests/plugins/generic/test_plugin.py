"""The plugin as the core uses it."""

import pytest

from supervisor import DevicePlugin, Explainer, Host, Noticer
from supervisor.inventory import check_look
from supervisor_generic import GenericConfig, device_plugins
from tests.bed import hardware
from tests.bed.fakesys import Tree
from tests.plugins.generic.rig import adapter, config_of, controller, plugin_on

pytestmark = pytest.mark.root  # device nodes are made

FUSE = "  - {name: example.com/fuse, match: [{path: /dev/fuse}], replicas: 3}\n"
SERIAL = "  - {name: example.com/serial, match: [{udev: {subsystem: tty, usb: {vendor: '0403'}}}]}\n"


def test_the_hook_makes_one_plugin_for_all_resources() -> None:
    """One look serves all rules; without resources there is nothing to look for."""
    (plugin,) = device_plugins(config_of(f"resources:\n{FUSE}{SERIAL}"), Host())
    assert plugin.name == "generic"
    assert isinstance(plugin, Noticer)
    assert isinstance(plugin, Explainer)
    assert list(device_plugins(GenericConfig(), Host())) == []


def test_what_it_says_passes_the_border(tree: Tree) -> None:
    """Nothing of what it offers is quarantined."""
    hardware.misc(tree)
    for index in range(3):
        hardware.usb_serial(tree, index)
    plugin: DevicePlugin = plugin_on(tree, FUSE + SERIAL)
    looked = check_look(plugin.discover())
    assert looked.quarantined == ()
    assert {name: len(inventory.devices) for name, inventory in looked.inventories.items()} == {
        "example.com/fuse": 3,
        "example.com/serial": 3,
    }


def test_what_did_not_change_is_the_same_object(tree: Tree) -> None:
    """The core compares by identity first: untouched devices, and untouched resources, come back as they are."""
    hardware.misc(tree)
    for index in range(2):
        hardware.usb_serial(tree, index)
    plugin = plugin_on(tree, FUSE + SERIAL)
    first, again = plugin.discover(), plugin.discover()
    assert all(again[name] is first[name] for name in first)
    hardware.usb_serial(tree, 2)
    third = plugin.discover()
    assert third["example.com/fuse"] is first["example.com/fuse"]
    assert len(third["example.com/serial"]) == 3
    assert all(new is old for new, old in zip(third["example.com/serial"], first["example.com/serial"], strict=False))


def test_replicas_share_everything_but_the_id(tree: Tree) -> None:
    """Fifty thousand replicas hold one set of edits."""
    hardware.misc(tree)
    devices = plugin_on(tree, FUSE.replace("replicas: 3", "replicas: 50000")).discover()["example.com/fuse"]
    assert len({device.id for device in devices}) == 50_000
    assert all(device.edits is devices[0].edits for device in devices)


def test_more_than_a_kubelet_can_hold_is_cut_and_said(tree: Tree) -> None:
    """Replicas times units is bounded; the rest is named, not forgotten."""
    for index in range(3):
        hardware.disk(tree, index)
    plugin = plugin_on(tree, "  - {name: example.com/a, match: [{path: '/dev/loop*'}], replicas: 40000}\n")
    assert len(plugin.discover()["example.com/a"]) == 80_000
    assert plugin.notices() == ("example.com/a: only the first 2 of 3 units are offered",)


def test_a_path_that_matches_nothing_yet_may_belong_to_any_subsystem(tree: Tree) -> None:
    """Until a node has shown whose it is every event may bring it; from then on only its own subsystem's."""
    plugin = plugin_on(tree, FUSE + SERIAL)
    seen = [set(plugin.udev_subsystems)]
    plugin.discover()
    seen.append(set(plugin.udev_subsystems))
    hardware.misc(tree)
    plugin.discover()
    seen.append(set(plugin.udev_subsystems))
    assert seen == [{"*"}, {"*"}, {"misc", "tty", "usb"}]


def test_rules_of_udev_know_their_subsystem_from_the_start(tree: Tree) -> None:
    """No look is needed; files come without events."""
    plugin = plugin_on(tree, SERIAL + "  - {name: example.com/m, match: [{mount: '/dev/shm/*'}]}\n")
    assert plugin.udev_subsystems == ("tty", "usb")


def test_it_says_what_it_waits_for(tree: Tree) -> None:
    """Absent hardware is a state: each match without a device is named until one comes."""
    plugin = plugin_on(tree, FUSE + SERIAL)
    assert plugin.notices() == ()
    plugin.discover()
    assert plugin.notices() == (
        "example.com/fuse, match 1: waits for a device: nothing fits path /dev/fuse",
        "example.com/serial, match 1: waits for a device: nothing fits udev subsystem=tty usb(vendor=0403)",
    )
    hardware.misc(tree)
    hardware.usb_serial(tree)
    plugin.discover()
    assert plugin.notices() == ()


def test_a_group_waits_for_its_required_members_only(tree: Tree) -> None:
    """What a group lacks is named by member; an optional member is not waited for."""
    hardware.misc(tree)
    plugin = plugin_on(
        tree,
        "  - {name: example.com/g, match: [{group: [{path: /dev/fuse}, {path: /dev/a}, {path: /dev/b, optional: true}]}]}",
    )
    plugin.discover()
    assert plugin.notices() == ("example.com/g, match 1: waits for a device: nothing fits path /dev/a",)


def test_it_explains_what_it_took(tree: Tree) -> None:
    """By id, by replica's id, by node, by kernel name: the rule, the nodes, the health."""
    controller(tree, numa_node=1)
    hardware.misc(tree)
    adapter(tree, "1", 0, serial="A1")
    plugin = plugin_on(tree, FUSE + SERIAL)
    fuse = plugin.discover()["example.com/fuse"][2].id
    taken = f"example.com/fuse, match 1 (path /dev/fuse) offers /dev/fuse 3 times as {fuse.removesuffix('::2')}; it is healthy."
    assert list(plugin.explain(fuse)) == [taken]
    for text in ("/dev/fuse", "fuse", "/sys/class/misc/fuse"):
        assert list(plugin.explain(text)) == [
            taken,
            "example.com/serial, match 1 (udev subsystem=tty usb(vendor=0403)) refuses fuse: its subsystem is misc, not tty.",
        ]
    assert any(sentence.endswith("it is healthy, on NUMA node 1.") for sentence in plugin.explain("ttyUSB0"))


@pytest.mark.parametrize(
    ("rule", "reason"),
    [
        ("udev: {subsystem: misc}", "its subsystem is tty, not misc"),
        ("udev: {subsystem: tty, name: ttyS*}", "its name is 'ttyUSB0', not 'ttyS*'"),
        ("udev: {subsystem: tty, driver: cp210x}", "its driver is 'ftdi_sio', not 'cp210x'"),
        ("udev: {subsystem: tty, usb: {serial: B2}}", "its USB serial is 'A1', not 'B2'"),
        ("udev: {subsystem: tty, attributes: {x: 1*}}", "its attribute x is not there; '1*' is asked for"),
        ("udev: {subsystem: tty, parent: {driver: a}}", "none of its 3 ancestors is one with driver=a"),
        ("udev: {subsystem: tty, tags: [a]}", "it does not carry the tag a"),
        ("udev: {subsystem: tty, properties: {ID_X: a}}", "its property ID_X is not there; 'a' is asked for"),
        ("usb: {vendor: '0403'}", "its subsystem is tty, not usb"),
        ("path: /dev/ttyUSB1", "/dev/ttyUSB0 does not match"),
        ("mount: /dev/shm/*", "/dev/ttyUSB0 does not match"),
    ],
)
def test_it_explains_what_it_refused(tree: Tree, rule: str, reason: str) -> None:
    """The first condition that a device does not meet is named with what is there and what was asked for."""
    controller(tree)
    adapter(tree, "1", 0, serial="A1")
    hardware.misc(tree)
    tree.record("/devices/virtual/misc/fuse")
    plugin = plugin_on(tree, f"  - {{name: example.com/a, match: [{{{rule}}}]}}")
    (sentence,) = plugin.explain("ttyUSB0")
    assert sentence.endswith(f": {reason}.")


def test_it_explains_what_it_took_but_does_not_offer(tree: Tree) -> None:
    """A member without a partner, and a node that an earlier match has taken."""
    for index in range(2):
        hardware.disk(tree, index)
    hardware.misc(tree)
    plugin = plugin_on(
        tree,
        "  - {name: example.com/g, match: [{group: [{path: '/dev/loop*'}, {path: /dev/fuse}]}]}\n"
        "  - {name: example.com/a, match: [{path: /dev/loop1}, {path: '/dev/loop*'}]}",
    )
    sentences = list(plugin.explain("loop1"))
    assert (
        "example.com/g, match 1 (path /dev/loop*) takes /dev/loop1, but the other members of its group give it no partner."
        in sentences
    )
    assert "example.com/a, match 2 (path /dev/loop*) takes /dev/loop1, but match 1 of this resource came first." in sentences


def test_a_kernel_name_stands_for_a_node_of_another_name(tree: Tree) -> None:
    """``pcmC0D0c`` is ``/dev/snd/pcmC0D0c``; what a match offers is told once, not once more for each member that does not take it."""
    hardware.camera(tree)
    card = "{each: pci, group: [{udev: {subsystem: video4linux, attributes: {index: '0'}}}, {udev: {subsystem: sound}}]}"
    plugin = plugin_on(tree, f"  - {{name: example.com/card, match: [{card}]}}")
    (device,) = plugin.discover()["example.com/card"]
    (sentence,) = plugin.explain("pcmC0D0c")
    assert f"offers /dev/snd/pcmC0D0c, /dev/video0 as {device.id}" in sentence
    assert list(plugin.explain("/dev/snd/pcmC0D0c")) == [sentence]


def test_a_device_without_a_node_goes_by_its_place_in_sysfs(tree: Tree) -> None:
    """No node is made up for it."""
    hardware.camera(tree)
    (sentence,) = plugin_on(tree, FUSE).explain("0000:70:00.0")
    place = "/sys/devices/pci0000:00/0000:70:00.0"
    assert sentence == f"example.com/fuse, match 1 (path /dev/fuse) refuses {place}: {place} does not match."


def test_of_what_it_does_not_know_it_says_nothing(tree: Tree) -> None:
    """Another plugin may know it."""
    assert plugin_on(tree, FUSE).explain("nothing-0") == ()
