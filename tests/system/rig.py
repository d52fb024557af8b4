"""What the system tests hold in their hands: a plugin that obeys, a supervisor that may be killed, and what must be true."""

import io
import json
import os
import signal
import sys
import tempfile
import time
import urllib.error
import urllib.request
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, redirect_stderr
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any

from supervisor.host import Host
from supervisor.kubelet.simulator import Event, EventKind, KubeletSimulator, Paths
from supervisor.testing.supervised import STOP_SECONDS, Supervised

RESOURCE = "example.com/widget"
HEALTHY = {"w0": "Healthy", "w1": "Healthy"}
ERAS = ("1.20", "1.25", "1.37")
"""One kubelet for each way to register plugins."""

DISTRIBUTION = Path(__file__).parent / "puppet"
"""Where the module of the plugin is; it is installed as the packages of these entry points."""
ENTRY_POINTS = ("puppet", "other")


def install(folder: Path) -> None:
    """Make the puppet an installed distribution of this folder."""
    metadata = folder / "system_test_puppet-1.0.dist-info"
    metadata.mkdir()
    (metadata / "METADATA").write_text("Metadata-Version: 2.1\nName: system-test-puppet\nVersion: 1.0\n")
    lines = (f"{name} = puppet\n" for name in ENTRY_POINTS)
    (metadata / "entry_points.txt").write_text("[device_plugin_supervisor.plugins]\n" + "".join(lines))


@contextmanager
def stage() -> Iterator[Path]:
    """A folder for programs outside pytest, with the puppet installed and a path short enough for sockets; removed with all in it."""
    with tempfile.TemporaryDirectory(prefix="dps.", dir="/tmp") as name:
        install(Path(name))
        before = sys.path.copy()
        sys.path[:0] = [name, str(DISTRIBUTION)]
        try:
            yield Path(name)
        finally:
            sys.path[:] = before


class Puppet:
    """One plugin and the file that tells it what to say and how to behave. Starts with two healthy widgets."""

    def __init__(self, folder: Path, name: str = "puppet", resources: Mapping[str, Mapping[str, str]] | None = None) -> None:
        self.name = name
        self.resources = {RESOURCE: {"w0": "", "w1": ""}} if resources is None else {**resources}
        self.moods: dict[str, str] = {}
        self.claims: dict[str, str] = {}
        self.pre_start = False
        self.script = folder / f"{name}.json"
        self._write()

    def show(self, devices: Mapping[str, str], resource: str = RESOURCE) -> None:
        """Have these devices of a resource: id → why it is unhealthy, or nothing."""
        self.resources[resource] = {**devices}
        self._write()

    def share(self, **claims: str) -> None:
        """From now on these devices share their hardware: id → claim."""
        self.claims = claims
        self._write()

    def hide(self, resource: str = RESOURCE) -> None:
        """Know nothing of this resource any more."""
        del self.resources[resource]
        self._write()

    def behave(self, **moods: str) -> None:
        """From now on, method → ``raise``, ``nap``, ``hang``, ``garbage``, ``burn``, ``leak``, ``crash``; good otherwise."""
        self.moods = moods
        self._write()

    def require_pre_start(self) -> None:
        """Have the kubelet call ``PreStartContainer``."""
        self.pre_start = True
        self._write()

    def _write(self) -> None:
        new = self.script.with_suffix(".new")
        said = {"resources": self.resources, "moods": self.moods, "pre_start": self.pre_start, "claims": self.claims}
        new.write_text(json.dumps(said))
        new.rename(self.script)

    def section(self, **options: Any) -> dict[str, Any]:
        """Its part of the configuration. It looks when its file changes, and never otherwise."""
        return {"script": str(self.script), "name": self.name, "lookInterval": 3600, **options}

    def calls(self, method: str) -> int:
        """How often this method has been called."""
        calls = self.script.with_suffix(".calls")
        return calls.read_text().splitlines().count(method) if calls.exists() else 0


class Process(Supervised):
    """A supervisor that a test may end in any way. ``wrap`` makes the command to start from the supervisor's own."""

    def __init__(
        self,
        kubelet: Paths,
        folder: Path,
        plugins: Mapping[str, Mapping[str, Any]],
        host: Host,
        *,
        options: tuple[str, ...] = (),
        wrap: Callable[[list[str]], list[str]] = list,
        **sections: Any,
    ) -> None:
        """``options`` follow on its command line; ``sections`` are further sections of its configuration."""
        super().__init__(kubelet, folder, plugins, host)
        if sections:
            self.edit(**sections)
        self._options = options
        self._wrap = wrap
        self._signalled = False

    @property
    def command(self) -> list[str]:
        """As it is, with options of the test, within what wraps it."""
        return self._wrap([*super().command, *self._options])

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        """Stop it; how it ended is only judged where the test has not ended it."""
        if self._signalled or self.ended:
            error = error or Ended()
        super().__exit__(kind, error, trace)

    def edit(self, **sections: Any) -> None:
        """Change whole sections of the configuration file, in one step."""
        document = json.loads(self.config.read_text())
        new = self.config.with_suffix(".new")
        new.write_text(json.dumps(document | sections, indent=2))
        new.rename(self.config)

    @property
    def pid(self) -> int:
        """Of the supervisor itself, also where ``unshare --fork`` stands before it."""
        assert self.process is not None
        pid = self.process.pid
        while Path(f"/proc/{pid}/comm").read_text() == "unshare\n":
            children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
            pid = int(children[0]) if children else pid
        return pid

    @property
    def ended(self) -> bool:
        """Whether the process is over."""
        return self.process is not None and self.process.poll() is not None

    def signal(self, number: int) -> None:
        """Send a signal and wait for nothing."""
        self._signalled = True
        os.kill(self.pid, number)

    def wait(self, timeout: float = 10.0) -> int:
        """Wait for its end; returns the exit code, negative for a signal."""
        assert self.process is not None
        return self.process.wait(timeout)

    def stop(self) -> int:
        """End it in good order, also within namespaces: ``unshare`` would not pass the signal on."""
        if not self.ended and self.process is not None and self.pid != self.process.pid:
            os.kill(self.pid, signal.SIGTERM)
            self.wait(STOP_SECONDS)
        return super().stop()

    def kill(self) -> None:
        """SIGKILL, and wait."""
        self.signal(signal.SIGKILL)
        self.wait()

    def get(self, path: str) -> tuple[int, str]:
        """Status and body of one of its pages."""
        address = json.loads(self.wait_log('"HttpListening"'))["address"]
        try:
            with urllib.request.urlopen(f"http://{address}{path}", timeout=10) as response:
                return response.status, response.read().decode()
        except urllib.error.HTTPError as error:
            with error:
                return error.code, error.read().decode()

    def wait_ready(self, word: str, timeout: float = 15.0) -> None:
        """Wait until ``/readyz`` is 200 and says ``word``."""
        wait_for(lambda: (answer := self.get("/readyz"))[0] == 200 and word in answer[1], timeout, f"ready, {word}")

    def wait_generation(self, generation: int, timeout: float = 10.0) -> None:
        """Wait until so many configurations have been applied; the log folds lines that differ in their number alone."""

        def applied() -> bool:
            return bool(json.loads(self.get("/status")[1])["config"]["generation"] == generation)

        wait_for(applied, timeout, f"configuration {generation}")

    def wait_events(self, event: str, count: int, timeout: float = 10.0) -> list[dict[str, Any]]:
        """Wait until the log has so many lines of this event, and return them."""
        wait_for(lambda: len(self.events(event)) >= count, timeout, f"{count} lines of {event}")
        return self.events(event)

    def events(self, event: str) -> list[dict[str, Any]]:
        """The lines of the log that tell of this kind of event."""
        lines = (json.loads(line) for line in self.log.splitlines() if line.startswith("{") and line.endswith("}"))
        return [line for line in lines if line.get("event") == event]


class Ended(Exception):
    """Stands for: the test has ended this process itself."""


def wait_for(condition: Callable[[], bool], timeout: float = 10.0, what: str = "the condition") -> None:
    """Wait until ``condition()`` holds. Raises ``TimeoutError``."""
    deadline = time.monotonic() + timeout
    while not condition():
        if time.monotonic() > deadline:
            raise TimeoutError(f"{what} did not come true within {timeout:g} s")
        time.sleep(0.01)


@contextmanager
def quietly() -> Iterator[None]:
    """Hold back the logs of the block's processes, which are long; they are shown when it fails."""
    held = io.StringIO()
    try:
        with redirect_stderr(held):
            yield
    except BaseException:
        sys.stderr.write(held.getvalue())
        raise


def ours(directory: Path) -> list[str]:
    """The public sockets of supervisors in this directory."""
    return sorted(path.name for path in directory.glob("dps-*.sock"))


# --- what must always be true -----------------------------------------------------------------------------------------


@dataclass
class _Standing:
    """How one resource stands with one life of the kubelet."""

    calling: int = 0
    awaiting: bool = False
    streams: int = 0


def double_registrations(events: list[Event]) -> list[Event]:
    """Every Register of a resource that had one under way, or a stream, in the same life of the kubelet.

    Of a life whose beginning is not among the events, as after an hour of them, nobody knows what was under way.
    """
    begun: set[int] = set()
    standing: defaultdict[tuple[int, str], _Standing] = defaultdict(_Standing)
    doubles = []
    for event in events:
        if event.kind is EventKind.KUBELET_STARTING:
            begun.add(event.life)
        if event.life not in begun:
            continue
        now = standing[event.life, event.fields.get("resource", "")]
        match event.kind:
            case EventKind.REGISTER_RECEIVED:
                if now.calling or now.awaiting or now.streams:
                    doubles.append(event)
                now.calling += 1
            case EventKind.REGISTER_ANSWERED:
                now.calling -= 1
                now.awaiting = not event["error"] and not now.streams
            case EventKind.CONNECT_FAILED:
                now.awaiting = False
            case EventKind.STREAM_OPENED:
                now.streams, now.awaiting = now.streams + 1, False
            case EventKind.STREAM_ENDED:
                now.streams -= 1
            case _:
                pass
    return doubles


def after_death(events: list[Event]) -> list[Event]:
    """What a kubelet did with plugins after its end: then the simulator proves nothing."""
    ended: set[int] = set()
    deeds = []
    for event in events:
        if event.kind is EventKind.KUBELET_ENDED:
            ended.add(event.life)
        elif event.kind in {EventKind.CONNECTED, EventKind.STREAM_OPENED, EventKind.LIST_RECEIVED} and event.life in ended:
            deeds.append(event)
    return deeds


def endpoints(kubelet: KubeletSimulator) -> frozenset[str]:
    """All sockets that were ever registered."""
    return frozenset(event["endpoint"] for event in kubelet.log(EventKind.REGISTER_RECEIVED))


def assert_sound(kubelet: KubeletSimulator, foreign: frozenset[str] = frozenset()) -> None:
    """Nothing was registered twice in one life of the kubelet, and no kubelet saw what would have broken it.

    ``foreign`` are endpoints of plugins that are not this supervisor's: also of one that has ended, whose streams are dead
    although the kubelet may not have noticed yet.
    """
    events = [event for event in kubelet.events.since() if event.fields.get("endpoint") not in foreign]
    doubles = double_registrations(events)
    assert not doubles, "\n".join(map(str, ["registered twice:", *doubles, "in:", *events]))
    assert not after_death(events), "a kubelet lived on after its end"
    assert not kubelet.warnings(), kubelet.warnings()


def assert_served(
    kubelet: KubeletSimulator, puppet: Puppet, life: int | None = None, foreign: frozenset[str] = frozenset()
) -> None:
    """The kubelet has what the plugin says, also what it says next; registered once in this life, where one is named."""
    kubelet.wait_devices(RESOURCE, HEALTHY, timeout=20)
    puppet.show({"w0": "", "w1": "worn out", "w2": ""})
    kubelet.wait_devices(RESOURCE, {"w0": "Healthy", "w1": "Unhealthy", "w2": "Healthy"}, timeout=20)
    if life is not None:
        assert registered(kubelet, life) == 1
    assert_sound(kubelet, foreign)


def registered(kubelet: KubeletSimulator, life: int, resource: str = RESOURCE) -> int:
    """How often the resource was registered with success in one life of the kubelet."""
    return sum(event.life == life and not event["error"] for event in kubelet.registrations(resource))
