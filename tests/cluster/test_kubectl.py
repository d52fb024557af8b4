"""What people see: a real kubectl describes the node and the pod. It finds Events by selectors of its own, which are kept here."""

import subprocess
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest
import trio

from supervisor.cluster.account import Account
from supervisor.cluster.connection import Cluster
from supervisor.config import KubernetesConfig
from supervisor.events import DeviceChanged
from supervisor.ledger import Holding
from supervisor.model import Health
from supervisor.status import Status
from tests.cluster.apiserver import NODE, TOKEN, Answer, StoredCluster, serving

pytestmark = pytest.mark.requires("kubectl")

DEADLINE = 60.0
MESSAGE = "example.com/gpu: device gpu-0 is unhealthy: too hot"


class ReadableCluster(StoredCluster):
    """One that also tells what there is, and lists Events by their fields."""

    def answer(self, method: str, path: str, body: Any, content_type: str = "", token: str = TOKEN) -> Answer:
        url = urlsplit(path)
        if method != "GET":
            return super().answer(method, path, body, content_type, token)
        if url.path.endswith("/events"):
            return self._selected(parse_qs(url.query)["fieldSelector"][0])
        known = _DISCOVERY.get(url.path)
        return super().answer(method, url.path, body, content_type, token) if known is None else Answer(200, known)

    def _selected(self, selector: str) -> Answer:
        wanted = dict(part.split("=", 1) for part in selector.split(","))
        found = [event for event in self.events.values() if all(_field(event, name) == wanted[name] for name in wanted)]
        return Answer(200, {"kind": "EventList", "apiVersion": "v1", "metadata": {}, "items": found})


def _field(event: Any, name: str) -> str:
    for part in name.split("."):
        event = event[part]
    return str(event)


def _resource(name: str, kind: str, *, namespaced: bool) -> dict[str, Any]:
    return {"name": name, "singularName": "", "namespaced": namespaced, "kind": kind, "verbs": ["get", "list"]}


_DISCOVERY: dict[str, Any] = {
    "/api": {"kind": "APIVersions", "versions": ["v1"], "serverAddressByClientCIDRs": []},
    "/apis": {"kind": "APIGroupList", "apiVersion": "v1", "groups": []},
    "/api/v1": {
        "kind": "APIResourceList",
        "groupVersion": "v1",
        "resources": [
            _resource("nodes", "Node", namespaced=False),
            _resource("pods", "Pod", namespaced=True),
            _resource("events", "Event", namespaced=True),
        ],
    },
    "/api/v1/pods": {"kind": "PodList", "apiVersion": "v1", "metadata": {}, "items": []},
}


@pytest.fixture
def cluster() -> StoredCluster:
    """With objects that are complete enough to be described."""
    made = ReadableCluster()
    made.add_pod("team", "one", "uid-1")
    for kind, each in (("Node", made.nodes[NODE]), ("Pod", made.pods["team", "one"])):
        each.update(kind=kind, apiVersion="v1")
    made.nodes[NODE]["metadata"]["creationTimestamp"] = "2024-01-01T00:00:00Z"
    made.pods["team", "one"]["metadata"]["namespace"] = "team"
    made.pods["team", "one"]["spec"]["containers"] = []
    return made


async def _held(resource: str, device: str) -> tuple[Holding, ...]:
    return (Holding(resource, device, "team", "one", "main"),)


async def _told(account: Account, cluster: StoredCluster) -> None:
    """Run until the node and the pod have been told of a broken device, and the condition is written."""
    config = KubernetesConfig(events=True, node_condition="example.com/DevicesHealthy")
    async with trio.open_nursery() as nursery:
        connection = Cluster(
            config,
            status=lambda: Status(started=True),
            holders=_held,
            owner=lambda: True,
            observe=lambda event: None,
            facts_changed=lambda facts: None,
            account=account,
            environ={"NODE_NAME": NODE},
        )
        nursery.start_soon(connection.run)
        connection(DeviceChanged("gpu", "example.com/gpu", "gpu-0", Health.UNHEALTHY, "too hot", Health.HEALTHY))
        while not (cluster.told("Pod") and cluster.nodes[NODE]["status"]["conditions"]):  # noqa: ASYNC110  # another thread's server
            await trio.sleep(0.01)
        nursery.cancel_scope.cancel()


def test_describe_shows_what_was_told(cluster: StoredCluster, secrets: Path) -> None:
    """``kubectl describe`` of the node and of the pod that holds the device shows the Event, and the node's condition."""
    with serving(cluster) as server:
        environ = {"KUBERNETES_SERVICE_HOST": "127.0.0.1", "KUBERNETES_SERVICE_PORT": str(server.port)}

        async def main() -> None:
            with trio.fail_after(DEADLINE):
                await _told(Account(secrets, environ), cluster)

        trio.run(main)
        described = [_describe(server.port, secrets, *what) for what in (("node", NODE), ("pod", "one", "-n", "team"))]
    for text in described:
        events = text[text.index("Events:") :]
        assert "DeviceUnhealthy" in events
        assert "device-plugin-supervisor" in events
        assert events.count(MESSAGE) == 1
    assert "AllHealthy" in described[0]


def _describe(port: int, secrets: Path, *what: str) -> str:
    access = [f"--server=https://127.0.0.1:{port}", f"--certificate-authority={secrets / 'ca.crt'}", f"--token={TOKEN}"]
    command = ["kubectl", "--kubeconfig=/dev/null", f"--cache-dir={secrets / 'cache'}", *access, "describe", *what]
    return subprocess.run(command, capture_output=True, text=True, check=True, timeout=DEADLINE).stdout
