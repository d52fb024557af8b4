"""The wire thread: services come and go in order, Register is called once and told truthfully, and a bug ends the thread."""

import asyncio
import os
import threading
import time
from collections.abc import Iterator
from concurrent import futures
from pathlib import Path
from typing import Any

import grpc
import pytest

from supervisor.feed import Feed
from supervisor.inventory import Inventory
from supervisor.kubelet import wire as module
from supervisor.kubelet.protos import REGISTRATION_SERVICE
from supervisor.kubelet.protos import deviceplugin_pb2 as pb
from supervisor.kubelet.sockets import FileIdentity
from supervisor.kubelet.wire import Wire
from supervisor.levels import Attempt, Outcome
from supervisor.model import ContainerEdits, Device
from tests.kubelet.rig import SOON, WIDGET, Client, Rig, ids

GADGET = "example.com/gadget"
NOWHERE = FileIdentity(1, 1, 1)


class Kubelet:
    """Its Register alone, which answers, refuses or hangs as a test wants it."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.requests: list[pb.RegisterRequest] = []
        self.connections: set[str] = set()
        self.called = threading.Semaphore(0)
        self.release = threading.Event()
        self.refusal = ""
        self.hangs = False
        self._server = grpc.server(futures.ThreadPoolExecutor(8))
        handler = grpc.unary_unary_rpc_method_handler(self._register, pb.RegisterRequest.FromString, pb.Empty.SerializeToString)
        self._server.add_generic_rpc_handlers(
            (grpc.method_handlers_generic_handler(REGISTRATION_SERVICE, {"Register": handler}),)
        )
        self._server.add_insecure_port(f"unix:{path}")
        self._server.start()

    def _register(self, request: pb.RegisterRequest, context: Any) -> pb.Empty:
        self.requests.append(request)
        self.called.release()
        if self.hangs:
            self.release.wait(3 * SOON)
        if self.refusal:
            context.abort(grpc.StatusCode.UNKNOWN, self.refusal)
        return pb.Empty()

    def stop(self) -> None:
        self.release.set()
        self._server.stop(None).wait()


@pytest.fixture
def kubelet(rig: Rig) -> Iterator[Kubelet]:
    """Give a kubelet beside the rig's sockets."""
    kubelet = Kubelet(rig.directory / "kubelet.sock")
    yield kubelet
    kubelet.stop()


def offer(rig: Rig, resource: str = WIDGET, device: str = "a") -> Feed:
    """One resource with one device."""
    return rig.offer([Device(device)], resource=resource)


def identity(kubelet: Path) -> FileIdentity:
    """Which socket is there."""
    return FileIdentity.of(kubelet.lstat()) if kubelet.exists() else NOWHERE


def register(rig: Rig, generation: int, *, at: Path | None = None, **more: Any) -> Attempt:
    """Call Register and wait for its outcome."""
    kubelet = at if at is not None else rig.directory / "kubelet.sock"
    rig.wire.register(WIDGET, generation, "x.sock", kubelet, identity(kubelet), **more)

    def ended() -> bool:
        attempt = rig.level().attempt
        return attempt is not None and attempt.generation == generation and attempt.outcome is not None

    rig.wait(ended)
    attempt = rig.level().attempt
    assert attempt is not None
    return attempt


# --- services ---------------------------------------------------------------------------------------------------------


def test_a_service_is_bound_listed_and_gone(rig: Rig) -> None:
    """Its level says so; afterwards nobody listens there."""
    offer(rig)
    assert ids(next(rig.client().stream())) == ["a"]
    rig.wire.close(WIDGET)
    rig.wait(lambda: WIDGET not in rig.wire.levels())
    rig.wait_while(lambda: rig.path().exists())


def test_closing_ends_streams(rig: Rig) -> None:
    """A retired resource must not be watched any more."""
    offer(rig)
    stream = rig.client().stream()
    next(stream)
    rig.wire.close(WIDGET)
    with pytest.raises((grpc.RpcError, StopIteration)):
        next(stream)


class Hangs:
    """Its Allocate begins, and goes on until it is let go."""

    def __init__(self) -> None:
        self.called = threading.Event()
        self.let_go = threading.Event()

    def allocate(self, *_: Any) -> ContainerEdits:
        self.called.set()
        self.let_go.wait(SOON)
        return ContainerEdits()


@pytest.fixture
def hanging() -> Iterator[Hangs]:
    """Give a plugin that hangs in Allocate, at most until the end of the test."""
    plugin = Hangs()
    yield plugin
    plugin.let_go.set()


def under_way(rig: Rig, plugin: Hangs) -> tuple[Any, Any]:
    """A stream, and beside it an Allocate that has reached the plugin."""
    rig.offer([Device("a")], plugin)
    client = rig.client()
    stream = client.stream()
    next(stream)
    call = client.future(["a"])
    assert plugin.called.wait(SOON)
    return stream, call


def assert_answered(call: Any, plugin: Hangs) -> None:
    """It is under way still, and ends well when the plugin lets go."""
    with pytest.raises(grpc.FutureTimeoutError):
        call.result(0.05)
    plugin.let_go.set()
    assert len(call.result().container_responses) == 1


@pytest.mark.parametrize("order", ["close", "unbind"])
def test_what_was_asked_before_the_end_is_answered(rig: Rig, hanging: Hangs, order: str) -> None:
    """A kubelet hangs up when its stream ends: the answer goes first, or a pod is rejected."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(module, "GRACE", SOON)
        stream, call = under_way(rig, hanging)
        getattr(rig.wire, order)(WIDGET)
        rig.wait(lambda: not rig.level().bound)
        assert_answered(call, hanging)
        assert_ended(stream)


def assert_ended(stream: Any) -> None:
    """Nothing more comes; whether the server ended it or its calls were cancelled is all one to a kubelet."""
    try:
        rest = list(stream)
    except grpc.RpcError:
        rest = []
    assert rest == []


def test_a_resource_that_is_opened_again_keeps_the_last_answer_of_the_one_before(rig: Rig, hanging: Hangs) -> None:
    """The next one is bound when the one before has answered."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(module, "GRACE", SOON)
        _, call = under_way(rig, hanging)
        rig.wire.close(WIDGET)
        feed = Feed(WIDGET)
        feed.publish(Inventory.of(WIDGET, [Device("b")]))
        rig.wire.open(feed, rig.calls(None))
        rig.wire.bind(WIDGET, rig.path())
        assert_answered(call, hanging)
        rig.wait(lambda: rig.level().bound)
        assert ids(next(rig.client().stream())) == ["b"]


def test_an_answer_that_does_not_come_holds_up_no_close(rig: Rig, hanging: Hangs) -> None:
    """The grace is short, then stream and call end."""
    stream, call = under_way(rig, hanging)
    rig.wire.close(WIDGET)
    assert call.exception() is not None
    with pytest.raises((grpc.RpcError, StopIteration)):
        next(stream)
    rig.wait_while(lambda: rig.path().exists())


def test_the_last_answer_of_a_closed_resource_is_waited_for_when_all_ends(rig: Rig, hanging: Hangs) -> None:
    """Nobody serves the name any more, and yet a kubelet waits."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(module, "GRACE", SOON)
        _, call = under_way(rig, hanging)
        rig.wire.close(WIDGET)
        rig.wait(lambda: WIDGET not in rig.wire.levels())
        rig.wire.stop(0)
        assert_answered(call, hanging)
        rig.wait_while(lambda: rig.wire.alive)


def test_a_resource_is_closed_and_opened_again_in_one_step(rig: Rig) -> None:
    """The new service is another life, and it is the one that answers at the same path."""
    offer(rig)
    life = rig.level().life
    rig.wire.close(WIDGET)
    offer(rig, device="b")
    assert rig.level().life > life
    assert ids(next(rig.client().stream())) == ["b"]


def test_orders_for_a_closed_resource_are_harmless(rig: Rig) -> None:
    """A close overtakes binds, streams' ends and registrations, and nothing of it ends the thread."""
    for _ in range(20):
        feed = Feed(WIDGET)
        feed.publish(Inventory.of(WIDGET, [Device("a")]))
        rig.wire.open(feed, rig.calls(None))
        rig.wire.bind(WIDGET, rig.path())
        rig.wire.close(WIDGET)
        rig.wire.unbind(WIDGET)
        rig.wire.end_streams(WIDGET)
        rig.wire.replace_calls(WIDGET, rig.calls(None))
        rig.wire.register(WIDGET, 1, "x", rig.directory / "kubelet.sock", NOWHERE)
        rig.wire.close(WIDGET)
    offer(rig)
    assert ids(next(rig.client().stream())) == ["a"]


def test_a_resource_is_unbound_and_bound_elsewhere_in_one_step(rig: Rig) -> None:
    """The last order wins: it is bound at the new path, and the old one is gone."""
    offer(rig)
    elsewhere = rig.directory / "elsewhere.sock"
    rig.wire.unbind(WIDGET)
    rig.wire.bind(WIDGET, elsewhere)
    rig.wait_while(lambda: rig.path().exists() or not elsewhere.exists())
    rig.wait(lambda: rig.level().bound)
    client = Client(elsewhere)
    assert ids(next(client.stream())) == ["a"]
    client.channel.close()
    assert elsewhere.exists()


def test_a_resource_with_a_stream_is_unbound_and_bound_elsewhere_in_one_step(rig: Rig) -> None:
    """The stream ends when nothing is being answered; what was ordered after that stays bound."""
    offer(rig)
    stream = rig.client().stream()
    next(stream)
    elsewhere = rig.directory / "elsewhere.sock"
    rig.wire.unbind(WIDGET)
    rig.wire.bind(WIDGET, elsewhere)
    assert list(stream) == []
    rig.wait(lambda: rig.level().bound)
    client = Client(elsewhere)
    assert ids(next(client.stream())) == ["a"]
    client.channel.close()
    assert rig.level().bound


def test_a_bind_that_fails_is_told_and_can_be_repeated(rig: Rig) -> None:
    """The directory is missing at first."""
    folder = rig.directory / "later"
    feed = Feed(WIDGET)
    rig.wire.open(feed, rig.calls(None))
    rig.wire.bind(WIDGET, folder / "a.sock")
    rig.wait(lambda: rig.level().bind_problem)
    assert str(folder) in rig.level().bind_problem
    assert not rig.level().bound
    folder.mkdir()
    rig.wire.bind(WIDGET, folder / "a.sock")
    rig.wait(lambda: rig.level().bound)
    assert rig.level().bind_problem == ""


def test_what_is_published_after_a_close_wakes_nobody(rig: Rig) -> None:
    """The feed has no subscriber left."""
    feed = offer(rig)
    rig.wire.close(WIDGET)
    rig.wait(lambda: WIDGET not in rig.wire.levels())
    feed.publish(Inventory.of(WIDGET, []))
    offer(rig, GADGET)


def test_two_hundred_services_leave_nothing_behind(rig: Rig) -> None:
    """Neither threads nor descriptors."""

    def cycle() -> None:
        offer(rig)
        rig.wire.close(WIDGET)
        rig.wait(lambda: WIDGET not in rig.wire.levels())

    for _ in range(10):
        cycle()
    threads, descriptors = threading.active_count(), len(os.listdir("/proc/self/fd"))
    for _ in range(200):
        cycle()
    rig.wait_while(lambda: len(os.listdir("/proc/self/fd")) > descriptors + 2)
    assert threading.active_count() <= threads + 2


# --- Register ---------------------------------------------------------------------------------------------------------


def test_register_says_who_and_where(rig: Rig, kubelet: Kubelet) -> None:
    """Version, endpoint, name and options; the answer alone is the outcome."""
    rig.offer([Device("a")], pre_start=True)
    attempt = register(rig, 7)
    assert (attempt.generation, attempt.outcome) == (7, Outcome.ANSWERED)
    [request] = kubelet.requests
    assert (request.version, request.endpoint, request.resource_name) == ("v1beta1", "x.sock", WIDGET)
    assert request.options.pre_start_required
    assert rig.level().registered_pre_start
    assert rig.wire.counts()[WIDGET].registrations == {"answered": 1}


def test_a_refusal_is_told_in_the_kubelets_words(rig: Rig, kubelet: Kubelet) -> None:
    """The operator must be able to read them."""
    offer(rig)
    kubelet.refusal = "the ResourceName is invalid"
    attempt = register(rig, 1)
    assert (attempt.outcome, attempt.detail) == (Outcome.REFUSED, "the ResourceName is invalid")


def test_a_kubelet_that_is_not_there_is_unreachable_and_reached_once_it_is(rig: Rig) -> None:
    """At once: no back-off of an earlier channel is waited out."""
    offer(rig)
    assert register(rig, 1).outcome is Outcome.UNREACHABLE
    kubelet = Kubelet(rig.directory / "kubelet.sock")
    try:
        assert register(rig, 2).outcome is Outcome.ANSWERED
    finally:
        kubelet.stop()
    assert register(rig, 3).outcome is Outcome.UNREACHABLE


def test_a_new_kubelet_at_the_same_path_is_dialled_afresh(rig: Rig, kubelet: Kubelet) -> None:
    """The old one's channel still works, and leads to the wrong process."""
    offer(rig)
    assert register(rig, 1).outcome is Outcome.ANSWERED
    kubelet.path.rename(rig.directory / "old.sock")
    other = Kubelet(kubelet.path)
    try:
        assert register(rig, 2).outcome is Outcome.ANSWERED
        assert (len(kubelet.requests), len(other.requests)) == (1, 1)
    finally:
        other.stop()


def test_with_a_stream_open_nothing_is_sent(rig: Rig, kubelet: Kubelet) -> None:
    """It is looked at again right before the call, on the thread that knows."""
    offer(rig)
    stream = rig.client().stream()  # let go of, it would be cancelled
    next(stream)
    assert register(rig, 1).outcome is Outcome.SKIPPED
    assert kubelet.requests == []


def test_the_outcome_of_an_older_call_hides_no_newer_one(rig: Rig, kubelet: Kubelet) -> None:
    """The first kubelet hangs; the call to the second one has ended before the first is let go."""
    offer(rig)
    kubelet.hangs = True
    rig.wire.register(WIDGET, 1, "x.sock", kubelet.path, identity(kubelet.path))
    assert kubelet.called.acquire(timeout=SOON)
    other = Kubelet(rig.directory / "other.sock")
    try:
        newer = register(rig, 2, at=other.path)
        kubelet.release.set()
        rig.wait_while(lambda: rig.wire.counts()[WIDGET].registrations != {"answered": 2})
        assert rig.level().attempt == newer
    finally:
        other.stop()


def test_where_links_are_refused_the_public_name_is_bound(rig: Rig, kubelet: Kubelet) -> None:
    """Each registration at a fresh one, the last one gone, and the private path stays."""
    private = rig.directory / "private"
    private.mkdir()
    feed = Feed(WIDGET)
    feed.publish(Inventory.of(WIDGET, [Device("a")]))
    rig.wire.open(feed, rig.calls(None))
    rig.wire.bind(WIDGET, private / "a.sock")
    first, second = rig.directory / "first.sock", rig.directory / "second.sock"
    register(rig, 1, bind_at=first)
    assert first.is_socket()
    register(rig, 2, bind_at=second)
    rig.wait_while(first.exists)
    client = Client(second)
    assert ids(next(client.stream())) == ["a"]
    client.channel.close()
    assert (private / "a.sock").is_socket()
    assert len(kubelet.requests) == 2


def test_a_public_name_that_cannot_be_bound_is_a_failed_attempt(rig: Rig, kubelet: Kubelet) -> None:
    """The kubelet is not asked to dial into nothing, and the private socket goes on."""
    offer(rig)
    attempt = register(rig, 1, bind_at=rig.directory / "missing" / "a.sock")
    assert attempt.outcome is Outcome.REFUSED
    assert "missing" in attempt.detail
    assert rig.level().bound
    assert kubelet.requests == []


# --- the thread itself ------------------------------------------------------------------------------------------------


def test_the_thread_shows_that_it_turns(rig: Rig) -> None:
    """Its beat moves again and again, while it watches that of another thread."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(module, "PERIOD", 0.01)
        rig.wire.watch(time.monotonic)
        for _ in range(3):
            before = rig.wire.beat
            rig.wait_while(lambda: rig.wire.beat == before)  # noqa: B023  # waited for here
            assert rig.wire.beat <= time.monotonic()


def test_other_clients_of_the_kubelet_share_the_loop(rig: Rig) -> None:
    """What a coroutine returns is handed on, on the wire thread."""
    answers: list[str] = []

    async def ask() -> str:
        await asyncio.sleep(0)
        return threading.current_thread().name

    rig.wire.call(ask, answers.append)
    rig.wait_while(lambda: not answers)
    assert answers == ["wire"]


def test_stopping_ends_calls_under_way(rig: Rig, kubelet: Kubelet, hanging: Hangs) -> None:
    """A stream, a Register that nobody answers and an Allocate that hangs hold up nothing."""
    rig.offer([Device("a")], hanging)
    offer(rig, GADGET)
    kubelet.hangs = True
    stream = rig.client(GADGET).stream()
    next(stream)
    call = rig.client().future(["a"])
    rig.wire.register(WIDGET, 1, "x.sock", kubelet.path, identity(kubelet.path))
    assert kubelet.called.acquire(timeout=SOON)
    rig.wire.stop(SOON)
    assert not rig.wire.alive
    assert call.exception() is not None
    rig.wire.watch(time.monotonic)
    rig.wire.close(WIDGET)


def test_a_bug_ends_the_thread() -> None:
    """Servers that accept and never answer would be worse: the process is to end, and says why."""
    ended = threading.Event()

    def changed() -> None:
        if wire.failure is not None:
            ended.set()

    wire = Wire(changed)
    wire.start()

    async def bug() -> None:
        raise ZeroDivisionError

    wire.call(bug, lambda _: None)
    assert ended.wait(SOON)
    wire.stop(SOON)
    assert not wire.alive
    assert isinstance(wire.failure, ZeroDivisionError)


def test_a_bug_in_the_encoder_ends_the_thread_too() -> None:
    """A device that nobody checked: silence would leave the kubelet with an old list for ever."""
    rig = Rig(Path("/tmp"))
    feed = Feed(WIDGET)
    feed.publish(Inventory.of(WIDGET, [Device(object())]))  # type: ignore[arg-type]  # no plugin's device gets this far
    rig.wire.open(feed, rig.calls(None))
    rig.wait(lambda: rig.wire.failure)
    rig.wire.stop(SOON)
    assert not rig.wire.alive
    assert isinstance(rig.wire.failure, TypeError)
