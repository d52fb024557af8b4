"""Ids: stable over renumbering and replugging, unique, short, and plain."""

import re
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from supervisor_generic import GenericPlugin
from supervisor_generic.identity import MAX_ID, device_id, mask, place_among, replica_ids, unit_of
from tests.bed import hardware
from tests.bed.fakesys import Node, Tree
from tests.plugins.generic.rig import adapter, controller, ids_by_path, look, plugin_on

SERIAL = "  - {name: example.com/serial, match: [{udev: {subsystem: tty, usb: {vendor: '0403'}}}]}"
NAMES = st.text(max_size=200)


def ids(plugin: GenericPlugin, resource: str = "example.com/serial") -> dict[str, str]:
    return dict(ids_by_path(plugin.discover()[resource]))


@given(NAMES, NAMES, NAMES, st.integers(1, 30))
def test_ids_are_short_and_plain(resource: str, key: str, label: str, replicas: int) -> None:
    """Whatever a device is called, its ids are what the kubelet takes, and all differ."""
    unit = device_id(resource, key, label)
    made = replica_ids(unit, replicas)
    assert len(made) == len(set(made)) == replicas
    assert made[0] == unit
    for name in made:
        assert re.fullmatch(r"[-.:A-Za-z0-9]{1,63}", name)
        assert unit_of(name) == unit


def test_the_longest_id_just_fits() -> None:
    """The hundred-thousandth replica of a device with an endless name is still within the limit."""
    assert len(replica_ids(device_id("r", "k", "x" * 100), 100_000)[-1]) == MAX_ID


@given(st.lists(st.tuples(NAMES, NAMES), unique=True, max_size=20), NAMES)
def test_other_keys_have_other_ids(pairs: list[tuple[str, str]], label: str) -> None:
    """Two resources, or two devices of one, never share an id."""
    assert len({device_id(resource, key, label) for resource, key in pairs}) == len(pairs)


@given(NAMES, NAMES, NAMES)
def test_an_id_depends_on_its_key_alone(resource: str, key: str, label: str) -> None:
    """The same device gets the same id in every process: nothing random, nothing counted goes in."""
    assert device_id(resource, key, label) == device_id(resource, key, label)
    assert device_id("example.com/fuse", "node /dev/fuse", "fuse") == "fuse-375e440e"


@pytest.mark.parametrize(
    ("name", "masked"),
    [
        ("ttyUSB7", "ttyUSB#"),
        ("pcmC1D0c", "pcmC#D#c"),
        ("3-1.2", "#-1.2"),
        ("3-1.2:1.0", "#-1.2:1.0"),
        ("usb3", "usb#"),
        ("0003:046D:C52B.000A", "0003:046D:C52B.#"),
        ("sdab", "sd#"),
        ("sda3", "sd#3"),
        ("nvme0n1p2", "nvme#n#p#"),
        ("fuse", "fuse"),
    ],
)
def test_counted_parts_of_names_are_masked(name: str, masked: str) -> None:
    """What the kernel merely counts goes; ports, vendors and partitions stay."""
    assert mask(name) == masked


@given(st.sets(st.integers(0, 40), min_size=1, max_size=6), st.integers(1, 9))
def test_a_place_does_not_depend_on_where_counting_began(numbers: set[int], shift: int) -> None:
    """Siblings keep their places when the kernel starts counting elsewhere, and no two have one place."""
    names = [f"video{number}" for number in sorted(numbers)]
    shifted = [f"video{number + shift}" for number in sorted(numbers)]
    places = [place_among(name, names) for name in names]
    assert places == [place_among(name, shifted) for name in shifted]
    assert len(set(places)) == len(names)


def test_terminals_that_swap_numbers_keep_their_ids(tree: Tree, short_dir: Path) -> None:
    """After a reboot ttyUSB0 is ttyUSB1 and the bus has another number: each adapter still has its id."""
    controller(tree)
    adapter(tree, "1", 0, serial="A1")
    adapter(tree, "2", 1, serial="B2")
    adapter(tree, "3", 2)
    before = ids(plugin_on(tree, SERIAL))
    rebooted = Tree(short_dir / "rebooted")
    controller(rebooted)
    adapter(rebooted, "3", 0, bus=2)
    adapter(rebooted, "2", 1, serial="A1", bus=2)
    adapter(rebooted, "1", 2, serial="B2", bus=2)
    after = ids(plugin_on(rebooted, SERIAL))
    assert len(set(before.values())) == 3
    assert (after["/dev/ttyUSB1"], after["/dev/ttyUSB2"], after["/dev/ttyUSB0"]) == (
        before["/dev/ttyUSB0"],
        before["/dev/ttyUSB1"],
        before["/dev/ttyUSB2"],
    )
    assert before["/dev/ttyUSB0"].startswith("usb-0403-6001-A1-ttyUSB-")


def test_the_terminals_of_one_adapter_differ(tree: Tree) -> None:
    """Four ports behind one serial number are four devices, told apart by their interface."""
    controller(tree)
    adapter(tree, "1", 0, serial="FT4", ports=4)
    before = ids(plugin_on(tree, SERIAL))
    assert len(set(before.values())) == 4
    tree.remove("/devices/pci0000:00/0000:00:14.0/usb1/1-1")
    adapter(tree, "4", 7, serial="FT4", ports=4)
    assert list(ids(plugin_on(tree, SERIAL)).values()) == list(before.values())


def test_twins_are_both_offered(tree: Tree) -> None:
    """Of adapters with one serial number the one at the lower port goes by it alone, in every process."""
    controller(tree)
    adapter(tree, "2", 0, serial="0001")
    adapter(tree, "1.4", 1, serial="0001")
    once, again = ids(plugin_on(tree, SERIAL)), ids(plugin_on(tree, SERIAL))
    assert once == again
    assert once["/dev/ttyUSB1"].startswith("usb-0403-6001-0001-ttyUSB-")
    assert once["/dev/ttyUSB0"].startswith("usb-0403-6001-0001-2-ttyUSB-")


def test_a_twin_does_not_take_over_an_id_in_use(tree: Tree) -> None:
    """An adapter that goes by its serial number keeps doing so when a twin comes, even at a lower port."""
    controller(tree)
    adapter(tree, "2", 0, serial="0001")
    plugin = plugin_on(tree, SERIAL)
    alone = ids(plugin)
    adapter(tree, "1", 1, serial="0001")
    both = ids(plugin)
    assert both["/dev/ttyUSB0"] == alone["/dev/ttyUSB0"]
    assert both["/dev/ttyUSB1"] != alone["/dev/ttyUSB0"]
    tree.remove("/devices/pci0000:00/0000:00:14.0/usb1/1-2")
    assert ids(plugin) == {"/dev/ttyUSB1": both["/dev/ttyUSB1"]}
    adapter(tree, "7", 0, serial="0001")
    assert ids(plugin) == both


def test_one_device_has_another_id_in_each_resource(tree: Tree) -> None:
    """The kubelet tells devices apart by id alone, over all resources."""
    hardware.misc(tree)
    plugin = plugin_on(
        tree,
        "  - {name: example.com/a, match: [{udev: {subsystem: misc}}]}\n"
        "  - {name: example.com/b, match: [{udev: {subsystem: misc}}]}",
    )
    (a,), (b,) = plugin.discover().values()
    assert a.id != b.id
    assert a.edits == b.edits


def test_more_replicas_leave_ids_as_they_are(tree: Tree) -> None:
    """Raising ``replicas`` adds ids; those that pods hold stay valid."""
    hardware.misc(tree)
    match = "{udev: {subsystem: misc}}"
    one, four = look(tree, match), look(tree, match, replicas=4)
    assert [device.id for device in four] == [one[0].id, *(f"{one[0].id}::{n}" for n in (1, 2, 3))]


@pytest.mark.root
def test_a_link_that_was_asked_for_is_the_identity(tree: Tree) -> None:
    """A name that the operator gave by a udev rule outlives everything behind it."""
    controller(tree)
    adapter(tree, "1", 0, serial="A1")
    (tree.dev / "robot-arm").symlink_to("ttyUSB0")
    (before,) = look(tree, "{path: /dev/robot-arm}")
    tree.remove("/devices/pci0000:00/0000:00:14.0/usb1/1-1")
    adapter(tree, "4", 5, serial="Z9")
    (tree.dev / "robot-arm").unlink()
    (tree.dev / "robot-arm").symlink_to("ttyUSB5")
    (after,) = look(tree, "{path: /dev/robot-arm}")
    assert before.id == after.id
    assert before.id.startswith("robot-arm-")
    (node,) = after.edits.device_nodes
    assert (node.host_path, node.container_path) == ("/dev/ttyUSB5", "/dev/robot-arm")


def test_disks_go_by_what_their_maker_wrote(tree: Tree) -> None:
    """A disk keeps its id in another slot under another name, and its partitions theirs."""
    seen: list[list[str]] = []
    for slot, name, minor in (("0000:01:00.0", "nvme0n1", 0), ("0000:07:00.0", "nvme3n1", 64)):
        slot_path = tree.add(f"/devices/pci0000:00/{slot}", bus="pci")
        disk = f"{slot_path}/nvme/{name[:5]}/{name}"
        tree.add(
            disk,
            cls="block",
            attrs={"wwid": "eui.0025388b710116f1"},
            properties={"DEVTYPE": "disk"},
            node=Node(name, 259, minor, block=True),
        )
        tree.add(
            f"{disk}/{name}p2",
            cls="block",
            attrs={"partition": 2},
            properties={"DEVTYPE": "partition"},
            node=Node(f"{name}p2", 259, minor + 2, block=True),
        )
        seen.append([device.id for device in look(tree, "{udev: {subsystem: block}}")])
        tree.remove(slot_path)
    assert seen[0] == seen[1]
    assert [name.rpartition("-")[0] for name in seen[0]] == ["eui.0025388b710116f1", "eui.0025388b710116f1-part2"]


def test_two_paths_to_one_disk_are_told_apart(tree: Tree) -> None:
    """Where even the maker's identity is shared, both devices are offered under ids of their own."""
    for at, name in enumerate(("sda", "sdb")):
        tree.add(
            f"/devices/pci0000:00/0000:0{at}:00.0/host{at}/block/{name}",
            cls="block",
            attrs={"wwid": "naa.5"},
            node=Node(name, 8, 16 * at, block=True),
        )
    found = look(tree, "{udev: {subsystem: block}}")
    assert len({device.id for device in found}) == 2
    assert [device.id for device in look(tree, "{udev: {subsystem: block}}")] == [device.id for device in found]


def test_platform_devices_go_by_their_place(tree: Tree) -> None:
    """A GPIO chip that is counted differently at each boot keeps the name of its place on the board."""
    match = "{udev: {subsystem: gpio, name: 'gpiochip*'}}"
    board = tree.add("/devices/platform/soc/fe200000.gpio", bus="platform")
    tree.add(f"{board}/gpiochip0", bus="gpio", node=Node("gpiochip0", 254, 0))
    (before,) = look(tree, match)
    tree.remove(f"{board}/gpiochip0")
    tree.add(f"{board}/gpiochip4", bus="gpio", node=Node("gpiochip4", 254, 4))
    (after,) = look(tree, match)
    assert before.id == after.id
    assert before.id.startswith("fe200000.gpio-gpiochip-")


def test_what_only_udev_knows_is_used_last(tree: Tree) -> None:
    """A device without a place on any bus goes by udev's serial number, once udev has written it."""
    devpath = tree.add("/devices/virtual/misc/card3", cls="misc", node=Node("card3", 10, 3))
    match = "{udev: {subsystem: misc}}"
    assert look(tree, match)[0].id.startswith("card3-")
    tree.record(devpath, properties={"ID_SERIAL": "SmartCard 0815"})
    assert look(tree, match)[0].id.startswith("SmartCard-0815-")
