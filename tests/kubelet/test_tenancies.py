"""Two ids of one piece of hardware, asked for over real sockets: one is granted, when it stands on the disk, and one is refused."""

import errno
import itertools
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import grpc
import pytest

from supervisor.errors import AllocationRefused
from supervisor.inventory import Inventory
from supervisor.kubelet import tenancies
from supervisor.kubelet.tenancies import Tenancies
from supervisor.model import ContainerEdits, Device, Health
from supervisor.tenancy import Tenant
from tests.kubelet.rig import SOON, Client, Rig, ids, short_directory

LEFT, RIGHT = "example.com/left", "example.com/right"
REFUSED = grpc.StatusCode.FAILED_PRECONDITION


class Disk:
    """What is written, and whether that can be done now."""

    def __init__(self) -> None:
        self.written: list[Mapping[str, Tenant]] = []
        self.problem: OSError | None = None
        self.begun = threading.Semaphore(0)
        self.open = threading.Event()
        self.open.set()

    def write(self, claims: Mapping[str, Tenant]) -> None:
        self.begun.release()
        assert self.open.wait(SOON)
        if self.problem is not None:
            raise self.problem
        self.written.append(claims)

    @property
    def now(self) -> dict[str, str]:
        """Claim to device."""
        return {claim: tenant.device for claim, tenant in self.written[-1].items()} if self.written else {}


class Plugin:
    """Answers as it is told to."""

    def __init__(self, allocate: Callable[[], ContainerEdits] = ContainerEdits) -> None:
        self.answer = allocate
        self.prepared: list[str] = []

    def allocate(self, resource: str, devices: Any, edits: ContainerEdits) -> ContainerEdits:
        return self.answer()

    def pre_start_required(self, resource: str) -> bool:
        return True

    def pre_start(self, resource: str, devices: Any) -> None:
        self.prepared += [device.id for device in devices]


@pytest.fixture
def disk() -> Disk:
    return Disk()


@contextmanager
def serving(disk: Disk) -> Iterator[Rig]:
    """A process of its own."""
    with short_directory() as directory:
        rig = Rig(directory, Tenancies(disk.write))
        try:
            yield rig
        finally:
            disk.open.set()
            rig.close()
        assert rig.wire.failure is None


@pytest.fixture
def rig(disk: Disk) -> Iterator[Rig]:
    with serving(disk) as rig:
        yield rig


def offer(rig: Rig, plugin: Plugin | None = None) -> tuple[Client, Client]:
    """Two resources, of which each can have either of two regions."""
    for resource, name in ((LEFT, "left"), (RIGHT, "right")):
        units = [Device(f"r{n}@{name}", claim=f"r{n}") for n in range(2)]
        rig.offer([*units, Device(f"plain-{name}")], plugin, resource, pre_start=plugin is not None)
    return rig.client(LEFT), rig.client(RIGHT)


def failure(call: Callable[..., Any], *arguments: Any) -> tuple[grpc.StatusCode, str]:
    """The status and the text of a call that must fail."""
    with pytest.raises(grpc.RpcError) as caught:
        call(*arguments)
    error: Any = caught.value
    return error.code(), error.details()


def in_use(name: str, device: str) -> str:
    """Why another device of that region is refused."""
    return f"cannot be had: its hardware is in use as {device} of example.com/{name}"


@pytest.mark.parametrize("order", list(itertools.permutations((0, 1))), ids=["left first", "right first"])
def test_of_two_calls_at_once_one_has_it(rig: Rig, disk: Disk, order: tuple[int, ...]) -> None:
    """Both lists are right and both are on their way within a millisecond; the second is refused while the first is written."""
    clients = offer(rig)
    wanted = ("r0@left", "r0@right")
    disk.open.clear()
    first = clients[order[0]].future([wanted[order[0]]])
    assert disk.begun.acquire(timeout=SOON)
    status, text = failure(clients[order[1]].allocate, [wanted[order[1]]])
    assert status is REFUSED
    assert in_use(("left", "right")[order[0]], wanted[order[0]]) in text
    assert not first.done(), "it is not granted before it is written"
    disk.open.set()
    assert first.result(SOON)
    assert disk.now == {"r0": wanted[order[0]]}


def test_of_many_calls_at_once_one_id_has_it(rig: Rig, disk: Disk) -> None:
    """All sent before any is answered; every call for that id is granted, no other."""
    clients = offer(rig)
    calls = [(side, clients[side].future([f"r0@{('left', 'right')[side]}"])) for side in (0, 1) * 10]
    granted = {side for side, call in calls if call.exception(SOON) is None}
    refused = {side for side, call in calls if call.exception(SOON) is not None}
    assert len(granted) == 1
    assert refused == {0, 1} - granted
    assert disk.now == {"r0": f"r0@{('left', 'right')[granted.pop()]}"}


def test_the_same_id_again_and_another_region_are_granted(rig: Rig, disk: Disk) -> None:
    """A retry writes nothing anew; without a claim there is nothing to write."""
    left, right = offer(rig)
    left.allocate(["plain-left"])
    assert disk.written == []
    left.allocate(["r0@left"])
    left.allocate(["r0@left", "plain-left"], ["r0@left"])
    assert len(disk.written) == 1
    right.allocate(["r1@right"])
    assert disk.now == {"r0": "r0@left", "r1": "r1@right"}


def test_a_request_for_two_ids_of_one_region_takes_nothing(rig: Rig, disk: Disk) -> None:
    """In one container or in two."""
    rig.offer([Device("a", claim="r"), Device("b", claim="r"), Device("c", claim="s")], resource=LEFT)
    client = rig.client(LEFT)
    for containers in ([["c", "a", "b"]], [["a"], ["b"]]):
        status, text = failure(client.allocate, *containers)
        assert (status, text) == (REFUSED, "example.com/left devices 'a' and 'b' are the same hardware: ask for one")
    client.allocate(["b"])
    assert disk.now == {"r": "b"}


def test_what_cannot_be_written_is_refused_with_the_reason(rig: Rig, disk: Disk) -> None:
    """A full disk today, and room again tomorrow; meanwhile nobody has the region, and other devices are granted."""
    left, right = offer(rig)
    disk.problem = OSError(errno.ENOSPC, "No space left on device")
    status, text = failure(left.allocate, ["r0@left"])
    assert (status, text) == (REFUSED, "who has its hardware could not be written down: No space left on device")
    left.allocate(["plain-left"])
    disk.problem = None
    right.allocate(["r0@right"])
    assert disk.now == {"r0": "r0@right"}


def test_a_disk_that_hangs_delays_nobody_else(rig: Rig, disk: Disk, monkeypatch: pytest.MonkeyPatch) -> None:
    """The call is refused in time; what is written late after all is put right."""
    monkeypatch.setattr(tenancies, "WRITE_TIMEOUT", 0.2)
    left, right = offer(rig)
    disk.open.clear()
    waiting = left.future(["r0@left"])
    assert disk.begun.acquire(timeout=SOON)
    right.allocate(["plain-right"])
    assert waiting.exception(SOON).details().endswith("could not be written down: the disk has not answered for 0.2 s")
    assert rig.wire.tenants() == {}
    disk.open.set()
    monkeypatch.setattr(tenancies, "WRITE_TIMEOUT", SOON)
    right.allocate(["r0@right"])
    assert disk.now == {"r0": "r0@right"}


def refused() -> ContainerEdits:
    """A plugin that grants nothing."""
    raise AllocationRefused("not today")


@pytest.mark.parametrize("how", ["refuses", "is late"])
def test_what_the_plugin_does_not_grant_is_free_again(rig: Rig, disk: Disk, how: str) -> None:
    """And the file says so, too."""
    come_back = threading.Event()

    def late() -> ContainerEdits:
        assert come_back.wait(SOON)
        return ContainerEdits()

    plugin = Plugin(refused if how == "refuses" else late)
    rig.offer([Device("a", claim="r")], plugin, LEFT, allocate_timeout=0.2)
    rig.offer([Device("b", claim="r")], resource=RIGHT)
    failure(rig.client(LEFT).allocate, ["a"])
    rig.client(RIGHT).allocate(["b"])
    come_back.set()
    assert disk.now == {"r": "b"}


def test_a_call_that_the_kubelet_gave_up_takes_nothing(rig: Rig, disk: Disk) -> None:
    """It got no answer, so no pod has the device."""
    left, right = offer(rig)
    disk.open.clear()
    call = left.future(["r0@left"])
    assert disk.begun.acquire(timeout=SOON)
    call.cancel()
    rig.wait_while(lambda: bool(rig.wire._tenancies._table._entries))
    disk.open.set()
    right.allocate(["r0@right"])
    assert disk.now == {"r0": "r0@right"}


def test_pre_start_is_refused_for_who_does_not_have_it(rig: Rig) -> None:
    """However it came to hold the id; the one that has it may start as often as it likes."""
    plugin = Plugin()
    left, right = offer(rig, plugin)
    left.allocate(["r0@left"])
    left.pre_start("r0@left")
    left.pre_start("r0@left")
    status, text = failure(right.pre_start, "r0@right")
    assert status is REFUSED
    assert in_use("left", "r0@left") in text
    assert plugin.prepared == ["r0@left"] * 2


def test_pre_start_takes_what_nobody_has(rig: Rig, disk: Disk) -> None:
    """After a boot of the node the kubelet starts pods again without asking for their devices; a broken device is accepted."""
    plugin = Plugin()
    rig.offer([Device("a", Health.UNHEALTHY, "hot", claim="r")], plugin, LEFT, pre_start=True)
    rig.offer([Device("b", claim="r")], resource=RIGHT)
    disk.problem = OSError(errno.EROFS, "Read-only file system")
    assert failure(rig.client(LEFT).pre_start, "a")[1].endswith("Read-only file system")
    assert plugin.prepared == []
    disk.problem = None
    rig.client(LEFT).pre_start("a")
    assert disk.now == {"r": "a"}
    assert failure(rig.client(RIGHT).allocate, ["b"])[0] is REFUSED


def test_advice_names_nothing_that_would_be_refused(rig: Rig) -> None:
    """The kubelet's list of free ids may be older than what was taken; where nothing else is left it is advised all the same."""
    left, right = offer(rig)
    left.allocate(["r0@left"])
    everything = ["r0@right", "r1@right", "plain-right"]
    assert set(right.prefer(everything, [], 2)) == {"r1@right", "plain-right"}
    assert set(right.prefer(everything, [], 3)) == set(everything)
    assert left.prefer(["r0@left"], ["r0@left"], 1) == ["r0@left"]
    rig.offer([Device("a", claim="r"), Device("b", claim="r"), Device("c", claim="s")], resource="example.com/both")
    assert rig.client("example.com/both").prefer(["a", "b", "c"], [], 2) == ["a", "c"]


def test_an_occupied_device_is_listed_unhealthy_and_refused(rig: Rig) -> None:
    """The kubelet knows two words; the pod's status says the third."""
    device = Device("a", Health.OCCUPIED, "its hardware is in use as b", claim="r")
    rig.offer([device], resource=LEFT)
    client = rig.client(LEFT)
    assert [each.health for each in next(client.stream()).devices] == ["Unhealthy"]
    status, text = failure(client.allocate, ["a"])
    assert (status, text) == (REFUSED, "example.com/left device 'a' cannot be had: its hardware is in use as b")


def test_a_successor_knows_what_was_taken(rig: Rig, disk: Disk) -> None:
    """What it was told before it registered, it keeps to; and it writes it where it now belongs."""
    offer(rig)[0].allocate(["r0@left"])
    other = Disk()
    with serving(other) as heir:
        heir.wire.recall(disk.written[-1])
        _, right = offer(heir)
        assert in_use("left", "r0@left") in failure(right.allocate, ["r0@right"])[1]
        right.allocate(["r1@right"])
        assert other.now == {"r0": "r0@left", "r1": "r1@right"}
        heir.wire.recall({})
        heir.wait_while(lambda: len(other.written) < 3)
        assert other.now == {"r0": "r0@left", "r1": "r1@right"}


def test_what_is_let_go_can_be_had_by_another(rig: Rig, disk: Disk) -> None:
    """Unless the kubelet has named the id again since somebody looked."""
    left, right = offer(rig)
    left.allocate(["r0@left"])
    seen = rig.wire.tenants()
    left.allocate(["r0@left"])
    rig.wire.release(seen)
    assert failure(right.allocate, ["r0@right"])[0] is REFUSED
    rig.wire.release(rig.wire.tenants())
    right.allocate(["r0@right"])
    assert disk.now == {"r0": "r0@right"}


def test_who_is_found_to_hold_it_has_it(rig: Rig) -> None:
    """The ledger knows of pods from before there was a file."""
    _, right = offer(rig)
    rig.wire.adopt({"r0": Tenant(LEFT, "r0@left", 5.0)})
    assert in_use("left", "r0@left") in failure(right.allocate, ["r0@right"])[1]


def test_a_list_can_be_sent_again_as_it_is(rig: Rig) -> None:
    """The kubelet writes its checkpoint anew upon it."""
    feed = rig.offer([Device("a")], resource=LEFT)
    stream = rig.client(LEFT).stream()
    assert ids(next(stream)) == ["a"]
    rig.wait(lambda: rig.level(LEFT).streams)
    rig.wire.repeat_any()
    assert ids(next(stream)) == ["a"]
    feed.publish(Inventory.of(LEFT, [Device("b")]))
    assert ids(next(stream)) == ["b"]
