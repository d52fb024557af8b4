"""The probe: reports and polls of a process of its own, whatever becomes of that process."""

import os
import signal
import subprocess
import sys
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
import trio
from hypothesis import given
from hypothesis import strategies as st
from msgspec import structs

from supervisor import BorderFailed, Host
from supervisor_infiniband import probe as probing
from supervisor_infiniband.config import InfinibandConfig
from supervisor_infiniband.probe import Probe, changed
from supervisor_infiniband.report import Change, Link, Poll, Port, PortState, RdmaDevice, Report
from supervisor_infiniband.simulate import changes
from supervisor_infiniband.simulate.tree import Tree
from supervisor_infiniband.sysfs.messages import NO_MODULE
from tests.plugins.infiniband.trees import CARD, planted

DEADLINE = 60.0
"""Seconds; for answers that do come."""


DOWN = (CARD, 1, PortState.DOWN)


class Node:
    """A machine, and the probe that reads it."""

    def __init__(self, tree: Tree, deadline: float) -> None:
        self.tree = tree
        self.probe = Probe(
            Host(sysfs=str(tree.sys), dev=str(tree.dev)), InfinibandConfig(poll=0.1, counters=1), deadline=deadline
        )

    def down(self, name: str = "mlx5_0") -> None:
        """The only port of a device goes down."""
        self.tree.become(changes.port(self.tree.machine, name, 1, "down"))

    @property
    def pid(self) -> int:
        pid = self.probe._border.pid
        assert pid is not None
        return pid


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Callable[..., Node]]:
    """A node with one of the machines."""
    nodes: list[Node] = []

    def start(name: str = "dual-port-infiniband", deadline: float = DEADLINE) -> Node:
        nodes.append(Node(planted(name, tmp_path / "machine"), deadline))
        return nodes[-1]

    yield start
    for node in nodes:
        node.probe.close()
        node.tree.close()


@asynccontextmanager
async def listening(node: Node) -> AsyncIterator[trio.MemoryReceiveChannel[Poll]]:
    """The polls as they come."""
    send, receive = trio.open_memory_channel[Poll](1000)

    async def listen() -> None:
        async for poll in node.probe.events():
            await send.send(poll)

    async with trio.open_nursery() as nursery:
        nursery.start_soon(listen)
        with trio.fail_after(DEADLINE):
            yield receive
        nursery.cancel_scope.cancel()


async def heard(polls: trio.MemoryReceiveChannel[Poll], what: tuple[str, int, PortState]) -> None:
    """Wait until the port of a device is in this state. A tree changes file by file: an earlier change may be that of its interface."""
    async for poll in polls:
        if what in {(change.device, change.port, change.link and change.link.state) for change in poll.changes}:
            break


def test_a_look_tells_what_is_there(start: Callable[..., Node]) -> None:
    """From a child of this process, which stays."""
    node = start("roce-16-vfs")
    assert len(node.probe.look().devices) == 17
    pid = node.pid
    assert node.probe.look() == node.probe.look()
    assert (node.pid, node.probe.restarts, node.probe.where) == (pid, 0, "child of this process")


def test_a_failed_look_is_no_empty_report(tmp_path: Path) -> None:
    """Where no sysfs is mounted."""
    probe = Probe(Host(sysfs=str(tmp_path), dev=str(tmp_path)), InfinibandConfig(), deadline=DEADLINE)
    try:
        with pytest.raises(BorderFailed, match="FileNotFoundError"):
            probe.look()
    finally:
        probe.close()


async def test_a_machine_without_rdma_costs_no_process(start: Callable[..., Node]) -> None:
    """Most have none. When the kernel's module is loaded, that is noticed, without an event, too."""
    node = start()
    machine = node.tree.machine
    node.tree.become(structs.replace(machine, modules=()))
    async with listening(node) as polls:
        assert (await trio.to_thread.run_sync(node.probe.look)).notices == (NO_MODULE,)
        assert node.probe._border.pid is None
        node.tree.become(machine)
        assert (await polls.receive()).structure
    assert len(node.probe.look().devices) == 2


@pytest.mark.parametrize("number", [signal.SIGSTOP, signal.SIGKILL])
def test_a_process_that_does_not_answer_is_replaced(start: Callable[..., Node], number: int) -> None:
    """Within the same look."""
    node = start(deadline=3.0)
    before, pid = node.probe.look(), node.pid
    os.kill(pid, number)
    assert node.probe.look() == before
    assert node.pid != pid
    assert node.probe.restarts == 1


def test_a_device_that_hangs_costs_no_process(start: Callable[..., Node]) -> None:
    """It alone is unresponsive."""
    node = start("hangs")
    assert [device.unresponsive for device in node.probe.look().devices] == [True, False]
    pid = node.pid
    assert [device.unresponsive for device in node.probe.look().devices] == [True, False]
    assert node.pid == pid


def test_the_process_stays_small() -> None:
    """It imports nothing that a reader of files has no use for."""
    code = "import sys, supervisor_infiniband.sysfs.program; print(*sorted({'trio', 'asyncio', 'grpc', 'yaml'} & sys.modules.keys()))"
    done = subprocess.run([sys.executable, "-P", "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "\n"


async def test_a_change_is_heard_and_looks_agree(start: Callable[..., Node]) -> None:
    """First heard, then seen."""
    node = start()
    await trio.to_thread.run_sync(node.probe.look)
    async with listening(node) as polls:
        node.down()
        await heard(polls, DOWN)
        report = await trio.to_thread.run_sync(node.probe.look)
        assert report.devices[0].ports[0].link.state == PortState.DOWN


async def test_ports_are_followed_without_a_look(start: Callable[..., Node]) -> None:
    """What was heard of them is in the report that a look would give; that a device has come as well, only a look can tell."""
    node = start()
    assert node.probe.follow() is None
    before = await trio.to_thread.run_sync(node.probe.look)
    assert await trio.to_thread.run_sync(node.probe.follow) == before
    async with listening(node) as polls:
        node.down()
        await heard(polls, DOWN)
        followed = await trio.to_thread.run_sync(node.probe.follow)
        assert followed is not None
        assert followed.devices[0].ports[0].link.state == PortState.DOWN
        assert followed.devices[1:] == before.devices[1:]
        node.tree.become(changes.with_vfs(node.tree.machine, "mlx5_0", 4))
        assert await trio.to_thread.run_sync(node.probe.follow) is None
        assert len((await trio.to_thread.run_sync(node.probe.look)).devices) == 6
        assert await trio.to_thread.run_sync(node.probe.follow) is not None


def test_ports_are_followed_for_a_while(start: Callable[..., Node], monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever leaves no trace in names is seen again by the look that has to come then."""
    monkeypatch.setattr(probing, "FOLLOWING", 0.0)
    node = start()
    for _ in range(2):
        before = node.probe.look()
        assert node.probe.follow() == before
        assert node.probe.follow() is None


def test_nobody_follows_in_place_of_a_process_that_has_ended(start: Callable[..., Node]) -> None:
    """Another one has looked at nothing yet."""
    node = start()
    node.probe.look()
    os.kill(node.pid, signal.SIGKILL)
    assert node.probe.follow() is None
    assert len(node.probe.look().devices) == 2


async def test_listening_starts_the_process_and_asks_for_a_look(start: Callable[..., Node]) -> None:
    """Until there was one, nothing can be compared."""
    node = start()
    async with listening(node) as polls:
        assert await polls.receive() == Poll(structure=True)
        assert node.probe._border.pid is not None


async def test_the_end_of_the_process_asks_for_a_look(start: Callable[..., Node]) -> None:
    """What changed meanwhile, only a look can tell; then all is as before."""
    node = start()
    await trio.to_thread.run_sync(node.probe.look)
    async with listening(node) as polls:
        async for poll in polls:  # its counters: the stream is there
            if poll.counters:
                break
        os.kill(node.pid, signal.SIGKILL)
        async for poll in polls:
            if poll.structure:
                break
        await trio.to_thread.run_sync(node.probe.look)
        node.down()
        async for poll in polls:
            if poll.changes:
                break
        assert poll.changes[0].device == CARD


async def test_counters_come_every_so_often(start: Callable[..., Node]) -> None:
    """For each port that has some."""
    node = start()
    await trio.to_thread.run_sync(node.probe.look)
    async with listening(node) as polls:
        async for poll in polls:
            if poll.counters:
                break
        assert {(one.device, one.port) for one in poll.counters} >= {(CARD, 1), (f"{CARD[:-1]}1", 1)}


changes_of_three = st.lists(
    st.builds(
        Change,
        st.sampled_from(["a", "b", "unknown"]),
        st.integers(1, 2),
        st.one_of(st.none(), st.builds(Link, st.sampled_from(PortState))),
    )
)


@given(changes_of_three)
def test_changes_become_part_of_the_report(some: list[Change]) -> None:
    """The last word of each port counts, and one that fell silent is unresponsive."""
    devices = tuple(RdmaDevice(name, name, "pf", ports=(Port(1), Port(2))) for name in "ab")
    after = changed(Report(devices), some)
    for device in after.devices:
        told = [change for change in some if change.device == device.id]
        assert device.unresponsive == any(change.link is None for change in told)
        for port in device.ports:
            last = [change.link for change in told if change.port == port.number and change.link is not None][-1:]
            assert port.link == (last[0] if last else Link())
