"""The commands that ask, against a running supervisor."""

import json
import os
import subprocess
import sys
from typing import Any

from supervisor.kubelet.simulator import KubeletSimulator
from supervisor.report import decode, schema
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
