"""The plugin object: looks become devices, what is asked for decides how much is read, and memory goes from owner to owner."""

from collections.abc import AsyncGenerator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from typing import Any

import msgspec
import pytest
import trio
from msgspec.structs import replace

from supervisor import AllocationRefused, Device, Health, Host
from supervisor.testing import FakeMemory, check_plugin
from supervisor_infiniband.assembly import plugin
from supervisor_infiniband.config import InfinibandConfig
from supervisor_infiniband.plugin import InfinibandPlugin
from supervisor_infiniband.report import Change, Link, Poll, RdmaDevice, Report
from tests.plugins.infiniband.functions import DOWN, pf, port, vf

HCA = "rdma/hca"
SOON = 20.0


class Script:
    """A source that says what a test wants, and notes what it is asked."""

    restarts = 0

    def __init__(self, *devices: RdmaDevice, mode: str = "shared") -> None:
        nodes = frozenset(device.uverbs for device in devices if device.uverbs) | {"rdma_cm"}
        self.report = msgspec.convert({"netns_mode": mode}, Report)
        self.report = replace(self.report, devices=devices, nodes=nodes)
        self.followed: Report | None = None
        """What it knows without reading all devices; ``None``: it would have to."""
        self.asked: list[str] = []
        self.send, self._receive = trio.open_memory_channel[Poll](100)

    def look(self) -> Report:
        self.asked.append("look")
        return self.report

    def follow(self) -> Report | None:
        self.asked.append("follow")
        return self.followed

    async def events(self) -> AsyncGenerator[Poll, None]:
        async for poll in self._receive:
            yield poll


def made(source: Script, memory: FakeMemory | None = None, clock: Callable[[], float] = lambda: 1000.0, **section: Any) -> Any:
    """The plugin with this source."""
    config = msgspec.convert(section, InfinibandConfig)
    return InfinibandPlugin(config, Host(sysfs="/nonexistent"), memory or FakeMemory(), source, clock)


def health(devices: Mapping[str, Sequence[Device]], resource: str = HCA) -> dict[str, bool]:
    return {device.id: device.health is Health.HEALTHY for device in devices[resource]}


def with_link(device: RdmaDevice, link: Link) -> RdmaDevice:
    return replace(device, ports=tuple(replace(one, link=link) for one in device.ports))


@asynccontextmanager
async def watching(watched: Any) -> AsyncGenerator[trio.MemoryReceiveChannel[None], None]:
    """The looks that it asks for."""
    send, receive = trio.open_memory_channel[None](100)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(watched.watch, lambda: send.send_nowait(None))
        with trio.fail_after(SOON):
            yield receive
        nursery.cancel_scope.cancel()


@pytest.mark.parametrize("layout", ["dual-port-infiniband", "roce-16-vfs", "rails-8"])
def test_it_keeps_the_contract(layout: str) -> None:
    """Everything that the supervisor does with a plugin, with simulated machines."""
    simulated = plugin(msgspec.convert({"simulate": {"layout": layout}}, InfinibandConfig), Host(), FakeMemory())
    report = check_plugin(simulated)
    assert (report.problems, report.advice) == ((), ()), str(report)


async def test_a_port_is_followed_without_reading_all_devices() -> None:
    """The list is not to wait until everything has been read; what it says is what the poll has told."""
    source = Script(pf(0), pf(1))
    watched = made(source, health={"holdDown": 0})
    assert health(watched.discover()) == {"0000:3b:00.0": True, "0000:3b:00.1": True}
    async with watching(watched) as asked:
        source.followed = replace(source.report, devices=(with_link(pf(0), DOWN), pf(1)))
        await source.send.send(Poll((Change("0000:3b:00.0", 1, DOWN),)))
        await asked.receive()
        assert health(watched.discover()) == {"0000:3b:00.0": False, "0000:3b:00.1": True}
    assert source.asked == ["look", "follow"]


@pytest.mark.parametrize(
    "poll", [Poll(structure=True), Poll((Change("0000:3b:00.0", 1, DOWN),), structure=True)], ids=["alone", "with-a-port"]
)
async def test_another_structure_is_read(poll: Poll) -> None:
    """Also where a port has changed at the same time."""
    source = Script(pf(0))
    watched = made(source, health={"holdDown": 0})
    watched.discover()
    async with watching(watched) as asked:
        await source.send.send(poll)
        await asked.receive()
        watched.discover()
    assert source.asked == ["look", "look"]


async def test_what_cannot_be_followed_is_read() -> None:
    """The source knows when polls alone do not tell everything."""
    source = Script(pf(0))
    watched = made(source, health={"holdDown": 0})
    watched.discover()
    async with watching(watched) as asked:
        await source.send.send(Poll((Change("0000:3b:00.0", 1, DOWN),)))
        await asked.receive()
        watched.discover()
    assert source.asked == ["look", "follow", "look"]


def test_a_look_that_nobody_explains_reads_everything() -> None:
    """As one after an event of the kernel."""
    source = Script(pf(0))
    looked = made(source)
    looked.discover()
    looked.discover()
    assert source.asked == ["look", "look"]


def test_several_devices_share_one_environment() -> None:
    """Lists in step, in the order that was asked."""
    asked = made(Script(pf(0), pf(1)))
    devices = {device.id: device for device in asked.discover()[HCA]}
    given = asked.allocate(HCA, [devices["0000:3b:00.1"], devices["0000:3b:00.0"]], devices["0000:3b:00.1"].edits)
    assert given.envs["RDMA_DEVICES"] == "mlx5_1,mlx5_0"
    assert [node.host_path for node in given.device_nodes] == [
        "/dev/infiniband/uverbs1",
        "/dev/infiniband/rdma_cm",
        "/dev/infiniband/uverbs0",
    ]


def test_what_has_gone_is_refused() -> None:
    """The list that the kubelet holds may be older than the newest look."""
    source = Script(pf(0), pf(1))
    asked = made(source)
    devices = asked.discover()[HCA]
    source.report = replace(source.report, devices=(pf(0),))
    asked.discover()
    with pytest.raises(AllocationRefused, match=r"0000:3b:00\.1 is not there any more"):
        asked.allocate(HCA, devices, devices[0].edits)


def test_nothing_is_given_before_the_first_look() -> None:
    """Nobody knows then what there is."""
    with pytest.raises(AllocationRefused, match="have not been looked at"):
        made(Script(pf(0))).allocate(HCA, [Device("0000:3b:00.0")], Device("0000:3b:00.0").edits)


def test_a_device_stays_with_its_resource_over_a_restart() -> None:
    """A pod that takes a VF's interface makes the rule on it stop fitting; another resource must not offer the VF then."""
    section: dict[str, Any] = {"resources": [{"name": "fast", "match": [{"linkType": ["infiniband"]}]}, {"name": "rest"}]}
    memory = FakeMemory()
    first = made(Script(pf(0)), memory, **section)
    first.take_over()
    assert [device.id for device in first.discover()["rdma/fast"]] == ["0000:3b:00.0"]
    alone = replace(pf(0), ports=(port(interface=""),))
    second = made(Script(alone), memory, **section)
    second.take_over()
    found = second.discover()
    assert ([device.id for device in found["rdma/fast"]], found["rdma/rest"]) == (["0000:3b:00.0"], [])


def test_what_is_away_is_told_and_stays_healthy() -> None:
    """It is in use elsewhere, with the facts that were known of it; a container that asks for it now is refused."""
    source = Script(pf(0), mode="exclusive")
    asked = made(source)
    asked.discover()
    away = RdmaDevice("0000:3b:00.0", "mlx5_0", "pf", uverbs="uverbs0", elsewhere=True)
    source.report = replace(source.report, devices=(away,))
    devices = asked.discover()[HCA]
    assert (devices[0].healthy, devices[0].topology.numa_nodes) == (True, (0,))
    assert any("another network namespace" in line for line in asked.explain("mlx5_0"))
    with pytest.raises(AllocationRefused, match="namespace"):
        asked.allocate(HCA, devices, devices[0].edits)


def test_who_waits_for_nothing_is_told_nothing() -> None:
    """A node without RDMA is quiet, unless somebody has named resources there."""
    source = Script()
    source.report = replace(source.report, notices=("the kernel module ib_core is not loaded",))
    quiet, waiting = made(source), made(source, resources=[{"name": "hca"}])
    assert (quiet.discover(), waiting.discover()) == ({}, {HCA: []})
    assert (list(quiet.notices()), list(waiting.notices())) == ([], ["the kernel module ib_core is not loaded"])


def test_what_makes_no_sense_is_told() -> None:
    """From the first look on, when no resource has taken it yet."""
    looked = made(Script(pf(0), pf(1, problem="its port 1 has the state 'purple'")))
    assert health(looked.discover()) == {"0000:3b:00.0": True}
    assert any("purple" in notice for notice in looked.notices())


def test_a_vf_is_offered_beside_its_function() -> None:
    """By the default resources; the function itself would give away what the VF hangs on."""
    looked = made(Script(pf(0, vfs=1), vf(0)))
    assert {resource: [device.id for device in devices] for resource, devices in looked.discover().items() if devices} == {
        "rdma/vf": ["0000:3b:01.0"]
    }
