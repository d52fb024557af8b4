"""What a container gets, and which devices go well together: pure functions of an inventory."""

from collections.abc import Sequence
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from supervisor.allocation import healthy, merge, preferred, select
from supervisor.errors import DeviceOccupied, EditConflict, UnhealthyDevice, UnknownDevice
from supervisor.inventory import Inventory
from supervisor.model import ContainerEdits, Device, DeviceNode, Health, Mount, Topology

WIDGET = "example.com/widget"


def inventory(*devices: Device) -> Inventory:
    """These devices."""
    return Inventory.of(WIDGET, devices)


SICK = Device("sick", Health.UNHEALTHY, "it is hot")
THREE = inventory(Device("a"), SICK, Device("b"))


# --- selecting --------------------------------------------------------------------------------------------------------


def test_devices_come_once_in_the_inventorys_order() -> None:
    """The kubelet's own order is random, and an id may come twice."""
    assert [device.id for device in select(THREE, ["b", "a", "sick", "b"])] == ["a", "sick", "b"]
    assert select(THREE, []) == ()


def test_an_unknown_id_is_refused_in_a_short_text() -> None:
    """It lands in the pod's status."""
    with pytest.raises(UnknownDevice, match=r"example.com/widget has no device 'x+'") as caught:
        select(THREE, ["a", "x" * 10_000])
    assert len(str(caught.value)) < 100


def test_an_occupied_device_is_refused_with_its_reason() -> None:
    """It is not called unhealthy, for nothing is wrong with it."""
    occupied = inventory(Device("a", Health.OCCUPIED, "its hardware is in use as b", claim="region"))
    with pytest.raises(DeviceOccupied, match=r"^example.com/widget device 'a' cannot be had: its hardware is in use as b$"):
        healthy(occupied, ["a"])


def test_an_unhealthy_device_is_refused_with_its_reason() -> None:
    """A short one, too."""
    assert len(healthy(THREE, ["a", "b"])) == 2
    with pytest.raises(UnhealthyDevice, match="'sick' is unhealthy: it is hot"):
        healthy(THREE, ["a", "sick"])
    with pytest.raises(UnhealthyDevice) as caught:
        healthy(inventory(Device("a", Health.UNHEALTHY, "x" * 1000)), ["a"])
    assert len(str(caught.value)) < 300
    with pytest.raises(UnhealthyDevice, match=r"is unhealthy$"):
        healthy(inventory(Device("a", Health.UNHEALTHY)), ["a"])


# --- merging ----------------------------------------------------------------------------------------------------------


def test_everything_is_taken_once_in_order() -> None:
    """Nodes, mounts, names; a variable with several values is joined with commas."""
    one = ContainerEdits(
        (DeviceNode("/dev/ctl"), DeviceNode("/dev/1")), (Mount("/lib"),), {"IDS": "1", "V": "x"}, {"a/b": "c"}, ("ve/cl=1",)
    )
    two = ContainerEdits(
        (DeviceNode("/dev/ctl"), DeviceNode("/dev/0")),
        (Mount("/lib"),),
        {"IDS": "0", "V": "x"},
        {"a/b": "c"},
        ("ve/cl=0", "ve/cl=1"),
    )
    assert merge([one, two]) == ContainerEdits(
        (DeviceNode("/dev/ctl"), DeviceNode("/dev/1"), DeviceNode("/dev/0")),
        (Mount("/lib"),),
        {"IDS": "1,0", "V": "x"},
        {"a/b": "c"},
        ("ve/cl=1", "ve/cl=0"),
    )
    assert merge([]) == ContainerEdits()


def test_one_node_gets_the_union_of_permissions() -> None:
    """In the kernel's order, at the path that was asked for."""
    nodes = [DeviceNode("/dev/x", "/dev/y", permissions) for permissions in ("r", "m", "rm")]
    assert merge(ContainerEdits((node,)) for node in nodes).device_nodes == (DeviceNode("/dev/x", "/dev/y", "rm"),)


def test_one_mount_is_writable_if_anybody_needs_it() -> None:
    """Whatever the order."""
    writable, read_only = Mount("/lib", read_only=False), Mount("/lib", "/lib")
    for order in ([writable, read_only], [read_only, writable]):
        assert [mount.read_only for mount in merge(ContainerEdits(mounts=(mount,)) for mount in order).mounts] == [False]


@pytest.mark.parametrize(
    ("one", "two", "named"),
    [
        (ContainerEdits((DeviceNode("/dev/0", "/dev/x"),)), ContainerEdits((DeviceNode("/dev/x"),)), "/dev/x"),
        (ContainerEdits(mounts=(Mount("/a", "/x"),)), ContainerEdits(mounts=(Mount("/b", "/x"),)), "/x"),
        (ContainerEdits(annotations={"a/b": "1"}), ContainerEdits(annotations={"a/b": "2"}), "a/b"),
    ],
    ids=["node", "mount", "annotation"],
)
def test_two_meanings_of_one_name_are_a_conflict(one: ContainerEdits, two: ContainerEdits, named: str) -> None:
    """The kubelet would silently keep either."""
    with pytest.raises(EditConflict, match=named):
        merge([one, two])


PATHS = st.sampled_from(["/dev/a", "/dev/b", "/dev/c"])
EDITS = st.builds(
    ContainerEdits,
    st.lists(st.builds(DeviceNode, PATHS, permissions=st.sampled_from(["r", "rw", "wm", "rwm"])), max_size=3).map(tuple),
    st.lists(st.builds(Mount, PATHS, read_only=st.booleans()), max_size=3).map(tuple),
    st.dictionaries(st.sampled_from("AB"), st.sampled_from("12"), max_size=2),
    cdi_devices=st.lists(st.sampled_from(["ve/cl=1", "ve/cl=2"]), max_size=2).map(tuple),
)


@given(st.lists(EDITS, max_size=5))
def test_a_merge_loses_nothing_and_repeats_nothing(edits: list[ContainerEdits]) -> None:
    """Every path, permission, value and name of every part is in the whole, each path and name once."""
    merged = merge(edits)
    nodes = {node.host_path: node for node in merged.device_nodes}
    mounts = {mount.host_path: mount for mount in merged.mounts}
    assert (len(nodes), len(mounts)) == (len(merged.device_nodes), len(merged.mounts))
    assert len(set(merged.cdi_devices)) == len(merged.cdi_devices)
    for edit in edits:
        assert all(set(node.permissions) <= set(nodes[node.host_path].permissions) for node in edit.device_nodes)
        assert all(mount.read_only or not mounts[mount.host_path].read_only for mount in edit.mounts)
        assert all(value in merged.envs[name].split(",") for name, value in edit.envs.items())
        assert set(edit.cdi_devices) <= set(merged.cdi_devices)
    assert {value for values in merged.envs.values() for value in values.split(",")} == {
        value for edit in edits for value in edit.envs.values()
    }


@given(st.lists(EDITS, max_size=5))
def test_merging_again_changes_nothing(edits: list[ContainerEdits]) -> None:
    """A kubelet that asks twice gets the same answer."""
    assert merge([merge(edits)]) == merge(edits)


# --- preferring -------------------------------------------------------------------------------------------------------


def on(**nodes: Sequence[int]) -> Inventory:
    """Devices by id, each on these NUMA nodes."""
    return inventory(*(Device(each, topology=Topology(tuple(found))) for each, found in nodes.items()))


@pytest.mark.parametrize(
    ("listed", "must_include", "size", "wanted"),
    [
        (on(a=[0], b=[1], c=[0]), [], 1, ["b"]),
        (on(a=[0], b=[1], c=[1]), [], 2, ["b", "c"]),
        (on(a=[0], b=[1], c=[0], d=[1]), ["d"], 2, ["d", "b"]),
        (on(a=[0], b=[1], c=[1], d=[2], e=[2], f=[2]), [], 4, ["d", "e", "f", "a"]),
        (on(a=[0], b=[1], c=[1], d=[2], e=[2], f=[2]), [], 2, ["b", "c"]),
        (on(a=[], b=[0], c=[]), [], 2, ["a", "c"]),
        (on(a=[0, 1], b=[1], c=[2]), [], 2, ["a", "b"]),
        (on(a=[0]), [], 3, ["a"]),
        (on(a=[0]), ["a"], 0, []),
        (on(a=[0]), [], -5, []),
    ],
    ids=[
        "leave large groups whole", "of one node", "near what must be", "largest first", "what suffices, not more", "no node is a node",
        "several nodes", "too few", "none", "nonsense",
    ],
)  # fmt: skip
def test_the_default_advice(listed: Inventory, must_include: list[str], size: int, wanted: list[str]) -> None:
    """As few NUMA nodes as possible, near what must be included, in the inventory's order."""
    assert preferred(listed, list(reversed(list(listed.index))), must_include, size) == wanted


IDS = st.sampled_from("abcdefgh")


@given(
    st.dictionaries(IDS, st.lists(st.integers(0, 3), max_size=2)),
    st.lists(IDS),
    st.lists(IDS, max_size=3),
    st.integers(-2, 10),
)
def test_advice_is_always_possible(nodes: dict[str, Any], available: list[str], must_include: list[str], size: int) -> None:
    """Never more than asked for, each once, only what is there, what must be first, and as many as there can be."""
    listed = on(**nodes)
    chosen = preferred(listed, available, must_include, size)
    possible = {each for each in (*available, *must_include) if each in nodes}
    must = list(dict.fromkeys(each for each in must_include if each in nodes))
    assert len(set(chosen)) == len(chosen)
    assert set(chosen) <= possible
    assert len(chosen) == min(max(size, 0), len(possible))
    assert chosen[: len(must)] == must[: max(size, 0)]


def test_ten_thousand_devices_are_advised_on() -> None:
    """The kubelet sends every free id."""
    listed = inventory(*(Device(str(n), topology=Topology((n % 8,))) for n in range(10_000)))
    chosen = preferred(listed, list(listed.index), ["5"], 1250)
    assert {int(each) % 8 for each in chosen} == {5}
