"""The whole on a real cluster: installed, used, disturbed, upgraded and removed. `make e2e` runs it, `make test` does not.

It was written against the behaviour of kubelets that the simulator has, and makes and deletes the namespace of deploy/base.
"""

import threading
import uuid
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.e2e.cluster import DAEMONSET, KUBELETS, NAMESPACE, PATIENCE, Cluster
from tests.e2e.conftest import RESOURCE, StartPod

pytestmark = [pytest.mark.requires("cluster"), pytest.mark.timeout(900)]

UNITS = 100
"""Of the resource on each node, as the configuration of deploy/base has it."""
WATCHED = min(15.0, PATIENCE / 4)
"""Seconds of looking on after an upgrade: a kubelet tells the API server within ten that it has less to offer."""
OPENS = "exec 3<>/dev/fuse"
CONNECTED = f'device_plugin_connected{{resource="{RESOURCE}"}}'


def test_every_linux_node_has_a_supervisor(cluster: Cluster, installed: Path) -> None:
    """The DaemonSet reaches all that are machines, tainted ones too, and each pod becomes ready."""
    nodes = cluster.get("nodes", "--selector", KUBELETS)["items"]
    names = {node["metadata"]["name"] for node in nodes}
    cluster.wait(f"a supervisor on each of {sorted(names)}", lambda: set(cluster.supervisors()) == names)


def test_capacity_appears(cluster: Cluster, node: str) -> None:
    """The node tells the scheduler of all units, and the supervisor that the kubelet listens to it."""
    cluster.wait("all units allocatable", lambda: cluster.amount(node, RESOURCE) == UNITS)
    assert cluster.amount(node, RESOURCE, of="capacity") == UNITS
    assert cluster.metric(cluster.supervisors()[node], CONNECTED) == 1


def test_a_pod_gets_its_device(cluster: Cluster, namespace: str, start: StartPod) -> None:
    """A container that asks for FUSE can open it, and one that does not cannot: it is the allocation that helps."""
    with_device, without = start(OPENS, RESOURCE), start(OPENS, None)
    cluster.wait("the pod with a device succeeds", lambda: cluster.phase(namespace, with_device) == "Succeeded")
    cluster.wait("the pod without one fails", lambda: cluster.phase(namespace, without) == "Failed")


def test_a_kubelet_restart_loses_nothing(
    cluster: Cluster, node: str, namespace: str, holder: str, start: StartPod, restart_kubelet: Callable[[], None]
) -> None:
    """The running pod keeps running, the resource comes back by itself, and the next pod gets a device."""
    pod = cluster.supervisors()[node]
    before = cluster.metric(pod, "device_plugin_kubelet_restarts_total")
    restart_kubelet()
    cluster.wait("the restart is noticed", lambda: cluster.metric(pod, "device_plugin_kubelet_restarts_total") > before)
    cluster.wait("the kubelet listens again", lambda: cluster.metric(pod, CONNECTED) == 1)
    cluster.wait("the node is as before", lambda: cluster.amount(node, RESOURCE) == UNITS)
    assert cluster.phase(namespace, holder) == "Running"
    after = start(OPENS, RESOURCE)
    cluster.wait("a pod gets a device", lambda: cluster.phase(namespace, after) == "Succeeded")


def test_an_upgrade_is_not_seen_by_the_node(cluster: Cluster, node: str, namespace: str, holder: str, start: StartPod) -> None:
    """While every supervisor is replaced the node never has less to offer, the running pod goes on, and the next one starts."""
    cluster.wait("all units allocatable", lambda: cluster.amount(node, RESOURCE) == UNITS)
    pod = cluster.supervisors()[node]
    seen, done = [], threading.Event()

    def watch() -> None:
        while not done.wait(cluster.pause):
            seen.append(cluster.amount(node, RESOURCE))

    watcher = threading.Thread(target=watch)
    watcher.start()
    try:
        cluster.run("rollout", "restart", DAEMONSET, "--namespace", NAMESPACE)
        cluster.run("rollout", "status", DAEMONSET, "--namespace", NAMESPACE, f"--timeout={PATIENCE:g}s")
        cluster.wait("another supervisor is there", lambda: cluster.supervisors().get(node) not in {None, pod})
        watcher.join(WATCHED)
    finally:
        done.set()
        watcher.join()
    assert set(seen) == {UNITS}
    assert cluster.phase(namespace, holder) == "Running"
    after = start(OPENS, RESOURCE)
    cluster.wait("a pod gets a device", lambda: cluster.phase(namespace, after) == "Succeeded")


def test_an_edit_applies_without_a_restart(cluster: Cluster, node: str) -> None:
    """A resource that is added to the ConfigMap appears on the node, offered by the same pod."""
    pod, name = cluster.supervisors()[node], f"e2e.example.com/null-{uuid.uuid4().hex[:8]}"
    config = cluster.get("configmap", NAMESPACE, "--namespace", NAMESPACE)
    text = config["data"]["config.yaml"]
    added = text.replace("    resources:\n", f"    resources:\n      - {{name: {name}, match: [{{path: /dev/null}}]}}\n", 1)
    assert added != text
    cluster.edit_config(added)
    cluster.wait(f"{name} on the node", lambda: cluster.amount(node, name) == 1)
    assert cluster.supervisors()[node] == pod


def test_removal_leaves_pods_alone(cluster: Cluster, installed: Path, node: str, namespace: str, holder: str) -> None:
    """Everything goes, the node offers nothing any more, and who holds a device keeps it."""
    cluster.run("delete", "--kustomize", str(installed), "--wait")
    assert cluster.get("namespace", NAMESPACE) is None
    cluster.wait("nothing is allocatable", lambda: cluster.amount(node, RESOURCE) == 0)
    assert cluster.phase(namespace, holder) == "Running"
    cluster.run("exec", "--namespace", namespace, holder, "--", "sh", "-c", OPENS)
