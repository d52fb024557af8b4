"""What a node offers: looks become feeds, two plugins never share a name, and what ends does so in the right way."""

from collections.abc import Iterable, Mapping, Sequence
from functools import cache

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule, run_state_machine_as_test

from supervisor.calls import PluginCalls
from supervisor.events import (
    DeviceChanged,
    DeviceQuarantined,
    Event,
    InventoryPublished,
    PluginNoticed,
    PluginRetired,
    ResourceContended,
    ResourceOffered,
    ResourceRetired,
)
from supervisor.feed import Feed
from supervisor.inventory import Inventory, Look, Quarantined
from supervisor.ledger import Reading
from supervisor.model import ContainerEdits, Device, Health, Topology
from supervisor.offers import TOLD, Offers
from supervisor.slots import Slots
from supervisor.tenancy import Tenant
from supervisor.tombstones import Tombstones

WIDGET, GADGET = "example.com/widget", "example.com/gadget"


class Outlet:
    """The reader of feeds: what is open, by whose calls, and every order in turn."""

    def __init__(self) -> None:
        self.feeds: dict[str, Feed] = {}
        self.calls: dict[str, object] = {}
        """Resource to the plugin that is asked."""
        self.orders: list[str] = []
        self.lists: dict[str, list[list[str]]] = {}

    def open(self, feed: Feed, calls: PluginCalls) -> None:
        assert feed.resource not in self.feeds
        assert feed.current is not None, "nothing is offered before it has been looked at"
        self.feeds[feed.resource] = feed
        self.calls[feed.resource] = calls.plugin
        self.orders.append(f"open {feed.resource}")
        lists = self.lists.setdefault(feed.resource, [ids(feed.current)])
        feed.subscribe(lambda: lists.append(ids(feed.current)))

    def replace_calls(self, resource: str, calls: PluginCalls) -> None:
        assert resource in self.feeds
        self.calls[resource] = calls.plugin
        self.orders.append(f"replace {resource}")

    def close(self, resource: str) -> None:
        del self.feeds[resource], self.calls[resource]
        self.orders.append(f"close {resource}")


def ids(inventory: Inventory | None) -> list[str]:
    """Ids in their order, an unhealthy one with an exclamation mark."""
    assert inventory is not None
    return [device.id if device.healthy else f"{device.id}!" for device in inventory.devices]


@cache
def calls(plugin: str) -> PluginCalls:
    """The way to a plugin object, one for each name."""
    return PluginCalls(plugin, Slots(plugin), Slots(plugin))


def found(resource: str, devices: Sequence[Device]) -> Look:
    """A look at one resource."""
    return Look({resource: Inventory.of(resource, devices)})


class Node:
    """Offers with everything around them."""

    def __init__(self) -> None:
        self.events: list[Event] = []
        self.now = 1000.0
        self.outlet = Outlet()
        self.tombstones = Tombstones(self.events.append)
        self.offers = Offers(self.outlet, self.tombstones, self.events.append, lambda: self.now)

    def told(self, kind: type[Event]) -> list[Event]:
        """The events of this kind since the last call, and none of the others."""
        found = [event for event in self.events if type(event) is kind]
        self.events.clear()
        return found

    def update(self, plugin: str, look: Look, *, reconfigured: bool = False) -> None:
        self.offers.update(plugin, look, calls(plugin), reconfigured=reconfigured)

    def listed(self, resource: str) -> list[str]:
        return ids(self.outlet.feeds[resource].current)

    def read_free(self) -> None:
        """Two complete reads that show nothing held, far enough apart."""
        for _ in range(2):
            self.now += 100
            reading = Reading(self.now, "podresources", complete=True)
            self.offers.tombstones_changed(self.tombstones.observe_reading(reading, self.now, None, {}))


def look(quarantined: Sequence[Quarantined] = (), notices: tuple[str, ...] = (), **resources: Iterable[str]) -> Look:
    """A look: resource by short name, healthy devices by id."""
    inventories = {
        f"example.com/{name}": Inventory.of(f"example.com/{name}", [Device(each) for each in listed])
        for name, listed in resources.items()
    }
    return Look(inventories, tuple(quarantined), notices)


@pytest.fixture
def node() -> Node:
    """Give a node that offers nothing yet."""
    return Node()


# --- one plugin -------------------------------------------------------------------------------------------------------


def test_a_first_look_opens_its_resources(node: Node) -> None:
    """Each with its list, and told in the order of what happened."""
    node.offers.start({"p": (look(widget="ab", gadget=""), calls("p"))})
    assert (node.listed(WIDGET), node.listed(GADGET)) == (["a", "b"], [])
    assert node.outlet.calls == {WIDGET: "p", GADGET: "p"}
    assert node.events == [
        ResourceOffered("p", GADGET),
        InventoryPublished("p", GADGET, 0, 0),
        ResourceOffered("p", WIDGET),
        InventoryPublished("p", WIDGET, 2, 0),
        DeviceChanged("p", WIDGET, "a", Health.HEALTHY, ""),
        DeviceChanged("p", WIDGET, "b", Health.HEALTHY, ""),
    ]
    assert node.offers.resources.keys() == {WIDGET, GADGET}


def test_what_shares_hardware_with_another_is_withdrawn_and_comes_back(node: Node) -> None:
    """Of all resources, whoever offers them; counted and told as what it is, and a later look changes nothing in it."""
    left = [Device("a@left", claim="a"), Device("b@left", claim="b")]
    right = [Device("a@right", claim="a"), Device("c@right")]
    node.offers.start({"p": (found(WIDGET, left), calls("p")), "q": (found(GADGET, right), calls("q"))})
    tenant = Tenant(WIDGET, "a@left", 1.0)
    node.events.clear()
    assert node.offers.tenants_changed({"a": tenant})
    assert (node.listed(WIDGET), node.listed(GADGET)) == (["a@left", "b@left"], ["a@right!", "c@right"])
    why = "its hardware is in use as a@left of example.com/widget"
    assert node.events == [
        InventoryPublished("q", GADGET, 2, 0),
        DeviceChanged("q", GADGET, "a@right", Health.OCCUPIED, why, Health.HEALTHY),
    ]
    node.events.clear()
    assert not node.offers.tenants_changed({"a": Tenant(WIDGET, "a@left", 2.0)})
    node.update("q", found(GADGET, right))
    assert node.told(DeviceChanged) == []
    assert node.offers.tenants_changed({})
    assert node.listed(GADGET) == ["a@right", "c@right"]


def test_a_look_without_news_publishes_and_tells_nothing(node: Node) -> None:
    """Neither with the same inventory nor with an equal one."""
    first = look(widget="ab")
    node.update("p", first)
    lists = len(node.outlet.lists[WIDGET])
    node.events.clear()
    node.update("p", first)
    node.update("p", look(widget="ab"))
    assert node.events == []
    assert len(node.outlet.lists[WIDGET]) == lists


def test_only_what_changed_is_told(node: Node) -> None:
    """A new device, another health, another reason; not another NUMA node, which no person asked for."""

    def found(*devices: Device) -> Look:
        return Look({WIDGET: Inventory.of(WIDGET, devices)})

    node.update("p", found(Device("a"), Device("b"), Device("c", Health.UNHEALTHY, "hot")))
    node.events.clear()
    changed = [
        Device("c", Health.UNHEALTHY, "hotter"),
        Device("a", topology=Topology((1,))),
        Device("b", Health.UNHEALTHY, "cold"),
    ]
    node.update("p", found(*changed, Device("d")))
    assert node.events == [
        InventoryPublished("p", WIDGET, 2, 2),
        DeviceChanged("p", WIDGET, "c", Health.UNHEALTHY, "hotter", Health.UNHEALTHY),
        DeviceChanged("p", WIDGET, "b", Health.UNHEALTHY, "cold", Health.HEALTHY),
        DeviceChanged("p", WIDGET, "d", Health.HEALTHY, ""),
    ]


def test_other_edits_are_published_without_a_word(node: Node) -> None:
    """The next container must get them."""
    node.update("p", look(widget="a"))
    node.events.clear()
    node.update("p", Look({WIDGET: Inventory.of(WIDGET, [Device("a", edits=ContainerEdits(envs={"A": "1"}))])}))
    assert node.told(DeviceChanged) == []
    current = node.outlet.feeds[WIDGET].current
    assert current is not None
    assert current.devices[0].edits.envs == {"A": "1"}


def test_a_flood_of_changes_is_told_up_to_a_limit(node: Node) -> None:
    """The numbers are still right."""
    node.update("p", Look({WIDGET: Inventory.of(WIDGET, [Device(str(n)) for n in range(3 * TOLD)])}))
    assert InventoryPublished("p", WIDGET, 3 * TOLD, 0) in node.events
    assert len(node.told(DeviceChanged)) == TOLD
    refused = [Quarantined(WIDGET, str(n), "bad") for n in range(3 * TOLD)]
    node.update("p", look(refused, widget=""))
    assert len(node.told(DeviceQuarantined)) == TOLD


def test_what_a_look_left_out_or_lacked_is_told_once(node: Node) -> None:
    """Again only when it differs."""
    bad = Quarantined(WIDGET, "x", "bad id")
    node.update("p", look([bad], ("no driver",), widget="a"))
    assert PluginNoticed("p", ("no driver",)) in node.events
    assert DeviceQuarantined("p", WIDGET, "x", "bad id") in node.events
    node.events.clear()
    node.update("p", look([bad], ("no driver",), widget="a"))
    assert node.events == []
    node.update("p", look(widget="a"))
    assert node.events == [PluginNoticed("p", ())]


# --- hardware that vanishes -------------------------------------------------------------------------------------------


def test_a_vanished_device_stays_listed_until_it_is_free(node: Node) -> None:
    """Unhealthy meanwhile; then it leaves, and that is told."""
    node.update("p", look(widget="ab"))
    node.update("p", look(widget="a"))
    assert node.listed(WIDGET) == ["a", "b!"]
    node.events.clear()
    node.read_free()
    assert node.listed(WIDGET) == ["a"]
    assert node.told(DeviceChanged) == [DeviceChanged("p", WIDGET, "b", None, "", Health.UNHEALTHY)]


def test_a_vanished_resource_ends_in_an_empty_list_and_then_closes(node: Node) -> None:
    """First its devices turn unhealthy, then the list is empty, and only then the stream ends."""
    node.update("p", look(widget="ab", gadget="c"))
    node.update("p", look(gadget="c"))
    assert node.listed(WIDGET) == ["a!", "b!"]
    assert not node.offers.settled
    node.offers.close_settled()
    node.read_free()
    assert node.listed(WIDGET) == []
    assert node.offers.settled == (WIDGET,)
    assert node.outlet.lists[WIDGET] == [["a", "b"], ["a!", "b!"], []]
    node.offers.close_settled()
    assert node.outlet.feeds.keys() == {GADGET}
    assert node.told(ResourceRetired) == [ResourceRetired("p", WIDGET)]
    node.update("p", look(widget="a", gadget="c"))
    assert node.listed(WIDGET) == ["a"]
    assert node.outlet.orders[-2:] == [f"close {WIDGET}", f"open {WIDGET}"]


def test_hardware_that_comes_back_in_time_keeps_its_stream(node: Node) -> None:
    """Nothing was closed, and nothing is left of the tombstones."""
    node.update("p", look(widget="ab"))
    node.update("p", look())
    node.update("p", look(widget="ab"))
    assert node.listed(WIDGET) == ["a", "b"]
    assert node.outlet.orders == [f"open {WIDGET}"]


# --- what the operator removes ----------------------------------------------------------------------------------------


def test_what_was_configured_away_closes_at_once_without_an_empty_list(node: Node) -> None:
    """An empty list would say that the hardware is gone."""
    node.update("p", look(widget="ab", gadget="c"))
    node.update("p", look(gadget="c"), reconfigured=True)
    assert node.outlet.orders[-1] == f"close {WIDGET}"
    assert node.outlet.lists[WIDGET] == [["a", "b"]]
    assert node.tombstones.count == 0


def test_a_resource_in_both_configurations_keeps_its_stream(node: Node) -> None:
    """The new plugin object answers for it from now on."""
    node.offers.update("p", look(widget="ab"), calls("old"))
    node.offers.update("p", look(widget="a"), calls("new"), reconfigured=True)
    assert node.outlet.orders == [f"open {WIDGET}", f"replace {WIDGET}"]
    assert node.outlet.calls == {WIDGET: "new"}
    assert node.listed(WIDGET) == ["a", "b!"]


def test_a_retired_plugin_closes_all_that_is_its_own(node: Node) -> None:
    """At once, and retiring it again is harmless."""
    node.update("p", look(widget="a"))
    node.update("q", look(gadget="b"))
    node.offers.retire("p")
    assert node.outlet.feeds.keys() == {GADGET}
    assert node.outlet.lists[WIDGET] == [["a"]]
    assert node.events[-2:] == [ResourceRetired("p", WIDGET), PluginRetired("p")]
    node.offers.retire("p")
    assert node.outlet.feeds.keys() == {GADGET}


# --- two plugins ------------------------------------------------------------------------------------------------------


def test_of_two_claimants_one_offers_and_both_are_named_once(node: Node) -> None:
    """At the start the first by name, whatever the order; the other one's remaining resources are offered."""
    node.offers.start({"q": (look(widget="b", gadget="c"), calls("q")), "p": (look(widget="a"), calls("p"))})
    assert node.listed(WIDGET) == ["a"]
    assert node.outlet.calls == {WIDGET: "p", GADGET: "q"}
    assert node.told(ResourceContended) == [ResourceContended(WIDGET, "p", "q")]
    node.update("q", look(widget="b", gadget="c"))
    assert node.told(ResourceContended) == []


def test_a_claim_that_was_dropped_is_told_when_it_is_made_again(node: Node) -> None:
    """It is news again."""
    node.update("p", look(widget="a"))
    for claimed in (True, False, True):
        node.update("q", look(widget="b") if claimed else look())
    assert len(node.told(ResourceContended)) == 2


def test_an_heir_takes_over_what_the_owner_no_longer_names(node: Node) -> None:
    """With the heir's last look and calls, in the same stream; the owner's devices stay as tombstones."""
    node.update("p", look(widget="a"))
    node.update("q", look(widget="b"))
    node.update("p", look())
    assert node.listed(WIDGET) == ["b", "a!"]
    assert node.outlet.calls == {WIDGET: "q"}
    assert f"close {WIDGET}" not in node.outlet.orders


@pytest.mark.parametrize("retired", [True, False], ids=["retired", "reconfigured"])
def test_an_heir_opens_anew_what_the_operator_took_from_the_owner(node: Node, *, retired: bool) -> None:
    """The old stream ends at once, and the heir begins with its own list alone."""
    node.update("p", look(widget="a"))
    node.update("q", look(widget="b"))
    if retired:
        node.offers.retire("p")
    else:
        node.update("p", look(), reconfigured=True)
    assert node.outlet.orders == [f"open {WIDGET}", f"close {WIDGET}", f"open {WIDGET}"]
    assert node.listed(WIDGET) == ["b"]
    assert node.outlet.calls == {WIDGET: "q"}


# --- laws -------------------------------------------------------------------------------------------------------------

PLUGINS = st.sampled_from("pqr")
LOOKS = st.dictionaries(st.sampled_from(["widget", "gadget"]), st.frozensets(st.sampled_from("abcd")))


class Offering(RuleBasedStateMachine):
    """Any history of looks, configurations and ledger readings."""

    def __init__(self) -> None:
        super().__init__()
        self.node = Node()
        self.looks: dict[str, Mapping[str, frozenset[str]]] = {}
        self.shown: dict[str, dict[str, Health]] = {}
        self.owners: dict[str, str] = {}

    def _tell(self) -> None:
        """Replay the events as a status page would."""
        for event in self.node.events:
            if isinstance(event, ResourceOffered):
                assert self.owners.get(event.resource) != event.plugin, "it has been told"
                self.owners[event.resource] = event.plugin
                self.shown.setdefault(event.resource, {})
            elif isinstance(event, ResourceRetired):
                del self.shown[event.resource], self.owners[event.resource]
            elif isinstance(event, DeviceChanged) and event.health is None:
                del self.shown[event.resource][event.device]
            elif isinstance(event, DeviceChanged):
                assert event.health is not None
                self.shown[event.resource][event.device] = event.health
        self.node.events.clear()

    @rule(plugin=PLUGINS, found=LOOKS, reconfigured=st.booleans())
    def plugin_looks(self, plugin: str, found: Mapping[str, frozenset[str]], *, reconfigured: bool) -> None:
        self.looks[plugin] = found
        self.node.update(
            plugin, look((), (), **{name: sorted(listed) for name, listed in found.items()}), reconfigured=reconfigured
        )
        self._tell()

    @rule(plugin=PLUGINS)
    def plugin_retires(self, plugin: str) -> None:
        self.looks.pop(plugin, None)
        self.node.offers.retire(plugin)
        self._tell()

    @rule()
    def ledger_shows_all_free(self) -> None:
        self.node.read_free()
        self.node.offers.close_settled()
        self._tell()

    @invariant()
    def what_is_found_is_offered_by_one_of_its_finders(self) -> None:
        outlet = self.node.outlet
        for name in ("widget", "gadget"):
            resource = f"example.com/{name}"
            finders = {plugin for plugin, found in self.looks.items() if name in found}
            if finders:
                owner = outlet.calls[resource]
                assert owner in finders
                assert self.looks[str(owner)][name] <= set(self.node.listed(resource))

    @invariant()
    def events_tell_exactly_what_is_listed(self) -> None:
        listed = {
            resource: {device.id: device.health for device in inventory.devices}
            for resource, inventory in self.node.offers.resources.items()
            if inventory is not None
        }
        assert self.shown == listed
        assert self.node.outlet.calls == self.owners

    @invariant()
    def no_id_is_listed_twice(self) -> None:
        for lists in self.node.outlet.lists.values():
            assert all(len({each.rstrip("!") for each in ids}) == len(ids) for ids in lists)


def test_the_laws_hold_for_every_history() -> None:
    """Whatever is found is offered by one of its finders, and the events tell exactly what is listed."""
    run_state_machine_as_test(Offering, settings=settings(deadline=None, max_examples=100))
