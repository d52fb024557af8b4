"""What is said of a unit: which evidence counts, for whom, and in which words."""

from typing import Any

import pytest
from msgspec.structs import replace

from supervisor_infiniband.config import ErrorRates, Judgement
from supervisor_infiniband.health import STATES, Verdict
from supervisor_infiniband.health.policy import ELSEWHERE
from supervisor_infiniband.report import Link, PciLink, PhysState, PortState, RdmaDevice
from supervisor_infiniband.units import Unit
from tests.plugins.infiniband.functions import rxe, sf
from tests.plugins.infiniband.health.samples import (
    ACTIVE,
    DEFAULTS,
    DISABLED,
    DOWN,
    INIT,
    ONES,
    ZERO,
    Node,
    linked,
    pf,
    port,
    vf,
    with_netdev,
)


def first(*devices: RdmaDevice, judgement: Judgement = DEFAULTS, without: tuple[str, ...] = (), **pool: Any) -> Verdict:
    """What is said of the first of these devices after the very first look at all of them."""
    node = Node(*devices, judgement=judgement, **pool)
    node.look(0.0, without=without)
    verdict = node.verdict(0.0)
    assert verdict.state in STATES
    assert verdict.healthy or verdict.reason.startswith(f"{verdict.state}: ")
    assert not verdict.healthy or not verdict.reason
    return verdict


def dual(*links: Link, **facts: Any) -> RdmaDevice:
    """A device with two ports."""
    return linked(pf(ports=(port(1), port(2)), **facts), *links)


# --- ports ----------------------------------------------------------------------------------------------------------


def test_a_device_with_an_active_port_is_healthy() -> None:
    """And there is nothing to say."""
    assert first(pf()) == Verdict(healthy=True, state="Healthy")


def test_a_device_that_is_down_at_first_is_unhealthy_at_once() -> None:
    """It says which port, and what it is in."""
    verdict = first(linked(pf(), DISABLED))
    assert verdict == Verdict(healthy=False, state="PortDown", reason="PortDown: port 1 is DOWN, physically disabled")


@pytest.mark.parametrize(
    ("links", "ports", "healthy"),
    [
        ((ACTIVE, DOWN), "any", True),
        ((ACTIVE, DOWN), "all", False),
        ((DOWN, DOWN), "any", False),
        ((ACTIVE, ACTIVE), "all", True),
    ],
)
def test_any_or_all_ports(links: tuple[Link, Link], ports: Any, healthy: bool) -> None:
    """A card with one cable is the usual case."""
    assert first(dual(*links), judgement=Judgement(ports=ports)).healthy is healthy


def test_a_port_without_a_cable_is_shown() -> None:
    """Though it does not count."""
    assert first(dual(ACTIVE, DOWN)).shown == ("port 2 is DOWN, physically without a link",)


def test_all_ports_that_are_down_are_named() -> None:
    """Each in a sentence of its own."""
    reason = "PortDown: port 1 is DOWN, physically without a link; PortDown: port 2 is DOWN, physically disabled"
    assert first(dual(DOWN, DISABLED)).reason == reason


def test_ports_that_are_no_end_points_do_not_count() -> None:
    """A port without a GID carries no traffic, so that it says nothing; unless none has one."""
    device = dual(ACTIVE, DOWN)
    blind = replace(device, ports=(device.ports[0], replace(device.ports[1], gids=())))
    assert first(blind, judgement=Judgement(ports="all")).healthy
    none = replace(device, ports=tuple(replace(each, gids=()) for each in device.ports))
    assert not first(none, judgement=Judgement(ports="all")).healthy


def test_devices_without_hardware_are_judged_by_their_own_ports() -> None:
    """Soft RoCE is down when its interface is."""
    assert first(replace(rxe(), ports=(port(),))).healthy
    assert first(replace(rxe(), ports=(port(link=DISABLED),))).state == "PortDown"


def test_waiting_for_a_subnet_manager() -> None:
    """Healthy and shown for the grace, and then neither."""
    node = Node(linked(pf(), INIT))
    node.look(0.0)
    shown = "port 1 waits in INIT for a subnet manager, not for long enough to count"
    assert node.verdict(0.0) == Verdict(healthy=True, state="Healthy", shown=(shown,))
    node.look(60.0)
    reason = "NoSubnetManager: port 1 has waited 60 s in INIT for a subnet manager"
    assert node.verdict(60.0) == Verdict(healthy=False, state="NoSubnetManager", reason=reason)


def test_an_iwarp_port_waits_for_an_address() -> None:
    """On Ethernet there are no subnet managers; the kernel calls a port INIT whose interface has no IPv4 address."""
    node = Node(linked(pf(ports=(port(link_layer="Ethernet"),)), Link(PortState.INIT, PhysState.TRAINING)))
    node.look(0.0)
    shown = "port 1 waits in INIT for an IPv4 address of its interface, not for long enough to count"
    assert node.verdict(0.0) == Verdict(healthy=True, state="Healthy", shown=(shown,))
    node.look(60.0)
    reason = "PortDown: port 1 has waited 60 s in INIT for an IPv4 address of its interface"
    assert node.verdict(60.0) == Verdict(healthy=False, state="PortDown", reason=reason)


def test_each_step_of_a_recovery_has_its_words() -> None:
    """Down, linked again, configured again, and well."""
    node = Node(linked(pf(), DOWN))
    node.look(0.0)
    node.seen(10.0, INIT)
    assert node.verdict(10.0).reason == "PortDown: port 1 is INIT, physically linked"
    node.seen(20.0, ACTIVE)
    assert node.verdict(20.0).reason == "PortDown: port 1 was down, and is not active for 5 s yet"
    node.look(25.0)
    assert node.verdict(25.0) == Verdict(healthy=True, state="Healthy")


def test_a_subnet_manager_that_comes_late() -> None:
    """The reason stays with the wait until it has been active for long enough."""
    node = Node(linked(pf(), INIT))
    node.look(0.0)
    node.look(60.0)
    node.seen(61.0, ACTIVE)
    expected = "NoSubnetManager: port 1 has waited 60 s in INIT for a subnet manager, and is ACTIVE, physically linked now"
    assert node.verdict(61.0).reason == expected


# --- virtual functions and sub-functions ----------------------------------------------------------------------------


def test_sixteen_roce_vfs_that_nobody_has_brought_up_are_healthy() -> None:
    """As they are after SR-IOV was switched on: their interfaces are administratively down, so their ports are, too."""
    functions = [with_netdev(linked(vf(index), DISABLED), up=False) for index in range(16)]
    node = Node(pf(), *functions)
    node.look(0.0)
    verdicts = [node.verdict(0.0, 1 + index) for index in range(16)]
    shown = "port 1 is DOWN, physically disabled; its interface ens1f0v0 is administratively down"
    assert verdicts == [Verdict(healthy=True, state="Healthy", shown=(shown,))] * 16


def test_eight_infiniband_vfs_without_a_guid_are_healthy() -> None:
    """Whoever starts the pod configures one; that none is there yet is shown."""
    functions = [linked(vf(index, node_guid=ZERO, ports=(port(guid=ZERO),)), DOWN) for index in range(8)]
    node = Node(pf(), *functions)
    node.look(0.0)
    for index in range(8):
        verdict = node.verdict(0.0, 1 + index)
        assert (verdict.healthy, verdict.state) == (True, "Healthy")
        assert verdict.shown[0] == f"GuidNotConfigured: its node GUID is {ZERO}"


@pytest.mark.parametrize("function", [vf(0), sf(4)], ids=["vf", "sf"])
def test_functions_fall_with_the_port_that_they_share(function: RdmaDevice) -> None:
    """Theirs is active or not: without the wire behind it that means nothing."""
    verdict = first(function, linked(pf(), DOWN))
    reason = "PortDown: port 1 of its physical function 0000:3b:00.0 is DOWN, physically without a link"
    assert (verdict.healthy, verdict.reason) == (False, reason)
    assert first(with_netdev(linked(function, DISABLED), up=False), linked(pf(), DOWN)).reason == reason


def test_a_function_has_the_port_of_its_number() -> None:
    """A VF with one port, of a card with two, hangs on that of the same number; where there is none, on any."""
    assert first(vf(0), dual(ACTIVE, DOWN)).healthy
    assert not first(vf(0), dual(DOWN, ACTIVE)).healthy
    second = vf(0, ports=(port(2, link_layer="Ethernet"),))
    assert not first(second, dual(ACTIVE, DOWN)).healthy
    third = vf(0, ports=(port(3),))
    assert first(third, dual(DOWN, ACTIVE)).healthy


def test_a_function_that_was_brought_up_here_in_vain_is_unhealthy() -> None:
    """Its interface is up, the wire is there, and still it has no link: no pod would have one either."""
    verdict = first(with_netdev(linked(vf(0), DOWN), up=True), pf())
    assert verdict.reason == "PortDown: port 1 is DOWN, physically without a link"


def test_a_function_that_is_being_brought_up_does_not_fall_meanwhile() -> None:
    """Between the interface going up and the link coming lies no more than the hold-down."""
    node = Node(with_netdev(linked(vf(0), DISABLED), up=False), pf())
    node.look(0.0)
    raised = with_netdev(linked(vf(0), DOWN), up=True).ports[0].link
    assert not node.seen(10.0, raised)
    assert node.verdict(10.0).healthy
    assert not node.seen(12.0, ACTIVE)
    node.look(17.0)
    assert node.verdict(17.0) == Verdict(healthy=True, state="Healthy")


def test_functions_whose_physical_function_is_not_seen_have_their_own_ports() -> None:
    """It is in another namespace, or has no RDMA: idle is no fault then, either, but waiting for ever is."""
    idle = with_netdev(linked(vf(0), DISABLED), up=False)
    away = replace(linked(pf(), Link()), elsewhere=True)
    for others in ((), (away,), (replace(pf(), problem="garbage"),)):
        assert first(idle, *others).healthy
        assert first(with_netdev(linked(vf(0), DOWN), up=True), *others).state == "PortDown"
    node = Node(linked(vf(0, ports=(port(),)), INIT))
    node.look(0.0)
    node.look(60.0)
    assert node.verdict(60.0).state == "NoSubnetManager"


def test_guids_and_active_ports_may_be_required() -> None:
    """By those who configure both before any pod comes."""
    unnamed = linked(vf(0, node_guid=ONES), DOWN)
    verdict = first(unnamed, pf(), judgement=Judgement(vf_require_guid=True))
    assert (verdict.healthy, verdict.reason) == (False, f"GuidNotConfigured: its node GUID is {ONES}")
    idle = with_netdev(linked(vf(0), DISABLED), up=False)
    verdict = first(idle, pf(), judgement=Judgement(vf_require_active=True))
    reason = "PortDown: port 1 is DOWN, physically disabled; its interface ens1f0v0 is administratively down"
    assert (verdict.healthy, verdict.reason) == (False, reason)
    assert first(vf(0), pf(), judgement=Judgement(vf_require_active=True, vf_require_guid=True)).healthy
    assert first(pf(node_guid=ZERO), judgement=Judgement(vf_require_guid=True)).healthy, "a physical function is no VF"


def test_a_function_waiting_for_a_subnet_manager_may_be_refused() -> None:
    """By default the fabric may configure its port when a pod has it."""
    for judgement, state in ((DEFAULTS, "Healthy"), (Judgement(vf_require_active=True), "NoSubnetManager")):
        node = Node(linked(vf(0, ports=(port(),)), INIT), pf(), judgement=judgement)
        node.look(0.0)
        node.look(60.0)
        assert node.verdict(60.0).state == state


# --- what is not the link --------------------------------------------------------------------------------------------


def test_a_quarantined_device_is_unhealthy() -> None:
    """Nothing else of it is told: it makes no sense."""
    verdict = first(linked(pf(problem="its node_type cannot be read", uverbs=None), DOWN))
    assert verdict == Verdict(healthy=False, state="Quarantined", reason="Quarantined: its node_type cannot be read")
    assert len(first(pf(problem="x" * 10_000)).reason) < 400


def test_uverbs_missing() -> None:
    """The module makes none, or udev has made no node."""
    reason = "UverbsMissing: the kernel has made no uverbs device for it; is the module ib_uverbs loaded?"
    assert first(pf(uverbs=None)).reason == reason
    assert first(pf(), without=("uverbs0",)).reason == "UverbsMissing: /dev/infiniband/uverbs0 does not exist"


@pytest.mark.parametrize(("kind", "node", "module"), [("rdma_cm", "rdma_cm", "rdma_ucm"), ("umad", "umad0", "ib_umad")])
def test_required_character_devices(kind: Any, node: str, module: str) -> None:
    """Missing ones count only where they are required."""
    assert first(pf(), without=(node,)).healthy
    verdict = first(pf(), without=(node,), char_devices=(kind,), require=(kind,))
    reason = f"CharDeviceMissing: the resource requires {kind}, which is not there; is the module {module} loaded?"
    assert (verdict.healthy, verdict.reason) == (False, reason)
    assert first(pf(), char_devices=(kind,), require=(kind,)).healthy


def test_issm_of_every_port_is_required() -> None:
    """A device with two ports, one of which has none."""
    device = pf(ports=(port(1, issm="umad0"), port(2)))
    assert first(device, char_devices=("issm",), require=("issm",)).state == "CharDeviceMissing"


def test_a_device_that_hangs_is_unhealthy() -> None:
    """Of its ports nothing is said: nothing is known."""
    verdict = first(pf(unresponsive=True, ports=()))
    reason = "Unresponsive: reading its state does not come back, as if its firmware hung"
    assert verdict == Verdict(healthy=False, state="Unresponsive", reason=reason)
    assert first(pf(ports=())).reason == "NoPorts: it has no ports"


def test_a_slow_pci_link_is_shown_or_counts() -> None:
    """As the operator says; a VF has that of its physical function."""
    slow = PciLink(8.0, 16.0, 8, 16)
    text = "PcieDegraded: its PCI Express link runs at 8 GT/s x8, and can do 16 GT/s x16"
    expected = Verdict(healthy=True, state="Degraded", shown=(text,), degraded=("PcieDegraded",))
    assert first(pf(pci_link=slow)) == expected
    assert first(vf(0, pci_link=None), pf(pci_link=slow)) == expected
    strict = Judgement(pcie_degraded="unhealthy")
    counted = Verdict(healthy=False, state="PcieDegraded", reason=text, degraded=("PcieDegraded",))
    assert first(pf(pci_link=slow), judgement=strict) == counted
    assert first(pf(pci_link=PciLink(16.0, 16.0, 16, 16)), judgement=strict).healthy


@pytest.mark.parametrize("action", ["degraded", "unhealthy"])
def test_rising_errors_are_shown_or_count(action: Any) -> None:
    """As the operator says; they come to an end."""
    node = Node(pf(), vf(0), judgement=Judgement(error_rates=ErrorRates(action=action)))
    node.look(0.0)
    node.verdict(0.0)
    assert not node.counted(0.0, link_downed=250)
    assert node.counted(15.0, link_downed=253)
    text = "ErrorRate: link_downed of port 1 has risen by 3 in a minute, or more"
    verdict = node.verdict(15.0)
    assert (verdict.healthy, verdict.degraded) == (action == "degraded", ("ErrorRate",))
    assert (verdict.shown, verdict.reason) == (((text,), "") if action == "degraded" else ((), text))
    assert "of its physical function 0000:3b:00.0 has" in "".join((node.verdict(15.0, 1).reason, *node.verdict(15.0, 1).shown))
    node.look(300.0)
    assert node.verdict(300.0) == Verdict(healthy=True, state="Healthy")


def test_errors_of_the_pci_link_are_shown_or_count() -> None:
    """They are of a whole function, and concern those that it carries."""
    node = Node(pf(), vf(0), judgement=Judgement(error_rates=ErrorRates(action="unhealthy")))
    node.look(0.0)
    node.counted(0.0, number=0, aer_dev_fatal=4, aer_dev_nonfatal=7, aer_dev_correctable=0)
    node.counted(30.0, number=0, aer_dev_fatal=4, aer_dev_nonfatal=9, aer_dev_correctable=9_000)
    assert node.verdict(30.0).healthy
    node.counted(60.0, number=0, aer_dev_fatal=5, aer_dev_nonfatal=9, aer_dev_correctable=9_000)
    reason = "ErrorRate: aer_dev_fatal has risen by 1 in a minute, or more"
    assert (node.verdict(60.0).healthy, node.verdict(60.0).reason) == (False, reason)
    assert "aer_dev_fatal of its physical function 0000:3b:00.0 has" in node.verdict(60.0, 1).reason


def test_a_device_elsewhere_is_healthy() -> None:
    """Whoever uses it knows; here nothing of it can be seen."""
    verdict = first(linked(pf(elsewhere=True, uverbs=None), Link()))
    assert verdict == Verdict(healthy=True, state="InUseElsewhere", shown=(ELSEWHERE,))


def test_nothing_is_judged_where_that_is_switched_off() -> None:
    """Whatever is wrong."""
    verdict = first(linked(pf(problem="garbage", uverbs=None), DOWN), judgement=Judgement(enabled=False))
    assert (verdict.healthy, verdict.state) == (True, "Unmonitored")


# --- pools -----------------------------------------------------------------------------------------------------------


def pooled(*devices: RdmaDevice) -> Verdict:
    """What is said of one unit that is all these devices."""
    node = Node(*devices, mode="pool", replicas=2)
    node.look(0.0)
    return node.monitor.verdict(Unit("rdma.hca", node.pool, devices), node.judgement, 0.0)


def test_a_pool_is_healthy_while_any_of_its_devices_is() -> None:
    """The others are shown."""
    assert pooled(pf(0), pf(1)) == Verdict(healthy=True, state="Healthy")
    shown = ("0000:3b:00.0: PortDown: port 1 is DOWN, physically without a link",)
    assert pooled(linked(pf(0), DOWN), pf(1)) == Verdict(healthy=True, state="Healthy", shown=shown)
    verdict = pooled(linked(pf(0), DOWN), pf(1, uverbs=None))
    assert (verdict.healthy, verdict.state) == (False, "PortDown")
    assert verdict.reason == (
        "PortDown: none of its 2 devices is healthy; 0000:3b:00.0: PortDown: port 1 is DOWN, physically without a link; "
        "0000:3b:00.1: UverbsMissing: the kernel has made no uverbs device for it; is the module ib_uverbs loaded?"
    )


def test_a_pool_without_devices_is_not_healthy() -> None:
    """There would be nothing in the container."""
    node = Node(mode="pool", replicas=2)
    verdict = node.monitor.verdict(Unit("rdma.hca", node.pool, ()), node.judgement, 0.0)
    assert verdict == Verdict(healthy=False, state="NoDevices", reason="NoDevices: the resource has no devices")


def test_a_pool_of_degraded_devices_is_degraded() -> None:
    """One that is as it should be makes it healthy; what is degraded is told in either case."""
    slow = PciLink(8.0, 16.0, 8, 16)
    assert pooled(pf(0, pci_link=slow), pf(1, pci_link=slow)).state == "Degraded"
    mixed = pooled(pf(0, pci_link=slow), pf(1))
    assert (mixed.state, mixed.degraded) == ("Healthy", ("PcieDegraded",))
