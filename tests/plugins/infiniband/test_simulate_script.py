"""Layouts and scripts of simulated RDMA devices."""

from collections.abc import Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from supervisor_infiniband.report import PortState
from supervisor_infiniband.simulate.layouts import NAMES, layout
from supervisor_infiniband.simulate.machine import Machine
from supervisor_infiniband.simulate.script import apply, mistake, opening, parse

DUAL = "dual-port-infiniband"


def play(lines: Sequence[str], name: str = DUAL) -> Machine:
    """The machine after all steps."""
    beginning = layout(name)
    steps = parse(lines, beginning)
    machine = opening(beginning, steps)
    for step in steps:
        machine = apply(step, machine, beginning)
    return machine


def names(machine: Machine) -> list[str]:
    """The kernel's names of the RDMA devices."""
    return sorted(hca.name for _, hca in machine.hcas())


# --- layouts ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", NAMES)
def test_each_layout_is_a_machine_without_contradictions(name: str) -> None:
    """No two devices share a name, an address, a number or a GUID, and the same layout is the same machine."""
    machine = layout(name)
    hcas = [hca for _, hca in machine.hcas()]
    for values in (
        [function.id for function in machine.functions],
        [hca.name for hca in hcas],
        [hca.uverbs for hca in hcas],
        [hca.node_guid for hca in hcas],
        [port.umad for hca in hcas for port in hca.ports],
        [one.address for function in machine.functions for one in function.interfaces],
        [one.ifindex for function in machine.functions for one in function.interfaces],
    ):
        assert len(set(values)) == len(values) > 0
    assert layout(name) is machine


def test_layouts_are_what_their_names_say() -> None:
    """So many devices, on the network that the name tells, and rails at both processors."""
    counts = {name: len(names(layout(name))) for name in NAMES}
    assert counts == {"dual-port-infiniband": 2, "rails-8": 8, "roce-16-vfs": 17}
    assert {hca.ports[0].link_layer for _, hca in layout("roce-16-vfs").hcas()} == {"Ethernet"}
    assert [function.numa_node for function in layout("rails-8").functions] == [0, 0, 0, 0, 1, 1, 1, 1]


def test_unknown_layout() -> None:
    """The reason names those that there are."""
    assert mistake("dgx", ()) == "there is no layout 'dgx'; there are dual-port-infiniband, rails-8, roce-16-vfs"


# --- scripts ---------------------------------------------------------------------------------------------------------


def test_steps_are_in_the_order_of_their_times() -> None:
    """Units are understood, comments and empty lines are not steps."""
    script = (
        "# first",
        "",
        "after 1.5 m up mlx5_0/1",
        "after 250ms down 0000:3b:00.0/1   # a cable",
        "after 0 s init mlx5_1/1",
    )
    steps = parse(script, layout(DUAL))
    assert [(step.after, step.action, step.words) for step in steps] == [
        (0.0, "init", ("mlx5_1", "1")),
        (0.25, "down", ("0000:3b:00.0", "1")),
        (90.0, "up", ("mlx5_0", "1")),
    ]


def test_ports() -> None:
    """Ports lose and get their links, each alone."""
    machine = play(["after 1s down mlx5_0/1", "after 1s init mlx5_1/1"])
    assert [hca.ports[0].state for _, hca in machine.hcas()] == [PortState.DOWN, PortState.INIT]
    assert play(["after 1s down mlx5_0/1", "after 2s up mlx5_0/1"]) == layout(DUAL)


def test_devices_come_and_go() -> None:
    """A device is removed, another is renamed, and the first comes back; VFs are made for it and go."""
    assert names(play(["after 1s remove mlx5_0"])) == ["mlx5_1"]
    assert names(play(["after 1s remove mlx5_0", "after 2s rename mlx5_1 to a", "after 3s add mlx5_0"])) == ["a", "mlx5_0"]
    assert names(play(["after 1s vfs mlx5_0 2"])) == ["mlx5_0", "mlx5_1", "mlx5_2", "mlx5_3"]
    assert play(["after 1s vfs mlx5_0 2", "after 2s vfs mlx5_0 0"]) == layout(DUAL)


def test_moving_makes_the_mode_exclusive_from_the_start() -> None:
    """A script in which a device moves begins on a machine where that is possible."""
    script = ["after 9s move mlx5_1 away"]
    assert opening(layout(DUAL), parse(script, layout(DUAL))).netns_mode == "exclusive"
    assert play(script).find("mlx5_1")[1].away
    assert not play([*script, "after 10s move mlx5_1 back"]).find("mlx5_1")[1].away
    assert play([]).netns_mode == "shared"


def test_hanging() -> None:
    """A device hangs until it is told to answer again."""
    assert play(["after 1s hang mlx5_0"]).find("mlx5_0")[1].spoilt
    assert play(["after 1s hang mlx5_0", "after 2s unhang mlx5_0"]) == layout(DUAL)


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        ("down mlx5_0/1", "expected `after TIME`"),
        ("after 1s explode mlx5_0", "expected `after TIME`"),
        ("after 1s down mlx5_0", "expected `down mlx5_0/1`"),
        ("after 1s remove", "expected `remove mlx5_0`"),
        ("after 1s move mlx5_0", "expected `move mlx5_0 away` or `move mlx5_0 back`"),
        ("after 1s rename mlx5_0 a", "expected `rename mlx5_0 to rocep1s0`"),
        ("after 1s down mlx5_9/1", "line 1: there is no mlx5_9 to down then; there are mlx5_0, mlx5_1"),
        ("after 1s down mlx5_0/2", "line 1: there is no mlx5_0/2 to down then"),
        ("after 1s vfs mlx5_0 99", "line 1: 0000:3b:00.0 can have 16 virtual functions"),
        ("after 1s rename mlx5_0 to mlx5_1", "line 1: there is mlx5_1 already"),
        ("after 1s add mlx5_0", "line 1: mlx5_0 is there already"),
        ("after 1s move mlx5_0 back", "line 1: mlx5_0 is here already"),
    ],
)
def test_mistakes(line: str, reason: str) -> None:
    """Each mistake is told with its line and what would be right."""
    told = mistake(DUAL, (line,))
    assert told.startswith("line 1")
    assert reason in told


def test_mistakes_that_follow_from_earlier_steps() -> None:
    """What is played counts as it is then: later steps know of earlier ones, and all mistakes are told."""
    script = ("after 3s down mlx5_0/1", "after 1s remove mlx5_0", "after 2s rename mlx5_1 to mlx5_0", "after 4s add mlx5_0")
    assert mistake(DUAL, script) == "line 4: another device has the name mlx5_0 then"
    assert mistake(DUAL, (*script[:2], "nonsense")) == (
        "line 3, 'nonsense': expected `after TIME`, like 10s, then up, down, init, remove, add, hang, unhang, rename, vfs, move"
    )


def test_no_subnet_manager_on_ethernet() -> None:
    """A port of an Ethernet cannot wait for one."""
    assert "is Ethernet, which has no subnet managers" in mistake("roce-16-vfs", ("after 1s init mlx5_0/1",))


@given(
    st.lists(
        st.text(max_size=40) | st.from_regex(r"\Aafter [0-9]s (down|remove|add|vfs|move|hang) mlx5_[0-3].*\Z", fullmatch=True)
    )
)
def test_any_script_is_played_or_refused(script: list[str]) -> None:
    """Whatever is written, there is a sentence why not, or a machine in the end in which no two devices share a name."""
    if not mistake(DUAL, script):
        left = names(play(script))
        assert len(set(left)) == len(left)
