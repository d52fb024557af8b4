"""The node's condition: what it says, when it is written, and by whom. In virtual time."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest
import trio
from msgspec.structs import replace
from trio.testing import MockClock

from supervisor.cluster.api import Troubles
from supervisor.cluster.condition import ABOUT, HEARTBEAT, HOLD, NodeCondition, Verdict, judge
from supervisor.cluster.recorder import timestamp
from supervisor.cluster.reporter import REFUSED_PAUSE
from supervisor.events import ClusterReachable, ClusterUnavailable, Event, InventoryPublished, OwnershipChanged
from supervisor.status import PluginState, PluginStatus, ResourceStatus, Status
from tests.cluster.apiserver import NEEDED, NODE, MemoryApi, StoredCluster

KIND = "example.com/DevicesHealthy"
GPU = "example.com/gpu"
START = 1_700_000_000.0


def _plugin(name: str, state: PluginState = PluginState.UP) -> PluginStatus:
    return PluginStatus(name, "a-package", state=state)


def _status(unhealthy: int = 0, *plugins: PluginStatus) -> Status:
    resource = ResourceStatus(GPU, "gpu", 0.0, healthy=8 - unhealthy, unhealthy=unhealthy)
    return Status(started=True, resources=(resource,), plugins=plugins or (_plugin("gpu"),))


@pytest.mark.parametrize(
    ("status", "verdict"),
    [
        (_status(), Verdict("True", "AllHealthy", "all devices are healthy")),
        (Status(started=True), Verdict("True", "AllHealthy", "all devices are healthy")),
        (_status(2), Verdict("False", "DevicesUnhealthy", "unhealthy devices: 2 of 8 example.com/gpu")),
        (
            _status(0, _plugin("gpu", PluginState.STUCK), _plugin("nic", PluginState.FAILING)),
            Verdict("False", "PluginsFailing", "plugins that cannot look at their hardware: gpu, nic"),
        ),
        (
            _status(1, *(_plugin(f"p{number}", PluginState.FAILING) for number in range(10))),
            Verdict(
                "False",
                "PluginsFailing",
                "plugins that cannot look at their hardware: p0, p1, p2, p3, p4, p5, p6, p7 and 2 more; "
                "unhealthy devices: 1 of 8 example.com/gpu",
            ),
        ),
        (_status(0, _plugin("gpu", PluginState.REJECTED)), Verdict("True", "AllHealthy", "all devices are healthy")),
    ],
    ids=["healthy", "nothing", "unhealthy", "failing", "many", "rejected"],
)
def test_the_verdict_follows_the_picture(status: Status, verdict: Verdict) -> None:
    """It is short, and holds nothing that differs from one look to the next."""
    assert judge(status) == verdict


class Rig:
    """A condition that is kept, and the picture it is drawn from."""

    def __init__(self, api: MemoryApi) -> None:
        self.owner = True
        self.status = _status()
        self.told: list[Event] = []
        self.condition = NodeCondition(
            api,
            NODE,
            KIND,
            lambda: self.status,
            lambda: self.owner,
            Troubles(self.told.append),
            lambda: START + trio.current_time(),
        )

    def becomes(self, unhealthy: int) -> None:
        self.status = _status(unhealthy)
        self.condition(InventoryPublished("gpu", GPU, 8 - unhealthy, unhealthy))


@asynccontextmanager
async def _rig(api: MemoryApi, **given: Any) -> AsyncIterator[Rig]:
    async with trio.open_nursery() as nursery:
        rig = Rig(api)
        for name, value in given.items():
            setattr(rig, name, value)
        nursery.start_soon(rig.condition.run)
        await trio.sleep(0.1)
        yield rig
        nursery.cancel_scope.cancel()


def _stored(cluster: StoredCluster) -> dict[str, str]:
    conditions: list[dict[str, str]] = cluster.nodes[NODE]["status"]["conditions"]
    (found,) = (one for one in conditions if one["type"] == KIND)
    return found


def _writes(cluster: StoredCluster) -> int:
    return cluster.asked.count(("patch", "nodes/status"))


async def test_it_is_written_at_the_start(autojump_clock: MockClock, api: MemoryApi, cluster: StoredCluster) -> None:
    """Beside the conditions of others, which stay as they are."""
    others = {"type": "Ready", "status": "True"}
    cluster.nodes[NODE]["status"]["conditions"].append(others)
    async with _rig(api):
        assert _stored(cluster) == {
            "type": KIND,
            "status": "True",
            "reason": "AllHealthy",
            "message": "all devices are healthy",
            "lastHeartbeatTime": timestamp(START),
            "lastTransitionTime": timestamp(START),
        }
        assert others in cluster.nodes[NODE]["status"]["conditions"]


async def test_a_change_is_written_when_it_has_lasted(
    autojump_clock: MockClock, api: MemoryApi, cluster: StoredCluster
) -> None:
    """With the time of the transition; what is over before is not written at all."""
    async with _rig(api) as rig:
        rig.becomes(1)
        await trio.sleep(HOLD / 2)
        rig.becomes(0)
        await trio.sleep(HOLD)
        assert _writes(cluster) == 1
        rig.becomes(1)
        await trio.sleep(HOLD + 0.5)
        assert (_stored(cluster)["status"], _writes(cluster)) == ("False", 2)
        first = _stored(cluster)["lastTransitionTime"]
        rig.becomes(2)
        await trio.sleep(HOLD + 0.5)
        assert _stored(cluster)["message"] == "unhealthy devices: 2 of 8 example.com/gpu"
        assert _stored(cluster)["lastTransitionTime"] == first


async def test_it_beats(autojump_clock: MockClock, api: MemoryApi, cluster: StoredCluster) -> None:
    """Every five minutes the same again, with a new time and the old transition."""
    async with _rig(api):
        await trio.sleep(3 * HEARTBEAT + 1)
        assert _writes(cluster) == 4
        assert _stored(cluster)["lastHeartbeatTime"] == timestamp(START + 3 * HEARTBEAT)
        assert _stored(cluster)["lastTransitionTime"] == timestamp(START)
        assert cluster.asked.count(("get", "nodes")) == 1


async def test_a_storm_of_changes_is_few_writes(autojump_clock: MockClock, api: MemoryApi, cluster: StoredCluster) -> None:
    """At most one in ten seconds, whatever changes how often."""
    async with _rig(api) as rig:
        for number in range(600):
            rig.becomes(number % 7)
            await trio.sleep(0.1)
    assert _writes(cluster) <= 1 + 60 / HOLD


async def test_a_transition_survives_the_process(autojump_clock: MockClock, api: MemoryApi, cluster: StoredCluster) -> None:
    """What an earlier process has written tells whether this is one."""
    before = {
        "type": KIND,
        "status": "True",
        "lastTransitionTime": "2020-01-01T00:00:00Z",
        "lastHeartbeatTime": "2020-01-01T00:00:00Z",
    }
    cluster.nodes[NODE]["status"]["conditions"].append(before)
    async with _rig(api):
        assert _stored(cluster)["lastTransitionTime"] == "2020-01-01T00:00:00Z"
        assert _stored(cluster)["lastHeartbeatTime"] == timestamp(START)


async def test_only_the_owner_writes(autojump_clock: MockClock, api: MemoryApi, cluster: StoredCluster) -> None:
    """A standby begins with its promotion, and stops when it loses the node."""
    async with _rig(api, owner=False) as rig:
        await trio.sleep(2 * HEARTBEAT)
        assert cluster.asked == []
        rig.owner = True
        rig.condition(OwnershipChanged(active=True, reason=""))
        await trio.sleep(0.1)
        assert _writes(cluster) == 1
        rig.owner = False
        rig.becomes(1)
        await trio.sleep(2 * HEARTBEAT)
        assert _writes(cluster) == 1


async def test_nothing_is_written_before_every_plugin_has_looked(
    autojump_clock: MockClock, api: MemoryApi, cluster: StoredCluster
) -> None:
    """No devices yet is not the same as no unhealthy ones."""
    async with _rig(api, status=replace(_status(), started=False)) as rig:
        await trio.sleep(HEARTBEAT)
        assert cluster.asked == []
        rig.becomes(0)
        await trio.sleep(0.1)
        assert _writes(cluster) == 1


async def test_after_an_outage_the_newest_is_written(autojump_clock: MockClock, api: MemoryApi, cluster: StoredCluster) -> None:
    """What was true meanwhile is of no interest."""
    api.down = True
    async with _rig(api) as rig:
        await trio.sleep(100.0)
        rig.becomes(1)
        api.down = False
        await trio.sleep(3 * HOLD)
        assert (_stored(cluster)["status"], _writes(cluster)) == ("False", 1)


async def test_a_missing_permission_is_told_once(autojump_clock: MockClock, api: MemoryApi, cluster: StoredCluster) -> None:
    """And tried again every minute."""
    cluster.allowed = NEEDED - {("patch", "nodes/status")}
    async with _rig(api) as rig:
        await trio.sleep(3 * REFUSED_PAUSE)
        (trouble,) = rig.told
        assert isinstance(trouble, ClusterUnavailable)
        assert trouble.about == ABOUT
        cluster.allowed = NEEDED
        await trio.sleep(REFUSED_PAUSE + HOLD)
        assert rig.told == [trouble, ClusterReachable(ABOUT)]
        assert _stored(cluster)["status"] == "True"
