"""Where the measures are taken: simulated kubelets, supervisors and reference plugins, each in processes of their own."""

from __future__ import annotations

import contextlib
import json
import os
import select
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from supervisor.config import API_VERSION, KIND
from supervisor.kubelet.simulator import EventKind, KubeletSimulator
from supervisor.plugins import installed
from tests.bed.fakesys import Tree
from tests.bed.hardware import misc
from tests.bed.program import Program
from tests.bench import procfs

ROOT = Path(__file__).parents[2]
MESSAGES = ROOT / "supervisor/kubelet/protos"
REFERENCE = "bench.example/reference"
"""The resource of the bare plugin."""
REPLICAS = 8
"""Devices of each resource where nothing else is said."""
PATIENCE = 60.0
"""Seconds for anything to happen that the bench waits for."""

_ENTRY_POINTS = "[device_plugin_supervisor.plugins]\nbench-pulse = tests.bench.pulse\n"


class Lab:
    """A temporary place for everything. Its programs run from compiled files, as installed ones do."""

    def __init__(self) -> None:
        self._resources = contextlib.ExitStack()
        self.folder = Path(tempfile.mkdtemp(prefix="dpb.", dir="/tmp"))
        self._resources.callback(shutil.rmtree, self.folder, ignore_errors=True)
        self.tree = Tree(self.folder / "tree")
        packages = self.folder / "packages"
        _install_pulse(packages)
        plain = {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}
        self.env = plain | {
            "PYTHONPATH": f"{ROOT}{os.pathsep}{packages}",
            "PYTHONPYCACHEPREFIX": str(self.folder / "compiled"),
        }
        self._numbers = iter(range(1_000_000))

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._resources.close()

    def new_folder(self) -> Path:
        """A directory for one node, with a path short enough for sockets."""
        folder = self.folder / str(next(self._numbers))
        folder.mkdir()
        return folder

    @contextlib.contextmanager
    def kubelet(self) -> Iterator[KubeletSimulator]:
        """A kubelet without checkpoints: their fsync would measure the disk, and delay the kubelet's own answers."""
        with KubeletSimulator(self.new_folder(), checkpoints=False) as kubelet:
            yield kubelet

    def warm_up(self) -> None:
        """Let every program run once, so that the files of all of them are compiled and in the page cache."""
        with self.kubelet() as kubelet, self.supervisor(kubelet) as ours, self.reference(kubelet):
            ours.lists()

    def program(self, *arguments: str, env: Mapping[str, str] | None = None) -> Program:
        """Start a Python program of the bench; ``env`` is added to the lab's own."""
        return Program([sys.executable, *arguments], self.env | dict(env or {}), ROOT)

    def reference(self, kubelet: KubeletSimulator, resource: str = REFERENCE, devices: int = REPLICAS) -> Program:
        """Start the bare plugin and wait for its list at the kubelet."""
        return self._reference(kubelet, [resource], resource, str(devices))

    def references(self, kubelet: KubeletSimulator, count: int) -> Program:
        """Start one bare plugin with the resources `REFERENCE0` and so on, and wait for their lists at the kubelet."""
        return self._reference(kubelet, reference_names(count), REFERENCE, str(REPLICAS), str(count))

    def _reference(self, kubelet: KubeletSimulator, names: Sequence[str], *arguments: str) -> Program:
        folder = str(kubelet.paths.device_plugins)
        program = self.program(str(ROOT / "tests/bench/reference.py"), str(MESSAGES), folder, *arguments)
        for name in names:
            kubelet.wait_registered(name, PATIENCE)
        return program

    def supervisor(
        self,
        kubelet: KubeletSimulator,
        resources: int = 3,
        pulse: Mapping[str, Any] | None = None,
        replicas: int = REPLICAS,
    ) -> Supervisor:
        """Describe a supervisor with as many generic resources, and the bench's own plugin if it has a section."""
        names = [f"bench.example/r{number}" for number in range(resources)]
        while not (self.tree.dev / f"bench{resources - 1}").exists():
            number = len(list(self.tree.dev.glob("bench*")))
            misc(self.tree, f"bench{number}", number)
        rules = [
            {"name": name, "match": [{"path": f"/dev/bench{number}"}], "replicas": replicas}
            for number, name in enumerate(names)
        ]
        return Supervisor(self, kubelet, names, {"generic": {"resources": rules}, "bench-pulse": pulse or {"enabled": False}})


def reference_names(count: int) -> list[str]:
    return [f"{REFERENCE}{number}" for number in range(count)]


def last_list(kubelet: KubeletSimulator, resources: Sequence[str], since: int) -> int:
    """Wait until a kubelet has had a list of each resource since a position of its events; when the last one came."""
    return max(kubelet.wait_event(EventKind.LIST_RECEIVED, PATIENCE, since, resource=resource).at_ns for resource in resources)


class Supervisor:
    """`device-plugin-supervisor run` as a process. A context manager, which starts it; `lists` waits until it is registered."""

    def __init__(
        self,
        lab: Lab,
        kubelet: KubeletSimulator,
        resources: Sequence[str],
        plugins: Mapping[str, Any],
        host: Mapping[str, Any] | None = None,
        env: Mapping[str, str] | None = None,
    ) -> None:
        """``env`` is added to the lab's own."""
        self.kubelet = kubelet
        self.resources = list(resources)
        self._env = lab.env | dict(env or {})
        self._folder = lab.new_folder()
        others = {package.name: {"enabled": False} for package in installed() if package.name not in plugins}
        document = {
            "apiVersion": API_VERSION,
            "kind": KIND,
            "kubelet": {
                "devicePluginsDir": str(kubelet.paths.device_plugins),
                "podResourcesSocket": str(kubelet.paths.pod_resources_socket),
            },
            "http": {"listen": "127.0.0.1:0"},
            "host": host
            if host is not None
            else {"dev": str(lab.tree.dev), "sysfs": str(lab.tree.sys), "runUdev": str(lab.tree.udev)},
            "plugins": {**others, **plugins},
        }
        self.log_path = self._folder / "log"
        self.config = self._folder / "config.yaml"
        self.config.write_text(json.dumps(document))  # JSON is YAML
        self.started_ns = 0
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def command(self) -> list[str]:
        return [sys.executable, "-m", "supervisor", "run", "--config", str(self.config)]

    @property
    def pid(self) -> int:
        assert self._process is not None
        return self._process.pid

    def __enter__(self) -> Self:
        with self.log_path.open("wb") as log:
            self.started_ns = time.monotonic_ns()
            self._process = subprocess.Popen(self.command, stdin=subprocess.DEVNULL, stderr=log, env=self._env, cwd=ROOT)
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        assert self._process is not None
        if self._process.poll() is None:
            self._process.terminate()
            try:
                self._process.wait(5)
            except subprocess.TimeoutExpired:
                self._process.kill()
                self._process.wait()
        if error is not None:
            sys.stderr.write(self.log)

    @property
    def log(self) -> str:
        """What it has written so far."""
        return self.log_path.read_text(errors="replace")

    def lists(self, since: int = 0, resources: Sequence[str] | None = None) -> int:
        """Wait until the kubelet has had a list of each resource since a position of its events; when the last one came."""
        return last_list(self.kubelet, resources or self.resources, since)

    def ready(self) -> None:
        """Wait until its probe says that it is ready: registered, or able to take over."""
        deadline = time.monotonic() + PATIENCE
        while True:
            with contextlib.suppress(urllib.error.URLError):
                if self._get("/readyz"):
                    return
            if time.monotonic() > deadline:
                raise TimeoutError(f"not ready within {PATIENCE:g} s:\n{self.log}")
            time.sleep(0.02)

    def scrape(self) -> None:
        """Fetch the metrics, as Prometheus does all the time."""
        self._get("/metrics")

    def metrics(self) -> bytes:
        """All metrics, as text."""
        return self._get("/metrics")

    @property
    def address(self) -> str:
        """Where its pages are, or nothing while it serves none."""
        return next((str(event["address"]) for event in self.events() if event["event"] == "HttpListening"), "")

    def _get(self, path: str) -> bytes:
        if not (address := self.address):
            return b""
        with urllib.request.urlopen(f"http://{address}{path}", timeout=5) as answer:
            body: bytes = answer.read()
        return body

    def events(self) -> list[dict[str, Any]]:
        """The lines of its log."""
        return [json.loads(line) for line in self.log.splitlines(keepends=True) if line.startswith("{") and line.endswith("\n")]

    def usage(self) -> procfs.Usage:
        return procfs.usage(self.pid)

    def end(self, number: signal.Signals) -> int:
        """Send a signal; when the process had ended, in nanoseconds of CLOCK_MONOTONIC."""
        descriptor = os.pidfd_open(self.pid)
        try:
            signal.pidfd_send_signal(descriptor, number)
            if not select.select([descriptor], [], [], PATIENCE)[0]:
                raise TimeoutError(f"it goes on after {number.name}:\n{self.log}")
            return time.monotonic_ns()
        finally:
            os.close(descriptor)


def socket_of(kubelet: KubeletSimulator, resource: str) -> str:
    """The path at which a resource is served."""
    (name,) = kubelet.connected()[resource]
    return str(kubelet.paths.device_plugins / name)


def first_id(kubelet: KubeletSimulator, resource: str) -> str:
    """One of the resource's healthy devices."""
    return min(name for name, health in kubelet.devices(resource).items() if health == "Healthy")


def _install_pulse(packages: Path) -> None:
    """The metadata of an installed distribution, whose code lies in the checkout."""
    metadata = packages / "bench_pulse-1.0.dist-info"
    metadata.mkdir(parents=True)
    (metadata / "METADATA").write_text("Metadata-Version: 2.1\nName: bench-pulse\nVersion: 1.0\n")
    (metadata / "entry_points.txt").write_text(_ENTRY_POINTS)
