"""Triggers: events become wakes, in bounded turns; lost events and broken sockets become full looks. No hardware needed."""

import os
import socket
import stat
import subprocess
import sys
from collections import deque
from collections.abc import Callable, Collection
from itertools import pairwise

import pytest
import trio
import trio.testing
from hypothesis import given
from hypothesis import strategies as st

from supervisor.events import Event, UdevImpaired, UeventReceived
from supervisor.triggers import EVERY, FIRST_RETRY, LAST_RETRY, Batch, Source, concerns, watch_udev


class FakeSource:
    """A source fed by the test, over a real descriptor."""

    def __init__(self, warning: str = "") -> None:
        self.warning = warning
        self.closed = False
        self._ours, self._theirs = socket.socketpair()
        self._turns: deque[Batch | OSError] = deque()

    def send(self, *turns: Batch | OSError) -> None:
        for turn in turns:
            self._turns.append(turn)
            self._theirs.send(b"!")

    def fileno(self) -> int:
        return self._ours.fileno()

    def receive(self) -> Batch:
        self._ours.recv(1)
        turn = self._turns.popleft()
        if isinstance(turn, OSError):
            raise turn
        return turn

    def close(self) -> None:
        self.closed = True
        self._ours.close()
        self._theirs.close()


class Record:
    """Everything said, in order: a wake is its subsystem, an event is itself."""

    def __init__(self) -> None:
        self.said: list[str | Event] = []
        self._more = trio.Event()

    def __call__(self, what: str | Event) -> None:
        self.said.append(what)
        self._more.set()

    async def until(self, count: int) -> list[str | Event]:
        """Wait for the ``count``-th thing said, and then for silence."""
        with trio.fail_after(3600):
            while len(self.said) < count:
                self._more = trio.Event()
                await self._more.wait()
        await trio.testing.wait_all_tasks_blocked()
        return self.said


def wants(*subsystems: str) -> Callable[[], Collection[str]]:
    """The same wish each time."""
    return lambda: subsystems


def events(*subsystems: str, action: str = "add") -> list[UeventReceived]:
    """One event of each subsystem."""
    return [UeventReceived(subsystem, action) for subsystem in subsystems]


ALL = wants("*")


async def start(
    nursery: trio.Nursery, record: Record, *sources: Source | Exception, wanted: Callable[[], Collection[str]] = ALL
) -> None:
    """Run ``watch_udev`` with these sources, one after the other; an exception is a failed attempt to open one."""
    coming = deque(sources)

    async def connect() -> Source:
        await trio.lowlevel.checkpoint()
        source = coming.popleft()
        if isinstance(source, Exception):
            raise source
        return source

    async def run(*, task_status: trio.TaskStatus[None]) -> None:
        await watch_udev(record, record, wanted, connect=connect, task_status=task_status)

    await nursery.start(run)


async def test_an_event_is_observed_and_wakes_its_subsystem() -> None:
    """The whole way, and nothing is woken before."""
    source, record = FakeSource(), Record()
    async with trio.open_nursery() as nursery:
        await start(nursery, record, source)
        assert record.said == []
        source.send(Batch(events("usb")))
        assert await record.until(2) == [UeventReceived("usb", "add"), "usb"]
        nursery.cancel_scope.cancel()
    assert source.closed


async def test_events_of_one_turn_wake_each_subsystem_once() -> None:
    """Each is observed, for the counts; one wake for each subsystem is enough."""
    source, record = FakeSource(), Record()
    async with trio.open_nursery() as nursery:
        await start(nursery, record, source)
        source.send(Batch(events("usb", "pci", "usb")))
        assert await record.until(5) == [*events("usb", "pci", "usb"), "usb", "pci"]
        nursery.cancel_scope.cancel()


async def test_what_nobody_wants_is_dropped_by_the_wish_of_the_moment() -> None:
    """The wish is asked for each turn, since plugins come and go."""
    source, record = FakeSource(), Record()
    wish = {"usb"}
    async with trio.open_nursery() as nursery:
        await start(nursery, record, source, wanted=lambda: wish)
        source.send(Batch(events("pci")), Batch(events("usb")))
        assert await record.until(2) == [*events("usb"), "usb"]
        wish.add("pci")
        source.send(Batch(events("pci")))
        assert (await record.until(4))[2:] == [*events("pci"), "pci"]
        nursery.cancel_scope.cancel()


async def test_lost_events_wake_everyone_at_once_and_when_the_rest_is_drained() -> None:
    """The kernel reports an overflow once; more may be lost until the queue is empty."""
    source, record = FakeSource(), Record()
    async with trio.open_nursery() as nursery:
        await start(nursery, record, source, wanted=wants("usb"))
        source.send(
            Batch([], lost=True, drained=False),
            Batch(events("usb"), drained=False),
            Batch(events("pci")),
            Batch(events("usb")),
        )
        said = await record.until(7)
        nursery.cancel_scope.cancel()
    assert isinstance(said[0], UdevImpaired)
    assert said[1:] == [EVERY, *events("usb"), "usb", EVERY, *events("usb"), "usb"]


async def test_a_storm_leaves_room_for_others() -> None:
    """Every other task that is ready runs once for each turn."""
    source, record = FakeSource(), Record()
    others: list[int] = []

    async def other() -> None:
        while True:
            await trio.lowlevel.checkpoint()
            others.append(len(record.said))

    async with trio.open_nursery() as nursery:
        await start(nursery, record, source)
        source.send(*(Batch(events("usb"), drained=False) for _ in range(20)), Batch([]))
        nursery.start_soon(other)
        while len(record.said) < 40:
            await trio.lowlevel.checkpoint()
        nursery.cancel_scope.cancel()
    assert all(later - earlier <= 4 for earlier, later in pairwise([0, *others]))  # two turns: their order is random


async def test_a_broken_socket_is_opened_again_and_everyone_looks(autojump_clock: trio.testing.MockClock) -> None:
    """What happened in between is unknown, so all plugins look when the new one is there."""
    broken, fresh, record = FakeSource(), FakeSource(), Record()
    async with trio.open_nursery() as nursery:
        await start(nursery, record, broken, OSError("out of memory"), fresh)
        broken.send(OSError("bad descriptor"))
        said = await record.until(3)
        assert broken.closed
        assert trio.current_time() == pytest.approx(FIRST_RETRY * 3)
        fresh.send(Batch(events("usb")))
        assert (await record.until(5))[3:] == [*events("usb"), "usb"]
        nursery.cancel_scope.cancel()
    assert said[:3] == [
        UdevImpaired("the event socket broke (bad descriptor); it is opened again"),
        UdevImpaired("no event socket (out of memory); only timed looks see changes"),
        EVERY,
    ]


async def test_a_lasting_cause_is_said_once_and_tried_again_ever_more_rarely(
    autojump_clock: trio.testing.MockClock,
) -> None:
    """Without libudev the program starts and works on; the pauses double up to the longest."""
    attempts: list[float] = []
    record = Record()

    async def connect() -> Source:
        await trio.lowlevel.checkpoint()
        attempts.append(trio.current_time())
        raise ImportError("No library named udev")

    with trio.move_on_after(3 * LAST_RETRY):
        await watch_udev(record, record, wants("*"), connect=connect)
    assert [type(said) for said in record.said] == [UdevImpaired]
    assert "install libudev1" in str(record.said[0])
    pauses = [round(later - earlier) for earlier, later in pairwise(attempts)]
    assert pauses[:4] == [1, 2, 4, 8]
    assert pauses[-1] == LAST_RETRY


async def test_a_source_that_may_be_deaf_says_why_and_is_used() -> None:
    """A user namespace of its own gets no events from the kernel, but may yet get others."""
    source, record = FakeSource(warning="no events here"), Record()
    async with trio.open_nursery() as nursery:
        await start(nursery, record, source)
        assert record.said == [UdevImpaired("no events here")]
        source.send(Batch(events("usb")))
        assert (await record.until(3))[1:] == [*events("usb"), "usb"]
        nursery.cancel_scope.cancel()


@given(st.sampled_from(["usb", "pci", EVERY]), st.sets(st.sampled_from(["usb", "pci", "tty", EVERY])))
def test_a_wake_concerns_those_who_want_it(subsystem: str, wanted: set[str]) -> None:
    """The star stands for all on either side."""
    expected = EVERY in {subsystem, *wanted} or bool({subsystem} & wanted)
    assert concerns(subsystem, wanted) is expected


def test_importing_it_is_cheap() -> None:
    """pyudev, which runs a program when it is imported, is loaded only where events are wanted."""
    code = "import sys, supervisor.triggers; print('pyudev' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=30)
    assert done.stdout == "False\n"


async def test_the_real_source_listens_on_this_machine() -> None:
    """The socket of libudev is in the kernel's group, inherited by no child, and gone when the task ends."""
    before = netlink_sockets()
    async with trio.open_nursery() as nursery:
        record = Record()

        async def run(*, task_status: trio.TaskStatus[None]) -> None:
            await watch_udev(record, record, wants("nothing"), task_status=task_status)

        await nursery.start(run)
        opened = netlink_sockets() - before
        assert opened
        assert not any(os.get_inheritable(descriptor) for descriptor in opened)
        nursery.cancel_scope.cancel()
    assert netlink_sockets() == before


NULL_UEVENT = "/sys/class/mem/null/uevent"


@pytest.mark.root
async def test_a_real_event_of_this_machine_arrives() -> None:
    """The kernel itself announces a change of /dev/null when it is asked to."""
    if not os.access(NULL_UEVENT, os.W_OK):
        pytest.skip("needs a writable /sys (in a container: --privileged)")
    record = Record()

    async def run(*, task_status: trio.TaskStatus[None]) -> None:
        await watch_udev(record, record, wants("mem"), task_status=task_status)

    async with trio.open_nursery() as nursery:
        await nursery.start(run)
        await trio.Path(NULL_UEVENT).write_text("change")
        assert await record.until(2) == [UeventReceived("mem", "change"), "mem"]
        nursery.cancel_scope.cancel()


def netlink_sockets() -> set[int]:
    """Our descriptors of netlink sockets."""
    found = set()
    for name in os.listdir("/proc/self/fd"):
        try:
            duplicate = os.dup(int(name))
        except OSError:
            continue  # the descriptor of the listing itself, or one that another thread has just closed
        if not stat.S_ISSOCK(os.fstat(duplicate).st_mode):
            os.close(duplicate)
            continue
        with socket.socket(fileno=duplicate) as sock:
            if sock.family == socket.AF_NETLINK:
                found.add(int(name))
    return found
