"""``cleanup``: whom it asks, what it says, how it ends."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from supervisor.ownership import HIDDEN_NAME, Ownership
from tests.cleanup.test_readings import LIVING, write_checkpoint
from tests.cli.conftest import HANGING, WIDGETS, Answer, Machine

LEAVING = """
from pathlib import Path
from supervisor import Device, Leftover, hookimpl

class Leaving:
    name, udev_subsystems = "leaving", ()
    def __init__(self, memory):
        self.memory = memory
    def discover(self):
        raise RuntimeError("the hardware is gone")
    def leftovers(self, held):
        file = Path(self.memory.recall()["file"])
        return [Leftover(str(file), tuple(held.get("a.example/b", ())))] if file.exists() else []

@hookimpl
def device_plugins(memory):
    return [Leaving(memory)]
"""


class Left:
    """A node that a supervisor has left, with one file for containers."""

    def __init__(self, machine: Machine, folder: Path) -> None:
        self.machine = machine
        self.directory = folder / "device-plugins"
        self.file = folder / "left.json"
        self.file.write_text("{}")
        self.memory = self.directory / HIDDEN_NAME / "memory"
        self.memory.mkdir(parents=True)
        self.remember("leaving")
        write_checkpoint(self.directory, [])
        machine.install("leaving", LEAVING)
        self.configure()

    def remember(self, package: str) -> None:
        """As the supervisor writes it, in another boot of the node."""
        kept = {"bootId": "an earlier one", "memory": {"file": str(self.file)}}
        (self.memory / f"{package}.json").write_text(json.dumps(kept))

    def configure(self, plugins: str = "") -> None:
        nowhere = self.directory.parent / "nowhere"
        kubelet = f"kubelet: {{devicePluginsDir: {self.directory}, podResourcesSocket: {nowhere}}}\n"
        self.machine.configure(kubelet + plugins)

    def clean(self, *options: str) -> Answer:
        return self.machine.ask("cleanup", *options)


@pytest.fixture
def left(machine: Machine, tmp_path: Path) -> Left:
    return Left(machine, tmp_path)


@pytest.mark.slow
def test_what_nobody_needs_goes(left: Left) -> None:
    """After two readings that are ten seconds apart; the hardware need not be there, and a second run finds nothing."""
    answer = left.clean()
    assert (answer.code, answer.err) == (0, "waiting: another reading has to confirm that nobody holds the devices\n")
    assert f"Removed:\n  - {left.file}\n" in answer.out
    assert "The kubelet keeps the resource names, with 0 devices, until it restarts" in answer.out
    assert not left.file.exists()
    assert [path.name for path in left.directory.iterdir()] == ["kubelet_internal_checkpoint"]
    again = left.clean()
    assert (again.code, again.out) == (0, f"Nothing of the supervisor is left in {left.directory}.\n")


def test_what_is_held_stays(left: Left) -> None:
    """It is named, with its holder, for people and for programs; exit code 1."""
    write_checkpoint(left.directory, [LIVING])
    answer = left.clean()
    assert answer.code == 1
    text = " ".join(answer.out.split())
    assert f"Still needed: - {left.file}: needed by the pod with UID {LIVING}, container main" in text
    assert left.file.exists()
    answer = left.clean("--json")
    assert answer.code == 1
    (kept,) = answer.json["kept"]
    assert kept["path"] == str(left.file)
    assert kept["holders"] == [
        {
            "resource": "a.example/b",
            "device_id": "of-1",
            "namespace": "",
            "pod": LIVING,
            "container": "main",
            "numa_nodes": [],
        }
    ]
    assert (answer.json["version"], answer.json["dryRun"], answer.json["removed"]) == (1, False, [])


def test_a_dry_run_says_what_would_go(left: Left) -> None:
    """And changes nothing, at once."""
    answer = left.clean("--dry-run", "--json")
    assert answer.code == 0
    hidden = left.directory / HIDDEN_NAME
    assert answer.json["removed"] == [str(path) for path in (left.file, left.memory / "leaving.json", left.memory, hidden)]
    assert answer.json["dryRun"] is True
    assert left.file.exists()
    assert (left.memory / "leaving.json").exists()
    assert "Would be removed:" in left.clean("--dry-run").out


@pytest.mark.parametrize("section", ["{enabled: false}", "{isolation: process}"])
def test_a_package_is_asked_however_it_is_configured(left: Left, section: str) -> None:
    """Switched off since, or in a process of its own."""
    left.configure(f"plugins: {{leaving: {section}}}\n")
    assert str(left.file) in left.clean("--dry-run", "--json").json["removed"]


def test_a_package_that_kept_nothing_is_not_asked(left: Left) -> None:
    """What lies about elsewhere may be another supervisor's."""
    (left.memory / "leaving.json").unlink()
    assert str(left.file) not in left.clean("--dry-run", "--json").json["removed"]


def test_a_package_that_cannot_say_is_named(left: Left) -> None:
    """Not installed, not loadable, broken memory, failing: each keeps the traces, and the exit code tells."""
    left.machine.install("widgets", WIDGETS)
    left.machine.install("broken", "import a_library_that_is_not_installed\n")
    for package in ("gone", "broken", "widgets"):
        left.remember(package)
    (left.memory / "torn.json").write_text("{")
    (left.memory / "leaving.json").write_text('{"bootId": "x", "memory": {}}')
    answer = left.clean("--dry-run", "--json")
    assert answer.code == 1
    torn, gone, broken, leaving = answer.json["problems"]
    assert torn.startswith(f"torn: {left.memory}/torn.json cannot be read: ")
    assert gone == "gone: it is not installed here, so nobody knows what it has left"
    assert broken.startswith("broken: importing it failed: ")
    assert leaving.startswith("leaving: leftovers() failed: KeyError: ")
    assert answer.json["removed"] == []


def test_a_mistake_in_the_configuration_is_one(left: Left) -> None:
    """A section that a package cannot read is told with its place."""
    left.machine.install("widgets", WIDGETS)
    left.remember("widgets")
    left.configure("plugins: {widgets: {cuont: 3}}\n")
    (problem,) = left.clean("--dry-run", "--json").json["problems"]
    assert problem.startswith(f"widgets: {left.machine.config}:")
    assert "did you mean count?" in problem


def test_a_plugin_that_hangs_is_not_waited_for(left: Left) -> None:
    """It has the time of a look; its name is told, and the traces stay."""
    own = "    def discover(self):\n        return {}\n    def leftovers(self, held):"
    left.machine.install("hanging", HANGING.replace("    def discover(self):", own))
    left.remember("hanging")
    left.configure("plugins: {hanging: {lookTimeout: 0.5}}\n")
    answer = left.clean("--dry-run", "--json")
    assert answer.code == 1
    assert answer.json["problems"] == ["hanging: it has not come back for 0.5 s"]
    assert answer.json["removed"] == [str(left.file)]


@pytest.mark.parametrize("option", ["--wait=0", "--force", "--dry-run"])
def test_nothing_is_touched_while_a_supervisor_runs(left: Left, option: str) -> None:
    """Not even with force; exit code 1 says so, and the text who it is."""
    running = Ownership.open(left.directory)
    assert running is not None
    assert running.try_take()
    before = sorted(left.directory.rglob("*"))
    answer = left.clean(option)
    assert answer.code == 1
    said = " ".join((answer.out + answer.err).split())
    assert "a supervisor runs" in said
    assert "delete its DaemonSet" in said
    assert left.file.exists()
    assert sorted(left.directory.rglob("*")) == before
    os.close(running._descriptor)


def test_the_directory_may_be_another(left: Left, tmp_path: Path) -> None:
    """One without anything of ours is left as it is."""
    (tmp_path / "empty").mkdir()
    answer = left.clean("--device-plugins-dir", str(tmp_path / "empty"))
    assert (answer.code, answer.out) == (0, f"Nothing of the supervisor is left in {tmp_path}/empty.\n")
    assert list((tmp_path / "empty").iterdir()) == []


@pytest.mark.parametrize("seconds", ["-1", "soon", "nan", "inf"])
def test_wrong_usage_is_told(left: Left, seconds: str) -> None:
    """Exit code 2."""
    answer = left.clean(f"--wait={seconds}")
    assert answer.code == 2
    assert f"argument --wait: {seconds} is no number of seconds from 0 on" in answer.err


@pytest.mark.requires("root")
def test_root_needs_no_capability(left: Left) -> None:
    """What is left belongs to root, and so does the process in the pod that removes it."""
    bare = ["setpriv", "--bounding-set=-all", "--inh-caps=-all", "--no-new-privs", sys.executable, "-m", "supervisor"]
    done = subprocess.run(
        [*bare, "cleanup", "--force", "--config", str(left.machine.config)],
        env=os.environ | {"PYTHONPATH": str(left.machine.site)},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert not left.file.exists()
    assert [path.name for path in left.directory.iterdir()] == ["kubelet_internal_checkpoint"]
