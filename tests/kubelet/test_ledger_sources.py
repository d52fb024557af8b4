"""Both sources of the ledger against the simulated kubelet: they agree on what both know, and each lies where the real one does."""

import asyncio
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import msgspec
import pytest

from supervisor.inventory import Inventory
from supervisor.kubelet.checkpoint import NAME, read_checkpoint
from supervisor.kubelet.podresources import list_holdings
from supervisor.kubelet.simulator import KubeletSimulator
from supervisor.ledger import Read, Reading, both
from supervisor.model import Device
from supervisor.tombstones import APART, QUIET, Tombstones
from tests.kubelet.simulator.bare_plugin import BarePlugin, device

RESOURCE = "example.com/widget"

Start = Callable[..., "Station"]


class Station:
    """A simulated kubelet with one plugin of four devices, two of them on NUMA nodes."""

    def __init__(self, kubelet: KubeletSimulator, plugin: BarePlugin) -> None:
        self.kubelet = kubelet
        self.plugin = plugin

    def podresources(self) -> Reading:
        """One reading; on the plugin's loop, for a process has one loop with grpc."""
        reading: Reading = self.plugin.run(list_holdings(str(self.kubelet.paths.pod_resources_socket)))
        return reading

    def checkpoint(self) -> Reading:
        """One reading of the file."""
        return read_checkpoint(self.kubelet.paths.device_plugins)

    def both(self) -> Reading:
        """One reading of both together."""

        async def podresources() -> Reading:
            return await asyncio.to_thread(self.podresources)

        async def checkpoint() -> Reading:
            return await asyncio.to_thread(self.checkpoint)

        return asyncio.run(awaited(both(podresources, checkpoint)))

    def publish(self, listed: Inventory) -> None:
        """Send a list, and wait until the kubelet has written its checkpoint, which it does after each."""
        path = self.kubelet.paths.device_plugins / NAME
        before = path.stat().st_ino
        self.plugin.publish([device(each.id, each.health) for each in listed.devices])
        until(lambda: path.stat().st_ino != before)


def until(condition: Callable[[], bool]) -> None:
    """Wait for something that tells no event."""
    deadline = time.monotonic() + 10
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.01)


async def awaited(read: Read) -> Reading:
    """As a coroutine, which `asyncio.run` wants."""
    return await read()


@pytest.fixture
def start(short_dir: Path) -> Iterator[Start]:
    """Start a kubelet of an era; everything ends with the test."""
    with ExitStack() as stack:

        def begin(era: str = "1.37", **settings: Any) -> Station:
            kubelet = stack.enter_context(KubeletSimulator(short_dir, era, **{"sources_delay": 0.0, **settings}))
            listed = [device("a"), device("b", numa=(0,)), device("c", numa=(1, 0)), device("d")]
            plugin = stack.enter_context(BarePlugin(kubelet.paths.device_plugins, RESOURCE, listed))
            plugin.register()
            kubelet.wait_registered(RESOURCE)
            return Station(kubelet, plugin)

        yield begin


@pytest.mark.parametrize("era", ["1.20", "1.25", "1.37"])
def test_both_sources_agree_on_app_containers(start: Start, era: str) -> None:
    """The same devices on the same NUMA nodes in the same containers, in each era's own form."""
    station = start(era)
    station.kubelet.add_pod("one", {RESOURCE: 3})
    asked, read = station.podresources(), station.checkpoint()
    assert (asked.complete, read.complete) == (True, True), (asked.reason, read.reason)
    assert (asked.source, read.source) == ("podresources", "checkpoint")
    assert len(asked.held(RESOURCE)) == 3
    assert {(each.device_id, each.container, each.numa_nodes) for each in asked.holdings} == {
        (each.device_id, each.container, each.numa_nodes) for each in read.holdings
    }
    assert {(each.namespace, each.pod) for each in asked.holdings} == {("default", "one")}
    nodes = {each.device_id: each.numa_nodes for each in asked.holdings}
    nowhere = (0,) if era == "1.20" else ()
    expected = {"a": nowhere, "b": (0,), "c": (0, 1), "d": nowhere}
    assert nodes == {each: expected[each] for each in nodes}


def test_an_init_container_holds_its_devices_in_the_checkpoint_alone(start: Start) -> None:
    """Podresources never lists an ordinary init container."""
    station = start()
    station.kubelet.add_pod("one", {}, init_containers={"setup": {RESOURCE: 1}})
    assert station.podresources().held(RESOURCE) == frozenset()
    assert [each.container for each in station.checkpoint().holdings] == ["setup"]


def test_the_checkpoint_outlives_the_kubelet(start: Start) -> None:
    """While no kubelet runs, podresources cannot be read, and the checkpoint tells what was held."""
    station = start()
    station.kubelet.add_pod("one", {RESOURCE: 2})
    held = station.podresources().held(RESOURCE)
    station.kubelet.stop()
    assert not station.podresources().complete
    assert (station.checkpoint().complete, station.checkpoint().held(RESOURCE)) == (True, held)


def test_the_empty_first_second_of_a_kubelet_frees_nothing(start: Start) -> None:
    """A fresh kubelet denies what pods hold; the tombstone outlives that, and goes when the pod has gone."""
    station = start(sources_delay=3600.0)
    station.kubelet.advance(3600.0)
    station.kubelet.add_pod("one", {RESOURCE: 1})
    (held,) = station.podresources().held(RESOURCE)
    tombstones = Tombstones(lambda _: None)
    born = station.podresources().at
    tombstones.retain(RESOURCE, Inventory.of(RESOURCE, [Device(held)]), born)
    tombstones.retain(RESOURCE, Inventory.of(RESOURCE, []), born)

    station.kubelet.restart()
    lie = station.podresources()
    assert (lie.complete, lie.held(RESOURCE), set(station.checkpoint().held(RESOURCE))) == (True, frozenset(), {held})
    started = lie.at
    for later in (0.0, APART, QUIET - 1):
        tombstones.observe_reading(shifted(lie, later), lie.at + later, started, {})
    assert tombstones.listed(RESOURCE).get(held) is not None

    station.kubelet.advance(3600.0)
    until(lambda: station.podresources().held(RESOURCE) == {held})
    station.kubelet.delete_pod("one")
    free = station.podresources()
    assert free.held(RESOURCE) == frozenset()
    for later in (QUIET, QUIET + APART):
        tombstones.observe_reading(shifted(free, later), free.at + later, started, {})
    assert tombstones.listed(RESOURCE).get(held) is None


def test_the_checkpoint_tells_an_init_container_from_an_ended_pod(start: Start) -> None:
    """Both are free by podresources and held by the checkpoint, until a new list makes the kubelet write what is true."""
    station = start()
    station.kubelet.add_pod("one", {}, init_containers={"setup": {RESOURCE: 1}})
    (used,) = station.checkpoint().held(RESOURCE)
    station.kubelet.add_pod("two", {RESOURCE: 1})
    (ended,) = station.podresources().held(RESOURCE)
    tombstones = Tombstones(lambda _: None)
    born = station.podresources().at
    tombstones.retain(RESOURCE, Inventory.of(RESOURCE, [Device(each) for each in "abcd"]), born)
    left = Inventory.of(RESOURCE, [Device(each) for each in "abcd" if each not in {used, ended}])
    station.publish(tombstones.retain(RESOURCE, left, born))
    station.kubelet.delete_pod("two")

    changes = []
    for later in (0.0, APART, 2 * APART):
        reading = station.both()
        changes.append(tombstones.observe_reading(shifted(reading, later), reading.at + later, None, {}))
        if changes[-1]:
            station.publish(tombstones.listed(RESOURCE))
    assert changes == [{}, {RESOURCE: ()}, {RESOURCE: (ended,)}]
    assert station.both().unsure(RESOURCE) == {used}
    assert station.kubelet.warnings() == []


def shifted(reading: Reading, seconds: float) -> Reading:
    """The same answer, had it been given later."""
    return msgspec.structs.replace(reading, at=reading.at + seconds)
