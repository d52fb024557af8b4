"""Units: how members are zipped, what a container sees, and what makes a unit unusable."""

from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from supervisor_generic.config import Member
from supervisor_generic.units import zip_members
from tests.bed import hardware
from tests.bed.fakesys import Node, Tree
from tests.plugins.generic.rig import look, paths, plugin_on


def member(limit: int = 1, *, optional: bool = False, together: bool = False) -> Member:
    """A member as the zipper sees it."""
    return Member(path="/dev/x", limit=1 if together else limit, optional=optional, together=together)


MEMBERS = st.lists(
    st.tuples(
        st.builds(member, st.integers(1, 4), optional=st.booleans(), together=st.booleans()),
        st.integers(0, 6).map(range),
    ),
    min_size=1,
    max_size=4,
).filter(lambda pairs: not all(one.optional for one, _ in pairs))


@given(MEMBERS)
def test_zipping_keeps_its_promises(pairs: list[tuple[Member, range]]) -> None:
    """The required members decide the number; nothing is shared by more units than its limit; no two units are alike."""
    members, found = zip(*pairs, strict=True)
    units = zip_members(members, found)
    required = [(one, things) for one, things in pairs if not one.optional]
    if any(not things for _, things in required):
        assert units == []
        return
    zipped = [(one, things) for one, things in required if not one.together]
    sizes = [len(things) for _, things in zipped]
    assert len(units) == (min(max(sizes), *(len(f) * m.limit for m, f in zipped)) if zipped else 1)
    for at, (one, things) in enumerate(pairs):
        shares = [unit[at] for unit in units]
        if one.together:
            assert set(shares) == {tuple(things)}
            continue
        uses = Counter(thing for share in shares for thing in share)
        assert max(uses.values(), default=0) <= one.limit
        assert all(len(share) <= 1 for share in shares)
        if not one.optional:
            assert all(share for share in shares)
            assert set(uses) == set(list(things)[: len(units)])
    if zipped:
        assert len(set(units)) == len(units)


@pytest.mark.parametrize(
    ("members", "found", "units"),
    [
        ([member(), member()], ["abc", "xy"], ["ax", "by"]),
        ([member(), member(10)], ["abcde", "x"], ["ax", "bx", "cx", "dx", "ex"]),
        ([member(), member(2)], ["abcde", "xy"], ["ax", "by", "cx", "dy"]),
        ([member(5)], ["ab"], ["a", "b"]),
        ([member(), member()], ["abc", ""], []),
        ([member(), member(optional=True)], ["abc", "x"], ["ax", "b", "c"]),
        ([member(), member(2, optional=True)], ["abc", "x"], ["ax", "bx", "c"]),
        ([member(), member(optional=True)], ["a", "xyz"], ["ax"]),
        ([member(together=True)], ["abc"], ["abc"]),
        ([member(), member(together=True)], ["ab", "xy"], ["axy", "bxy"]),
        ([member(), member(together=True)], ["ab", ""], []),
        ([member(together=True), member(together=True)], ["ab", "x"], ["abx"]),
        ([member(), member(together=True, optional=True)], ["ab", ""], ["a", "b"]),
    ],
)
def test_zipping_by_example(members: list[Member], found: list[str], units: list[str]) -> None:
    """The cases that the README tells."""
    assert ["".join("".join(share) for share in unit) for unit in zip_members(members, found)] == units


@pytest.fixture
def sound(tree: Tree) -> Tree:
    """Two sound cards with a capture and a control node each, and one timer for all."""
    for card in (0, 1):
        tree.add_node(Node(f"snd/pcmC{card}D0c", 116, 24 + card))
        tree.add_node(Node(f"snd/controlC{card}", 116, card))
    tree.add_node(Node("snd/timer", 116, 33))
    return tree


@pytest.mark.root
def test_a_group_is_handed_out_together(sound: Tree) -> None:
    """Each unit has a capture node, its control node and the shared timer."""
    devices = look(
        sound,
        "{group: [{path: '/dev/snd/pcmC*c'}, {path: '/dev/snd/control*'}, {path: /dev/snd/timer, limit: 8, permissions: r}]}",
    )
    assert paths(devices) == [
        ("/dev/snd/pcmC0D0c", "/dev/snd/controlC0", "/dev/snd/timer"),
        ("/dev/snd/pcmC1D0c", "/dev/snd/controlC1", "/dev/snd/timer"),
    ]
    assert [node.permissions for node in devices[0].edits.device_nodes] == ["rw", "rw", "r"]
    assert len({device.id for device in devices}) == 2


@pytest.mark.root
def test_an_optional_member_has_no_say_in_the_id(sound: Tree) -> None:
    """It may come, go, or be unusable; the unit stays what it is."""
    match = "{group: [{path: /dev/snd/pcmC0D0c}, {path: /dev/snd/extra, optional: true}]}"
    (without,) = look(sound, match)
    (sound.dev / "snd/extra").write_text("")
    (unusable,) = look(sound, match)
    (sound.dev / "snd/extra").unlink()
    sound.add_node(Node("snd/extra", 116, 99))
    (with_it,) = look(sound, match)
    assert without == unusable
    assert without.id == with_it.id
    assert paths([with_it]) == [("/dev/snd/pcmC0D0c", "/dev/snd/extra")]


@pytest.mark.root
def test_all_that_is_found_can_make_one_device(sound: Tree) -> None:
    """With ``together`` the whole directory is one device, whose id outlives what comes and goes in it."""
    match = "{path: '/dev/snd/*', together: true, containerPath: /dev/sound/}"
    (device,) = look(sound, match)
    assert len(device.edits.device_nodes) == 5
    assert device.edits.device_nodes[0].container_path == "/dev/sound/controlC0"
    (sound.dev / "snd/timer").unlink()
    (less,) = look(sound, match)
    assert (less.id, len(less.edits.device_nodes)) == (device.id, 4)


@pytest.mark.root
@pytest.mark.parametrize(
    ("container_path", "inside"),
    [("", None), ("containerPath: /dev/mic", "/dev/mic"), ("containerPath: /dev/in/", "/dev/in/pcmC0D0c")],
)
def test_where_a_container_sees_a_node(sound: Tree, container_path: str, inside: str | None) -> None:
    """As on the host, at one fixed path, or in a directory."""
    (device,) = look(sound, f"{{path: /dev/snd/pcmC0D0c, {container_path}}}")
    assert [node.container_path for node in device.edits.device_nodes] == [inside]


@pytest.mark.root
def test_two_nodes_at_one_place_are_not_handed_out(sound: Tree) -> None:
    """Where members of a unit would cover each other in the container, the unit says so instead of losing a node."""
    (sound.dev / "other").mkdir()
    sound.add_node(Node("other/timer", 1, 9))
    (device,) = look(sound, "{path: '/dev/**/timer', together: true, containerPath: /dev/t/}")
    assert device.reason == "/dev/other/timer and /dev/snd/timer both want to be /dev/t/timer in the container"
    (mounted,) = look(sound, "{path: /dev/snd/timer}", mounts=[{"hostPath": "/etc/x", "containerPath": "/dev/snd/timer"}])
    assert mounted.reason == "/dev/snd/timer and /etc/x both want to be /dev/snd/timer in the container"


@pytest.mark.root
def test_a_node_found_twice_is_given_once(sound: Tree) -> None:
    """Members of a group may overlap; the first decides the permissions."""
    (device,) = look(sound, "{group: [{path: /dev/snd/timer, permissions: r}, {path: '/dev/snd/*', together: true}]}")
    assert len(device.edits.device_nodes) == 5
    assert device.edits.device_nodes[0].permissions == "r"


@pytest.mark.root
def test_a_container_gets_mounts_envs_and_permissions(tree: Tree) -> None:
    """What the resource says goes to each unit; a match may say otherwise for its nodes."""
    hardware.disk(tree, 0)
    hardware.disk(tree, 1)
    plugin = plugin_on(
        tree,
        """
  - name: example.com/disk
    match: [{path: /dev/loop0}, {path: /dev/loop1, permissions: r}]
    permissions: rwm
    mounts: [{hostPath: /etc/disks, containerPath: /disks}, {hostPath: /var/log/disks, readOnly: false}]
    envs: {DISKS: "yes"}
""",
    )
    first, second = plugin.discover()["example.com/disk"]
    assert [device.edits.device_nodes[0].permissions for device in (first, second)] == ["rwm", "r"]
    assert first.edits.mounts == second.edits.mounts
    assert [(m.host_path, m.container_path, m.read_only) for m in first.edits.mounts] == [
        ("/etc/disks", "/disks", True),
        ("/var/log/disks", None, False),
    ]
    assert first.edits.envs == {"DISKS": "yes"}


@pytest.mark.root
def test_a_container_is_told_where_its_devices_are(sound: Tree) -> None:
    """The variable holds the paths as the container sees them, in the order of the members."""
    match = "{group: [{path: '/dev/snd/pcm*', containerPath: /dev/mic}, {path: '/dev/snd/control*'}]}"
    devices = look(sound, match, pathsEnv="SOUND", envs={"RATE": "48000"})
    assert [device.edits.envs for device in devices] == [
        {"RATE": "48000", "SOUND": "/dev/mic,/dev/snd/controlC0"},
        {"RATE": "48000", "SOUND": "/dev/mic,/dev/snd/controlC1"},
    ]


@pytest.fixture
def cameras(tree: Tree) -> Tree:
    """Two capture cards with two video nodes and a sound node each, one without sound, and a node that belongs to none."""
    for index in range(3):
        hardware.camera(tree, index)
    tree.remove("/devices/pci0000:00/0000:71:00.0/sound")
    hardware.misc(tree)
    return tree


@pytest.mark.root
def test_what_hangs_on_one_device_makes_one_unit(cameras: Tree) -> None:
    """Each card is one device with all its nodes, whatever another card lacks; what belongs to none is there for all."""
    match = """
each: pci
group:
  - {udev: {subsystem: video4linux}, together: true}
  - {udev: {subsystem: sound}, optional: true}
  - {path: /dev/fuse}
"""
    devices = look(cameras, match)
    assert paths(devices) == [
        ("/dev/video0", "/dev/video1", "/dev/snd/pcmC0D0c", "/dev/fuse"),
        ("/dev/video2", "/dev/video3", "/dev/fuse"),
        ("/dev/video4", "/dev/video5", "/dev/snd/pcmC2D0c", "/dev/fuse"),
    ]
    assert [device.id.rpartition("-")[0] for device in devices] == ["0000:70:00.0", "0000:71:00.0", "0000:72:00.0"]


@pytest.mark.root
def test_a_unit_of_one_owner_goes_by_its_owner(cameras: Tree) -> None:
    """The id of all that hangs on a card is the card's, whatever comes and goes on it."""
    match = "{path: '/dev/**', together: true, each: pci}"
    before = look(cameras, match)
    cameras.remove("/devices/pci0000:00/0000:70:00.0/sound")
    after = look(cameras, match)
    assert len({device.id for device in before}) == 3
    assert {device.id for device in after} == {device.id for device in before}
    assert all(device.id.startswith("0000:7") for device in before)
    assert [device for device in before if device not in after] == [before[0]]


@pytest.mark.root
def test_members_that_share_no_owner_make_no_unit(cameras: Tree) -> None:
    """What is found but does not belong together is said."""
    plugin = plugin_on(
        cameras,
        "  - {name: example.com/a, match: [{each: usb, group: [{path: /dev/video0}, {path: /dev/fuse}]}]}",
    )
    assert plugin.discover() == {"example.com/a": ()}
    assert plugin.notices() == (
        "example.com/a, match 1: what it finds does not hang on one USB device: path /dev/video0 + path /dev/fuse",
    )
