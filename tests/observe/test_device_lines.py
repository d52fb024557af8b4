"""The lines of devices say what the newest inventory and the newest reading say, and are written once."""

from collections.abc import Iterable, Mapping

import pytest
from msgspec.structs import replace

from supervisor.attribution import Attribution, Holders
from supervisor.config import MetricsConfig
from supervisor.inventory import Inventory
from supervisor.ledger import Holding
from supervisor.model import Device, Health
from supervisor.observe.device_lines import MOST_DEVICES, DeviceLines
from supervisor.observe.lines import escaped, write
from supervisor.observe.series import MOST_RESOURCES, Taken
from supervisor.status import ResourceStatus, Status
from tests.observe.scrapes import samples

GPU, NIC, RIVAL = "vendor.example/gpu", "vendor.example/nic", "rival.example/gpu"
EVERYTHING = MetricsConfig()


def taken(*inventories: Inventory, holders: Holders | None = None, wanted: MetricsConfig = EVERYTHING) -> Taken:
    """What a scrape sees; without holders nothing is known."""
    attribution = Attribution() if holders is None else Attribution(True, "", "podresources", 0.0, holders)
    resources = tuple(ResourceStatus(one.resource, "plugin", 0.0) for one in inventories)
    return Taken(Status(resources=resources), (), inventories, {}, attribution, wanted)


def held(*holdings: tuple[str, str, str]) -> dict[tuple[str, str], tuple[Holding, ...]]:
    """Resource, device and pod of each."""
    found: dict[tuple[str, str], tuple[Holding, ...]] = {}
    for resource, device, pod in holdings:
        found[resource, device] = (*found.get((resource, device), ()), Holding(resource, device, "space", pod, "main"))
    return found


def shown(name: str, scraped: Taken, lines: DeviceLines | None = None) -> dict[tuple[str, ...], float]:
    page = write((lines or DeviceLines()).families(scraped), openmetrics=False)
    return samples(page, name)


def offered(resource: str, ids: Iterable[str]) -> Inventory:
    return Inventory.of(resource, map(Device, ids))


def left_out(scraped: Taken) -> Mapping[str, float]:
    return {name.removeprefix("device_plugin_"): number for (name,), number in shown("series_left_out", scraped).items()}


NOTHING_LEFT_OUT = {"device_health": 0, "replicas_in_use": 0, "allocated": 0, "devices": 0}


def test_each_listed_device_has_one_line() -> None:
    """Its health and its reason, as the newest list has them."""
    inventory = Inventory.of(GPU, (Device("g0"), Device("g1", Health.UNHEALTHY, "XID 79")))
    assert shown("device_health", taken(inventory)) == {("g0", "", GPU): 1, ("g1", "XID 79", GPU): 0}
    assert left_out(taken(inventory)) == NOTHING_LEFT_OUT


def test_healthy_devices_crowd_out_no_unhealthy_one() -> None:
    """However many devices a node has, the lines are bounded, a broken device is among them, and the rest is counted."""
    many = offered(GPU, (f"g{number}" for number in range(MOST_DEVICES)))
    broken = Inventory.of(NIC, (Device("fine"), Device("broken", Health.UNHEALTHY, "hot")))
    found = shown("device_health", taken(many, broken))
    assert len(found) == MOST_DEVICES
    assert found["broken", "hot", NIC] == 0
    assert left_out(taken(many, broken)) == NOTHING_LEFT_OUT | {"device_health": 2}


def test_what_containers_hold_is_shown_with_them() -> None:
    """Resource, device, namespace, pod and container; a device of two containers has two lines."""
    holders = held((GPU, "g0", "a"), (GPU, "g0", "b"), (NIC, "n0", "a"))
    scraped = taken(offered(GPU, ("g0", "g1")), offered(NIC, ("n0",)), holders=holders)
    rows = {("main", "g0", "space", "a", GPU), ("main", "g0", "space", "b", GPU), ("main", "n0", "space", "a", NIC)}
    assert shown("allocated", scraped) == dict.fromkeys(rows, 1)
    assert shown("devices_held", scraped) == {(GPU,): 1, (NIC,): 1}


def test_what_is_not_known_is_not_told() -> None:
    """Neither as held nor as free, and what only the checkpoint shows is no knowledge."""
    inventory, holders = offered(GPU, ("g0", "g0::1")), held((GPU, "g0", "a"))
    unknown = replace(taken(inventory), attribution=Attribution(known=False, holders=holders))
    perhaps = replace(taken(inventory), attribution=Attribution(known=True, perhaps=holders))
    for name in ("allocated", "devices_held", "replicas_in_use"):
        assert shown(name, unknown) == {}
    assert shown("allocated", perhaps) == {}
    assert shown("devices_held", perhaps) == {(GPU,): 0}
    assert shown("replicas_in_use", perhaps) == {("g0", GPU): 0}


def test_only_what_is_offered_here_is_told() -> None:
    """The kubelet knows the devices of other plugins too."""
    scraped = taken(offered(GPU, ("g0",)), holders=held((RIVAL, "r0", "a")))
    assert shown("allocated", scraped) == {}
    assert shown("devices_held", scraped) == {(GPU,): 0}


@pytest.mark.parametrize(
    ("ids", "holding", "expected"),
    [
        (["x", "x::1", "x::2"], ["x", "x::2"], {"x": 2}),
        (["x::0", "x::1", "y::0"], ["x::1"], {"x": 1, "y": 0}),
        (["x::0", "x::1"], ["x"], {"x": 0}),
        (["plain", "pci::name", "0000:01:00.0"], ["plain"], {}),
        (["a::b::0", "a::b::1"], ["a::b::0"], {"a::b": 1}),
        (["x::0"], [], {"x": 0}),
    ],
)
def test_replicas_are_counted_for_the_device_they_share(ids: list[str], holding: list[str], expected: dict[str, int]) -> None:
    """``X::n`` is a replica of X, and so is X itself where it is offered; a device that is not shared has no line."""
    scraped = taken(offered(GPU, ids), holders=held(*((GPU, name, "a") for name in holding)))
    assert shown("replicas_in_use", scraped) == {(unit, GPU): number for unit, number in expected.items()}


def test_a_device_that_two_containers_share_is_held_once() -> None:
    """Devices are counted, not containers."""
    scraped = taken(offered(GPU, ("x::0",)), holders=held((GPU, "x::0", "a"), (GPU, "x::0", "b")))
    assert shown("replicas_in_use", scraped) == {("x", GPU): 1}
    assert shown("devices_held", scraped) == {(GPU,): 1}


def test_no_line_is_there_twice() -> None:
    """Prometheus would refuse the whole page; two names may be the same once they are made printable."""
    holders = held((GPU, "g0", "pod\0"), (GPU, "g0", "pod\1"), (GPU, "g0", "pod\0"))
    page = write(DeviceLines().families(taken(offered(GPU, ("g0",)), holders=holders)), openmetrics=False)
    assert page.count(b"device_plugin_allocated{") == 1
    assert left_out(taken(offered(GPU, ("g0",)), holders=holders)) == NOTHING_LEFT_OUT


def test_holders_are_bounded() -> None:
    """However many containers share a device, and the rest is counted."""
    holders = held(*((GPU, f"g{number}", "a") for number in range(MOST_DEVICES)), (NIC, "n0", "a"), (NIC, "n1", "b"))
    scraped = taken(offered(GPU, ("g0",)), offered(NIC, ("n0",)), holders=holders)
    assert len(shown("allocated", scraped)) == MOST_DEVICES
    assert left_out(scraped) == NOTHING_LEFT_OUT | {"allocated": 2}
    assert shown("devices_held", scraped) == {(GPU,): MOST_DEVICES, (NIC,): 2}


def test_shared_devices_are_bounded() -> None:
    """As all others."""
    scraped = taken(offered(GPU, (f"g{number}::0" for number in range(MOST_DEVICES + 3))), holders={})
    assert len(shown("replicas_in_use", scraped)) == MOST_DEVICES
    assert left_out(scraped)["replicas_in_use"] == 3


def test_resources_are_bounded() -> None:
    """Beyond the first ones, their series are counted as left out."""
    resources = tuple(ResourceStatus(f"vendor.example/r{number}", "plugin", 0.0) for number in range(MOST_RESOURCES + 2))
    scraped = Taken(Status(resources=resources), attribution=Attribution(known=True))
    assert len(shown("devices_held", scraped)) == MOST_RESOURCES
    assert left_out(scraped)["devices"] == 4


def test_series_of_devices_and_of_pods_can_be_switched_off() -> None:
    """Each for itself; what is counted for whole resources stays, and nothing counts as left out."""
    inventory, holders = offered(GPU, ("x::0",)), held((GPU, "x::0", "a"))
    every = {"device_health", "replicas_in_use", "allocated", "devices_held"}
    for wanted, missing in (
        (MetricsConfig(per_device=False), {"device_health", "replicas_in_use"}),
        (MetricsConfig(per_pod=False), {"allocated"}),
        (EVERYTHING, set()),
    ):
        scraped = taken(inventory, holders=holders, wanted=wanted)
        assert {name for name in every if not shown(name, scraped)} == missing
        assert left_out(scraped) == NOTHING_LEFT_OUT


def test_lines_are_kept_until_what_they_tell_is_another() -> None:
    """The same objects are drawn once; another inventory or another reading is drawn at the next scrape, and alone."""
    lines = DeviceLines()
    first, second = offered(GPU, ("g0", "g0::1")), offered(NIC, ("n0",))
    holders = held((GPU, "g0", "a"))
    before = _objects(lines, taken(first, second, holders=holders))
    assert _objects(lines, taken(first, second, holders=holders)) == before
    changed = Inventory.of(NIC, (Device("n0", Health.UNHEALTHY, "down"),))
    after = _objects(lines, taken(first, changed, holders=holders))
    assert len(after - before) == 1
    assert shown("device_health", taken(first, changed, holders=holders), lines)["n0", "down", NIC] == 0
    moved = held((GPU, "g0::1", "b"))
    assert ("main", "g0::1", "space", "b", GPU) in shown("allocated", taken(first, changed, holders=moved), lines)


def test_a_changed_device_leaves_nothing_behind() -> None:
    """A thousand changes keep as many lines as there are devices."""
    lines, kept = DeviceLines(), set[int]()
    for number in range(1_000):
        health = Health.UNHEALTHY if number % 2 else Health.HEALTHY
        scraped = taken(Inventory.of(GPU, (Device("g0"), Device("g1", health, f"change {number}"))), holders=held())
        kept.add(len(_objects(lines, scraped)))
    assert kept == {2}
    assert not _objects(lines, taken())


def test_hostile_texts_stay_in_their_quotes() -> None:
    """Names come from the kubelet, reasons from drivers."""
    odd = 'x"} 1\nup{y="\\\udcff'
    inventory = Inventory.of(GPU, (Device("g0", Health.UNHEALTHY, odd),))
    scraped = taken(inventory, holders={(GPU, "g0"): (Holding(GPU, "g0", odd, odd, odd),)})
    clean = 'x"} 1 up{y="\\?'
    assert shown("device_health", scraped) == {("g0", clean, GPU): 0}
    assert shown("allocated", scraped) == {(clean, "g0", clean, clean, GPU): 1}
    assert escaped(clean) in write(DeviceLines().families(scraped), openmetrics=True).decode()


def _objects(lines: DeviceLines, scraped: Taken) -> frozenset[int]:
    """Which bytes objects stand on the page."""
    return frozenset(id(each) for family in [*lines.families(scraped)] for each in family.lines)
