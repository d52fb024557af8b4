"""A memory, a taking over and metrics of a plugin in the real supervisor: over restarts, hand-overs, edits and new directories."""

import json
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

from supervisor.kubelet.simulator import KubeletSimulator
from supervisor.testing import FakeHost
from tests.isolation import heir_plugin
from tests.isolation.heir_plugin import RESOURCE
from tests.system.rig import Process, assert_sound, endpoints, wait_for

SHOWN = {"one": "Healthy"}
ISOLATIONS = ("thread", "process")


class Machine:
    """A node with the heir on it. What the heir keeps tells who took over, and how often."""

    def __init__(self, kubelet: KubeletSimulator, host: FakeHost, run: Callable[..., Process]) -> None:
        self.kubelet = kubelet
        self.host = host
        self._run = run

    def start(self, isolation: str = "thread", **section: Any) -> Process:
        return self._run({"heir": {"isolation": isolation, **section}}, self.host.host)

    @property
    def file(self) -> Path:
        return self.kubelet.paths.device_plugins / ".device-plugin-supervisor" / "memory" / "heir.json"

    def kept(self) -> Any:
        """What is on the disk."""
        return json.loads(self.file.read_text())["memory"] if self.file.exists() else {}

    def wait_lives(self, lives: int) -> int:
        """Wait until the heir has taken over so often; returns the process that it did it in."""
        wait_for(lambda: bool(self.kept().get("lives") == lives), what=f"life {lives}")
        pid: int = self.kept()["pid"]
        return pid


@pytest.fixture
def machine(
    kubelet: KubeletSimulator, fake_host: FakeHost, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Machine]:
    """Nothing runs on it yet."""
    site = tmp_path / "site"
    (site / "heir-1.0.dist-info").mkdir(parents=True)
    (site / "heir-1.0.dist-info" / "METADATA").write_text("Metadata-Version: 2.1\nName: heir\nVersion: 1.0\n")
    (site / "heir-1.0.dist-info" / "entry_points.txt").write_text("[device_plugin_supervisor.plugins]\nheir = heir_plugin\n")
    shutil.copy(heir_plugin.__file__, site)
    monkeypatch.syspath_prepend(str(site))
    with ExitStack() as running:

        def run(*arguments: Any) -> Process:
            return running.enter_context(Process(kubelet.paths, tmp_path, *arguments))

        yield Machine(kubelet, fake_host, run)


@pytest.mark.parametrize("isolation", ISOLATIONS)
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL])
def test_a_restart_goes_on_where_the_last_process_ended(machine: Machine, isolation: str, number: int) -> None:
    """The new one recalls what the old one kept, before its first look."""
    first = machine.start(isolation)
    machine.kubelet.wait_devices(RESOURCE, SHOWN)
    before = machine.wait_lives(1)
    assert (before == first.pid) is (isolation == "thread")
    first.signal(number)
    first.wait()
    second = machine.start(isolation)
    assert machine.wait_lives(2) != before
    machine.kubelet.wait_devices(RESOURCE, SHOWN)
    (line,) = second.wait_events("DeviceChanged", 1)
    told = json.loads(line["reason"])
    assert told["taken over"] == [{"lives": 1, "pid": before}]
    assert_sound(machine.kubelet, endpoints(machine.kubelet))


@pytest.mark.parametrize("isolation", ISOLATIONS)
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL])
def test_a_standby_waits_for_its_turn(machine: Machine, isolation: str, number: int) -> None:
    """It looks, but takes nothing over and writes nothing, until it is the owner."""
    first = machine.start(isolation)
    before = machine.wait_lives(1)
    standby = machine.start(isolation, does="eager")
    standby.wait_ready("standing by")
    assert machine.wait_lives(1) == before
    first.signal(number)
    first.wait()
    after = machine.wait_lives(2)
    assert after != before
    assert (after == standby.pid) is (isolation == "thread")
    machine.kubelet.wait_devices(RESOURCE, SHOWN)


def test_a_standby_writes_no_memory(machine: Machine) -> None:
    """However long it waits, and however much it keeps."""
    machine.start()
    machine.wait_lives(1)
    before = machine.file.stat()
    standby = machine.start(does="eager")
    standby.wait_ready("standing by")
    assert standby.stop() == 0
    after = machine.file.stat()
    assert (after.st_ino, after.st_mtime_ns) == (before.st_ino, before.st_mtime_ns)


def test_another_boot_remembers_nothing(machine: Machine) -> None:
    """A new boot of the node is a new beginning."""
    first = machine.start()
    machine.wait_lives(1)
    first.kill()
    machine.host.write("/proc/sys/kernel/random/boot_id", "another boot\n")
    second = machine.start()
    wait_for(lambda: bool(machine.kept().get("pid") == second.pid), what="the second's memory")
    assert machine.kept()["lives"] == 1


@pytest.mark.parametrize("isolation", ISOLATIONS)
def test_new_objects_take_over_too(machine: Machine, isolation: str) -> None:
    """An edit of the section makes them, and they recall what the old ones kept."""
    process = machine.start(isolation)
    before = machine.wait_lives(1)
    process.edit(
        plugins={**json.loads(process.config.read_text())["plugins"], "heir": {"isolation": isolation, "does": "eager"}}
    )
    process.wait_generation(2)
    after = machine.wait_lives(2)
    assert (after == before) is (isolation == "thread")
    machine.kubelet.wait_devices(RESOURCE, SHOWN)


@pytest.mark.parametrize("isolation", ISOLATIONS)
def test_a_new_directory_is_taken_over(machine: Machine, isolation: str) -> None:
    """Nothing is lost with the old one."""
    process = machine.start(isolation)
    before = machine.wait_lives(1)
    machine.kubelet.wait_devices(RESOURCE, SHOWN)
    machine.kubelet.stop()
    shutil.rmtree(machine.kubelet.paths.device_plugins)
    machine.kubelet.start()
    assert machine.wait_lives(2) == before
    machine.kubelet.wait_devices(RESOURCE, SHOWN, timeout=20)
    assert not process.events("MemoryUnwritten")


@pytest.mark.parametrize("isolation", ISOLATIONS)
def test_what_a_plugin_measures_is_in_the_metrics(machine: Machine, isolation: str) -> None:
    """Under its name; what is wrong with it is a notice, and the devices are served all the same."""
    process = machine.start(isolation, does="metrics")
    machine.kubelet.wait_devices(RESOURCE, SHOWN)
    machine.wait_lives(1)
    wait_for(lambda: 'device_plugin_heir_lives_total{device="one"} 1.0' in process.get("/metrics")[1], what="the metric")
    status, body = process.get("/readyz")
    assert status == 200
    assert "plugin heir: metric 'Bad' is left out" in body


def test_a_memory_that_cannot_be_written_is_shown(machine: Machine) -> None:
    """In the log, on the status page and as a metric; the devices are served, and it is over when it is over."""
    hidden = machine.kubelet.paths.device_plugins / ".device-plugin-supervisor"
    hidden.mkdir()
    (hidden / "memory").write_text("in the way")
    process = machine.start()
    machine.kubelet.wait_devices(RESOURCE, SHOWN)
    assert "memory of heir is not written" in process.wait_log('"MemoryUnwritten"')
    assert "device_plugin_memory_unwritten 1.0" in process.get("/metrics")[1]
    assert "File exists" in json.loads(process.get("/status")[1])["notices"][0]["text"]
    (hidden / "memory").unlink()
    machine.wait_lives(1)
    process.wait_log('"MemoryWritten"')
    assert "device_plugin_memory_unwritten 0.0" in process.get("/metrics")[1]


@pytest.mark.parametrize("isolation", ISOLATIONS)
@pytest.mark.parametrize("command", [["devices"], ["explain", "one"], ["check-config"]])
def test_commands_that_look_recall_and_keep_nothing(machine: Machine, isolation: str, command: list[str]) -> None:
    """They run beside the owner, and are none."""
    owner = machine.start(isolation, does="eager")
    machine.wait_lives(1)
    before = machine.file.stat()
    config = [str(owner.config)] if command == ["check-config"] else ["--config", str(owner.config)]
    done = subprocess.run(
        [*owner.command[:3], *command, *config],
        env={"PYTHONPATH": ":".join(sys.path), "PATH": ""},
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    if command == ["devices"]:
        assert '"start": {}, "taken over": [], "now": {}' in " ".join(done.stdout.split())
    after = machine.file.stat()
    assert (after.st_ino, after.st_mtime_ns) == (before.st_ino, before.st_mtime_ns)
