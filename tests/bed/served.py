"""The real supervisor in a bed, offering what the generic plugin finds there to a simulated kubelet outside of it."""

import contextlib
import ctypes
import json
import os
import re
import signal
import socket
import sys
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from supervisor.config import API_VERSION, KIND
from supervisor.kubelet.simulator import EventKind, KubeletSimulator
from supervisor.plugins import installed
from tests.bed import hardware
from tests.bed.fakesys import Tree
from tests.bed.inject import NETLINK_KOBJECT_UEVENT
from tests.bed.nsbed import Bed
from tests.bed.program import PATIENCE, Program

LISTEN = "127.0.0.1:9410"
"""In the bed's own network namespace nobody else has it."""

SMALL = 20_000
"""Bytes of receive buffer: room for some dozens of events."""

_PIDFD_GETFD = 438  # the number of the system call, the same on all architectures; Python has no function for it

NEVER = 86400.0
"""Seconds between timed looks: what is found was found by an event."""

_SUPERVISOR = (sys.executable, "-m", "supervisor")
_LOGGED = 'exec "$0" "$@" 2>"$LOG"'
_FETCH = f"import sys, urllib.request as r; sys.stdout.buffer.write(r.urlopen('http://{LISTEN}' + sys.argv[1]).read())"

Resources = Iterable[Mapping[str, Any]]


def resource(name: str, *match: Mapping[str, Any], **more: Any) -> dict[str, Any]:
    """One resource of the section ``generic``."""
    return {"name": f"bed.example/{name}", "match": list(match), **more}


def write_config(
    path: Path,
    kubelet: KubeletSimulator,
    resources: Resources,
    *,
    look_interval: float,
    plugins: Mapping[str, Mapping[str, Any]] | None = None,
    host: Mapping[str, str] | None = None,
) -> None:
    """Write a configuration in one step. Every installed plugin that is not named is off."""
    sections: dict[str, Any] = {package.name: {"enabled": False} for package in installed()}
    sections |= {"generic": {"lookInterval": look_interval, "resources": list(resources)}}
    document = {
        "apiVersion": API_VERSION,
        "kind": KIND,
        "kubelet": {
            "devicePluginsDir": str(kubelet.paths.device_plugins),
            "podResourcesSocket": str(kubelet.paths.pod_resources_socket),
        },
        "http": {"listen": LISTEN},
        "host": dict(host or {}),
        "plugins": sections | dict(plugins or {}),
    }
    new = path.with_suffix(".new")
    new.write_text(json.dumps(document, indent=2))  # JSON is YAML
    new.rename(path)


SERIAL = resource("serial", {"udev": {"subsystem": "tty", "usb": {"vendor": "0403"}}})
FUSE = resource("fuse", {"path": "/dev/fuse"})
MISC = resource("misc", {"udev": {"subsystem": "misc", "name": "gadget*"}})


def gadget(tree: Tree, number: int) -> str:
    """A character device of the class misc."""
    (path,) = hardware.misc(tree, f"gadget{number}", 1000 + number)
    return path


class Served:
    """One bed, one kubelet, and the configuration that leads from the one to the other."""

    def __init__(self, bed: Bed, kubelet: KubeletSimulator, folder: Path) -> None:
        """The supervisor is started by ``running``; its files lie in ``folder``."""
        self.bed = bed
        self.tree = bed.tree
        self.kubelet = kubelet
        self.config = folder / "config.yaml"
        self._log = folder / "log"
        self._pid = 0

    def configure(
        self, resources: Resources, *, look_interval: float = NEVER, plugins: Mapping[str, Mapping[str, Any]] | None = None
    ) -> None:
        """Replace the configuration; a running supervisor notices. Every installed plugin that is not named is off."""
        write_config(self.config, self.kubelet, resources, look_interval=look_interval, plugins=plugins)

    @contextmanager
    def running(self, **env: str) -> Iterator[Program]:
        """Run the supervisor; it must end by SIGTERM with status 0. Its log is shown with a failed test."""
        command = ("/bin/sh", "-c", _LOGGED, *_SUPERVISOR, "run", "--config", str(self.config))
        program = self.bed.spawn(*command, LOG=str(self._log), **env)
        self._pid = program.pid
        try:
            yield program
            program.signal(signal.SIGTERM)
            status = program.wait()
            assert status == 0, f"exit status {status}"
        finally:
            program.close()
            sys.stderr.write(self.log)

    @property
    def log(self) -> str:
        """What the supervisor has written so far."""
        return self._log.read_text() if self._log.exists() else ""

    def command(self, *arguments: str) -> str:
        """Run one of the other commands in the bed, and return what it printed, each item of a list on one line."""
        done = self.bed.run(*_SUPERVISOR, *arguments)
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout.replace("\n    ", " ")

    def fetch(self, path: str) -> str:
        """A page of the running supervisor."""
        done = self.bed.run(sys.executable, "-c", _FETCH, path)
        assert done.returncode == 0, done.stderr
        return done.stdout

    def notices(self) -> str:
        """Whatever ``/status`` says that a person should know."""
        return "\n".join(json.loads(self.fetch("/status"))["reasons"])

    def looks(self, plugin: str = "generic") -> int:
        """How many looks of a plugin have ended."""
        found = re.search(rf'discovery_seconds_count\{{plugin="{plugin}"\}} (\d+)', self.fetch("/metrics"))
        return int(found[1]) if found else 0

    def settled(self, plugin: str = "generic") -> int:
        """Wait until events are heard and the looks of the start are over but for their aftermath; how many looks that were."""
        wait_until(lambda: bool(event_sockets(self._pid)), "uevent socket")
        self.wait_looks(2, plugin)
        return self.looks(plugin)

    def wait_looks(self, number: int, plugin: str = "generic") -> None:
        """Wait until so many looks of a plugin have ended."""
        wait_until(lambda: self.looks(plugin) >= number, f"look {number} of {plugin}")

    def wait_log(self, text: str) -> None:
        """Wait until the log holds a text."""
        wait_until(lambda: text in self.log, f"{text!r} in the log")

    def healths(self, name: str) -> list[str]:
        """The healths of a resource's devices as the kubelet counts them."""
        return sorted(self.kubelet.devices(f"bed.example/{name}").values())

    def wait_healths(self, name: str, *healths: str) -> dict[str, str]:
        """Wait until the kubelet has so many devices of these healths; return them by id."""
        wanted = sorted(healths)
        self.kubelet.wait_for(lambda: self.healths(name) == wanted, PATIENCE, f"{name} = {wanted}")
        return self.kubelet.devices(f"bed.example/{name}")

    def lists(self, name: str, since: int = 0) -> int:
        """How many lists of a resource the kubelet has got since a position of its events."""
        return len(self.kubelet.log(EventKind.LIST_RECEIVED, since=since, resource=f"bed.example/{name}"))

    def wait_registered(self, *names: str) -> None:
        """Wait until the kubelet has a list of each resource."""
        for name in names:
            self.kubelet.wait_registered(f"bed.example/{name}", PATIENCE)


def wait_until(condition: Callable[[], bool], what: str) -> None:
    """Look again and again. Raises TimeoutError."""
    deadline = time.monotonic() + PATIENCE
    while not condition():
        if time.monotonic() > deadline:
            raise TimeoutError(f"no {what} within {PATIENCE} s")
        time.sleep(0.01)


def event_sockets(pid: int) -> list[int]:
    """The descriptors by which a process hears uevents."""
    table = map(str.split, Path(f"/proc/{pid}/net/netlink").read_text().splitlines()[1:])
    names = {f"socket:[{row[-1]}]" for row in table if row[1] == str(NETLINK_KOBJECT_UEVENT) and row[3] != "00000000"}
    found = []
    for entry in Path(f"/proc/{pid}/fd").iterdir():
        with contextlib.suppress(FileNotFoundError):  # closed meanwhile
            if os.readlink(entry) in names:
                found.append(int(entry.name))
    return found


def shrink_event_buffer(pid: int) -> None:
    """Make the receive buffer of a process's uevent socket small, from outside: libudev gives it 128 MiB."""
    process = os.pidfd_open(pid)
    try:
        for descriptor in event_sockets(pid):
            copy = ctypes.CDLL(None, use_errno=True).syscall(_PIDFD_GETFD, process, descriptor, 0)
            assert copy >= 0, os.strerror(ctypes.get_errno())
            with socket.socket(fileno=copy) as events:
                events.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, SMALL)
    finally:
        os.close(process)
