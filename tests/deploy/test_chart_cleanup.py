"""What the chart does after ``helm uninstall``: the order of its hooks, what they may and see, and the program that waits."""

import argparse
import json
import os
import signal
import ssl
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from supervisor.cli import cleanup
from supervisor.config_file import parse
from tests.cluster.apiserver import TLS, TOKEN
from tests.cluster.pod import service_account
from tests.deploy.admission import SCC_SCHEMA, constraint_problems
from tests.deploy.chart import FOLDER, hooks, objects
from tests.jsonschema import violations

pytestmark = [pytest.mark.checkout, pytest.mark.requires("helm", "patience")]

ON: dict[str, Any] = {"cleanup": {"enabled": True, "seconds": 90}}
NAME = "device-plugin-supervisor-cleanup"
WAIT = FOLDER / "files/wait.py"
DEADLINE = 30.0


def hook(kind: str, values: dict[str, Any] = ON) -> dict[str, Any]:
    """The only hook of a kind."""
    (found,) = (each for each in hooks(values) if each["kind"] == kind)
    return found


def pod(kind: str, values: dict[str, Any] = ON) -> dict[str, Any]:
    """What it says of its pods."""
    found: dict[str, Any] = hook(kind, values)["spec"]["template"]["spec"]
    return found


# --- hooks ------------------------------------------------------------------------------------------------------------


def test_nothing_is_removed_unless_it_is_wanted() -> None:
    """And when it is, the objects that run before are the same."""
    assert hooks({}) == []
    assert objects(ON) == objects({})


def test_hooks_come_in_an_order_that_works() -> None:
    """What pods need comes before them, and what waits for the DaemonSet after it. After a failure all is still there."""
    found = hooks(ON)
    weights = [(int(each["metadata"]["annotations"]["helm.sh/hook-weight"]), each["kind"]) for each in found]
    *needed, (middle, daemonset), (last, job) = sorted(weights)
    assert (daemonset, job) == ("DaemonSet", "Job")
    assert {kind for _, kind in needed} == {"ServiceAccount", "Role", "RoleBinding", "ConfigMap", "NetworkPolicy"}
    assert max(weight for weight, _ in needed) < middle < last
    for each in found:
        annotations = each["metadata"]["annotations"]
        assert annotations["helm.sh/hook"] == "post-delete"
        assert annotations["helm.sh/hook-delete-policy"] == "before-hook-creation,hook-succeeded"


def test_nothing_of_the_release_is_used_that_is_gone_by_then() -> None:
    """Account and configuration are hooks themselves; the namespace is left where it was."""
    made = {(each["kind"], each["metadata"]["name"]) for each in hooks(ON)}
    assert made.isdisjoint((each["kind"], each["metadata"]["name"]) for each in objects(ON))
    for kind in ("DaemonSet", "Job"):
        assert ("ServiceAccount", pod(kind)["serviceAccountName"]) in made
        for volume in pod(kind)["volumes"]:
            assert "configMap" not in volume or ("ConfigMap", volume["configMap"]["name"]) in made
    (namespace,) = (each for each in objects({**ON, "namespace": {"create": True}}) if each["kind"] == "Namespace")
    assert namespace["metadata"]["annotations"]["helm.sh/resource-policy"] == "keep"


def test_the_pods_are_not_those_that_others_select() -> None:
    """Neither the supervisor's DaemonSet nor the hook's may take the other's pods, or the Job's, for its own."""
    selectors = [each["spec"]["selector"]["matchLabels"] for each in [*objects(ON), *hooks(ON)] if each["kind"] == "DaemonSet"]
    labels = [
        each["spec"]["template"]["metadata"]["labels"]
        for each in [*objects(ON), *hooks(ON)]
        if each["kind"] in {"DaemonSet", "Job"}
    ]
    matched = [sum(selector.items() <= each.items() for each in labels) for selector in selectors]
    assert matched == [1, 1]


@pytest.mark.parametrize(("kind", "egress"), [("DaemonSet", []), ("Job", [443, 6443])])
def test_the_pods_are_kept_from_the_network(kind: str, egress: list[int]) -> None:
    """Nobody reaches them, and they reach nobody, but for the one that asks the API server, by the usual ports of those."""
    labels = hook(kind)["spec"]["template"]["metadata"]["labels"]
    policies = [each["spec"] for each in hooks(ON) if each["kind"] == "NetworkPolicy"]
    (policy,) = (each for each in policies if each["podSelector"]["matchLabels"].items() <= labels.items())
    assert (policy["policyTypes"], policy["ingress"]) == (["Ingress", "Egress"], [])
    assert [port["port"] for rule in policy["egress"] for port in rule["ports"]] == egress
    off = {**ON, "networkPolicy": {"enabled": False}}
    assert [each for each in hooks(off) if each["kind"] == "NetworkPolicy"] == []


def test_the_command_sees_what_the_supervisor_saw() -> None:
    """The same directories at the same places, the same configuration, and a command that exists."""
    values = {**ON, "cdi": {"enabled": True}, "kubelet": {"devicePluginsDir": "/data/plugins"}}
    (command,) = pod("DaemonSet", values)["initContainers"]
    (main,) = (each for each in objects(values) if each["kind"] == "DaemonSet")
    theirs = {volume["name"]: volume for volume in main["spec"]["template"]["spec"]["volumes"]}
    ours = {volume["name"]: volume for volume in pod("DaemonSet", values)["volumes"]}
    (supervisor,) = main["spec"]["template"]["spec"]["containers"]
    writable = {"device-plugins", "cdi", "device-info"}
    assert {mount["name"] for mount in command["volumeMounts"] if not mount.get("readOnly")} == writable
    groups, *shared = sorted(command["volumeMounts"], key=lambda mount: mount["name"] != "cgroup")
    assert ours[groups["name"]]["hostPath"]["path"] == "/sys/fs/cgroup"
    for mount in shared:
        assert mount in supervisor["volumeMounts"]
        assert mount["name"] == "config" or ours[mount["name"]] == theirs[mount["name"]]
    (config,) = (each for each in objects(values) if each["kind"] == "ConfigMap" and "config.yaml" in each["data"])
    assert hook("ConfigMap", values)["data"]["config.yaml"] == config["data"]["config.yaml"]
    assert groups["mountPath"] == parse(config["data"]["config.yaml"].encode()).config.host.sysfs + "/fs/cgroup"

    assert command["args"][0] == "cleanup"
    parser = argparse.ArgumentParser()
    cleanup.add_arguments(parser)
    arguments = parser.parse_args(command["args"][1:])
    assert (arguments.config, arguments.wait) == ("/etc/device-plugin-supervisor/config.yaml", 90.0)
    assert not arguments.force


def test_openshifts_constraints_let_the_hooks_in() -> None:
    """Those that are a hook, too, for the others are gone."""
    values = {**ON, "openshift": {"enabled": True}, "cdi": {"enabled": True}, "nvidia": {"enabled": True}}
    scc = hook("SecurityContextConstraints", values)
    assert not list(violations(scc, SCC_SCHEMA))
    assert not scc["allowPrivilegedContainer"]
    for kind in ("DaemonSet", "Job"):
        assert list(constraint_problems(scc, pod(kind, values))) == []
        assert scc["users"] == [f"system:serviceaccount:device-plugin-supervisor:{pod(kind, values)['serviceAccountName']}"]


# --- what keeps a clean node's pod ready ------------------------------------------------------------------------------


def test_a_clean_nodes_pod_ends_when_it_is_told_to() -> None:
    """As the first process of a container, which no signal ends that it does not handle."""
    (container,) = pod("DaemonSet")["containers"]
    program, *arguments = container["command"]
    assert program == "python3"
    with subprocess.Popen([sys.executable, *arguments]) as process:
        deadline = time.monotonic() + DEADLINE
        while not _catches(process.pid, signal.SIGTERM):
            assert time.monotonic() < deadline
            time.sleep(0.01)
        process.send_signal(signal.SIGTERM)
        assert process.wait(DEADLINE) == 0


def _catches(pid: int, number: signal.Signals) -> bool:
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    (caught,) = (line.split()[1] for line in lines if line.startswith("SigCgt:"))
    return bool(int(caught, 16) >> (number - 1) & 1)


# --- the program that waits -------------------------------------------------------------------------------------------


class Cluster:
    """What an API server says of one DaemonSet: one answer after the other, the last one for ever."""

    def __init__(self, *answers: dict[str, Any]) -> None:
        self.answers = list(answers)
        self.asked: list[str] = []


@pytest.fixture
def cluster() -> Cluster:
    return Cluster()


@pytest.fixture
def port(cluster: Cluster) -> Iterator[int]:
    """Where it is served, over TLS, to those who show the token."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            cluster.asked.append(self.path)
            allowed = self.headers["Authorization"] == f"Bearer {TOKEN}"
            body = json.dumps(cluster.answers.pop(0) if len(cluster.answers) > 1 else cluster.answers[0]).encode()
            self.send_response(200 if allowed else 401)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 - the name that http.server gives
            """Nothing to the test's output."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(TLS / "server.crt", TLS / "server.key")
    server.socket = context.wrap_socket(server.socket, server_side=True)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    yield server.server_address[1]
    server.shutdown()
    thread.join()
    server.server_close()


def daemonset(ready: int, wanted: int, *, generation: int = 1, seen: int = 1) -> dict[str, Any]:
    """As the API has it."""
    return {
        "metadata": {"generation": generation},
        "status": {"observedGeneration": seen, "numberReady": ready, "desiredNumberScheduled": wanted},
    }


def wait(port: int, account: Path, *, seconds: float = 0) -> "subprocess.CompletedProcess[str]":
    """Run the program as the Job does, with a service account of our own."""
    (container,) = pod("Job")["containers"]
    assert container["command"][:2] == ["python3", "/etc/device-plugin-supervisor/wait.py"]
    assert container["command"][-1] == "90"
    arguments = [*container["command"][2:-1], str(seconds)]
    environment = {
        "KUBERNETES_SERVICE_HOST": "127.0.0.1",
        "KUBERNETES_SERVICE_PORT": str(port),
        "SERVICE_ACCOUNT": str(account),
    }
    return subprocess.run(
        [sys.executable, WAIT, *arguments],
        env=os.environ | environment,
        capture_output=True,
        text=True,
        timeout=DEADLINE,
        check=False,
    )


def test_waiting_ends_when_all_nodes_are_clean(cluster: Cluster, port: int, tmp_path: Path) -> None:
    """Not before, and not by what was known of an earlier DaemonSet; it asks for the one that its Role names."""
    cluster.answers = [daemonset(3, 3, generation=2, seen=1), daemonset(2, 3), daemonset(3, 3)]
    done = wait(port, service_account(tmp_path), seconds=60)
    assert (done.returncode, done.stdout, done.stderr) == (0, "3 of 3 nodes are clean\n", "")
    assert len(cluster.asked) == 3
    (rule,) = hook("Role")["rules"]
    assert rule == {"apiGroups": ["apps"], "resources": ["daemonsets"], "resourceNames": [NAME], "verbs": ["get"]}
    assert set(cluster.asked) == {f"/apis/apps/v1/namespaces/device-plugin-supervisor/daemonsets/{NAME}"}


def test_waiting_has_an_end(cluster: Cluster, port: int, tmp_path: Path) -> None:
    """It fails then, and says how far it came and where to read on."""
    cluster.answers = [daemonset(2, 3)]
    done = wait(port, service_account(tmp_path))
    assert done.returncode == 1
    assert done.stderr.startswith("2 of 3 nodes are clean; the logs of the DaemonSet device-plugin-supervisor/")


@pytest.mark.parametrize("answer", [{}, {"metadata": {}}, {"status": {"numberReady": 1}}], ids=str)
def test_an_answer_that_says_nothing_is_not_taken_for_a_yes(
    answer: dict[str, Any], cluster: Cluster, port: int, tmp_path: Path
) -> None:
    """Such as one of something else than an API server."""
    cluster.answers = [answer]
    assert wait(port, service_account(tmp_path)).returncode == 1


def test_a_refusal_is_told(cluster: Cluster, port: int, tmp_path: Path) -> None:
    """A wrong token, here."""
    cluster.answers = [daemonset(3, 3)]
    account = service_account(tmp_path)
    (account / "token").write_text("another")
    done = wait(port, account)
    assert done.returncode == 1
    assert "HTTP Error 401" in done.stderr
