"""What the kubelet is answered over a real socket: lists, allocations, advice, and errors that end with their call."""

import os
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import grpc
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from supervisor.errors import AllocationRefused, PluginFailed
from supervisor.feed import Feed
from supervisor.inventory import Inventory
from supervisor.kubelet.protos import MAX_MESSAGE_BYTES
from supervisor.model import ContainerEdits, Device, DeviceNode, Health, Mount, Topology
from tests.kubelet.rig import SOON, WIDGET, Client, Rig, ids

Allocate = Callable[..., Any]
TOO_MANY = 60_000
"""Devices with the longest ids that no message can hold."""


class Allocating:
    """A plugin whose ``allocate`` is given."""

    def __init__(self, allocate: Allocate) -> None:
        self.allocate = allocate


class Advising:
    """A plugin whose ``preferred_allocation`` is given."""

    def __init__(self, advise: Callable[..., Any]) -> None:
        self.preferred_allocation = advise


class Preparing:
    """A plugin that must act before containers start."""

    def __init__(self, pre_start: Callable[..., None]) -> None:
        self.pre_start = pre_start

    def pre_start_required(self, resource: str) -> bool:
        return True


class Gate:
    """Plugin code that says when it has begun and then waits to be let go."""

    def __init__(self) -> None:
        self.begun = threading.Event()
        self.open = threading.Event()
        self.ended = threading.Event()

    def __call__(self, *_: Any) -> Any:
        self.begun.set()
        assert self.open.wait(SOON)
        self.ended.set()
        return ContainerEdits()


class Mute(Exception):
    """An exception that cannot be shown."""

    def __str__(self) -> str:
        raise RuntimeError


def devices(count: int, prefix: str = "w") -> list[Device]:
    """Devices w0, w1, …, each with a node of its own."""
    return [Device(f"{prefix}{n}", edits=ContainerEdits((DeviceNode(f"/dev/{prefix}{n}"),))) for n in range(count)]


def inventory(listed: Sequence[Device], *, pre_start: bool = False) -> Inventory:
    """What one look found."""
    return Inventory.of(WIDGET, listed, pre_start_required=pre_start)


def raising(error: BaseException) -> Callable[..., Any]:
    """Plugin code that raises."""

    def function(*_: Any) -> Any:
        raise error

    return function


def in_turn(*functions: Callable[..., Any]) -> Callable[..., Any]:
    """Plugin code that does another thing at each call."""
    left = iter(functions)

    def function(*arguments: Any) -> Any:
        return next(left)(*arguments)

    return function


def failure(call: Callable[..., Any], *arguments: Any) -> tuple[grpc.StatusCode, str]:
    """The status and the text of a call that must fail."""
    with pytest.raises(grpc.RpcError) as caught:
        call(*arguments)
    error: Any = caught.value
    return error.code(), error.details()


# --- lists ------------------------------------------------------------------------------------------------------------


def test_every_stream_begins_with_the_whole_list_and_then_gets_each_change(rig: Rig) -> None:
    """Two streams at once: a kubelet may open a second one before it lets the first go."""
    feed = rig.offer(devices(2))
    streams = [rig.client().stream(), rig.client().stream()]
    assert [ids(next(stream)) for stream in streams] == [["w0", "w1"]] * 2
    for count in (3, 1, 0):
        feed.publish(inventory(devices(count)))
        assert [ids(next(stream)) for stream in streams] == [[f"w{n}" for n in range(count)]] * 2
    assert (rig.level().streams, rig.level().opened) == (2, 2)


def test_health_and_nodes_are_listed(rig: Rig) -> None:
    """A device without NUMA nodes has no topology at all: the kubelet takes an empty one for a hint."""
    rig.offer([Device("a", Health.UNHEALTHY, "hot", Topology((0, 3))), Device("b")])
    first, second = next(rig.client().stream()).devices
    assert (first.health, [node.ID for node in first.topology.nodes]) == ("Unhealthy", [0, 3])
    assert (second.health, second.HasField("topology")) == ("Healthy", False)


def test_what_the_kubelet_cannot_see_sends_no_list(rig: Rig) -> None:
    """Other edits and another reason change no byte of the list, but the next allocation."""
    feed = rig.offer([Device("a", Health.UNHEALTHY, "hot"), Device("b")])
    client = rig.client()
    stream = client.stream()
    next(stream)
    feed.publish(inventory([Device("a", Health.UNHEALTHY, "hotter"), Device("b")]))
    feed.publish(inventory([Device("a", Health.UNHEALTHY, "hotter"), Device("b", edits=ContainerEdits(envs={"A": "1"}))]))
    feed.publish(inventory([Device("a"), Device("b", edits=ContainerEdits(envs={"A": "1"}))]))
    assert [device.health for device in next(stream).devices] == ["Healthy", "Healthy"]
    assert dict(client.allocate(["b"])[0].envs) == {"A": "1"}


def test_no_list_is_sent_before_the_first_look(rig: Rig) -> None:
    """The kubelet must never read "not looked yet" as "all hardware gone"."""
    empty = Feed(WIDGET)
    rig.wire.open(empty, rig.calls(None))
    rig.wire.bind(WIDGET, rig.path())
    rig.wait(lambda: rig.level().bound)
    client = rig.client()
    stream = client.stream()
    rig.wait(lambda: rig.level().streams)
    assert not rig.level().listed
    assert failure(client.allocate, ["w0"])[0] is grpc.StatusCode.FAILED_PRECONDITION
    assert client.prefer(["w0"], [], 1) == []
    empty.publish(inventory(devices(1)))
    assert ids(next(stream)) == ["w0"]


def test_a_list_that_is_too_long_is_refused_and_the_last_one_stays(rig: Rig) -> None:
    """The problem names both sizes; it is gone when a shorter list comes, be it the very list before."""
    good = inventory(devices(2))
    feed = rig.offer([])
    feed.publish(good)
    client = rig.client()
    stream = client.stream()
    while ids(next(stream)) != ["w0", "w1"]:
        pass
    for _ in range(2):
        feed.publish(inventory([Device(f"{n:063}") for n in range(TOO_MANY)]))
        rig.wait(lambda: rig.level().list_problem)
        assert f"{TOO_MANY} devices" in rig.level().list_problem
        assert str(MAX_MESSAGE_BYTES) in rig.level().list_problem
        assert len(client.allocate(["w0"])) == 1
        feed.publish(good)
        rig.wait(lambda: not rig.level().list_problem)
    feed.publish(inventory(devices(1)))
    assert ids(next(stream)) == ["w0"]


def test_a_slow_reader_makes_no_queue(rig: Rig) -> None:
    """Of a hundred megabytes of lists the server keeps none, and the reader soon sees the newest."""

    def resident() -> int:
        return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")

    versions = [inventory([Device(f"{n:062}{letter}") for n in range(50_000)], pre_start=letter == "b") for letter in "ab"]
    feed = rig.offer(versions[0].devices)
    stream = rig.client().stream()
    rig.wait(lambda: rig.level().streams)
    before = resident()
    for turn in range(1, 26):
        version = versions[turn % 2]
        feed.publish(version)
        rig.wait(lambda: rig.level().pre_start_required == version.pre_start_required)  # noqa: B023  # waited for here
    grown = resident() - before
    assert grown < 64 * 1024 * 1024
    messages = 1
    while not ids(next(stream))[0].endswith("b"):
        messages += 1
        assert messages < 6


def test_our_own_end_of_a_stream_is_an_orderly_one(rig: Rig) -> None:
    """Both streams end without an error, and a new one begins with the list."""
    rig.offer(devices(1))
    client = rig.client()
    streams = [client.stream(), client.stream()]
    for stream in streams:
        next(stream)
    rig.wire.end_streams(WIDGET)
    assert [list(stream) for stream in streams] == [[], []]
    assert [stream.code() for stream in streams] == [grpc.StatusCode.OK] * 2
    rig.wait(lambda: rig.level().streams == 0)
    assert rig.level().ended_at > 0
    assert ids(next(client.stream())) == ["w0"]


def test_a_stream_that_the_kubelet_gives_up_is_noticed(rig: Rig) -> None:
    """Cancelled by its caller, and with its connection."""
    rig.offer(devices(1))
    client = rig.client()
    stream = client.stream()
    next(stream)
    stream.cancel()
    rig.wait(lambda: rig.level().streams == 0)
    stream = client.stream()
    next(stream)
    assert rig.level().streams == 1
    client.channel.close()
    rig.wait(lambda: rig.level().streams == 0)


# --- options ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("pre_start", [False, True])
@pytest.mark.parametrize(("plugin", "preferred"), [(None, False), (Advising(raising(ValueError())), True)])
def test_options_say_what_the_plugin_can_do(rig: Rig, plugin: object, *, preferred: bool, pre_start: bool) -> None:
    """``pre_start_required`` is the resource's, and what the kubelet was told is remembered."""
    rig.offer(devices(1), plugin, pre_start=pre_start)
    options = rig.client().options()
    assert options.pre_start_required == pre_start
    assert options.get_preferred_allocation_available == preferred
    rig.wait(lambda: rig.level().registered_pre_start == pre_start)
    assert rig.level().pre_start_required == pre_start


def test_changed_options_show_in_the_level(rig: Rig) -> None:
    """The kubelet was told otherwise: that is what makes the registration anew."""
    feed = rig.offer(devices(1))
    rig.client().options()
    feed.publish(inventory(devices(1), pre_start=True))
    rig.wait(lambda: rig.level().pre_start_required and not rig.level().registered_pre_start)


# --- allocations ------------------------------------------------------------------------------------------------------


def test_containers_get_the_edits_of_their_devices(rig: Rig) -> None:
    """One answer for each container, merged and in the inventory's order."""
    rig.offer(
        [
            Device(
                f"w{n}",
                edits=ContainerEdits(
                    (DeviceNode(f"/dev/w{n}", "/dev/w0" if n == 2 else None, "r"),),
                    (Mount("/lib/x", "/x", read_only=False),),
                    {"IDS": str(n)},
                    {"a/b": "c"},
                    (f"v1/cl={n}",),
                ),
            )
            for n in range(3)
        ]
    )
    first, second = rig.client().allocate(["w1", "w0"], ["w2"])
    assert [(node.host_path, node.container_path, node.permissions) for node in first.devices] == [
        ("/dev/w0", "/dev/w0", "r"),
        ("/dev/w1", "/dev/w1", "r"),
    ]
    assert [(mount.host_path, mount.container_path, mount.read_only) for mount in first.mounts] == [("/lib/x", "/x", False)]
    assert dict(first.envs) == {"IDS": "0,1"}
    assert dict(first.annotations) == {"a/b": "c"}
    assert [device.name for device in first.cdi_devices] == ["v1/cl=0", "v1/cl=1"]
    assert [(node.host_path, node.container_path) for node in second.devices] == [("/dev/w2", "/dev/w0")]
    assert rig.wire.last_allocated().keys() == {"w0", "w1", "w2"}
    rig.wait_while(lambda: rig.wire.counts()[WIDGET].allocations["ok"] != 1)


def test_what_left_the_list_is_remembered_no_longer(rig: Rig) -> None:
    """Of ids that come and go for ever, those that are gone have no last ``Allocate``."""
    feed = rig.offer(devices(1, "a"))
    rig.client().allocate(["a0"])
    assert rig.wire.last_allocated().keys() == {"a0"}
    feed.publish(inventory(devices(1, "b")))
    rig.wait_while(lambda: "a0" in rig.wire.last_allocated())


def test_refusals_have_a_status_and_a_short_text(rig: Rig) -> None:
    """Unknown, unhealthy, nothing asked for, and two devices at one path: the text lands in the pod's status."""
    clash = [Device(f"c{n}", edits=ContainerEdits((DeviceNode(f"/dev/c{n}", "/dev/c"),))) for n in range(2)]
    rig.offer([*devices(1), Device("sick", Health.UNHEALTHY, "it is hot"), *clash])
    client = rig.client()
    assert failure(client.allocate, ["w0", "x" * 5000]) == (
        grpc.StatusCode.NOT_FOUND,
        f"{WIDGET} has no device {'x' * 40!r}",
    )
    code, text = failure(client.allocate, ["sick"])
    assert code is grpc.StatusCode.FAILED_PRECONDITION
    assert "it is hot" in text
    assert failure(client.allocate)[0] is grpc.StatusCode.FAILED_PRECONDITION
    assert failure(client.allocate, [])[0] is grpc.StatusCode.FAILED_PRECONDITION
    code, text = failure(client.allocate, ["c0", "c1"])
    assert code is grpc.StatusCode.FAILED_PRECONDITION
    assert "/dev/c" in text
    rig.wait_while(lambda: rig.wire.counts()[WIDGET].allocations != {"ok": 0, "refused": 5, "failed": 0, "timed_out": 0})
    assert sum(rig.wire.counts()[WIDGET].allocation_buckets) == 5


def test_ten_thousand_ids_are_one_answer(rig: Rig) -> None:
    """A request of that size is odd, and still right."""
    rig.offer(devices(10_000))
    [container] = rig.client().allocate([f"w{n}" for n in range(10_000)])
    assert len(container.devices) == 10_000


@settings(max_examples=50, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(asked=st.lists(st.text(max_size=80), max_size=4))
def test_odd_ids_are_unknown_and_nothing_worse(served: Client, asked: list[str]) -> None:
    """Whatever characters come, the answer is a refusal, and the next call is answered."""
    assert failure(served.allocate, asked)[0] in {grpc.StatusCode.NOT_FOUND, grpc.StatusCode.FAILED_PRECONDITION}
    assert len(served.allocate(["w0"])) == 1
    served.prefer(asked, asked, len(asked))


@pytest.fixture
def served(rig: Rig) -> Client:
    """Give a client of a resource with one device."""
    rig.offer(devices(1))
    return rig.client()


@pytest.fixture
def gate() -> Iterator[Gate]:
    """Give plugin code that hangs until it is let go; at the end it is."""
    gate = Gate()
    yield gate
    gate.open.set()


# --- plugins that act -------------------------------------------------------------------------------------------------


def test_a_plugin_answers_allocate_itself(rig: Rig) -> None:
    """It is given the resource, the devices in the inventory's order and the default answer."""

    def allocate(resource: str, given: Sequence[Device], edits: ContainerEdits) -> ContainerEdits:
        names = f"{resource} {','.join(device.id for device in given)} {len(edits.device_nodes)}"
        return ContainerEdits(envs={"TOLD": names, "THREAD": threading.current_thread().name})

    rig.offer(devices(2), Allocating(allocate))
    [container] = rig.client().allocate(["w1", "w0"])
    assert container.envs["TOLD"] == f"{WIDGET} w0,w1 2"
    assert container.envs["THREAD"].startswith("slots-")


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (AllocationRefused("not today"), grpc.StatusCode.FAILED_PRECONDITION),
        (AllocationRefused("/dev/\udcff " + "x" * 5000), grpc.StatusCode.FAILED_PRECONDITION),
        (PluginFailed("the child has died"), grpc.StatusCode.INTERNAL),
        (KeyError("x"), grpc.StatusCode.INTERNAL),
        (SystemExit(3), grpc.StatusCode.INTERNAL),
        (Mute(), grpc.StatusCode.INTERNAL),
    ],
    ids=["refused", "refused at length", "failed", "raised", "exited", "mute"],
)
def test_a_plugin_that_raises_fails_that_call(rig: Rig, error: BaseException, code: grpc.StatusCode) -> None:
    """The status tells a refusal from a fault, the text is short, and the next call is asked again."""
    answers = (raising(error), lambda *_: ContainerEdits())
    rig.offer(devices(1), Allocating(in_turn(*answers)))
    client = rig.client()
    found, text = failure(client.allocate, ["w0"])
    assert found is code
    assert 0 < len(text) <= 512
    assert len(client.allocate(["w0"])) == 1
    outcome = "refused" if code is grpc.StatusCode.FAILED_PRECONDITION else "failed"
    rig.wait_while(lambda: rig.wire.counts()[WIDGET].allocations[outcome] != 1)


@pytest.mark.parametrize("answer", [None, {}, ContainerEdits((DeviceNode("x"),)), ContainerEdits(envs={"A": None})], ids=repr)  # type: ignore[dict-item]
def test_garbage_from_a_plugin_fails_that_call(rig: Rig, answer: object) -> None:
    """It never reaches the kubelet, and the text says what is wrong."""
    rig.offer(devices(1), Allocating(lambda *_: answer))
    code, text = failure(rig.client().allocate, ["w0"])
    assert code is grpc.StatusCode.INTERNAL
    assert "unusable" in text


def test_after_a_late_allocate_others_fail_at_once_until_it_has_come_back(rig: Rig, gate: Gate) -> None:
    """The breaker: no second thread is lost to a plugin that hangs, and the late answer is dropped."""
    answers = (gate, lambda *_: ContainerEdits(envs={"A": "1"}))
    rig.offer(devices(2), Allocating(in_turn(*answers)), allocate_timeout=0.05)
    client = rig.client()
    assert failure(client.allocate, ["w0"])[0] is grpc.StatusCode.DEADLINE_EXCEEDED
    code, text = failure(client.allocate, ["w1"])
    assert code is grpc.StatusCode.INTERNAL
    assert "has not come back" in text
    gate.open.set()
    assert gate.ended.wait(SOON)
    while (late := client.future(["w1"])).exception() is not None:
        assert "has not come back" in late.exception().details()
    assert dict(late.result().container_responses[0].envs) == {"A": "1"}
    rig.wait_while(lambda: rig.wire.counts()[WIDGET].allocations["timed_out"] != 1)


def test_an_allocate_that_the_kubelet_gives_up_still_keeps_its_slot(rig: Rig, gate: Gate) -> None:
    """Cancelling the call does not end the plugin's thread, so the breaker is closed all the same."""
    rig.offer(devices(1), Allocating(gate), allocate_timeout=1.0)
    client = rig.client()
    call = client.future(["w0"])
    assert gate.begun.wait(SOON)
    call.cancel()
    rig.wait_while(lambda: "has not come back" not in failure(client.allocate, ["w0"])[1])


def test_a_hanging_allocate_delays_nobody_else(rig: Rig, gate: Gate) -> None:
    """Another resource, lists and options are answered meanwhile."""
    rig.offer(devices(1), Allocating(gate))
    rig.offer(devices(1), resource="example.com/other")
    call = rig.client().future(["w0"])
    assert gate.begun.wait(SOON)
    assert len(rig.client("example.com/other").allocate(["w0"])) == 1
    assert ids(next(rig.client().stream())) == ["w0"]
    gate.open.set()
    assert call.result().container_responses


def test_another_plugin_object_can_take_a_resource_over(rig: Rig) -> None:
    """From the next call on; the stream stays."""
    rig.offer(devices(1), Allocating(lambda *_: ContainerEdits(envs={"BY": "one"})))
    client = rig.client()
    stream = client.stream()
    next(stream)
    rig.wire.replace_calls(WIDGET, rig.calls(Allocating(lambda *_: ContainerEdits(envs={"BY": "two"}))))
    rig.wait_while(lambda: client.allocate(["w0"])[0].envs["BY"] == "one")
    assert rig.level().streams == 1


# --- advice -----------------------------------------------------------------------------------------------------------


def test_the_default_advice_keeps_to_one_node(rig: Rig) -> None:
    """From the node of what must be included."""
    rig.offer([Device(f"w{n}", topology=Topology((n % 2,))) for n in range(6)])
    assert rig.client().prefer([f"w{n}" for n in range(6)], ["w1"], 3) == ["w1", "w3", "w5"]


def test_a_plugin_may_advise(rig: Rig) -> None:
    """Its order is passed on as it is."""
    rig.offer(devices(3), Advising(lambda resource, available, must, size: reversed(available[:size])))
    assert rig.client().prefer(["w0", "w1", "w2"], [], 2) == ["w1", "w0"]


class Trap(Sequence[str]):
    """A list that can be looked into only by code that raises."""

    def __getitem__(self, at: Any) -> Any:
        raise RuntimeError

    def __len__(self) -> int:
        raise RuntimeError


@pytest.mark.parametrize(
    "advise",
    [
        raising(ValueError()),
        raising(Mute()),
        lambda *_: None,
        lambda *_: "w2",
        lambda *_: [["w2"]],
        lambda *_: ["w2"],
        lambda *_: ["w1", "w2"],
        lambda *_: ["w0", "w9"],
        lambda *_: ["w0", "w0"],
        lambda *_: Trap(),
    ],
    ids=["raises", "mute", "nothing", "a string", "nested", "too few", "without what must be", "unknown", "twice", "trap"],
)
def test_bad_advice_is_replaced_by_the_default(rig: Rig, advise: Callable[..., Any]) -> None:
    """An error here would reject the pod, so there is none."""
    rig.offer(devices(3), Advising(advise))
    assert rig.client().prefer(["w0", "w1", "w2"], ["w0"], 2) == ["w0", "w1"]


def test_late_advice_is_replaced_by_the_default(rig: Rig, gate: Gate) -> None:
    """And the plugin's hanging thread does not stop its Allocate."""
    rig.offer(devices(3), Advising(gate), preferred_allocation_timeout=0.05)
    client = rig.client()
    assert client.prefer(["w1", "w2"], [], 1) == ["w1"]
    assert len(client.allocate(["w0"])) == 1


# --- before a container starts ----------------------------------------------------------------------------------------


def test_pre_start_reaches_the_plugin_with_unhealthy_devices_too(rig: Rig) -> None:
    """It may bring them back."""
    given: list[tuple[str, ...]] = []
    plugin = Preparing(lambda resource, listed: given.append((resource, *(device.id for device in listed))))
    rig.offer([*devices(1), Device("sick", Health.UNHEALTHY)], plugin, pre_start=True)
    rig.client().pre_start("sick", "w0")
    assert given == [(WIDGET, "w0", "sick")]


def test_pre_start_of_a_resource_without_need_is_granted(rig: Rig) -> None:
    """A kubelet that was told otherwise before asks in vain, and gets a yes."""
    rig.offer(devices(1), Preparing(raising(ValueError())))
    rig.client().pre_start("w0")


@pytest.mark.parametrize(
    ("pre_start", "device", "code"),
    [
        (raising(AllocationRefused("busy")), "w0", grpc.StatusCode.FAILED_PRECONDITION),
        (raising(ValueError("odd")), "w0", grpc.StatusCode.INTERNAL),
        (lambda *_: None, "w9", grpc.StatusCode.NOT_FOUND),
    ],
    ids=["refused", "raises", "unknown device"],
)
def test_a_failing_pre_start_has_a_status(rig: Rig, pre_start: Callable[..., None], device: str, code: grpc.StatusCode) -> None:
    """The kubelet tries again for it."""
    rig.offer(devices(1), Preparing(pre_start), pre_start=True)
    assert failure(rig.client().pre_start, device)[0] is code


def test_starts_that_take_long_delay_no_allocate(rig: Rig, gate: Gate) -> None:
    """However many there are: a pod whose start fails is tried again, one whose ``Allocate`` fails is rejected for good."""

    class Both(Preparing, Allocating):
        def __init__(self) -> None:
            Preparing.__init__(self, gate)
            Allocating.__init__(self, lambda *_: ContainerEdits(envs={"A": "1"}))

    rig.offer(devices(1), Both(), pre_start=True)
    with ThreadPoolExecutor(8) as callers:
        starts = [callers.submit(rig.client().pre_start, "w0") for _ in range(8)]
        assert gate.begun.wait(SOON)
        assert dict(rig.client().allocate(["w0"])[0].envs) == {"A": "1"}
        gate.open.set()
        assert all(start.result() is not None for start in starts)


def test_a_late_pre_start_fails(rig: Rig, gate: Gate) -> None:
    """Before the kubelet would give up by itself."""
    rig.offer(devices(1), Preparing(gate), pre_start=True, pre_start_timeout=0.05)
    assert failure(rig.client().pre_start, "w0")[0] is grpc.StatusCode.DEADLINE_EXCEEDED
