"""The commands that ask, against a running supervisor."""

import json
import os
import socket
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from supervisor.kubelet.simulator import KubeletSimulator
from supervisor.report import decode, schema
from tests.cli.canned import Certificate
from tests.jsonschema import violations
from tests.system.conftest import Start
from tests.system.rig import RESOURCE, Process, Puppet, wait_for


def _run(*arguments: str) -> subprocess.CompletedProcess[str]:
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
    command = [sys.executable, "-m", "supervisor", *arguments]
    return subprocess.run(command, env=environment, capture_output=True, text=True, timeout=60, check=False)


def _address(process: Process) -> str:
    return str(json.loads(process.wait_log('"HttpListening"'))["address"])


def _status(process: Process) -> Any:
    return json.loads(process.get("/status")[1])


def test_status_of_a_running_supervisor(served: Process, kubelet: KubeletSimulator, puppet: Puppet) -> None:
    """Ready and active; its document is of the published schema; a device that breaks is shown with its reason."""
    served.wait_ready("active")
    done = _run("status", "--address", _address(served), "--json")
    assert (done.returncode, done.stderr) == (0, "")
    assert list(violations(json.loads(done.stdout), schema())) == []
    assert decode(done.stdout.encode()).resources[0].name == RESOURCE
    puppet.show({"w0": "", "w1": "worn out"})
    kubelet.wait_devices(RESOURCE, {"w0": "Healthy", "w1": "Unhealthy"})
    wait_for(lambda: _status(served)["resources"][0]["unhealthy"] == 1, what="the device on /status")
    done = _run("status", "--address", _address(served))
    assert done.returncode == 0
    rows = [line.split() for line in done.stdout.splitlines()]
    assert any(row[:2] == ["w1", "Unhealthy"] and row[-2:] == ["worn", "out"] for row in rows), done.stdout


def test_status_without_a_kubelet_is_1(start: Start, kubelet: KubeletSimulator) -> None:
    """The document of a supervisor in trouble is of the schema, too."""
    process = start()
    kubelet.wait_devices(RESOURCE, {"w0": "Healthy", "w1": "Healthy"})
    kubelet.kill()
    wait_for(lambda: process.get("/readyz")[0] == 503, 20, "not ready")
    done = _run("status", "--address", _address(process))
    assert done.returncode == 1
    assert "not ready, active" in done.stdout
    assert f"resource {RESOURCE} is " in done.stdout
    assert list(violations(_status(process), schema())) == []


def test_a_stopped_supervisor_is_told(served: Process) -> None:
    """With what to do."""
    address = _address(served)
    served.stop()
    done = _run("status", "--address", address)
    assert (done.returncode, done.stdout) == (1, "")
    assert "is one running there?" in done.stderr


@pytest.mark.requires("openssl")
def test_a_protected_supervisor_is_asked_with_its_own_configuration(
    start: Start, kubelet: KubeletSimulator, tmp_path: Path
) -> None:
    """Its certificate and its token are where the file says; from elsewhere they are named."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    certificate, tokens = Certificate(tmp_path, "server", "DNS:node-1.example,IP:127.0.0.1"), tmp_path / "tokens"
    tokens.write_text("s3cr3t\n")
    http = {
        "listen": f"127.0.0.1:{port}",
        "tls": {"certFile": str(certificate.cert), "keyFile": str(certificate.key)},
        "auth": {"bearerTokenFile": str(tokens)},
    }
    process = start(http=http)
    kubelet.wait_devices(RESOURCE, {"w0": "Healthy", "w1": "Healthy"})
    process.wait_log('"HttpListening"')
    done = _run("status", "--config", str(process.config))
    assert (done.returncode, done.stderr) == (0, "")
    assert f"https://127.0.0.1:{port}" in done.stdout
    there = ("--address", f"https://127.0.0.1:{port}", "--ca", str(certificate.cert))
    assert _run("status", *there, "--token-file", str(tokens)).returncode == 0
    done = _run("status", *there)
    assert (done.returncode, done.stdout) == (1, "")
    assert "401 Unauthorized; --token-file FILE sends a token" in done.stderr


@pytest.mark.slow
def test_explain_asks_the_running_supervisor(served: Process, kubelet: KubeletSimulator, puppet: Puppet) -> None:
    """It alone knows of a device that has vanished: since when, who holds it, what happened."""
    puppet.show({"w0": "", "w1": "busy elsewhere"})
    kubelet.wait_devices(RESOURCE, {"w0": "Healthy", "w1": "Unhealthy"})
    assert kubelet.add_pod("holder", {RESOURCE: 1}).admitted
    puppet.show({"w1": ""})
    kubelet.wait_devices(RESOURCE, {"w0": "Unhealthy", "w1": "Healthy"})
    wait_for(lambda: any(device["holders"] for device in _status(served)["resources"][0]["devices"]), 20, "the pod was named")
    done = _run("explain", "w0", "--config", str(served.config), "--address", _address(served))
    text = " ".join(done.stdout.split())
    assert (done.returncode, done.stderr) == (0, "")
    assert "- no plugin sees it now " in text
    assert f"- {RESOURCE}: w0 is Unhealthy for " in text
    assert "; held by default/holder main" in text
    assert f" ago: {RESOURCE}: w0 is unhealthy" in text
