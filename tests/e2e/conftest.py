"""What the end-to-end tests stand on: a cluster, a supervisor on each of its nodes, and a namespace for pods of their own."""

import json
import os
import shlex
import subprocess
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.e2e.cluster import DAEMONSET, NAMESPACE, PATIENCE, Cluster, device_pod, kustomization

RESOURCE = "devices.device-plugin-supervisor.io/fuse"
"""What deploy/base offers on every node whose kernel has FUSE."""

StartPod = Callable[[str, str | None], str]
"""Starts a shell command, with a resource or without, and returns the pod's name."""


@pytest.fixture(scope="session")
def cluster() -> Cluster:
    """The cluster that KUBECONFIG points at. Never one that has our namespace already: it would be deleted."""
    cluster = Cluster()
    if cluster.get("namespace", NAMESPACE):
        pytest.exit(f"the cluster has a namespace {NAMESPACE}, which these tests would delete", returncode=2)
    return cluster


@pytest.fixture(scope="session")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What is applied: deploy/base, or on OpenShift OVERLAY=deploy/overlays/openshift, with the image that IMAGE names."""
    folder = tmp_path_factory.mktemp("e2e")
    image = os.environ.get("IMAGE", "device-plugin-supervisor:0.1.0")
    kustomization(folder, image, os.environ.get("OVERLAY", "deploy/base"))
    return folder


@pytest.fixture(scope="session")
def _removed_at_the_end(cluster: Cluster, folder: Path) -> Iterator[None]:
    yield
    cluster.run("delete", "--kustomize", str(folder), "--ignore-not-found", "--wait")


@pytest.fixture
def installed(cluster: Cluster, folder: Path, _removed_at_the_end: None) -> Path:
    """A supervisor on each node, ready; another test may have removed it."""
    cluster.run("apply", "--kustomize", str(folder))
    cluster.run("rollout", "status", DAEMONSET, "--namespace", NAMESPACE, f"--timeout={PATIENCE:g}s")
    return folder


@pytest.fixture
def node(cluster: Cluster, installed: Path) -> str:
    """A node that offers the resource."""

    def offering() -> str | None:
        return next((name for name in cluster.supervisors() if cluster.amount(name, RESOURCE)), None)

    return cluster.wait(f"a node with {RESOURCE}", offering)


@pytest.fixture
def namespace(cluster: Cluster) -> Iterator[str]:
    """A namespace for this test's pods, deleted with them."""
    name = f"dps-e2e-{uuid.uuid4().hex[:8]}"
    cluster.run("create", "namespace", name)
    yield name
    cluster.run("delete", "namespace", name, "--wait=false")


@pytest.fixture
def start(cluster: Cluster, node: str, namespace: str) -> StartPod:
    """Starts pods on the node."""
    image = os.environ.get("POD_IMAGE", "docker.io/library/busybox:1.36")

    def start(command: str, resource: str | None) -> str:
        name = f"pod-{uuid.uuid4().hex[:8]}"
        pod = device_pod(name, node, image, command, resource)
        cluster.run("create", "--namespace", namespace, "--filename=-", text=json.dumps(pod))
        return name

    return start


@pytest.fixture
def holder(cluster: Cluster, namespace: str, start: StartPod) -> str:
    """A pod that runs and holds one unit."""
    name = start("exec sleep 3600", RESOURCE)
    cluster.wait("the pod that holds a device runs", lambda: cluster.phase(namespace, name) == "Running")
    return name


@pytest.fixture
def restart_kubelet(cluster: Cluster, node: str) -> Callable[[], None]:
    """Restarts the node's kubelet, by the command that RESTART_KUBELET has, {node} in it, or as kind's nodes want it."""
    kind = str(cluster.get("node", node)["spec"].get("providerID", "")).startswith("kind://")
    command = os.environ.get("RESTART_KUBELET", "docker exec {node} systemctl restart kubelet" if kind else "")
    if not command:
        pytest.skip("restarting a kubelet needs a command, such as RESTART_KUBELET='ssh {node} sudo systemctl restart kubelet'")

    def restart() -> None:
        subprocess.run(shlex.split(command.format(node=node)), check=True, timeout=PATIENCE)

    return restart
