"""Isolation: whatever a package does in its own process, the supervisor gets an answer or a reason in time, and lives on."""

import os
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import trio

from supervisor import (
    AllocationRefused,
    Allocator,
    Cleaner,
    ContainerEdits,
    Device,
    DeviceNode,
    Examiner,
    Explainer,
    Host,
    Leftover,
    Noticer,
    PreferredAllocator,
    PreStarter,
    Watcher,
)
from supervisor.contract import problems
from supervisor.errors import PluginFailed, PluginRefused
from supervisor.inventory import Inventory, check_look
from supervisor.isolation import IsolatedPackage, Limits
from supervisor.looking import examine_once, leftovers_once
from tests.isolation.sample_plugin import RESOURCE

PATIENT = Limits(load=60, look=60, allocate=60, pre_start=60, preferred_allocation=60)
"""For answers that do come."""
SHORT = 0.3
"""Seconds given to a call that never answers."""

Isolate = Callable[..., Any]


@pytest.fixture
def isolate(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Isolate]:
    """Isolate the sample package, installed for this test only, with a section and limits; its plugins by name."""
    info = tmp_path / "site" / "sample-1.0.dist-info"
    info.mkdir(parents=True)
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: sample\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text("[device_plugin_supervisor.plugins]\nsample = sample_plugin\n")
    shutil.copy(Path(__file__).with_name("sample_plugin.py"), tmp_path / "site")
    monkeypatch.setenv("PYTHONPATH", str(tmp_path / "site"))
    packages: list[IsolatedPackage] = []

    def new(limits: Limits = PATIENT, name: str = "sample", host: Host | None = None, **section: str) -> Any:
        package = IsolatedPackage(name, section, host or Host(), limits)
        packages.append(package)
        made = package.load()
        return Isolated(package, made.refused, **{plugin.name: plugin for plugin in made.plugins})

    yield new
    for package in packages:
        pid = package.pid
        package.close()
        assert pid is None or gone(pid)


class Isolated:
    """A loaded package and its plugins."""

    def __init__(self, package: IsolatedPackage, refused: Any, plain: Any, full: Any, sleeper: Any = None) -> None:
        self.package = package
        self.refused = refused
        self.plain = plain
        self.full = full
        self.sleeper = sleeper


def until(happened: Callable[[], bool]) -> None:
    """Wait for something that shows only when it is looked at."""
    deadline = time.monotonic() + 20
    while not happened():
        assert time.monotonic() < deadline, "it has not happened"
        time.sleep(0.005)


def gone(pid: int) -> bool:
    """Wait until a process is no more, reaped included."""
    until(lambda: not Path(f"/proc/{pid}").exists())
    return True


def dead(pid: int) -> bool:
    """Whether a process that others must reap has ended."""
    try:
        return "(zombie)" in Path(f"/proc/{pid}/status").read_text()
    except (FileNotFoundError, ProcessLookupError):
        return True


def look(plugin: Any) -> list[str]:
    """The ids that a look gives."""
    return [device.id for device in plugin.discover()[RESOURCE]]


def test_a_package_is_loaded_with_its_section_and_host(isolate: Isolate, tmp_path: Path) -> None:
    """The plugins of the other process are as their package made them."""
    (tmp_path / "state").write_text("x y z")
    made = isolate(host=Host(sysfs="/elsewhere"), state=str(tmp_path / "state"))
    (device, *_), pid = made.plain.discover()[RESOURCE], made.package.pid
    assert device == Device("x", reason=f"/elsewhere {pid}")
    assert pid != os.getpid()
    assert made.refused == ()


def test_a_stand_in_can_do_exactly_what_its_plugin_can(isolate: Isolate) -> None:
    """Capabilities decide what the kubelet is told, so none may be added or lost, and the contract is kept."""
    made = isolate()
    kinds = (Watcher, Allocator, PreferredAllocator, PreStarter, Noticer, Explainer, Examiner, Cleaner)
    assert [isinstance(made.plain, kind) for kind in kinds] == [False] * 8
    assert [isinstance(made.full, kind) for kind in kinds] == [True] * 8
    assert problems(made.plain) == problems(made.full) == ()


def test_all_calls_are_handed_through(isolate: Isolate) -> None:
    """Arguments and answers are the same on both sides."""
    full = isolate().full
    assert look(full) == ["a", "b"]
    edits = ContainerEdits(device_nodes=(DeviceNode("/dev/null", permissions="r"),))
    got = full.allocate(RESOURCE, [Device("a"), Device("b")], edits)
    assert got == ContainerEdits(device_nodes=edits.device_nodes, envs={"IDS": "a,b"})
    assert full.preferred_allocation(RESOURCE, ["a", "b"], ["b"], 1) == ["b"]
    assert full.pre_start_required(RESOURCE) is True
    assert full.pre_start_required("example.com/other") is False
    full.pre_start("nothing wrong", [Device("a")])
    assert full.explain("what \udc80 about")[0] == "what ? about"


def test_findings_are_handed_through(isolate: Isolate) -> None:
    """Those that are none are left for the same check as any plugin's."""
    made = isolate(does="examine")
    look(made.full)
    (note,), (level, nothing) = examine_once(made.full)
    assert (note.level, note.subject) == ("note", "a thread")
    assert level.startswith("finding 2 is left out: level: ")
    assert nothing == "finding 3 is left out: it is str, not Finding"


def test_leftovers_are_handed_through(isolate: Isolate) -> None:
    """With the devices that are held; what is no leftover fails the question."""
    held = {RESOURCE: frozenset({"a"}), "example.com/other": frozenset({"x"})}
    assert leftovers_once(isolate().full, held) == (Leftover("/run/sample.json", ("a",)),)
    with pytest.raises(PluginFailed, match="leftover 2 is none: it is str, not Leftover"):
        leftovers_once(isolate(does="leftovers").full, {})


def test_what_a_look_also_tells_is_kept(isolate: Isolate) -> None:
    """Subsystems and notices are those of the last look; asking for them asks nobody."""
    made = isolate()
    assert list(made.full.udev_subsystems) == ["misc"]
    for number in (1, 2):
        look(made.full)
        assert list(made.full.notices()) == [f"look {number}"]
    assert list(made.full.udev_subsystems) == ["misc", "usb"]
    made.package.close()
    assert list(made.full.notices()) == ["look 2"]


def test_an_unchanged_look_returns_the_same_objects(isolate: Isolate, tmp_path: Path) -> None:
    """So nothing downstream has to compare; when one device changes, the others are still the same objects."""
    state = tmp_path / "state"
    state.write_text("a b c")
    plain = isolate(state=str(state)).plain
    first = plain.discover()
    assert plain.discover() is first
    state.write_text("a c d")
    second = plain.discover()
    assert [device.id for device in second[RESOURCE]] == ["a", "c", "d"]
    assert second[RESOURCE][0] is first[RESOURCE][0]
    assert second[RESOURCE][1] is first[RESOURCE][2]
    state.write_text("a b c")
    assert [device.id for device in plain.discover()[RESOURCE]] == ["a", "b", "c"]


def test_garbage_is_quarantined_piece_by_piece(isolate: Isolate) -> None:
    """As for a plugin in our own process: what is good is kept, and each reason is told."""
    found = check_look(isolate(does="garbage").plain.discover())
    assert {name: [device.id for device in inventory.devices] for name, inventory in found.inventories.items()} == {
        RESOURCE: ["good"],
        "example.com/other": ["fine"],
    }
    reasons = {(each.resource, each.device): each.reason for each in found.quarantined}
    assert reasons[RESOURCE, "bad id"] == "id: Expected 1 to 63 printable ASCII characters without spaces"
    assert "not Device" in reasons[RESOURCE, "a string"]
    assert reasons["example.com/number", ""] == "its devices are int, not a list of Device"
    assert "vendor domain" in reasons["nodomain", ""]
    assert len(reasons) == 8


def test_a_look_that_is_no_look_fails(isolate: Isolate) -> None:
    """It loses that look only."""
    made = isolate(does="nonsense")
    with pytest.raises(PluginFailed, match=r"discover\(\) must return a mapping of resource name to devices, not int"):
        made.plain.discover()
    assert made.package.pid is not None


@pytest.mark.parametrize("how", ["raise", "exit"])
def test_an_error_becomes_a_reason_and_costs_no_process(isolate: Isolate, how: str) -> None:
    """Type and text of the error come through, in every call, and the process goes on."""
    made = isolate(does=f"discover:{how}")
    pid = made.package.pid
    named = "LookupError: no such luck" if how == "raise" else "SystemExit: 3"
    for call in (
        made.plain.discover,
        lambda: made.full.allocate(how, [Device("a")], ContainerEdits()),
        lambda: made.full.pre_start(how, [Device("a")]),
    ):
        with pytest.raises(PluginFailed, match=named):
            call()
    assert made.package.pid == pid


def test_a_refusal_stays_a_refusal(isolate: Isolate) -> None:
    """The pod's status shows the plugin's own words, and nothing else."""
    with pytest.raises(AllocationRefused) as refused:
        isolate().full.allocate("refuse", [Device("a")], ContainerEdits())
    assert str(refused.value) == "the licence has expired"


@pytest.mark.parametrize(("how", "kind"), [("garbage", ContainerEdits), ("nothing", type(None))])
def test_garbage_edits_reach_the_check_of_the_caller(isolate: Isolate, how: str, kind: type) -> None:
    """The servicer names what is wrong; here it only must not be lost or believed."""
    assert type(isolate().full.allocate(how, [Device("a")], ContainerEdits())) is kind


@pytest.mark.parametrize("does", ["notices", "pre_start_required"])
def test_a_question_that_fails_spoils_no_look(isolate: Isolate, does: str) -> None:
    """The devices are there; the error is raised where the question is asked."""
    full = isolate(does=does).full
    assert look(full) == ["a", "b"]
    with pytest.raises(PluginFailed, match="LookupError"):
        full.notices() if does == "notices" else full.pre_start_required(RESOURCE)


@pytest.mark.parametrize("how", ["hang", "hold"])
def test_a_late_look_kills_the_process_and_the_next_has_a_new_one(isolate: Isolate, tmp_path: Path, how: str) -> None:
    """Also when the interpreter lock is never given up."""
    made = isolate(Limits(look=SHORT), does=f"discover:{how}")
    pid = made.package.pid
    with pytest.raises(PluginFailed, match=r"discover\(\) took longer than 0\.\d+ s; its process was killed"):
        made.plain.discover()
    assert gone(pid)
    with pytest.raises(PluginFailed, match="its process was killed"):  # in its start or in its look: there is little time
        made.full.discover()


@pytest.mark.parametrize("call", ["allocate", "pre_start"])
@pytest.mark.parametrize("how", ["hang", "hold"])
def test_a_late_call_kills_the_process(isolate: Isolate, call: str, how: str) -> None:
    """Until the next look, other calls fail at once with the same reason; then all is well again."""
    made = isolate(Limits(allocate=SHORT, pre_start=SHORT))
    arguments = ([Device("a")], ContainerEdits()) if call == "allocate" else ([Device("a")],)
    pid = made.package.pid
    for _ in range(2):
        with pytest.raises(PluginFailed, match=rf"{call}\(\) took longer than 0\.\d+ s; its process was killed"):
            getattr(made.full, call)(how, *arguments)
    assert gone(pid)
    assert look(made.plain) == ["a", "b"]
    made.full.pre_start("nothing wrong", [Device("a")])


def test_calls_run_side_by_side(isolate: Isolate) -> None:
    """A hanging call delays neither the looks nor the other calls of its package."""
    made = isolate(Limits(allocate=3600))
    failed: list[str] = []

    def hang() -> None:
        try:
            made.full.allocate("hang", [Device("a")], ContainerEdits())
        except PluginFailed as error:
            failed.append(str(error))

    hanging = [threading.Thread(target=hang) for _ in range(3)]
    for thread in hanging:
        thread.start()
    for _ in range(5):
        assert look(made.plain) == ["a", "b"]
        made.full.pre_start("nothing wrong", [Device("a")])
    made.package.close()
    for thread in hanging:
        thread.join(20)
    assert failed == ["its package was retired"] * 3


@pytest.mark.parametrize(
    ("how", "fate"),
    [
        ("abort", "was killed by SIGABRT: about to abort"),
        ("quit", "exited with status 7"),
        ("hog", "exited with status 70: out of memory: more than the limit of this plugin's process"),
    ],
)
def test_the_end_of_a_process_is_told(isolate: Isolate, how: str, fate: str) -> None:
    """How it ended and what it said last; the next look has a new process."""
    made = isolate(Limits(look=60, memory=512 << 20))
    look(made.plain)
    with pytest.raises(PluginFailed) as failed:
        made.full.allocate(how, [Device("a")], ContainerEdits())
    assert str(failed.value) == f"its process {fate}"
    assert look(made.plain) == ["a", "b"]


def test_a_process_that_closes_its_connection_is_killed(isolate: Isolate) -> None:
    """It can never be asked again, so it must not live on unseen."""
    made = isolate()
    pid = made.package.pid
    with pytest.raises(PluginFailed, match=r"its process .*killed"):
        made.full.allocate("lose", [Device("a")], ContainerEdits())
    assert gone(pid)
    assert look(made.plain) == ["a", "b"]


def test_devices_survive_their_process(isolate: Isolate, tmp_path: Path) -> None:
    """What a new process says again, word for word, is the same object as before."""
    (tmp_path / "state").write_text("a")
    full = isolate(state=str(tmp_path / "state"), does="anonymous").full
    (before,) = full.discover()[RESOURCE]
    with pytest.raises(PluginFailed):
        full.allocate("quit", [before], ContainerEdits())
    (after,) = full.discover()[RESOURCE]
    assert after is before


def test_a_process_killed_from_outside_is_replaced(isolate: Isolate) -> None:
    """The kernel's own killer, or an operator, is no reason to give up."""
    made = isolate()
    look(made.plain)
    os.kill(made.package.pid, signal.SIGKILL)
    with pytest.raises(PluginFailed, match="its process was killed by SIGKILL"):
        made.full.pre_start("nothing wrong", [Device("a")])
    assert look(made.plain) == ["a", "b"]


def test_what_a_plugin_started_dies_with_it(isolate: Isolate, capfd: pytest.CaptureFixture[str]) -> None:
    """A hung helper program of a vendor must not pile up."""
    made = isolate(Limits(allocate=SHORT))
    with pytest.raises(PluginFailed, match="took longer"):
        made.full.allocate("children", [Device("a")], ContainerEdits())
    (child,) = [int(line.split()[1]) for line in capfd.readouterr().err.splitlines() if line.startswith("child ")]
    until(lambda: dead(child))


def test_what_a_plugin_started_is_reaped(isolate: Isolate) -> None:
    """As the first process of a container we inherit the orphans of a killed process; none may stay a zombie."""
    isolate()  # installs the sample for the program below
    code = """
import ctypes, os, time
from pathlib import Path
from supervisor import ContainerEdits, Device, Host
from supervisor.isolation import IsolatedPackage, Limits
ctypes.CDLL(None).prctl(36, 1, 0, 0, 0)  # PR_SET_CHILD_SUBREAPER
package = IsolatedPackage("sample", {}, Host(), Limits(allocate=1))
full = next(plugin for plugin in package.load().plugins if plugin.name == "full")
try:
    full.allocate("children", [Device("a")], ContainerEdits())
except Exception as error:
    print(error)
children = Path(f"/proc/self/task/{os.getpid()}/children")
deadline = time.monotonic() + 20
while children.read_text() and time.monotonic() < deadline:
    time.sleep(0.005)
print("left:", children.read_text())
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=False)
    assert "child " in done.stderr
    assert done.stdout.splitlines()[1:] == ["left: "]


def test_a_lock_held_over_there_is_not_held_here(isolate: Isolate, capfd: pytest.CaptureFixture[str]) -> None:
    """While code of the other process keeps its interpreter lock, this one goes on."""
    made = isolate(Limits(allocate=3600))
    failed: list[PluginFailed] = []

    def hold() -> None:
        try:
            made.full.allocate("hold", [Device("a")], ContainerEdits())
        except PluginFailed as error:
            failed.append(error)

    thread = threading.Thread(target=hold)
    thread.start()
    until(lambda: "holding" in capfd.readouterr().err)
    assert sum(range(100_000)) == 4_999_950_000
    assert thread.is_alive()
    made.package.close()
    thread.join(20)
    assert [str(error) for error in failed] == ["its package was retired"]


def test_a_sleeper_slows_down_only_its_own_package(isolate: Isolate) -> None:
    """Plugin code that keeps the lock for 100 ms at a time still gets its answers out."""
    made = isolate(does="sleeper")
    assert look(made.sleeper) == look(isolate().plain) == ["a", "b"]


async def test_a_watch_hands_its_calls_through_and_tells_its_end(isolate: Isolate) -> None:
    """A call from any thread of the other side arrives; an error comes with its text."""
    made = isolate(does="watch:raise")
    calls: list[None] = []
    with pytest.raises(PluginFailed, match="LookupError: no such luck"):
        await made.full.watch(lambda: calls.append(None))
    assert calls
    await isolate(does="watch:").full.watch(lambda: calls.append(None))


async def test_a_flood_of_calls_is_a_few_looks(isolate: Isolate) -> None:
    """The plugin never waits for us, and a million calls do not become a million looks."""
    calls: list[None] = []
    await isolate(does="watch:flood").full.watch(lambda: calls.append(None))
    assert 0 < len(calls) < 1_000_000


@pytest.mark.parametrize("how", ["quit", "abort"])
async def test_a_watch_ends_with_its_process(isolate: Isolate, how: str) -> None:
    """Then it is started again by whoever runs it."""
    with pytest.raises(PluginFailed, match="its process has ended"):
        await isolate(does=f"watch:{how}").full.watch(lambda: None)


async def test_a_cancelled_watch_ends_on_the_other_side_too(isolate: Isolate) -> None:
    """Retiring a plugin leaves nothing running in the process of its package."""
    made = isolate(does="watch:forever")
    pid, called = made.package.pid, trio.Event()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(made.full.watch, called.set)
        await called.wait()
        nursery.cancel_scope.cancel()
    assert await trio.to_thread.run_sync(gone, pid)


async def test_a_watch_that_hangs_hurts_only_itself(isolate: Isolate) -> None:
    """It may sit in its own loop for ever; looks and cancellation go on."""
    made = isolate(does="watch:hang")
    called = trio.Event()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(made.full.watch, called.set)
        await called.wait()
        assert await trio.to_thread.run_sync(look, made.plain) == ["a", "b"]
        nursery.cancel_scope.cancel()


def test_the_other_process_holds_nothing_of_ours(isolate: Isolate) -> None:
    """No socket, no lock and no file, not even one that was left inheritable; and no grpc is loaded there."""
    listening, outside = socket.socketpair()
    listening.set_inheritable(True)
    inode = os.fstat(listening.fileno()).st_ino
    made = isolate()
    look(made.full)
    with listening, outside:
        held = {link.name: os.readlink(link) for link in Path(f"/proc/{made.package.pid}/fd").iterdir()}
        maps = Path(f"/proc/{made.package.pid}/maps").read_text()
    assert f"socket:[{inode}]" not in held.values()
    kinds = sorted(target.partition(":")[0] for target in held.values())
    # its connection and one for looks; standard output and errors, and the pipe that ends it with us
    assert kinds == ["/dev/null", "pipe", "pipe", "pipe", "socket", "socket"]
    assert "grpc" not in maps
    assert "grpc" not in Path(f"/proc/{made.package.pid}/cmdline").read_text()


def test_it_dies_with_the_supervisor_even_with_its_lock_held(isolate: Isolate, tmp_path: Path) -> None:
    """The kernel sees to it: the supervisor is killed while plugin code can do nothing at all."""
    isolate()  # installs the sample for the program below
    code = """
import threading
from supervisor import ContainerEdits, Device, Host
from supervisor.isolation import IsolatedPackage, Limits
package = IsolatedPackage("sample", {}, Host(), Limits(allocate=1000))
full = next(plugin for plugin in package.load().plugins if plugin.name == "full")
call = full.allocate, ("hold", [Device("a")], ContainerEdits())
threading.Thread(target=call[0], args=call[1], daemon=True).start()
print(package.pid, flush=True)
threading.Event().wait()
"""
    with subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True) as supervisor:
        assert supervisor.stdout is not None
        pid = int(supervisor.stdout.readline())
        assert not dead(pid)
        supervisor.kill()
    until(lambda: dead(pid))


@pytest.mark.parametrize(
    ("section", "name", "error", "text"),
    [
        ({}, "missing", PluginRefused, "no installed distribution has an entry point missing"),
        ({"color": "red"}, "sample", PluginRefused, "unknown field `color`"),
        ({"does": "load:raise"}, "sample", PluginRefused, "LookupError: no such luck"),
        ({"does": "load:abort"}, "sample", PluginFailed, "its process was killed by SIGABRT: about to abort"),
    ],
)
def test_a_package_that_cannot_be_loaded_says_why(
    isolate: Isolate, section: dict[str, str], name: str, error: type[Exception], text: str
) -> None:
    """Whether its author or its operator must act, and how."""
    with pytest.raises(error) as failed:
        isolate(name=name, **section)
    assert text in str(failed.value)


def test_a_package_that_hangs_while_loading_is_killed(isolate: Isolate) -> None:
    """Its deadline is the same for an import that never ends."""
    with pytest.raises(PluginFailed, match="loading it took too long; its process was killed"):
        isolate(Limits(load=2), does="load:hang")


def test_an_object_that_is_no_plugin_is_left_out_and_named(isolate: Isolate) -> None:
    """The others of its package work."""
    made = isolate(does="extra")
    (refusal,) = made.refused
    assert "builtins.object" in refusal.reason
    assert look(made.plain) == ["a", "b"]


def test_a_retired_package_starts_no_process(isolate: Isolate) -> None:
    """A look that was under way when it was retired must not bring it back."""
    made = isolate()
    pid = made.package.pid
    made.package.close()
    assert gone(pid)
    with pytest.raises(PluginFailed, match="its package was retired"):
        made.plain.discover()


class Stuck:
    """A killed process that a driver of the kernel does not let go."""

    ended = False

    def wait(self, timeout: float) -> bool:
        """It never ends."""
        return self.ended


def test_processes_stuck_in_the_kernel_do_not_pile_up(isolate: Isolate) -> None:
    """They are counted, and from the third on none is started until one has ended."""
    made = isolate()
    stuck = [Stuck() for _ in range(3)]
    made.package._processes._killed.extend(stuck)
    assert made.package.unreaped == 3
    look(made.plain)
    made.package.running().kill("for this test")
    with pytest.raises(PluginFailed, match="3 killed processes of it hang in the kernel"):
        made.plain.discover()
    stuck[0].ended = True
    assert look(made.plain) == ["a", "b"]
    assert made.package.unreaped == 2


def test_looks_and_deaths_leave_nothing_behind(isolate: Isolate) -> None:
    """After many new starts there are as many descriptors and threads as after one."""
    made = isolate()
    counts = []
    for _ in range(8):
        look(made.plain)
        look(made.full)
        made.full.pre_start("nothing wrong", [Device("a")])
        counts.append((len(os.listdir("/proc/self/fd")), threading.active_count()))
        pid = made.package.pid
        made.package.running().kill("for this test")
        assert gone(pid)
    # What the test before left to be tidied up may go while this one runs; what leaks comes with every start.
    assert all(last <= before for each in counts[:-1] for last, before in zip(counts[-1], each, strict=True))
    assert Inventory.of(RESOURCE, made.plain.discover()[RESOURCE]).devices
