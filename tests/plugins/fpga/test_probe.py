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

from supervisor import BorderFailed, Host
from supervisor_fpga.config import Declared, FpgaConfig, Vfio
from supervisor_fpga.probe import Probe, changed
from supervisor_fpga.report import Change, Evidence, Function, Poll, Report
from supervisor_fpga.simulate import changes
from supervisor_fpga.simulate.intel import NLB3
from supervisor_fpga.simulate.tree import Tree
from supervisor_fpga.sysfs.messages import NO_DRIVER
from tests.plugins.fpga.looks import by_id, until
from tests.plugins.fpga.machines import CARD, MACHINES, SECOND, planted

DEADLINE = 60.0
"""Seconds; for answers that do come."""


class Node:
    """A machine, and the probe that reads it."""

    def __init__(self, tree: Tree, deadline: float, config: FpgaConfig) -> None:
        self.tree = tree
        self.probe = Probe(Host(sysfs=str(tree.sys), dev=str(tree.dev)), config, deadline=deadline)

    def program(self, afu: str, card: str = CARD) -> None:
        """Somebody else programs a card."""
        self.tree.become(changes.programmed(self.tree.machine, card, afu))

    @property
    def pid(self) -> int:
        pid = self.probe._border.pid
        assert pid is not None
        return pid


Start = Callable[..., Node]


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Start]:
    """A node with one of the machines."""
    nodes: list[Node] = []

    def start(name: str = "dfl_two_cards", deadline: float = DEADLINE, config: FpgaConfig | None = None) -> Node:
        tree = planted(name, tmp_path / f"machine{len(nodes)}")
        nodes.append(Node(tree, deadline, config or FpgaConfig(poll=0.1)))
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


def test_a_look_tells_what_is_there(start: Start) -> None:
    """From a child of this process, which stays."""
    node = start("dfl_sixteen_cards")
    assert len(node.probe.look().functions) == 16
    pid = node.pid
    assert node.probe.look() == node.probe.look()
    assert (node.pid, node.probe.restarts, node.probe.where) == (pid, 0, "child of this process")


def test_a_look_sees_what_was_programmed_before_it(start: Start) -> None:
    """No event tells of our own programming, either: a look is asked for after it."""
    node = start()
    node.probe.look()
    node.program(NLB3)
    assert by_id(node.probe.look())[CARD].afu_id == NLB3


def test_without_a_driver_no_process_is_started(start: Start) -> None:
    """Most nodes have no FPGA; what looks like one is named all the same."""
    node = start("unbound")
    report = node.probe.look()
    assert (report.functions, report.notices, list(report.refused)) == ((), (NO_DRIVER,), ["0000:5e:00.0"])
    assert node.probe._border.pid is None


@pytest.mark.parametrize(
    "config",
    [FpgaConfig(vfio=(Vfio("8086", "bccf"),)), FpgaConfig(declared=(Declared(name="acme", subsystem="acme"),))],
    ids=["vfio", "declared"],
)
def test_what_the_configuration_describes_is_looked_for(start: Start, config: FpgaConfig) -> None:
    """No name in sysfs tells of it beforehand."""
    node = start("nothing", config=config)
    assert node.probe.look().functions == ()
    assert node.pid


def test_a_failed_look_is_no_empty_report(tmp_path: Path) -> None:
    """Where no sysfs is mounted."""
    probe = Probe(Host(sysfs=str(tmp_path), dev=str(tmp_path)), FpgaConfig(), deadline=DEADLINE)
    try:
        with pytest.raises(BorderFailed, match="FileNotFoundError"):
            probe.look()
    finally:
        probe.close()


def test_a_process_that_ends_is_replaced(start: Start) -> None:
    """At the next look, which does not fail."""
    node = start()
    first = node.probe.look()
    pid = node.pid
    os.kill(pid, signal.SIGKILL)
    assert node.probe.look() == first
    assert node.pid != pid
    assert node.probe.restarts == 1


def test_a_process_that_stands_still_is_replaced(start: Start) -> None:
    """It is killed when the look takes too long."""
    node = start(deadline=5.0)
    node.probe.look()
    pid = node.pid
    os.kill(pid, signal.SIGSTOP)
    assert len(node.probe.look().functions) == 2
    assert node.pid != pid


def test_a_card_that_hangs_costs_no_process(start: Start) -> None:
    """Only a thread in it, once: the same process tells of the other card, look after look."""
    node = start("dfl_hanging")
    for _ in range(3):  # the other one may be late on a busy machine, and is asked again
        until(lambda: [port.unresponsive for port in node.probe.look().functions] == [True, False])
    assert node.probe.restarts == 0


def test_the_process_stays_small() -> None:
    """It imports nothing that a reader of files has no use for."""
    code = "import sys, supervisor_fpga.sysfs.program; print(*sorted({'trio', 'asyncio', 'grpc', 'yaml'} & sys.modules.keys()))"
    done = subprocess.run([sys.executable, "-P", "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "\n"


async def test_what_others_program_is_heard_and_looks_agree(start: Start) -> None:
    """First heard, then seen."""
    node = start()
    await trio.to_thread.run_sync(node.probe.look)
    async with listening(node) as polls:
        node.program(NLB3)
        async for poll in polls:
            if (CARD, NLB3) in {(change.function, change.afu_id) for change in poll.changes}:
                break
        assert poll.structure
        assert by_id(await trio.to_thread.run_sync(node.probe.look))[CARD].afu_id == NLB3


async def test_listening_starts_the_process_and_asks_for_a_look(start: Start) -> None:
    """Until there was one, nothing can be compared."""
    node = start()
    async with listening(node) as polls:
        assert await polls.receive() == Poll(structure=True)
        assert node.pid


async def test_the_end_of_the_process_asks_for_a_look(start: Start) -> None:
    """What changed meanwhile, only a look can tell; then all is as before."""
    node = start()
    await trio.to_thread.run_sync(node.probe.look)
    async with listening(node) as polls:
        node.tree.become(changes.failing(node.tree.machine, SECOND, "port/errors", 1))
        async for poll in polls:  # the stream is there
            if poll.changes:
                break
        os.kill(node.pid, signal.SIGKILL)
        async for poll in polls:
            if poll.structure:
                break
        await trio.to_thread.run_sync(node.probe.look)
        node.program(NLB3)
        async for poll in polls:
            if CARD in {change.function for change in poll.changes}:
                break


async def test_a_driver_that_comes_later_is_noticed(start: Start) -> None:
    """Without a process there is nobody to listen to, and where the host's events do not come, nobody else tells."""
    node = start("nothing")
    assert node.probe.look().notices == (NO_DRIVER,)
    async with listening(node) as polls:
        node.tree.become(MACHINES["dfl_a10"]())
        async for poll in polls:
            if poll.structure:
                break
        assert len((await trio.to_thread.run_sync(node.probe.look)).functions) == 1


changes_of_three = st.lists(
    st.builds(
        Change,
        st.sampled_from(["a", "b", "unknown"]),
        st.builds(Evidence, state=st.sampled_from(["", "operating", "write error"])),
        st.sampled_from(["", NLB3]),
        st.booleans(),
    )
)


@given(changes_of_three)
def test_changes_become_part_of_the_report(some: list[Change]) -> None:
    """The last word of each function counts; what nobody knows stays unknown."""
    after = changed(Report(tuple(Function(name, "dfl") for name in "ab")), some)
    assert [function.id for function in after.functions] == ["a", "b"]
    for function in after.functions:
        told = [change for change in some if change.function == function.id]
        last = told[-1] if told else Change(function.id)
        assert (function.evidence, function.afu_id, function.unresponsive) == (last.evidence, last.afu_id, last.unresponsive)
