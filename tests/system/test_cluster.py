"""The whole supervisor and a stand-in API server, which it meets as a pod would."""

from pathlib import Path

import pytest

from supervisor.kubelet.simulator import KubeletSimulator
from tests.cluster.apiserver import NODE, ApiServer, StoredCluster
from tests.cluster.conftest import cluster, secrets, server
from tests.cluster.pod import in_pod
from tests.system.conftest import Start
from tests.system.rig import HEALTHY, RESOURCE, Process, Puppet, wait_for

__all__ = ["cluster", "secrets", "server"]

CONDITION = "example.com/DevicesHealthy"


@pytest.fixture
def process(
    start: Start,
    server: ApiServer,
    secrets: Path,
    kubelet: KubeletSimulator,
    monkeypatch: pytest.MonkeyPatch,
) -> Process:
    """A supervisor that may tell the cluster everything."""
    wrap = in_pod(server, secrets, monkeypatch)
    started = start(wrap=wrap, kubernetes={"events": True, "nodeCondition": CONDITION, "nodeInfo": True})
    kubelet.wait_devices(RESOURCE, HEALTHY)
    return started


@pytest.mark.slow
@pytest.mark.requires("namespaces")
def test_the_pod_that_holds_a_broken_device_is_told(
    process: Process, cluster: StoredCluster, puppet: Puppet, kubelet: KubeletSimulator
) -> None:
    """And the node, of the fault and of its end; nobody is told of what was there from the beginning."""
    cluster.add_pod("default", "train", "uid-7")
    assert kubelet.add_pod("train", {RESOURCE: 2}).admitted
    wait_for(lambda: '"pod":"train"' in process.get("/status")[1], 20.0, "the pod was known to hold it")
    puppet.show({"w0": "too hot", "w1": ""})
    wait_for(lambda: bool(cluster.told("Pod")), 20.0, "the pod was told")
    puppet.show({"w0": "", "w1": ""})
    wait_for(lambda: len(cluster.told()) == 2, 30.0, "the node was told twice")
    assert [(reason, count) for reason, _, count in cluster.told()] == [("DeviceUnhealthy", 1), ("DeviceRecovered", 1)]
    assert "too hot" in cluster.told("Pod")[0][1]
    assert {event["reportingInstance"] for event in cluster.events.values()} == {"supervisor-x7"}


@pytest.mark.requires("namespaces")
def test_an_outage_stops_nothing(
    process: Process, cluster: StoredCluster, server: ApiServer, puppet: Puppet, kubelet: KubeletSimulator
) -> None:
    """It is told once, devices and pods go on, and what happened meanwhile is told when the server is back."""
    wait_for(lambda: ("get", "nodes") in cluster.asked, 20.0, "the node was read")
    server.stop()
    puppet.show({"w0": "too hot", "w1": ""})
    kubelet.wait_devices(RESOURCE, {"w0": "Unhealthy", "w1": "Healthy"})
    assert kubelet.add_pod("train", {RESOURCE: 1}).admitted
    process.wait_log('"ClusterUnavailable"', 30.0)
    assert process.get("/readyz")[0] == 200
    server.start()
    wait_for(lambda: bool(cluster.told()), 60.0, "the node was told after all")
    process.wait_log('"ClusterReachable"', 30.0)
    assert len(process.events("ClusterUnavailable")) == 1


@pytest.mark.requires("namespaces")
def test_a_label_of_the_node_brings_a_profile(
    start: Start,
    server: ApiServer,
    secrets: Path,
    cluster: StoredCluster,
    puppet: Puppet,
    kubelet: KubeletSimulator,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """As soon as the cluster has told it: the plugin is off for all other nodes."""
    cluster.nodes[NODE]["metadata"]["labels"] = {"pool": "widgets"}
    profile = {"name": "widgets", "when": {"labels": {"pool": "widgets"}}, "plugins": {"puppet": puppet.section()}}
    wrap = in_pod(server, secrets, monkeypatch)
    start({"puppet": {"enabled": False}}, wrap=wrap, kubernetes={"nodeInfo": True}, profiles=[profile])
    kubelet.wait_devices(RESOURCE, HEALTHY)
    assert cluster.asked == [("get", "nodes")]
