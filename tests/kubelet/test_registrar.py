"""The registrar with a real directory, real sockets and a small kubelet: what no table of the state machine can show."""

import itertools
import os
import shutil
import socket
import threading
import time
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path

import pytest
import trio

from supervisor.calls import PluginCalls
from supervisor.errors import NodeError
from supervisor.events import (
    Event,
    KubeletAwaited,
    KubeletFound,
    KubeletRestarted,
    ListRefused,
    Registered,
    RegistrationFailed,
    ResourceBound,
    ResourceContested,
    StreamLost,
)
from supervisor.feed import Feed
from supervisor.inventory import Inventory
from supervisor.kubelet import registrar as module
from supervisor.kubelet.registrar import PROBE_BURST, PROBE_FAST, PROBE_SLOWEST, Registrar
from supervisor.kubelet.registration import Phase
from supervisor.kubelet.sockets import ProcessDirectory, accepts, look_at
from supervisor.kubelet.wire import Wire
from supervisor.model import Device
from supervisor.slots import Slots
from supervisor.wakeup import WakeUp
from tests.kubelet.rig import SOON, WIDGET, short_directory
from tests.kubelet.tiny_kubelet import TinyKubelet

GADGET = "example.com/gadget"
NEVER = 3600.0


class Node:
    """A registrar in a directory of its own, and everything that it tells."""

    def __init__(self, own: ProcessDirectory) -> None:
        self.own = own
        self.directory = own.directory
        self.events: list[Event] = []
        self.wake = WakeUp()
        self.wire = Wire(self.wake.set_from_thread)
        self.registrar = Registrar(self.wire, own, self.wake, self.events.append)
        self.registrar.active = True
        self.failure: NodeError | None = None
        self.ended = trio.Event()

    async def run(self) -> None:
        try:
            await self.registrar.run()
        except* NodeError as group:
            [error] = group.exceptions
            assert isinstance(error, NodeError)
            self.failure = error
        self.ended.set()

    def offer(self, *devices: str, resource: str = WIDGET, pre_start: bool = False) -> Feed:
        feed = Feed(resource)
        listed = [Device(each) for each in devices]
        feed.publish(Inventory.of(resource, listed, pre_start_required=pre_start))
        self.wire.open(feed, PluginCalls(None, Slots(resource), Slots(resource)))
        return feed

    def count(self, kind: type[Event]) -> int:
        return sum(type(event) is kind for event in self.events)

    async def until(self, fact: Callable[[], object]) -> None:
        """Looked at again and again, for as long as a test may take."""
        with trio.move_on_after(SOON):
            while not fact():  # noqa: ASYNC110  # facts of two threads and of files have no one event
                await trio.sleep(0.002)
            return
        raise AssertionError(f"{self.events} {self.registrar.states} {self.wire.levels()} {self.wire.failure}")

    async def connected(self, times: int = 1) -> None:
        await self.until(lambda: self.count(Registered) >= times)

    def public(self) -> list[str]:
        return sorted(path.name for path in self.directory.glob("dps-*.sock"))


@asynccontextmanager
async def running(own: ProcessDirectory) -> AsyncIterator[Node]:
    """Run a registrar with its wire thread until the end of the block."""
    node = Node(own)
    node.wire.start()
    try:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(node.run)
            yield node
            nursery.cancel_scope.cancel()
    finally:
        node.wire.stop(SOON)
        assert not node.wire.alive
        assert node.wire.failure is None
        own.remove()


def clean_up(directory: Path) -> None:
    """What a kubelet does as it starts."""
    for path in directory.glob("*.sock"):
        path.unlink()


@contextmanager
def kubelet_in(directory: Path) -> Iterator[TinyKubelet]:
    """One life of a kubelet."""
    kubelet = TinyKubelet(directory)
    try:
        yield kubelet
    finally:
        kubelet.stop()


@pytest.fixture
def directory() -> Iterator[Path]:
    """Give a device-plugins directory with a short name."""
    with short_directory() as path:
        yield path


@pytest.fixture
def events_only(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let no timed look at the directory come to the help of an event that was missed."""
    monkeypatch.setattr(module, "LOOK_SOON", NEVER)


# --- registering ------------------------------------------------------------------------------------------------------


@pytest.mark.usefixtures("events_only")
async def test_a_kubelet_that_appears_is_registered_at(directory: Path) -> None:
    """Woken by the directory alone: all resources, from their lists, each under a public name of its own."""
    async with running(ProcessDirectory.create(directory)) as node:
        node.offer("a", "b")
        node.offer("c", resource=GADGET)
        await node.until(lambda: node.count(ResourceBound) == 2)
        with kubelet_in(directory) as kubelet:
            await node.connected(2)
            await node.until(lambda: kubelet.lists == {WIDGET: ["a", "b"], GADGET: ["c"]})
            assert node.public() == sorted(request.endpoint for request in kubelet.requests)
            assert {state.phase for state in node.registrar.states.values()} == {Phase.CONNECTED}
            assert node.count(KubeletAwaited) == 0


@pytest.mark.usefixtures("events_only")
async def test_a_resource_that_appears_later_is_registered(directory: Path) -> None:
    """Woken by the wire thread."""
    with kubelet_in(directory) as kubelet:
        async with running(ProcessDirectory.create(directory)) as node:
            node.offer("a")
            await node.connected()
            node.offer("c", resource=GADGET)
            await node.connected(2)
            assert len(kubelet.requests) == 2


@pytest.mark.usefixtures("events_only")
@pytest.mark.parametrize("cleans_up", [True, False])
async def test_a_kubelet_that_restarts_is_registered_at_anew(directory: Path, *, cleans_up: bool) -> None:
    """Under a fresh name, whether or not it deletes all sockets as real ones do. The first life is older than we are."""
    first = TinyKubelet(directory)
    async with running(ProcessDirectory.create(directory)) as node:
        node.offer("a")
        await node.connected()
        assert node.count(KubeletRestarted) == 0
        first.stop()
        await node.until(lambda: node.count(StreamLost) == 1)
        if cleans_up:
            clean_up(directory)
        with kubelet_in(directory) as second:
            await node.connected(2)
            await node.until(lambda: second.lists == {WIDGET: ["a"]})
            assert node.count(KubeletRestarted) == 1
            assert node.public() == second.endpoints(WIDGET)
            assert node.public() != first.endpoints(WIDGET)


async def test_a_standby_binds_and_registers_nothing(directory: Path) -> None:
    """Until it is told to: then at once."""
    with kubelet_in(directory) as kubelet:
        own = ProcessDirectory.create(directory)
        async with running(own) as node:
            node.registrar.active = False
            node.offer("a")
            await node.until(lambda: node.count(ResourceBound) == 1)
            assert accepts(own.private_path(WIDGET))
            assert (kubelet.requests, node.public()) == ([], [])
            node.registrar.active = True
            node.wake.set()
            await node.connected()


async def test_what_the_kubelet_refuses_is_told_and_tried_again(directory: Path) -> None:
    """In the kubelet's own words."""
    with kubelet_in(directory) as kubelet:
        kubelet.refusal = "not today"
        async with running(ProcessDirectory.create(directory)) as node:
            node.offer("a")
            await node.until(lambda: node.count(RegistrationFailed) == 2)
            assert all(event.reason == "not today" for event in node.events if isinstance(event, RegistrationFailed))
            kubelet.refusal = ""
            await node.connected()
            assert node.count(StreamLost) == 0


@pytest.mark.usefixtures("events_only")
async def test_changed_options_are_registered_anew_without_a_loss(directory: Path) -> None:
    """We end the stream, so nobody else is to be suspected of it."""
    with kubelet_in(directory) as kubelet:
        async with running(ProcessDirectory.create(directory)) as node:
            feed = node.offer("a")
            await node.connected()
            assert not kubelet.options[WIDGET].pre_start_required
            feed.publish(Inventory.of(WIDGET, [Device("a")], pre_start_required=True))
            await node.connected(2)
            assert kubelet.options[WIDGET].pre_start_required
            assert node.count(StreamLost) == 0


async def test_a_rival_that_keeps_taking_the_resource_is_named(directory: Path) -> None:
    """Streams that end again and again, and another plugin's socket in the directory."""
    with kubelet_in(directory) as kubelet, socket.socket(socket.AF_UNIX) as rival:
        rival.bind(str(directory / "rival.sock"))
        kubelet.hangs_up = True
        async with running(ProcessDirectory.create(directory)) as node:
            node.offer("a")
            await node.until(lambda: node.count(ResourceContested) == 1)
            assert node.registrar.states[WIDGET].phase is Phase.CONTESTED
            assert len(kubelet.requests) == 3


async def test_a_list_that_is_too_long_is_told(directory: Path) -> None:
    """Once, and again only after a good one."""
    async with running(ProcessDirectory.create(directory)) as node:
        feed = node.offer("a")
        await node.until(lambda: node.count(ResourceBound) == 1)
        feed.publish(Inventory.of(WIDGET, [Device(f"{n:063}") for n in range(60_000)]))
        await node.until(lambda: node.count(ListRefused) == 1)


# --- files ------------------------------------------------------------------------------------------------------------


@pytest.mark.usefixtures("events_only")
async def test_a_socket_in_use_that_was_deleted_is_put_back(directory: Path) -> None:
    """The stream goes on meanwhile, and nothing is registered again."""
    with kubelet_in(directory) as kubelet:
        async with running(ProcessDirectory.create(directory)) as node:
            node.offer("a")
            await node.connected()
            [name] = node.public()
            (directory / name).unlink()
            await node.until(lambda: accepts(directory / name))
            assert len(kubelet.requests) == 1


class Linkless(ProcessDirectory):
    """A directory on a file system without hard links to sockets."""

    def link(self, resource: str) -> str | None:
        return None


async def test_where_links_are_refused_the_server_is_bound_in_public(directory: Path) -> None:
    """Another socket than the private one, a fresh one for each kubelet."""
    async with running(Linkless.create(directory)) as node:
        node.offer("a")
        names = []
        for life in (1, 2):
            with kubelet_in(directory) as kubelet:
                await node.connected(life)
                await node.until(lambda: kubelet.lists == {WIDGET: ["a"]})  # waited for here
                [name] = node.public()
                assert kubelet.endpoints(WIDGET)[-1] == name
                assert (directory / name).stat().st_ino != node.own.private_path(WIDGET).stat().st_ino
                names.append(name)
            await node.until(lambda: node.count(StreamLost) == life)  # noqa: B023  # as above
        assert len(set(names)) == 2


async def test_a_resource_that_is_closed_takes_its_link_with_it(directory: Path) -> None:
    """And is forgotten."""
    with kubelet_in(directory):
        async with running(ProcessDirectory.create(directory)) as node:
            node.offer("a")
            await node.connected()
            node.wire.close(WIDGET)
            await node.until(lambda: not node.public() and WIDGET not in node.registrar.states)


@pytest.mark.usefixtures("events_only")
async def test_a_resource_that_is_closed_and_opened_in_one_step_is_registered_anew(directory: Path) -> None:
    """The registrar never sees it absent, and still knows the new one for another."""
    with kubelet_in(directory) as kubelet:
        async with running(ProcessDirectory.create(directory)) as node:
            for device in "abc":
                node.offer(device)
                await node.until(lambda: kubelet.lists.get(WIDGET) == [device])  # noqa: B023  # waited for here
                node.wire.close(WIDGET)
            await node.until(lambda: not node.public())
            assert len(set(kubelet.endpoints(WIDGET))) == 3


async def test_a_bind_that_fails_is_told_and_tried_again(directory: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Somebody has removed our own directory; when it is back, all is well."""
    monkeypatch.setattr(module, "REBIND", 0.05)
    own = ProcessDirectory.create(directory)
    own.path.rename(directory / "away")
    with kubelet_in(directory):
        async with running(own) as node:
            node.offer("a")
            await node.until(lambda: node.count(RegistrationFailed) >= 1)
            (directory / "away").rename(own.path)
            await node.connected()


async def test_a_new_process_directory_is_waited_for_although_the_old_one_is_still_bound(directory: Path) -> None:
    """Levels tell of the old one until the wire thread has come to it; registering then would find nothing to link."""
    release = threading.Event()

    async def block() -> None:
        release.wait(SOON)

    first, second = ProcessDirectory.create(directory), ProcessDirectory.create(directory)
    async with running(first) as node:
        node.offer("a")
        await node.until(lambda: node.count(ResourceBound) == 1)
        node.wire.call(block, lambda _: None)
        node.wire.unbind(WIDGET)
        with kubelet_in(directory) as kubelet:
            successor = Registrar(node.wire, second, node.wake, node.events.append)
            successor.active, node.registrar.active = True, False
            successor.view = look_at(directory)
            try:
                assert node.wire.levels()[WIDGET].bound
                successor._reconcile(time.monotonic())
                successor._reconcile(time.monotonic())
                assert WIDGET not in successor.states or successor.states[WIDGET].phase is Phase.BOUND
            finally:
                release.set()
            await node.until(lambda: node.wire.levels()[WIDGET].path == str(second.private_path(WIDGET)))
            successor._reconcile(time.monotonic())
            await node.until(lambda: kubelet.lists == {WIDGET: ["a"]})
            [name] = node.public()
            assert (directory / name).stat().st_ino == second.private_path(WIDGET).stat().st_ino
    second.remove()


# --- the directory itself ---------------------------------------------------------------------------------------------


@pytest.mark.usefixtures("events_only")
async def test_a_directory_that_was_replaced_ends_the_run(directory: Path) -> None:
    """Everything must be bound again, in the new one."""
    inner = directory / "d"
    inner.mkdir()
    async with running(ProcessDirectory.create(inner)) as node:
        node.offer("a")
        await node.until(lambda: node.count(ResourceBound) == 1)
        inner.rename(directory / "old")
        inner.mkdir()
        with trio.fail_after(SOON):
            await node.ended.wait()
        assert node.failure is None


async def test_a_directory_that_vanishes_ends_the_run(directory: Path) -> None:
    """Absence is no error. No event tells of it while our own sockets keep the inode alive, but the next look does."""
    inner = directory / "d"
    inner.mkdir()
    async with running(ProcessDirectory.create(inner)) as node:
        node.offer("a")
        await node.until(lambda: node.count(ResourceBound) == 1)
        shutil.rmtree(inner)
        with trio.fail_after(SOON):
            await node.ended.wait()
        assert node.failure is None


async def test_a_directory_that_is_gone_before_it_is_watched_is_waited_for(directory: Path) -> None:
    """There is nothing to watch, and the next look sees the new one."""
    inner = directory / "d"
    inner.mkdir()
    own = ProcessDirectory.create(inner)
    shutil.rmtree(inner)
    async with running(own) as node:
        await node.until(lambda: node.registrar.view.obstacle)
        inner.mkdir()
        with trio.fail_after(SOON):
            await node.ended.wait()
        assert node.failure is None


async def test_a_directory_that_was_removed_under_a_mount_is_for_the_operator(directory: Path) -> None:
    """Seen through a descriptor as through a bind mount: only a new mount can help, and the text says so."""
    inner = directory / "d"
    inner.mkdir()
    descriptor = os.open(inner, os.O_RDONLY)
    try:
        async with running(ProcessDirectory.create(Path(f"/proc/self/fd/{descriptor}"))) as node:
            node.offer("a")
            await node.until(lambda: node.count(ResourceBound) == 1)
            shutil.rmtree(inner)
            with trio.fail_after(SOON):
                await node.ended.wait()
            assert node.failure is not None
            assert "restart the container" in str(node.failure)
    finally:
        os.close(descriptor)


# --- probing ----------------------------------------------------------------------------------------------------------


async def test_a_stale_socket_is_probed_ever_more_slowly(directory: Path) -> None:
    """Fast for a moment, for a kubelet that has bound and will listen; a socket that nobody listens at may stay for hours."""
    with socket.socket(socket.AF_UNIX) as stale:
        stale.bind(str(directory / "kubelet.sock"))
        async with running(ProcessDirectory.create(directory)) as node:
            registrar = node.registrar
            registrar._event_at = registrar._probe_at = 0.0
            pauses, now = [], 0.0
            for _ in range(300):
                assert registrar._probe(now) is False
                pauses.append(registrar._probe_at - now)
                assert registrar._probe(now + pauses[-1] / 2) is None
                now += pauses[-1]
            stale.listen()
            assert registrar._probe(now) is True
    assert all(later > earlier * 0.999 for earlier, later in itertools.pairwise(pauses))
    assert sum(pause < 2 * PROBE_FAST for pause in pauses) == pytest.approx(PROBE_BURST / PROBE_FAST, abs=2)
    assert pauses[-1] == PROBE_SLOWEST


async def test_a_kubelet_that_does_not_listen_is_told_once_it_lasts(directory: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """And that it is over, too."""
    monkeypatch.setattr(module, "PATIENCE", 0.05)
    stale = socket.socket(socket.AF_UNIX)
    stale.bind(str(directory / "kubelet.sock"))
    stale.close()
    async with running(ProcessDirectory.create(directory)) as node:
        node.offer("a")
        await node.until(lambda: node.count(KubeletAwaited) == 1)
        assert "refuses connections" in node.registrar.obstacle
        with kubelet_in(directory):
            await node.connected()
            await node.until(lambda: node.count(KubeletFound) == 1)
            assert node.registrar.obstacle == ""
