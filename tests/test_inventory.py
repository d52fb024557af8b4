"""What plugins say is checked device by device: nonsense is left out with its reason, and the rest is offered."""

import string
from collections.abc import Iterator, Mapping
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from supervisor.inventory import (
    MAX_DEVICES,
    MAX_RESOURCES,
    Inventory,
    check_look,
    checked_edits,
    edits_problem,
    resource_name_problem,
)
from supervisor.model import ContainerEdits, Device, DeviceNode, Health, Mount, Topology

WIDGET, GADGET = "example.com/widget", "example.com/gadget"


class Loud:
    """Something whose every attribute raises."""

    def __getattr__(self, name: str) -> Any:
        raise RuntimeError(name)


# --- names ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "name",
    [
        "a/b",
        "example.com/widget",
        "a-b.c0/X_y.z",
        f"{'a' * 63}.b/{'c' * 63}",
        f"{'.'.join(['a' * 60] * 4)}/b",
        "x.requests.y/z",
    ],
)
def test_a_name_that_the_kubelet_takes_has_no_problem(name: str) -> None:
    """Vendor domain, one slash, a name with capitals, dots and underscores inside."""
    assert resource_name_problem(name) is None


@pytest.mark.parametrize(
    "name",
    [
        "", "widget", "/widget", "example.com/", "Example.com/w", "a/b/c", "a/-b", "a/b-", "a/b c", "a..b/c", "-a/b", "a-/b",
        "kubernetes.io/w", "foo.kubernetes.io/w", "requests.example.com/w", "a/b\n", f"a/{'b' * 64}", f"{'a.' * 122}b/c", 7, None,
        "é/b", "a/é",
    ],
)  # fmt: skip
def test_a_name_that_the_kubelet_refuses_has_a_problem(name: object) -> None:
    """Every rule of an extended resource name, broken once."""
    assert resource_name_problem(name)


@given(st.text(alphabet=string.ascii_letters + string.digits + "-_./", max_size=300))
def test_whatever_has_no_problem_keeps_the_rules(name: str) -> None:
    """A name without a problem has one slash, parts within their lengths, and nothing reserved."""
    if resource_name_problem(name) is None:
        vendor, slash, own = name.partition("/")
        assert slash
        assert 1 <= len(vendor) <= 244
        assert 1 <= len(own) <= 63
        assert vendor == vendor.lower()
        assert all(end in string.ascii_letters + string.digits for end in (vendor[0], vendor[-1], own[0], own[-1]))
        assert "/" not in own


# --- devices ----------------------------------------------------------------------------------------------------------


def test_good_devices_are_kept_as_they_are_in_their_order() -> None:
    """The plugin's own objects, indexed by id."""
    devices = [Device("b"), Device("a", Health.UNHEALTHY, "hot", Topology((1, 0)))]
    look = check_look({WIDGET: devices})
    inventory = look.inventories[WIDGET]
    assert all(kept is given for kept, given in zip(inventory.devices, devices, strict=True))
    assert inventory.index == {"b": 0, "a": 1}
    assert inventory.get("a") is devices[1]
    assert inventory.get("c") is None
    assert look.quarantined == ()


def test_a_resource_without_devices_is_offered() -> None:
    """An empty list means none are there, which is no error."""
    assert check_look({WIDGET: []}).inventories[WIDGET].devices == ()


NONSENSE = {
    "no id": Device(""),
    "an id with a space": Device("a b"),
    "an id with a newline": Device("a\n"),
    "a long id": Device("x" * 64),
    "an id of bytes": Device(b"a"),  # type: ignore[arg-type]  # nonsense on purpose, as all of these
    "an id that cannot be hashed": Device([]),  # type: ignore[arg-type]
    "an id that is no text": Device("\udcff"),
    "another health": Device("a", "Sick"),  # type: ignore[arg-type]
    "a long reason": Device("a", reason="x" * 1025),
    "a negative node": Device("a", topology=Topology((-1,))),
    "a node too high": Device("a", topology=Topology((64,))),
    "no topology": Device("a", topology=None),  # type: ignore[arg-type]
    "a relative path": Device("a", edits=ContainerEdits((DeviceNode("dev/a"),))),
    "a path with NUL": Device("a", edits=ContainerEdits((DeviceNode("/dev/\0"),))),
    "no permissions": Device("a", edits=ContainerEdits((DeviceNode("/dev/a", permissions=""),))),
    "a permission twice": Device("a", edits=ContainerEdits((DeviceNode("/dev/a", permissions="rr"),))),
    "a relative mount": Device("a", edits=ContainerEdits(mounts=(Mount("a"),))),
    "an odd variable": Device("a", edits=ContainerEdits(envs={"A=B": ""})),
    "a value that is no text": Device("a", edits=ContainerEdits(envs={"A": 1})),  # type: ignore[dict-item]
    "a half CDI name": Device("a", edits=ContainerEdits(cdi_devices=("vendor/class",))),
    "a short CDI vendor": Device("a", edits=ContainerEdits(cdi_devices=("v/class=x",))),
    "something else": "a",
    "nothing": None,
    "something loud": Loud(),
    "a class": Device,
}


@pytest.mark.parametrize("again", [False, True], ids=["first look", "later look"])
@pytest.mark.parametrize("nonsense", NONSENSE.values(), ids=NONSENSE.keys())
def test_an_impossible_device_is_left_out_alone(nonsense: object, *, again: bool) -> None:
    """Its neighbours in the same resource stay, and its reason is told."""
    good = [Device("good-0"), Device("good-1")]
    trusted = check_look({WIDGET: good}).inventories if again else None
    look = check_look({WIDGET: [good[0], nonsense, good[1]]}, trusted)
    assert look.inventories[WIDGET].devices == tuple(good)
    assert [bool(each.reason) for each in look.quarantined] == [True]
    assert look.quarantined[0].device.isprintable()


def test_what_is_only_spelt_like_the_model_is_turned_into_it() -> None:
    """A plain string for a health, a list for a tuple, a mapping for a record: readers downstream get what they expect."""
    sloppy = Device(
        "a",
        "Unhealthy",  # type: ignore[arg-type]
        topology={"numa_nodes": [1]},  # type: ignore[arg-type]
        edits=ContainerEdits([{"host_path": "/dev/a"}]),  # type: ignore[arg-type]
    )
    [device] = check_look({WIDGET: [sloppy]}).inventories[WIDGET].devices
    assert type(device.health) is Health
    assert not device.healthy
    assert device.topology == Topology((1,))
    assert device.edits.device_nodes == (DeviceNode("/dev/a"),)
    [healthy] = check_look({WIDGET: [Device("a", "Healthy")]}).inventories[WIDGET].devices  # type: ignore[arg-type]
    assert healthy.healthy


def test_an_id_is_listed_once_on_the_whole_node() -> None:
    """The second device of one id is left out, in the same resource and in another."""
    look = check_look({WIDGET: [Device("a"), Device("a")], GADGET: [Device("a"), Device("b")]})
    assert look.inventories[WIDGET].index.keys() == {"a"}
    assert look.inventories[GADGET].index.keys() == {"b"}
    assert [(each.resource, each.device) for each in look.quarantined] == [(WIDGET, "a"), (GADGET, "a")]
    assert "twice" in look.quarantined[0].reason
    assert WIDGET in look.quarantined[1].reason


def test_an_id_of_an_impossible_device_is_still_free() -> None:
    """What is left out blocks nobody."""
    look = check_look({WIDGET: [Device("a", topology=Topology((-1,))), Device("a")]})
    assert look.inventories[WIDGET].index.keys() == {"a"}


def test_devices_of_the_last_look_are_not_checked_again() -> None:
    """The same objects pass by identity; an equal id with another object does not."""
    known = Inventory.of(WIDGET, [Device("not checked", topology=Topology((-1,)))])
    look = check_look({WIDGET: list(known.devices)}, {WIDGET: known})
    assert look.inventories[WIDGET].devices == known.devices
    look = check_look({WIDGET: [Device("not checked", topology=Topology((-1,)))]}, {WIDGET: known})
    assert look.inventories[WIDGET].devices == ()


# --- whole answers ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("answer", [None, [], "x", {"a/b"}, {f"a/{n}": [] for n in range(MAX_RESOURCES + 1)}])
def test_an_answer_that_is_no_mapping_or_a_flood_fails_the_look(answer: object) -> None:
    """There is nothing in it to keep."""
    with pytest.raises(TypeError, match=r"discover\(\)"):
        check_look(answer)


def test_an_impossible_resource_is_left_out_alone() -> None:
    """A bad name, no list and an endless one: each is told, and the others are offered."""

    def endless() -> Iterator[Device]:
        while True:
            yield Device("a")

    look = check_look({"bad name": [], 7: [], GADGET: None, "a/endless": endless(), WIDGET: (Device(str(n)) for n in range(3))})
    assert look.inventories.keys() == {WIDGET}
    assert {each.resource for each in look.quarantined} == {"bad name", "<int>", GADGET, "a/endless"}
    assert str(MAX_DEVICES) in next(each.reason for each in look.quarantined if each.resource == "a/endless")


@pytest.mark.parametrize("edits", [None, {}, ContainerEdits(envs={"A": None}), ContainerEdits((DeviceNode("x"),))], ids=repr)  # type: ignore[dict-item]
def test_an_unusable_answer_of_allocate_has_a_problem(edits: object) -> None:
    """Something else, and the right thing with the wrong content."""
    assert edits_problem(edits)
    with pytest.raises(ValueError, match=r"."):
        checked_edits(edits)


def test_a_usable_answer_of_allocate_is_turned_into_the_model() -> None:
    """As with devices, what is spelt alike is taken for what it means."""
    edits = ContainerEdits([{"host_path": "/dev/a"}])  # type: ignore[arg-type]
    assert edits_problem(edits) is None
    assert checked_edits(edits) == ContainerEdits((DeviceNode("/dev/a"),))


ANYTHING = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5) | st.binary(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=5,
)
ODD_DEVICES = st.builds(
    Device,
    st.text(max_size=4) | ANYTHING,
    st.sampled_from([*Health, "Healthy", "Sick"]) | ANYTHING,
    st.text(max_size=5) | ANYTHING,
    st.builds(Topology, st.lists(st.integers(-2, 70), max_size=3).map(tuple) | ANYTHING) | ANYTHING,
    st.builds(
        ContainerEdits,
        st.lists(st.builds(DeviceNode, st.sampled_from(["/dev/a", "x"]) | ANYTHING), max_size=2).map(tuple) | ANYTHING,
        envs=st.dictionaries(st.text(max_size=3), st.text(max_size=3)) | ANYTHING,
    )
    | ANYTHING,
)


@given(st.dictionaries(st.sampled_from([WIDGET, GADGET, "bad"]), st.lists(ODD_DEVICES | ANYTHING, max_size=5) | ANYTHING))
def test_nothing_that_a_plugin_returns_gets_through_or_raises(answer: Mapping[str, Any]) -> None:
    """Every device of every inventory keeps the model's types, every other one is told; a second look agrees with the first."""
    look = check_look(answer)
    listed = sum(len(devices) for name, devices in answer.items() if name != "bad" and hasattr(devices, "__iter__"))
    kept = [device for inventory in look.inventories.values() for device in inventory.devices]
    assert len(kept) <= listed
    assert len({device.id for device in kept}) == len(kept)
    for device in kept:
        assert type(device) is Device
        assert type(device.id) is str
        assert type(device.health) is Health
        assert all(type(node) is int and 0 <= node <= 63 for node in device.topology.numa_nodes)
        assert all(type(node) is DeviceNode for node in device.edits.device_nodes)
    assert check_look(answer, look.inventories).inventories == look.inventories


def test_what_breaks_a_rule_is_told_in_words() -> None:
    """The field, and what it should be: no regular expression reaches an operator."""
    node = DeviceNode("dev", permissions="rr")
    found = [
        Device("bad id"),
        Device("node", edits=ContainerEdits(device_nodes=(node,))),
        Device("env", edits=ContainerEdits(envs={"1": ""})),
        Device("numa", topology=Topology((-1,))),
    ]
    assert [each.reason for each in check_look({"a.b/c": found}).quarantined] == [
        "id: Expected 1 to 63 printable ASCII characters without spaces",
        "edits.device_nodes[0].host_path: Expected an absolute path",
        "a key of edits.envs: Expected the name of an environment variable",
        "topology.numa_nodes[0]: Expected `int` >= 0",
    ]
