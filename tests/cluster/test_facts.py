"""What is read of the node, and when it is told. In virtual time."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import trio
from trio.testing import MockClock

from supervisor.cluster.api import Troubles
from supervisor.cluster.facts import ABOUT, PERIOD, NodeReader
from supervisor.cluster.reporter import REFUSED_PAUSE
from supervisor.events import ClusterReachable, ClusterUnavailable, Event
from supervisor.model import NodeFacts
from tests.cluster.apiserver import NEEDED, NODE, PAUSE, MemoryApi, StoredCluster


@asynccontextmanager
async def _reading(api: MemoryApi, seen: list[NodeFacts], told: list[Event]) -> AsyncIterator[NodeReader]:
    async with trio.open_nursery() as nursery:
        reader = NodeReader(api, NODE, seen.append, Troubles(told.append))
        nursery.start_soon(reader.run)
        await trio.sleep(0.1)
        yield reader
        nursery.cancel_scope.cancel()


async def test_the_node_is_read_at_once_and_then_rarely(
    autojump_clock: MockClock, api: MemoryApi, cluster: StoredCluster
) -> None:
    """What is the same as before is not told again; a new label is."""
    node = cluster.nodes[NODE]
    node["metadata"]["labels"] = {"example.com/pool": "a"}
    node["status"]["nodeInfo"] = {
        "containerRuntimeVersion": "containerd://2.1.4",
        "kubeletVersion": "v1.34.1",
        "architecture": "arm64",
    }
    seen: list[NodeFacts] = []
    async with _reading(api, seen, []) as reader:
        assert seen == [NodeFacts(NODE, {"example.com/pool": "a"}, "containerd://2.1.4", "v1.34.1", "", "", "arm64")]
        await trio.sleep(4 * PERIOD)
        assert len(seen) == 1
        assert 3 <= cluster.asked.count(("get", "nodes")) <= 6
        node["metadata"]["labels"] = {"example.com/pool": "b"}
        await trio.sleep(2 * PERIOD)
        assert [facts.labels["example.com/pool"] for facts in seen] == ["a", "b"]
        assert reader.current is seen[-1]


async def test_an_outage_keeps_what_was_read(autojump_clock: MockClock, api: MemoryApi) -> None:
    """It is read when the server is back."""
    api.down = True
    seen: list[NodeFacts] = []
    async with _reading(api, seen, []) as reader:
        await trio.sleep(3 * PAUSE)
        assert reader.current is None
        api.down = False
        await trio.sleep(2 * PAUSE)
        assert seen == [reader.current]
        api.down = True
        await trio.sleep(2 * PERIOD)
        assert seen == [reader.current]


async def test_a_missing_permission_is_told_once(autojump_clock: MockClock, api: MemoryApi, cluster: StoredCluster) -> None:
    """Nothing is known then, and it is tried again."""
    cluster.allowed = frozenset()
    seen: list[NodeFacts] = []
    told: list[Event] = []
    async with _reading(api, seen, told):
        await trio.sleep(3 * REFUSED_PAUSE)
        (trouble,) = told
        assert isinstance(trouble, ClusterUnavailable)
        assert trouble.about == ABOUT
        cluster.allowed = NEEDED
        await trio.sleep(REFUSED_PAUSE)
    assert told == [trouble, ClusterReachable(ABOUT)]
    assert len(seen) == 1
