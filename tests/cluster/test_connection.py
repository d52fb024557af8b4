"""All of it together, over a real socket with TLS: the permissions that suffice, and what is there when little is switched on."""

import subprocess
import sys
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager

import pytest
import trio

from supervisor.cluster.account import Account
from supervisor.cluster.api import SERVER
from supervisor.cluster.connection import ABOUT, Cluster
from supervisor.config import KubernetesConfig
from supervisor.events import ClusterReachable, ClusterUnavailable, DeviceChanged, Event
from supervisor.ledger import Holding
from supervisor.model import Health, NodeFacts
from supervisor.status import Status
from tests.cluster.apiserver import NEEDED, NODE, ApiServer, StoredCluster

DEADLINE = 30.0
KIND = "example.com/DevicesHealthy"
ALL = KubernetesConfig(events=True, node_condition=KIND, node_info=True)
GPU = "example.com/gpu"
BROKEN = DeviceChanged("gpu", GPU, "gpu-0", Health.UNHEALTHY, "too hot", Health.HEALTHY)


async def _held(resource: str, device: str) -> tuple[Holding, ...]:
    return (Holding(resource, device, "team", "one", "main"),)


class Rig:
    """A connection as the supervisor makes it, and what came of it."""

    def __init__(self, config: KubernetesConfig, account: Account, environ: Mapping[str, str]) -> None:
        self.told: list[Event] = []
        self.seen: list[NodeFacts] = []
        self.cluster = Cluster(
            config,
            status=lambda: Status(started=True),
            holders=_held,
            owner=lambda: True,
            observe=self._observe,
            facts_changed=self.seen.append,
            account=account,
            environ=environ,
        )

    def _observe(self, event: Event) -> None:
        self.told.append(event)
        self.cluster(event)


@asynccontextmanager
async def _rig(config: KubernetesConfig, account: Account, environ: Mapping[str, str] | None = None) -> AsyncIterator[Rig]:
    async with trio.open_nursery() as nursery:
        rig = Rig(config, account, {"NODE_NAME": NODE, "POD_NAME": "pod-1"} if environ is None else environ)
        nursery.start_soon(rig.cluster.run)
        yield rig
        nursery.cancel_scope.cancel()


async def _until(condition: Callable[[], object]) -> None:
    with trio.fail_after(DEADLINE):
        while not condition():  # noqa: ASYNC110  # another thread's server has no event of ours
            await trio.sleep(0.01)


async def test_the_documented_permissions_suffice_and_each_is_needed(account: Account, cluster: StoredCluster) -> None:
    """Everything is switched on and happens, twice so that it is counted: just these verbs and resources are asked for."""
    cluster.add_pod("team", "one", "uid-1")
    async with _rig(ALL, account) as rig:
        rig.cluster(BROKEN)
        await _until(lambda: cluster.told("Pod"))
        rig.cluster(BROKEN)
        await _until(lambda: [count for _, _, count in cluster.told("Pod")] == [2])
        await _until(lambda: rig.seen and cluster.nodes[NODE]["status"]["conditions"])
    assert set(cluster.asked) == NEEDED
    assert rig.told == []
    assert {event["reportingInstance"] for event in cluster.events.values()} == {"pod-1"}


@pytest.mark.parametrize("missing", sorted(NEEDED), ids=" ".join)
async def test_a_permission_that_is_missing_stops_its_own_part_alone(
    account: Account, cluster: StoredCluster, missing: tuple[str, str]
) -> None:
    """It is named, and it is no outage of the server."""
    cluster.allowed = NEEDED - {missing}
    cluster.add_pod("team", "one", "uid-1")
    async with _rig(ALL, account) as rig:
        rig.cluster(BROKEN)
        if missing == ("patch", "events"):
            await _until(lambda: cluster.told("Pod"))
            rig.cluster(BROKEN)
        await _until(lambda: rig.told)
        (trouble, *_) = rig.told
        assert isinstance(trouble, ClusterUnavailable)
        assert f'cannot {missing[0]} resource "{missing[1]}"' in trouble.reason
        assert trouble.about != SERVER
        if missing[1] != "events":
            await _until(cluster.told)


@pytest.mark.parametrize(
    ("config", "needed"),
    [
        (KubernetesConfig(events=True), {("create", "events")}),
        (KubernetesConfig(node_condition=KIND), {("get", "nodes"), ("patch", "nodes/status")}),
        (KubernetesConfig(node_info=True), {("get", "nodes")}),
    ],
    ids=["events", "condition", "information"],
)
async def test_what_is_not_switched_on_asks_nothing(
    account: Account, cluster: StoredCluster, config: KubernetesConfig, needed: set[tuple[str, str]]
) -> None:
    """Each part makes its own requests only."""
    cluster.allowed = frozenset(needed)
    async with _rig(config, account) as rig:
        rig.cluster(BROKEN)
        await _until(lambda: needed <= set(cluster.asked))
    assert set(cluster.asked) <= needed | {("get", "pods")}


async def test_an_outage_of_the_server_is_two_events(account: Account, server: ApiServer, cluster: StoredCluster) -> None:
    """Although three parts want something of it; then all is made up for."""
    cluster.add_pod("team", "one", "uid-1")
    server.stop()
    async with _rig(ALL, account) as rig:
        rig.cluster(BROKEN)
        await _until(lambda: rig.told)
        server.start()
        await _until(lambda: cluster.told() and rig.seen and cluster.nodes[NODE]["status"]["conditions"])
    assert [type(event) for event in rig.told] == [ClusterUnavailable, ClusterReachable]


@pytest.mark.parametrize("environ", [{}, {"NODE_NAME": ""}], ids=["unset", "empty"])
async def test_without_a_node_name_nothing_is_asked(
    account: Account, cluster: StoredCluster, environ: Mapping[str, str]
) -> None:
    """Nobody guesses which node this is."""
    async with _rig(ALL, account, environ) as rig:
        rig.cluster(BROKEN)
        await _until(lambda: rig.told)
        (trouble,) = rig.told
        assert isinstance(trouble, ClusterUnavailable)
        assert (trouble.about, "kubernetes.nodeName" in trouble.reason) == (ABOUT, True)
        assert rig.seen == []
    assert cluster.asked == []


async def test_the_configured_name_is_the_nodes(account: Account, cluster: StoredCluster) -> None:
    """It comes before the variable; and without a pod's name the node's is the reporter's."""
    cluster.nodes["node-2"] = {"metadata": {"name": "node-2"}}
    config = KubernetesConfig(events=True, node_info=True, node_name="node-2")
    async with _rig(config, account, {"NODE_NAME": NODE}) as rig:
        rig.cluster(BROKEN)
        await _until(lambda: rig.seen and cluster.told())
        assert rig.seen[0].name == "node-2"
    assert {event["reportingInstance"] for event in cluster.events.values()} == {"node-2"}


def test_nothing_is_loaded_before_something_is_asked() -> None:
    """A process without a cluster does not pay for the HTTP client."""
    code = "import sys, supervisor.cluster.connection; sys.exit('httpx2' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False, timeout=DEADLINE).returncode == 0
