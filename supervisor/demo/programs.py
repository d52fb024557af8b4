"""The programs that the demo starts: supervisors, one command of theirs, and pods. None of them outlives it."""

import json
import os
import re
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from msgspec import Struct

import supervisor
from supervisor.demo import pod
from supervisor.errors import SupervisorError
from supervisor.kubelet.simulator import GrantedDevice

PATIENCE = 15.0
"""Seconds for anything that takes a moment."""
POD_PATIENCE = 5.0
"""Seconds for a pod to open its devices: a driver may hang."""

_SAMPLE = re.compile(r"(\w+)\{(.*)\} (\S+)")
_LABEL = re.compile(r'(\w+)="((?:[^"\\]|\\.)*)"')
"""In the text that Prometheus reads."""


class Failed(SupervisorError):
    """Something that should come true has not."""


class Opened(Struct, frozen=True):
    """What a pod found at one device node."""

    number: str
    """Major and minor; empty where nothing can be known."""
    refused: str
    """The name of the error, such as ``EACCES``; empty if the node could be opened."""
    why: str


class SupervisorProcess:
    """One ``run`` in a process of its own, which no Ctrl-C of the terminal reaches."""

    def __init__(self, config: Path, device_plugins: Path, log: Path, variables: Mapping[str, str]) -> None:
        """Start it, with these variables beside our environment's; its log goes to a file, beside which it makes its temporary files:
        it may be killed, and removes nothing then.
        """
        self.log = log
        self.url = f"http://127.0.0.1:{_free_port()}"
        address = self.url.removeprefix("http://")
        command = ["run", "--config", str(config), "--device-plugins-dir", str(device_plugins), "--http", address]
        with log.open("wb") as output:
            self._child = subprocess.Popen(
                _command(*command),
                env={**_environment(), "TMPDIR": str(log.parent), **variables},
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                process_group=0,
            )

    @property
    def pid(self) -> int:
        return self._child.pid

    def check(self) -> None:
        """Raise ``Failed`` if it has ended."""
        if (status := self._child.poll()) is not None:
            how = f"by {signal.Signals(-status).name}" if status < 0 else f"with exit status {status}"
            raise Failed(f"the supervisor has ended {how}")

    def get(self, path: str) -> bytes:
        """Ask over HTTP. Raises ``OSError``, also for an answer that is not 200."""
        with urllib.request.urlopen(f"{self.url}{path}", timeout=PATIENCE) as answer:  # noqa: S310 -- always http
            return bytes(answer.read())

    def status(self) -> Any:
        """The picture that it has of itself. Raises ``OSError``."""
        return json.loads(self.get("/status"))

    def wait_ready(self) -> None:
        """Wait until it is ready, also if that is to stand by. Raises ``Failed``."""
        deadline = time.monotonic() + PATIENCE
        while True:
            self.check()
            try:
                self.get("/readyz")
            except OSError as error:
                if time.monotonic() > deadline:
                    raise Failed(f"the supervisor is not ready after {PATIENCE:g} s: {error}") from error
                time.sleep(0.02)
            else:
                return

    def metric(self, name: str) -> list[tuple[dict[str, str], float]]:
        """The labels and the value of each sample of a metric. Raises ``OSError``."""
        samples = (_SAMPLE.fullmatch(line) for line in self.get("/metrics").decode().splitlines())
        return [(dict(_LABEL.findall(found[2])), float(found[3])) for found in samples if found and found[1] == name]

    def uevents(self, subsystem: str) -> float:
        """How many kernel events of a subsystem, if it has one, have reached it. Raises ``OSError``."""
        return sum(value for labels, value in self.metric("device_plugin_uevents_total") if labels["subsystem"] == subsystem)

    def unhealthy(self, resource: str) -> dict[str, str]:
        """The unhealthy devices of a resource, each with the reason. Raises ``OSError``."""
        samples = self.metric("device_plugin_device_health")
        return {labels["device"]: labels["reason"] for labels, value in samples if labels["resource"] == resource and not value}

    def wait(self) -> None:
        """Wait for its end."""
        self._child.wait()

    def kill(self) -> None:
        """SIGKILL, and wait until it is gone."""
        self._child.kill()
        self._child.wait()

    def close(self) -> None:
        """SIGTERM, or what it takes."""
        if self._child.poll() is None:
            self._child.terminate()
            try:
                self._child.wait(PATIENCE / 3)
            except subprocess.TimeoutExpired:
                self.kill()

    def last_words(self, lines: int = 12) -> list[str]:
        """The end of its log."""
        try:
            return self.log.read_text(errors="replace").splitlines()[-lines:]
        except OSError:
            return []


def devices(config: Path) -> Any:
    """What ``devices --json`` prints for a configuration. Raises ``Failed``."""
    command = _command("devices", "--config", str(config), "--json")
    try:
        done = subprocess.run(
            command, env=_environment(), stdin=subprocess.DEVNULL, capture_output=True, timeout=4 * PATIENCE, check=False
        )
    except subprocess.TimeoutExpired:
        raise Failed("the look at this machine's devices does not come back") from None
    try:
        return json.loads(done.stdout)
    except ValueError:
        raise Failed(f"`devices` failed: {done.stderr.decode(errors='replace').strip()}") from None


def run_pod(given: Sequence[GrantedDevice], envs: Mapping[str, str]) -> list[Opened]:
    """Run a pod to its end: a child process that gets these devices and variables. Raises ``Failed``."""
    asked = json.dumps([{"host_path": device.host_path, "permissions": device.permissions} for device in given])
    try:
        done = subprocess.run(
            [sys.executable, "-I", pod.__file__],
            env={**envs},
            input=asked.encode(),
            capture_output=True,
            timeout=POD_PATIENCE,
            check=True,
        )
    except subprocess.TimeoutExpired:
        raise Failed(f"a pod hangs while it opens {', '.join(device.host_path for device in given)}") from None
    except subprocess.CalledProcessError as error:
        raise Failed(f"a pod has crashed: {error.stderr.decode(errors='replace').strip()}") from error
    return [Opened(**found) for found in json.loads(done.stdout)]


def _command(*arguments: str) -> list[str]:
    return [sys.executable, "-P", "-m", "supervisor", *arguments]


def _environment() -> dict[str, str]:
    """Make a child import the very package that this process has imported, and nothing from where it happens to stand."""
    package = Path(supervisor.__file__).parents[1]
    paths = [str(package), *filter(None, [os.environ.get("PYTHONPATH")])]
    return {**os.environ, "PYTHONPATH": os.pathsep.join(paths)}


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
