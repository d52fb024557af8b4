"""A process that reads sysfs and hangs: what it shares with its supervisor, and what becomes of either."""

import os
import re
import signal
from collections.abc import Callable, Iterator
from contextlib import ExitStack, suppress
from pathlib import Path

import pytest

from supervisor.host import Host
from supervisor.kubelet.simulator import EventKind, KubeletSimulator
from supervisor_infiniband.simulate import changes
from supervisor_infiniband.simulate.layouts import layout
from supervisor_infiniband.simulate.tree import Tree
from tests.system.rig import Process, assert_sound, endpoints, wait_for

RESOURCE = "rdma/hca"
FIRST, SECOND = "0000:3b:00.0", "0000:3b:00.1"
SECTION = {"lookInterval": 3600, "poll": 0.2, "health": {"holdDown": 0}, "resources": [{"name": RESOURCE}]}
HEALTHY = {FIRST: "Healthy", SECOND: "Healthy"}
PATIENCE = 30.0

Launch = Callable[[], Process]


@pytest.fixture
def tree(tmp_path: Path) -> Iterator[Tree]:
    """The files of a machine with a card of two ports."""
    planted = Tree(tmp_path / "machine", layout("dual-port-infiniband"))
    yield planted
    planted.close()


@pytest.fixture
def launch(kubelet: KubeletSimulator, tree: Tree, tmp_path: Path) -> Iterator[Launch]:
    """Starts supervisors that offer its devices."""
    host = Host(sysfs=str(tree.sys), dev=str(tree.dev))
    with ExitStack() as started:
        yield lambda: started.enter_context(Process(kubelet.paths, tmp_path, {"infiniband": SECTION}, host))


def running() -> dict[int, int]:
    """The processes that read sysfs: number → parent."""
    found = {}
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            if "supervisor_infiniband.sysfs.program" in (folder / "cmdline").read_text():
                found[int(folder.name)] = int((folder / "stat").read_text().rpartition(")")[2].split()[1])
        except (FileNotFoundError, ProcessLookupError):
            continue
    return found


def readers_of(pid: int) -> list[int]:
    """Those of this supervisor."""
    return [reader for reader, parent in running().items() if parent == pid]


def reader_of(process: Process) -> int:
    """The one that works for it."""
    wait_for(lambda: len(readers_of(process.pid)) == 1, PATIENCE, "the process that reads sysfs")
    return readers_of(process.pid)[0]


def held_by(pid: int) -> tuple[list[str], set[str]]:
    """The files that a process has open, and the names at which its sockets are bound."""
    opened = [os.readlink(entry) for entry in Path(f"/proc/{pid}/fd").iterdir()]
    inodes = {match[1] for link in opened if (match := re.fullmatch(r"socket:\[(\d+)\]", link))}
    lines = [line.split() for line in Path(f"/proc/{pid}/net/unix").read_text().splitlines()[1:]]
    return opened, {words[7] for words in lines if len(words) > 7 and words[6] in inodes}


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL])
def test_a_standby_takes_over_from_one_whose_reader_hangs(
    kubelet: KubeletSimulator, launch: Launch, tree: Tree, number: signal.Signals
) -> None:
    """The reader holds neither the lock nor a socket of the kubelet's, so it delays nobody; it ends when it can."""
    owner = launch()
    kubelet.wait_devices(RESOURCE, HEALTHY, PATIENCE)
    standby = launch()
    standby.wait_ready("standing by")
    reader = reader_of(owner)
    os.kill(reader, signal.SIGSTOP)
    try:
        opened, bound = held_by(reader)
        assert not [path for path in opened if path.startswith(str(kubelet.paths.device_plugins))]
        assert not bound
        assert any("owner.lock" in path for path in held_by(owner.pid)[0])
        before = endpoints(kubelet)
        owner.signal(number)
        owner.wait()
        standby.wait_log("is the owner and registers")
        tree.become(changes.port(tree.machine, "mlx5_1", 1, "down"))
        kubelet.wait_devices(RESOURCE, HEALTHY | {SECOND: "Unhealthy"}, PATIENCE)
        assert_sound(kubelet, before)
    finally:
        with suppress(ProcessLookupError):
            os.kill(reader, signal.SIGCONT)
    wait_for(lambda: reader not in running(), PATIENCE, "the end of the reader")


def test_a_reader_that_hangs_is_replaced(kubelet: KubeletSimulator, launch: Launch, tree: Tree) -> None:
    """The list stays as it was, and what changes afterwards is seen."""
    process = launch()
    kubelet.wait_devices(RESOURCE, HEALTHY, PATIENCE)
    reader = reader_of(process)
    position = kubelet.events.position
    os.kill(reader, signal.SIGSTOP)
    wait_for(lambda: reader not in running() and len(readers_of(process.pid)) == 1, PATIENCE, "another reader")
    wait_for(lambda: "sysfs_restarts_total 1" in process.get("/metrics")[1], PATIENCE, "a restart in the metrics")
    lists = [event for event in kubelet.events.since(position) if event.kind is EventKind.LIST_RECEIVED]
    assert {(event["healthy"], event["unhealthy"]) for event in lists} <= {(2, 0)}
    tree.become(changes.port(tree.machine, "mlx5_0", 1, "down"))
    kubelet.wait_devices(RESOURCE, HEALTHY | {FIRST: "Unhealthy"}, PATIENCE)


def test_a_reader_ends_with_the_section_that_it_reads_for(kubelet: KubeletSimulator, launch: Launch) -> None:
    """After an edit there is one for the new section, and not the old one, too, for as long as nobody collects garbage."""
    process = launch()
    kubelet.wait_devices(RESOURCE, HEALTHY, PATIENCE)
    reader = reader_of(process)
    process.edit(plugins={"infiniband": SECTION | {"poll": 0.3}})
    wait_for(lambda: readers_of(process.pid) not in ([], [reader]), PATIENCE, "the reader of the new section")
    wait_for(lambda: reader not in running(), PATIENCE, "the end of the old reader")
    assert len(readers_of(process.pid)) == 1
