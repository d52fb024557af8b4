"""What is told to the cluster, to whom, how often, and what is not. In virtual time."""

import math
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager

import pytest
import trio
from trio.testing import MockClock

from supervisor.cluster.api import Troubles
from supervisor.cluster.backlog import BURST, MOST_WAITING, REFILL
from supervisor.cluster.recorder import SAME, timestamp
from supervisor.cluster.reporter import ABOUT, ABOUT_PODS, MOST_PODS, POD_PATIENCE, REFUSED_PAUSE, Reporter
from supervisor.events import (
    ClusterReachable,
    ClusterUnavailable,
    ConfigRejected,
    DeviceChanged,
    DeviceTombstoned,
    Event,
    InventoryPublished,
    LookFailed,
    PluginRecovered,
    PluginRetired,
    PluginStuck,
    ResourceContested,
    TombstoneCleared,
)
from supervisor.ledger import Holding
from supervisor.model import Health
from tests.cluster.apiserver import NEEDED, NODE, PAUSE, MemoryApi, StoredCluster

GPU = "example.com/gpu"
HEALTHY, UNHEALTHY = Health.HEALTHY, Health.UNHEALTHY
START = 1_700_000_000.0

Held = Mapping[str, tuple[Holding, ...]]


def _broken(device: str = "gpu-0", reason: str = "too hot") -> DeviceChanged:
    return DeviceChanged("gpu", GPU, device, UNHEALTHY, reason, HEALTHY)


def _repaired(device: str = "gpu-0") -> DeviceChanged:
    return DeviceChanged("gpu", GPU, device, HEALTHY, "", UNHEALTHY)


def _holding(pod: str, namespace: str = "team") -> Holding:
    return Holding(GPU, "gpu-0", namespace, pod, "main")


class Rig:
    """A reporter that runs, and what it is asked."""

    def __init__(self, api: MemoryApi, held: Held) -> None:
        self.owner = True
        self.held = held
        self.told: list[Event] = []
        self.reporter = Reporter(
            api,
            NODE,
            "pod-1",
            self._held,
            lambda: self.owner,
            Troubles(self.told.append),
            _wall,
        )

    async def _held(self, resource: str, device: str) -> tuple[Holding, ...]:
        return self.held.get(device, ())

    async def happens(self, *events: Event) -> None:
        """These, one after the other, and then all that follows from them at once."""
        for event in events:
            self.reporter(event)
        await trio.sleep(0.1)


def _wall() -> float:
    return START + trio.current_time()


@asynccontextmanager
async def _rig(api: MemoryApi, held: Held | None = None) -> AsyncIterator[Rig]:
    async with trio.open_nursery() as nursery:
        rig = Rig(api, held or {})
        nursery.start_soon(rig.reporter.run)
        yield rig
        nursery.cancel_scope.cancel()


async def test_an_event_stands_where_describe_looks_for_it(
    autojump_clock: MockClock, api: MemoryApi, cluster: StoredCluster
) -> None:
    """``kubectl describe node`` searches all namespaces for Events with the node's kind, its name, and its name as UID."""
    async with _rig(api) as rig:
        await rig.happens(_broken())
    ((key, event),) = cluster.events.items()
    assert key[0] == "default"
    assert event["involvedObject"] == {"kind": "Node", "name": NODE, "uid": NODE, "namespace": "", "apiVersion": "v1"}
    assert event["source"] == {"component": "device-plugin-supervisor", "host": NODE}
    assert (event["reportingComponent"], event["reportingInstance"]) == ("device-plugin-supervisor", "pod-1")
    assert (event["type"], event["reason"], event["count"]) == ("Warning", "DeviceUnhealthy", 1)
    assert event["message"] == "example.com/gpu: device gpu-0 is unhealthy: too hot"
    assert event["firstTimestamp"] == event["lastTimestamp"]


@pytest.mark.parametrize(
    ("events", "told"),
    [
        ([_broken(), _repaired("gpu-1")], ["DeviceUnhealthy", "DeviceRecovered"]),
        ([DeviceTombstoned(GPU, "a"), DeviceChanged("gpu", GPU, "a", UNHEALTHY, "no longer found", HEALTHY)], ["DeviceLost"]),
        ([DeviceTombstoned(GPU, "a"), DeviceChanged("gpu", GPU, "a", UNHEALTHY, "no longer found", UNHEALTHY)], ["DeviceLost"]),
        ([DeviceChanged("gpu", GPU, "a", None, "", HEALTHY)], ["DeviceLost"]),
        ([TombstoneCleared(GPU, "a", "free"), DeviceChanged("gpu", GPU, "a", None, "", UNHEALTHY)], []),
        ([LookFailed("gpu", "no driver", 1, 1.0), LookFailed("gpu", "none", 2, 1.0), PluginStuck("gpu", 9.0)], ["PluginFailing"]),
        ([LookFailed("gpu", "no driver", 1, 1.0), LookFailed("nic", "no link", 1, 1.0)], ["PluginFailing", "PluginFailing"]),
        ([PluginRecovered("gpu")], []),
        ([ResourceContested(GPU, 60.0)], ["ResourceContested"]),
        ([ConfigRejected(("config.yaml:3:1: no", "config.yaml:4:1: no"))], ["ConfigRejected"]),
        ([InventoryPublished("gpu", GPU, 8, 0), DeviceChanged("gpu", GPU, "a", UNHEALTHY, "broken")], []),
        ([DeviceChanged("gpu", GPU, "a", HEALTHY, "")], []),
        ([DeviceTombstoned(GPU, "a"), DeviceChanged("gpu", GPU, "a", UNHEALTHY, "no longer found")], []),
        ([DeviceChanged("gpu", GPU, "a", UNHEALTHY, "hotter", UNHEALTHY)], []),
        ([DeviceChanged("gpu", GPU, "a", Health.OCCUPIED, "in use as b", HEALTHY)], []),
        ([DeviceChanged("gpu", GPU, "a", HEALTHY, "", Health.OCCUPIED)], []),
        ([DeviceChanged("gpu", GPU, "a", UNHEALTHY, "too hot", Health.OCCUPIED)], ["DeviceUnhealthy"]),
        ([DeviceChanged("gpu", GPU, "a", Health.OCCUPIED, "in use as b", UNHEALTHY)], ["DeviceRecovered"]),
        ([DeviceChanged("gpu", GPU, "a", None, "", Health.OCCUPIED)], ["DeviceLost"]),
    ],
    ids=[
        "broken-and-repaired", "vanished", "broken-and-vanished", "dropped", "cleared", "failing", "two-failing", "up", "contested",
        "rejected", "first-list", "appeared", "vanished-before-the-start", "another-reason", "occupied", "free-again",
        "occupied-and-broken", "occupied-and-repaired", "occupied-and-dropped",
    ],
)  # fmt: skip
async def test_changes_are_told_and_beginnings_are_not(
    autojump_clock: MockClock, api: MemoryApi, cluster: StoredCluster, events: list[Event], told: list[str]
) -> None:
    """What was there when it was first listed is no news, and one failure is one Event however often it is seen."""
    async with _rig(api) as rig:
        await rig.happens(*events)
    assert [reason for reason, _, _ in cluster.told()] == told


async def test_a_plugin_fails_and_recovers(autojump_clock: MockClock, api: MemoryApi, cluster: StoredCluster) -> None:
    """Each time anew; a plugin that was retired begins as a good one."""
    async with _rig(api) as rig:
        await rig.happens(LookFailed("gpu", "no driver", 1, 1.0))
        await rig.happens(PluginRecovered("gpu"))
        await rig.happens(LookFailed("gpu", "no card", 1, 1.0))
        await rig.happens(PluginRetired("gpu"), PluginRecovered("gpu"))
    assert cluster.told() == [
        ("PluginFailing", "plugin gpu cannot look at its hardware: no driver", 1),
        ("PluginRecovered", "plugin gpu looks at its hardware again", 1),
        ("PluginFailing", "plugin gpu cannot look at its hardware: no card", 1),
    ]


async def test_what_comes_again_is_counted(autojump_clock: MockClock, api: MemoryApi, cluster: StoredCluster) -> None:
    """Within ten minutes of the last time it is the same object, with a new time; after that another one."""
    async with _rig(api) as rig:
        for _ in range(3):
            await rig.happens(_broken())
            await trio.sleep(SAME - 10)
        (event,) = cluster.events.values()
        assert event["count"] == 3
        assert event["firstTimestamp"] < event["lastTimestamp"]
        await trio.sleep(SAME)
        await rig.happens(_broken())
    assert [count for _, _, count in cluster.told()] == [3, 1]


async def test_an_event_that_the_server_forgot_is_written_anew(
    autojump_clock: MockClock, api: MemoryApi, cluster: StoredCluster
) -> None:
    """A cluster keeps Events for an hour, or for as long as it likes."""
    async with _rig(api) as rig:
        await rig.happens(_broken())
        cluster.events.clear()
        await rig.happens(_broken())
    assert [count for _, _, count in cluster.told()] == [1]


async def test_the_pods_that_hold_a_device_are_told(autojump_clock: MockClock, api: MemoryApi, cluster: StoredCluster) -> None:
    """Once each, by the UID that the API has; pods of other nodes, gone ones, and those known by UID alone are left out."""
    cluster.add_pod("team", "one", "uid-1")
    cluster.add_pod("team", "moved", "uid-2", node="node-2")
    held = (_holding("one"), _holding("one"), _holding("moved"), _holding("gone"), _holding("a-uid", namespace=""))
    async with _rig(api, {"gpu-0": held}) as rig:
        await rig.happens(_broken())
    (event,) = (each for each in cluster.events.values() if each["involvedObject"]["kind"] == "Pod")
    assert event["metadata"]["namespace"] == "team"
    assert event["involvedObject"] == {"kind": "Pod", "name": "one", "uid": "uid-1", "namespace": "team", "apiVersion": "v1"}
    assert cluster.asked.count(("get", "pods")) == 3
    assert rig.told == []


async def test_a_namespace_that_is_being_deleted_stops_nothing(
    autojump_clock: MockClock, api: MemoryApi, cluster: StoredCluster
) -> None:
    """Nothing can be created in it any more; that is no missing permission, and the next pod is told."""
    cluster.add_pod("ending", "one", "uid-1")
    cluster.add_pod("team", "two", "uid-2")
    cluster.ending.add("ending")
    async with _rig(api, {"gpu-0": (_holding("one", "ending"), _holding("two"))}) as rig:
        await rig.happens(_broken())
    assert len(cluster.told("Pod")) == 1
    assert rig.told == []


async def test_a_device_of_many_pods_is_told_to_some(autojump_clock: MockClock, api: MemoryApi, cluster: StoredCluster) -> None:
    """A shared device does not use up what may be said of the others."""
    for number in range(30):
        cluster.add_pod("team", f"pod-{number}", f"uid-{number}")
    async with _rig(api, {"gpu-0": tuple(_holding(f"pod-{number}") for number in range(30))}) as rig:
        await rig.happens(_broken())
    assert len(cluster.told("Pod")) == MOST_PODS


async def test_a_standby_tells_nothing(autojump_clock: MockClock, api: MemoryApi, cluster: StoredCluster) -> None:
    """It sees what the owner sees; after its promotion it tells what happens then."""
    async with _rig(api) as rig:
        rig.owner = False
        await rig.happens(_broken())
        rig.owner = True
        await rig.happens(_broken("gpu-1"))
    assert [message for _, message, _ in cluster.told()] == ["example.com/gpu: device gpu-1 is unhealthy: too hot"]


async def test_what_waits_is_dropped_with_the_ownership(
    autojump_clock: MockClock, api: MemoryApi, cluster: StoredCluster
) -> None:
    """Another process is to tell it now."""
    async with _rig(api) as rig:
        await rig.happens(*(_broken(f"gpu-{number}") for number in range(BURST)))
        rig.reporter(_broken("late"))
        rig.owner = False
        await trio.sleep(10 * REFILL)
    assert len(cluster.told()) == BURST


async def test_a_storm_is_summed_up(autojump_clock: MockClock, api: MemoryApi, cluster: StoredCluster) -> None:
    """1 000 changes a second for a minute: no more requests than the bucket has, in one sum that is kept up to date."""
    seconds = 60
    async with _rig(api) as rig:
        for second in range(seconds):
            for number in range(500):
                rig.reporter(_broken(f"gpu-{number}", f"{second} degrees"))
                rig.reporter(_repaired(f"gpu-{number}"))
            await trio.sleep(1.0)
        assert len(rig.reporter._backlog) <= MOST_WAITING
        assert len(cluster.asked) <= BURST + math.ceil(seconds / REFILL)
        await trio.sleep(2 * REFILL)
    *singles, (reason, message, _) = cluster.told()
    assert len(singles) == BURST
    assert reason == "DeviceRecovered"
    assert message.startswith("500 more devices: 500 healthy again (example.com/gpu gpu-")


async def test_a_storm_over_more_devices_than_are_kept_is_counted(
    autojump_clock: MockClock, api: MemoryApi, cluster: StoredCluster
) -> None:
    """Those that found no room are a number; the gravest reason names the sum."""
    async with _rig(api) as rig:
        await rig.happens(*(_broken(f"a-{number}") for number in range(BURST)))
        rig.reporter(_repaired("fine"))
        for number in range(MOST_WAITING + 99):
            rig.reporter(_broken(f"b-{number}"))
        await trio.sleep(2 * REFILL)
    reason, message, _ = cluster.told()[-1]
    assert reason == "DeviceUnhealthy"
    assert message.startswith(f"{MOST_WAITING} more devices: {MOST_WAITING - 1} unhealthy, 1 healthy again (")
    assert message.endswith("), and 100 changes of others")


async def test_a_storm_of_devices_leaves_room_for_others(
    autojump_clock: MockClock, api: MemoryApi, cluster: StoredCluster
) -> None:
    """What waits is told in its order, and a plugin never in a sum."""
    async with _rig(api) as rig:
        await rig.happens(*(_broken(f"a-{number}") for number in range(BURST + 5)), LookFailed("nic", "no link", 1, 1.0))
        await trio.sleep(3 * REFILL)
    assert [reason for reason, _, _ in cluster.told()[BURST:]] == ["DeviceUnhealthy", "PluginFailing"]


async def test_after_an_outage_the_last_word_is_told(autojump_clock: MockClock, api: MemoryApi, cluster: StoredCluster) -> None:
    """With the time at which it happened; the pods are not told of what may concern them no more."""
    cluster.add_pod("team", "one", "uid-1")
    api.down = True
    async with _rig(api, {"gpu-0": (_holding("one"),)}) as rig:
        await rig.happens(_broken(), _repaired(), _broken("gpu-1"))
        await trio.sleep(POD_PATIENCE + 1)
        api.down = False
        await trio.sleep(2 * REFILL)
    assert min(cluster.told()) == ("DeviceRecovered", "example.com/gpu: device gpu-0 is healthy again", 1)
    assert len(cluster.told()) == 2
    assert cluster.told("Pod") == []
    assert {event["lastTimestamp"] for event in cluster.events.values()} == {timestamp(START)}


async def test_an_answer_that_is_lost_makes_no_second_event(
    autojump_clock: MockClock, api: MemoryApi, cluster: StoredCluster
) -> None:
    """The name is the same when it is told again, and the server has it already."""
    api.mute = True
    async with _rig(api) as rig:
        await rig.happens(_broken())
        api.mute = False
        await trio.sleep(2 * PAUSE)
        assert len(cluster.told()) == 1
        await rig.happens(_broken())
    assert [count for _, _, count in cluster.told()] == [2]


async def test_a_missing_permission_is_told_once_and_tried_again(
    autojump_clock: MockClock, api: MemoryApi, cluster: StoredCluster
) -> None:
    """As soon as it is there, what waited is told."""
    cluster.allowed = frozenset()
    async with _rig(api) as rig:
        await rig.happens(_broken())
        await trio.sleep(3 * REFUSED_PAUSE)
        (trouble,) = rig.told
        assert isinstance(trouble, ClusterUnavailable)
        assert (trouble.about, "cannot create" in trouble.reason) == (ABOUT, True)
        assert len(cluster.asked) == 4
        cluster.allowed = NEEDED
        await trio.sleep(REFUSED_PAUSE)
    assert rig.told[1:] == [ClusterReachable(ABOUT)]
    assert len(cluster.told()) == 1


async def test_without_permission_for_pods_the_node_is_told(
    autojump_clock: MockClock, api: MemoryApi, cluster: StoredCluster
) -> None:
    """The part that does not work is named, and ends with the permission."""
    cluster.allowed = NEEDED - {("get", "pods")}
    cluster.add_pod("team", "one", "uid-1")
    async with _rig(api, {"gpu-0": (_holding("one"),)}) as rig:
        await rig.happens(_broken())
        assert [type(each) for each in rig.told] == [ClusterUnavailable]
        assert len(cluster.told()) == 1
        cluster.allowed = NEEDED
        await rig.happens(_repaired())
    assert rig.told[1:] == [ClusterReachable(ABOUT_PODS)]
    assert len(cluster.told("Pod")) == 1


async def test_an_invalid_event_does_not_come_back(autojump_clock: MockClock, api: MemoryApi, cluster: StoredCluster) -> None:
    """What the server finds wrong is wrong the next time, too; the next Event is told."""
    cluster.invalid = {"gpu-0"}
    async with _rig(api) as rig:
        await rig.happens(_broken())
        await rig.happens(_broken("gpu-1"))
    assert [message for _, message, _ in cluster.told()] == ["example.com/gpu: device gpu-1 is unhealthy: too hot"]
    assert rig.told[-1] == ClusterReachable(ABOUT)
