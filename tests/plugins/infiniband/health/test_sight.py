"""What is seen of a port, from what the kernel says of it."""

import pytest
from msgspec.structs import replace

from supervisor_infiniband.health.sight import excuse, seen, telling, unset_guid
from supervisor_infiniband.report import Link, PhysState, PortState, RdmaDevice
from tests.plugins.infiniband.functions import port, rxe, sf
from tests.plugins.infiniband.health.samples import ACTIVE, DISABLED, DOWN, INIT, ONES, ZERO, linked, pf, vf, with_netdev


def sight(device: RdmaDevice) -> str:
    """What is seen of its first port."""
    return seen(device, device.ports[0], device.ports[0].link)


@pytest.mark.parametrize(
    ("link", "expected"),
    [
        (ACTIVE, "active"),
        (Link(PortState.ACTIVE_DEFER, PhysState.RECOVERY), "active"),
        (Link(PortState.ACTIVE, PhysState.UNKNOWN), "active"),
        (Link(PortState.ACTIVE, PhysState.DISABLED), "down"),
        (INIT, "waiting"),
        (Link(PortState.ARMED, PhysState.LINK_UP), "waiting"),
        (DOWN, "down"),
        (DISABLED, "down"),
        (Link(), "down"),
    ],
)
def test_states_of_a_port(link: Link, expected: str) -> None:
    """Logical and physical state together; no port is active without a physical link, but a driver may not tell of that."""
    assert sight(linked(pf(), link)) == expected


def test_physical_states_of_functions_prove_nothing() -> None:
    """What a VF's driver says of a cable that it does not have is not held against an active port."""
    assert sight(linked(vf(0), Link(PortState.ACTIVE, PhysState.DISABLED))) == "active"


@pytest.mark.parametrize("function", [vf(0), sf(4)], ids=["vf", "sf"])
def test_functions_that_nobody_has_brought_up_are_idle(function: RdmaDevice) -> None:
    """Their interface is down, or somewhere else, or nobody has given them a GUID; each is told."""
    down = linked(function, DISABLED)
    assert sight(with_netdev(down, up=False)) == "idle"
    assert sight(with_netdev(down, up=None)) == "idle"
    assert sight(with_netdev(down, up=True)) == "down"
    away = replace(down, ports=(port(link=DISABLED, interface=""),))
    assert sight(away) == "idle"
    assert excuse(away, away.ports[0], away.ports[0].link) == "its interface is absent or in another network namespace"
    lowered = with_netdev(down, up=False)
    told = excuse(lowered, lowered.ports[0], lowered.ports[0].link)
    assert told == "its interface ens1f0v0 is administratively down"


def test_only_functions_are_excused() -> None:
    """The interface of a physical function is down: so is its port, and nobody else will bring it up."""
    assert sight(with_netdev(linked(pf(), DISABLED), up=False)) == "down"
    assert sight(replace(rxe(), ports=(port(link=DISABLED),))) == "down"


@pytest.mark.parametrize("unset", [ZERO, ONES])
def test_guids_that_nobody_has_configured(unset: str) -> None:
    """Zero and all ones, of the node or of the port; an unknown one is no such thing."""
    node = replace(linked(vf(0), DISABLED), node_guid=unset)
    assert unset_guid(node, node.ports[0]) == f"its node GUID is {unset}"
    assert sight(with_netdev(node, up=True)) == "idle"
    one = replace(vf(0), ports=(port(guid=unset),))
    assert unset_guid(one, one.ports[0]) == f"the GUID of its port 1 is {unset}"
    assert unset_guid(replace(one, node_guid=""), port(guid="")) == ""


@pytest.mark.parametrize(
    ("link", "text"),
    [
        (DOWN, "DOWN, physically without a link"),
        (Link(PortState.DOWN, PhysState.TRAINING), "DOWN, physically without a link"),
        (DISABLED, "DOWN, physically disabled"),
        (INIT, "INIT, physically linked"),
        (Link(PortState.INIT, PhysState.TRAINING), "INIT, physically linked"),
        (Link(PortState.DOWN), "DOWN"),
        (Link(), "no state that it tells"),
    ],
)
def test_links_in_words(link: Link, text: str) -> None:
    """Physical states that come and go while a port looks for a link have one word: a reason must not flicker."""
    assert telling(link) == text
