"""Tombstones: an id that may be allocated is never dropped, a freed one soon is, and there are never too many."""

from collections.abc import Iterable

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from supervisor.events import DeviceTombstoned, Event, TombstoneCleared
from supervisor.inventory import Inventory
from supervisor.ledger import Holding, Reading
from supervisor.model import ContainerEdits, Device, DeviceNode, Health, Topology
from supervisor.tombstones import APART, QUIET, REASON, RECHECK, UNSURE, Tombstones

FUSE = "example.com/fuse"
TUN = "example.com/tun"
NOBODY: dict[str, float] = {}


def device(device_id: str, node: int = 1) -> Device:
    """A healthy device with edits, on a NUMA node."""
    edits = ContainerEdits((DeviceNode(f"/dev/{device_id}"),))
    return Device(device_id, topology=Topology((node,)), edits=edits)


def found(*device_ids: str, resource: str = FUSE) -> Inventory:
    """What a look found."""
    return Inventory.of(resource, [device(each) for each in device_ids])


def read(at: float, *held: str, unsure: Iterable[str] = (), resource: str = FUSE) -> Reading:
    """A complete reading in which these ids are held, and these are held by the checkpoint alone."""
    holdings = tuple(Holding(resource, each, "default", "pod", "main", (3,)) for each in held)
    unlisted = tuple(Holding(resource, each, "", "uid", "setup", (2,)) for each in unsure)
    return Reading(at, "podresources", complete=True, holdings=holdings, unlisted=unlisted)


def unreadable(at: float) -> Reading:
    """A reading that shows nothing."""
    return Reading(at, "none", complete=False, reason="nobody answers")


def ids(inventory: Inventory) -> list[str]:
    """The ids of a list, in order."""
    return [each.id for each in inventory.devices]


def watched(bound: int = 1000) -> tuple[Tombstones, list[Event]]:
    """Tombstones and what they tell."""
    told: list[Event] = []
    return Tombstones(told.append, bound=bound), told


def test_a_vanished_id_stays_listed_last_and_unhealthy() -> None:
    """It keeps its topology, so that hints stay as they were, and loses its edits, for nobody may get them."""
    tombstones, told = watched()
    tombstones.retain(FUSE, found("a", "b", "c"), 0.0)
    listed = tombstones.retain(FUSE, found("b", "d"), 1.0)
    assert ids(listed) == ["b", "d", "a", "c"]
    assert listed.get("a") == Device("a", Health.UNHEALTHY, REASON, Topology((1,)), ContainerEdits())
    assert [listed.get(each) for each in listed.index] == list(listed.devices)
    assert told == [DeviceTombstoned(FUSE, "a"), DeviceTombstoned(FUSE, "c")]
    assert tombstones.count == 2


def test_what_does_not_change_keeps_its_identity() -> None:
    """Without tombstones the list is the look's own; with some, each Device, and a list that did not change, is the same object."""
    tombstones, _ = watched()
    first = found("a", "b")
    assert tombstones.retain(FUSE, first, 0.0) is first
    second = Inventory.of(FUSE, first.devices[:1])
    listed = tombstones.retain(FUSE, second, 1.0)
    assert tombstones.retain(FUSE, second, 2.0) is listed is tombstones.listed(FUSE)
    again = tombstones.retain(FUSE, Inventory.of(FUSE, first.devices[:1]), 3.0)
    assert all(one is other for one, other in zip(again.devices, listed.devices, strict=True))
    tombstones.observe_reading(read(4.0), 4.0, None, NOBODY)
    assert tombstones.listed(FUSE) is again


def test_a_reappeared_id_is_a_device_again_at_once() -> None:
    """The look's own Device is listed, at its own place, and healthy."""
    tombstones, told = watched()
    first = found("a", "b")
    tombstones.retain(FUSE, first, 0.0)
    tombstones.retain(FUSE, found("b"), 1.0)
    assert tombstones.retain(FUSE, first, 2.0) is first
    assert told[1:] == [TombstoneCleared(FUSE, "a", "found again")]
    assert tombstones.count == 0


def test_options_of_the_resource_survive() -> None:
    """Containers of a retired key that need PreStartContainer still get it."""
    tombstones, _ = watched()
    tombstones.retain(FUSE, Inventory.of(FUSE, [device("a"), device("b")], pre_start_required=True), 0.0)
    assert tombstones.retain(FUSE, Inventory.of(FUSE, [device("a")], pre_start_required=True), 1.0).pre_start_required
    assert tombstones.retain(FUSE, None, 2.0).pre_start_required


def vanished(at: float = 0.0) -> Tombstones:
    """Where `a` is found and `b` has vanished."""
    tombstones, _ = watched()
    tombstones.retain(FUSE, found("a", "b"), at)
    tombstones.retain(FUSE, found("a"), at)
    return tombstones


def test_two_free_readings_apart_clear() -> None:
    """One is not enough, nor are two too close, nor one seen twice."""
    tombstones = vanished()
    assert tombstones.observe_reading(read(100.0), 100.0, None, NOBODY) == {}
    assert tombstones.observe_reading(read(100.0), 150.0, None, NOBODY) == {}
    assert tombstones.observe_reading(read(100.0 + APART - 0.1), 151.0, None, NOBODY) == {}
    assert tombstones.observe_reading(read(100.0 + APART), 152.0, None, NOBODY) == {FUSE: ("b",)}
    assert ids(tombstones.listed(FUSE)) == ["a"]


def test_a_held_reading_starts_the_count_again() -> None:
    """The two free readings must follow each other."""
    tombstones = vanished()
    for reading in (read(100.0), read(120.0, "b"), read(140.0)):
        assert tombstones.observe_reading(reading, reading.at, None, NOBODY) == {}
    assert tombstones.observe_reading(read(150.0), 150.0, None, NOBODY) == {FUSE: ("b",)}


def test_an_incomplete_reading_proves_nothing_either_way() -> None:
    """It neither counts as free nor takes back what the one before it showed."""
    tombstones = vanished()
    tombstones.observe_reading(read(100.0), 100.0, None, NOBODY)
    assert tombstones.observe_reading(unreadable(120.0), 120.0, None, NOBODY) == {}
    assert tombstones.observe_reading(read(121.0), 121.0, None, NOBODY) == {FUSE: ("b",)}


def test_the_same_id_of_another_resource_holds_nothing() -> None:
    """A reading is about a resource and an id together."""
    tombstones = vanished()
    tombstones.observe_reading(read(100.0, "b", resource=TUN), 100.0, None, NOBODY)
    assert tombstones.observe_reading(read(110.0, "b", resource=TUN), 110.0, None, NOBODY) == {FUSE: ("b",)}


@pytest.mark.parametrize("cause", ["kubelet", "allocate"])
def test_a_reading_soon_after_a_kubelet_start_or_an_allocate_does_not_count(cause: str) -> None:
    """A fresh kubelet's list is empty, and an allocation shows only once its pod is admitted."""
    started, allocated = (100.0, NOBODY) if cause == "kubelet" else (None, {"b": 100.0})
    tombstones = vanished()
    for at in (101.0, 112.0, 100.0 + QUIET - 0.1):
        assert tombstones.observe_reading(read(at), at, started, allocated) == {}
    assert tombstones.observe_reading(read(100.0 + QUIET), 100.0 + QUIET, started, allocated) == {}
    assert tombstones.observe_reading(read(170.0), 170.0, started, allocated) == {FUSE: ("b",)}


def test_a_kubelet_start_that_is_noticed_late_takes_back_what_was_shown() -> None:
    """A reading taken for good in the kubelet's empty first second does not count once the restart is known."""
    tombstones = vanished()
    tombstones.observe_reading(read(100.2), 100.3, None, NOBODY)
    for at in (111.0, 160.0):
        assert tombstones.observe_reading(read(at), at, 100.0, NOBODY) == {}
    assert tombstones.observe_reading(read(170.0), 170.0, 100.0, NOBODY) == {FUSE: ("b",)}


def test_readings_from_before_it_vanished_do_not_count() -> None:
    """The two readings are about the tombstone, not about the device that it was."""
    tombstones = vanished(at=200.0)
    for at in (100.0, 150.0, 200.0):
        assert tombstones.observe_reading(read(at), 200.0, None, NOBODY) == {}
    assert tombstones.observe_reading(read(210.0), 210.0, None, NOBODY) == {FUSE: ("b",)}


def test_what_only_the_checkpoint_shows_is_listed_anew_so_that_it_is_written_anew() -> None:
    """Free by podresources, it gets another reason, which is a new list; then the checkpoint decides, and nothing flaps."""
    tombstones = vanished()
    before = tombstones.listed(FUSE)
    assert tombstones.observe_reading(read(100.0, unsure="b"), 100.0, None, NOBODY) == {}
    assert tombstones.listed(FUSE) is before
    assert tombstones.observe_reading(read(110.0, unsure="b"), 110.0, None, NOBODY) == {FUSE: ()}
    doubted = tombstones.listed(FUSE)
    assert doubted.devices[1:] == (Device("b", Health.UNHEALTHY, UNSURE, Topology((1,))),)
    for at in (120.0, 150.0, 100.0 + RECHECK - 1):
        assert tombstones.observe_reading(read(at, unsure="b"), at, None, NOBODY) == {}
        assert tombstones.listed(FUSE) is doubted
    assert tombstones.observe_reading(read(700.0), 700.0, None, NOBODY) == {FUSE: ("b",)}


def test_a_doubt_is_raised_again_after_a_while() -> None:
    """An init container that has ended on an idle node stays in the checkpoint until something makes the kubelet write."""
    tombstones = vanished()
    lists = []
    for at in (100.0, 110.0, 100.0 + RECHECK, 730.0, 760.0):
        tombstones.observe_reading(read(at, unsure="b"), at, None, NOBODY)
        lists.append(tombstones.listed(FUSE).devices[1].reason)
    assert lists == [REASON, UNSURE, REASON, REASON, UNSURE]


def test_a_doubted_id_that_is_held_after_all_is_an_ordinary_tombstone_again() -> None:
    """Its reason tells what is known, so that a later doubt is a new list again."""
    tombstones = vanished()
    for at in (100.0, 110.0):
        tombstones.observe_reading(read(at, unsure="b"), at, None, NOBODY)
    assert tombstones.observe_reading(read(120.0, "b"), 120.0, None, NOBODY) == {FUSE: ()}
    assert tombstones.listed(FUSE).devices[1].reason == REASON


def test_where_nothing_can_be_read_it_ends_after_a_day() -> None:
    """The day begins with whatever was heard last of the id: its vanishing, a complete reading, or an Allocate."""
    day = 24 * 3600.0
    tombstones = vanished()
    assert tombstones.observe_reading(unreadable(day - 1), day - 1, None, NOBODY) == {}
    assert tombstones.observe_reading(read(day, "b"), day, None, NOBODY) == {}
    assert tombstones.observe_reading(unreadable(2 * day - 1), 2 * day - 1, None, NOBODY) == {}
    assert tombstones.observe_reading(unreadable(2 * day), 2 * day, None, {"b": 1.5 * day}) == {}
    assert tombstones.observe_reading(unreadable(3 * day), 2.5 * day, None, {"b": 1.5 * day}) == {FUSE: ("b",)}


def test_a_retired_key_goes_over_its_tombstones_to_an_empty_list() -> None:
    """Tombstones alone, then an empty list, and only then it is settled; a key that is there never is."""
    tombstones, _ = watched()
    tombstones.retain(FUSE, found("a", "b"), 0.0)
    assert not tombstones.settled(FUSE)
    assert ids(tombstones.retain(FUSE, None, 1.0)) == ["a", "b"]
    assert tombstones.retain(FUSE, None, 2.0) is tombstones.listed(FUSE)
    tombstones.observe_reading(read(10.0, "b"), 10.0, None, NOBODY)
    tombstones.observe_reading(read(20.0, "b"), 20.0, None, NOBODY)
    assert (ids(tombstones.listed(FUSE)), tombstones.settled(FUSE)) == (["b"], False)
    tombstones.observe_reading(read(30.0), 30.0, None, NOBODY)
    tombstones.observe_reading(read(40.0), 40.0, None, NOBODY)
    assert (ids(tombstones.listed(FUSE)), tombstones.settled(FUSE)) == ([], True)
    assert tombstones.retain(FUSE, None, 41.0).resource == FUSE


def test_a_key_that_comes_back_is_no_longer_retired() -> None:
    """Its old tombstones stay behind what is found now."""
    tombstones, _ = watched()
    tombstones.retain(FUSE, found("a", "b"), 0.0)
    tombstones.retain(FUSE, None, 1.0)
    assert ids(tombstones.retain(FUSE, found("b", "c"), 2.0)) == ["b", "c", "a"]
    tombstones.retain(FUSE, found(), 3.0)
    tombstones.observe_reading(read(10.0), 10.0, None, NOBODY)
    tombstones.observe_reading(read(20.0), 20.0, None, NOBODY)
    assert (ids(tombstones.listed(FUSE)), tombstones.settled(FUSE)) == ([], False)


def test_a_forgotten_resource_leaves_nothing() -> None:
    """What configuration removes has no tombstones, and may come again as new."""
    tombstones = vanished()
    tombstones.forget(FUSE)
    assert (tombstones.count, tombstones.settled(FUSE)) == (0, False)
    assert ids(tombstones.retain(FUSE, found("c"), 1.0)) == ["c"]


def test_held_ids_that_were_never_found_are_adopted() -> None:
    """After a restart the predecessor's tombstones come back from the ledger, with their NUMA nodes, for our resources alone."""
    tombstones, told = watched()
    tombstones.retain(FUSE, found("a"), 0.0)
    holdings = (
        Holding(FUSE, "a", "default", "p", "main"),
        Holding(FUSE, "z", "default", "p", "main", (2,)),
        Holding(FUSE, "z", "default", "p", "init", (0, 64, -1)),
        Holding("other.com/x", "x", "default", "p", "main"),
        Holding(TUN, "t", "default", "p", "main"),
    )
    reading = Reading(1.0, "podresources", complete=True, holdings=holdings[:2], unlisted=holdings[2:])
    assert tombstones.adopt(reading, [FUSE, TUN], 1.0) == {FUSE: ("z",), TUN: ("t",)}
    assert tombstones.adopt(reading, [FUSE, TUN], 2.0) == {}
    assert tombstones.listed(FUSE).devices[1:] == (Device("z", Health.UNHEALTHY, REASON, Topology((0, 2))),)
    assert (ids(tombstones.listed(TUN)), tombstones.settled(TUN)) == (["t"], False)
    assert told == [DeviceTombstoned(FUSE, "z"), DeviceTombstoned(TUN, "t")]
    assert ids(tombstones.retain(FUSE, found("a", "z"), 3.0)) == ["a", "z"]


def test_an_incomplete_reading_adopts_nothing() -> None:
    """It holds no ids, and would not be believed if it did."""
    tombstones = vanished()
    holdings = read(1.0, "z").holdings
    assert tombstones.adopt(Reading(1.0, "none", complete=False, holdings=holdings), [FUSE], 1.0) == {}


def test_the_bound_pushes_out_the_oldest_but_spares_the_held() -> None:
    """Beyond the bound, what the last reading showed as held goes last; else the oldest goes first."""
    tombstones, told = watched(bound=3)
    tombstones.retain(FUSE, found("a", "b", "c", "d", "e"), 0.0)
    tombstones.observe_reading(read(0.5, "a", unsure="e"), 0.5, None, NOBODY)
    tombstones.retain(FUSE, found("c", "d", "e"), 1.0)
    assert ids(tombstones.retain(FUSE, found("d", "e"), 2.0)) == ["d", "e", "a", "b", "c"]
    assert ids(tombstones.retain(FUSE, found("e"), 3.0)) == ["e", "a", "c", "d"]
    assert told[-1] == TombstoneCleared(FUSE, "b", "more than 3 ids of this resource have vanished")
    assert ids(tombstones.retain(FUSE, found(), 4.0)) == ["a", "d", "e"]


def test_a_mass_vanishing_is_bounded_at_once_and_adoption_stays_within() -> None:
    """Of ten thousand ids a thousand stay, the held ones among them; adoption takes only the room that is left."""
    tombstones, told = watched()
    many = [f"id-{each:05}" for each in range(10_000)]
    tombstones.retain(FUSE, found(*many), 0.0)
    tombstones.observe_reading(read(0.5, "id-00007"), 0.5, None, NOBODY)
    listed = tombstones.retain(FUSE, found(), 1.0)
    assert (len(listed.devices), len(told)) == (1000, 1000)
    assert ids(listed) == ["id-00007", *many[-999:]]
    assert tombstones.adopt(read(2.0, "x"), [FUSE], 2.0) == {}
    assert tombstones.count == 1000


IDS = ["a", "b", "c"]


class Node(RuleBasedStateMachine):
    """A node in random weather: devices come and go, pods hold and free them, the kubelet restarts and lies for a while.

    The truth is ``held``, of which ``hidden`` is held by init containers. A reading is a snapshot of the truth that is delivered
    later; within ``QUIET`` of a kubelet start, and of an allocation, it may leave out what is held. A kubelet start is noticed up to
    8 s late. The kubelet's ``memory`` forgets what was freed when it is read; it writes it to the checkpoint with each new list.
    """

    bound = 100

    def __init__(self) -> None:
        super().__init__()
        self.now = 1000.0
        self.held: set[str] = set()
        self.allocated: dict[str, float] = {}
        self.kubelet_started = 0.0
        self.noticed = 0.0
        self.under_way: list[Reading] = []
        self.present: set[str] = set()
        self.hidden: set[str] = set()
        self.memory: set[str] = set()
        self.written: set[str] = set()

    @initialize(present=st.sets(st.sampled_from(IDS)), readable=st.booleans())
    def start(self, present: set[str], readable: bool) -> None:
        self.readable = readable
        self.supervise(present)
        self.promoted = 0.0

    def supervise(self, present: Iterable[str]) -> None:
        self.tombstones = Tombstones(self.check_event, bound=self.bound)
        self.published = found()
        self.told: set[str] = set()
        self.promoted = self.now
        self.look(set(present))

    def publish(self) -> None:
        """The kubelet writes its checkpoint with each list that is new."""
        listed = self.tombstones.listed(FUSE)
        if not listed.same_list(self.published):
            self.published, self.written = listed, set(self.memory)

    def check_event(self, event: Event) -> None:
        """Events are the same truth as the list: none is told twice."""
        if isinstance(event, DeviceTombstoned):
            assert event.device not in self.told
            self.told.add(event.device)
        elif isinstance(event, TombstoneCleared):
            self.told.remove(event.device)

    @precondition(lambda self: self.present)
    @rule(data=st.data())
    def unplug(self, data: st.DataObject) -> None:
        self.look(self.present - {data.draw(st.sampled_from(sorted(self.present)))})

    @rule(present=st.sets(st.sampled_from(IDS)))
    def look(self, present: set[str]) -> None:
        self.present = present
        discovered = found(*sorted(present)) if present else None
        listed = self.tombstones.retain(FUSE, discovered, self.now)
        assert ids(listed)[: len(present)] == sorted(present)
        self.publish()

    @rule(seconds=st.sampled_from([1.0, 12.0, 70.0]))
    def wait(self, seconds: float) -> None:
        self.now += seconds
        if self.now - self.kubelet_started > 8:
            self.noticed = self.kubelet_started

    def take(self, data: st.DataObject, init: bool) -> str:
        taken: str = data.draw(st.sampled_from(sorted(self.present - self.held)))
        self.held.add(taken)
        self.memory.add(taken)
        self.written = set(self.memory)
        if init and self.readable:
            self.hidden.add(taken)
        self.allocated[taken] = self.now
        return taken

    @precondition(lambda self: self.present - self.held)
    @rule(data=st.data(), init=st.booleans())
    def allocate(self, data: st.DataObject, init: bool) -> None:
        self.take(data, init)

    @precondition(lambda self: self.present - self.held)
    @rule(data=st.data(), init=st.booleans(), wait=st.sampled_from([1.0, 70.0]))
    def allocate_and_lose(self, data: st.DataObject, init: bool, wait: float) -> None:
        """What this is all about: a device that is in use goes away."""
        self.look(self.present - {self.take(data, init)})
        self.wait(wait)

    @precondition(lambda self: self.held)
    @rule(data=st.data())
    def free(self, data: st.DataObject) -> None:
        freed = data.draw(st.sampled_from(sorted(self.held)))
        self.held.remove(freed)
        self.hidden.discard(freed)

    @rule()
    def restart_kubelet(self) -> None:
        if self.now - self.kubelet_started > 60:
            self.kubelet_started = self.now
            self.memory = set(self.written)

    @rule(pause=st.sampled_from([1.0, 12.0]))
    def read_a_fresh_kubelet(self, pause: float) -> None:
        self.restart_kubelet()
        self.glance_twice(lies=True, pause=pause)

    def snapshot(self, *, lies: bool) -> Reading:
        fresh = self.now < self.kubelet_started + QUIET
        young = {each for each, at in self.allocated.items() if self.now < at + QUIET}
        shown = self.held - self.hidden - ((self.held if fresh else young) if lies else set())
        if not (fresh and lies):
            self.memory = set(self.held)
        return read(self.now, *shown, unsure=self.written - shown if self.readable else ())

    @rule(lies=st.booleans())
    def glance(self, lies: bool) -> None:
        self.observe(self.snapshot(lies=lies))

    @rule(lies=st.booleans(), pause=st.sampled_from([1.0, 12.0]))
    def glance_twice(self, lies: bool, pause: float) -> None:
        for _ in range(2):
            self.glance(lies)
            self.wait(pause)

    @rule(lies=st.booleans())
    def begin_reading(self, lies: bool) -> None:
        self.under_way.append(self.snapshot(lies=lies))

    @precondition(lambda self: self.under_way)
    @rule()
    def end_reading(self) -> None:
        self.observe(self.under_way.pop(0))

    @rule()
    def fail_reading(self) -> None:
        self.observe(unreadable(self.now))

    def observe(self, reading: Reading) -> None:
        before = set(ids(self.tombstones.listed(FUSE)))
        cleared = self.tombstones.observe_reading(reading, self.now, max(self.noticed, self.promoted), self.allocated)
        after = set(ids(self.tombstones.listed(FUSE)))
        assert before - after == set(cleared.get(FUSE, ()))
        assert self.tombstones.listed(FUSE).same_list(self.published) == (FUSE not in cleared)
        self.publish()

    @rule(present=st.sets(st.sampled_from(IDS)))
    def hand_over(self, present: set[str]) -> None:
        """A successor starts from nothing but the ledger, which has settled."""
        self.now += QUIET
        self.noticed, self.allocated, self.under_way = self.kubelet_started, {}, []
        reading = self.snapshot(lies=False)
        self.supervise(present)
        self.tombstones.adopt(reading, [FUSE], self.now)
        self.publish()

    @rule()
    def settle(self) -> None:
        """Four readings in quiet times clear whatever is free, though nothing else makes the kubelet write."""
        self.under_way = []
        self.wait(RECHECK)
        for _ in range(4):
            self.observe(self.snapshot(lies=False))
            self.wait(APART)
        assert set(ids(self.tombstones.listed(FUSE))) == self.present | self.held
        assert self.tombstones.settled(FUSE) == (not self.present and not self.held)

    @invariant()
    def nothing_that_may_be_allocated_is_missing(self) -> None:
        recent = {each for each, at in self.allocated.items() if self.now < at + QUIET}
        assert self.held | recent <= set(ids(self.tombstones.listed(FUSE)))

    @invariant()
    def tombstones_are_what_is_listed_but_not_found(self) -> None:
        listed = self.tombstones.listed(FUSE)
        assert set(listed.index) - self.present == self.told
        assert all(each.healthy == (each.id in self.present) for each in listed.devices)
        assert self.tombstones.count == len(self.told)


class CrowdedNode(Node):
    """The same weather with room for two tombstones: then ids are lost, but never more are kept."""

    bound = 2

    @rule()
    def settle(self) -> None:
        """What is lost by the bound may come back only by adoption."""

    @invariant()
    def nothing_that_may_be_allocated_is_missing(self) -> None:
        assert self.tombstones.count <= self.bound


TestNode = Node.TestCase
TestNode.settings = settings(max_examples=150, stateful_step_count=50, deadline=None)
TestCrowdedNode = CrowdedNode.TestCase
TestCrowdedNode.settings = settings(max_examples=20, stateful_step_count=30, deadline=None)
