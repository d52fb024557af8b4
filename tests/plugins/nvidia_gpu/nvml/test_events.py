import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import replace

import pytest
import trio
import trio.testing

from supervisor_nvidia_gpu.probe import Probe
from supervisor_nvidia_gpu.report import GpuEvent
from tests.plugins.nvidia_gpu.fakenvml import layouts
from tests.plugins.nvidia_gpu.fakenvml.handle import GPU_IS_LOST, UNKNOWN
from tests.plugins.nvidia_gpu.nvml.rig import Node

WAIT = "nvmlEventSetWait_v2"


class Ear:
    """What was heard so far."""

    def __init__(self) -> None:
        self.heard: list[GpuEvent] = []
        self._more = trio.Event()

    def put(self, event: GpuEvent) -> None:
        self.heard.append(event)
        self._more.set()

    async def until(self, enough: Callable[[list[GpuEvent]], object]) -> list[GpuEvent]:
        """Wait until what was heard is enough, and forget it. Raises ``trio.TooSlowError``."""
        with trio.fail_after(30):
            while not enough(self.heard):
                self._more = trio.Event()
                await self._more.wait()
        heard, self.heard = self.heard, []
        return heard

    async def kinds(self, *kinds: str) -> list[GpuEvent]:
        """Wait for events of all these kinds."""
        return await self.until(lambda heard: set(kinds) <= {event.kind for event in heard})


@asynccontextmanager
async def listening(node: Node, probe: Probe, *, looks: bool = True) -> AsyncIterator[Ear]:
    """A plugin that listens, and if ``looks``, looks first and after each event."""
    ear, due = Ear(), trio.Event()

    async def listen() -> None:
        async for event in probe.events():
            ear.put(event)
            due.set()

    async def look() -> None:
        nonlocal due
        while True:
            await due.wait()
            due = trio.Event()
            await trio.to_thread.run_sync(probe.look)

    async with trio.open_nursery() as nursery:
        nursery.start_soon(listen)
        if looks:
            await trio.to_thread.run_sync(probe.look)
            nursery.start_soon(look)
            await armed(node)
        yield ear
        nursery.cancel_scope.cancel()


async def armed(node: Node, calls: int = 1) -> None:
    """Until so many waits for events were begun."""
    await trio.to_thread.run_sync(lambda: node.nvml.wait_for(lambda nvml: nvml.calls()[WAIT] >= calls, 30))


async def test_an_xid(node: Node) -> None:
    """It has its number, its GPU, and the instances where the driver names them; the time is that of this boot."""
    layout = layouts.two_a100_uniform_mig()
    node.show(layout)
    before = time.monotonic()
    async with listening(node, node.probe()) as ear:
        node.nvml.xid(1, 79)
        node.nvml.xid(0, 94, gi=3, ci=0)
        node.nvml.xid(None, 48)
        whole, part, any_gpu = await ear.until(lambda heard: len(heard) >= 3)
    assert (whole.kind, whole.xid, whole.uuid) == ("xid", 79, layout.gpus[1].uuid)
    assert (whole.gpu_instance, whole.compute_instance) == (None, None)
    assert (part.xid, part.uuid, part.gpu_instance, part.compute_instance) == (94, layout.gpus[0].uuid, 3, 0)
    assert (any_gpu.xid, any_gpu.uuid) == (48, "")
    assert before <= whole.at <= part.at <= any_gpu.at <= time.monotonic()


async def test_newer_kinds(node: Node) -> None:
    """Where the driver has them, it tells of recovery actions, changes of MIG and unavailable GPUs."""
    layout = layouts.dgx_h100()
    node.show(layout)
    async with listening(node, node.probe()) as ear:
        node.nvml.event("recovery-action", 2, 4)
        node.nvml.event("mig-changed", 3)
        node.nvml.event("unavailable", 4)
        heard = await ear.until(lambda heard: len(heard) >= 3)
    assert [(event.kind, event.uuid, event.xid) for event in heard] == [
        ("recovery-action", layout.gpus[2].uuid, 0),
        ("mig-changed", layout.gpus[3].uuid, 0),
        ("unavailable", layout.gpus[4].uuid, 0),
    ]
    assert heard[0].detail == "action 4"


async def test_an_old_driver_is_asked_for_what_it_has(node: Node) -> None:
    """A driver that knows only XIDs is not asked for more, which would be an error."""
    node.show(layouts.dgx_a100())
    async with listening(node, node.probe()) as ear:
        node.nvml.event("recovery-action", 2, 1)
        node.nvml.xid(2, 63)
        (event,) = await ear.kinds("xid")
    assert event.xid == 63


async def test_a_gpu_without_events_silences_no_other(node: Node) -> None:
    """A model that reports nothing, or cannot be registered, is left out."""
    layout = layouts.l40s_pcie().with_gpu(0, events=None)
    node.show(layout)
    node.nvml.fail("nvmlDeviceRegisterEvents", UNKNOWN, gpu=1)
    async with listening(node, node.probe()) as ear:
        node.nvml.xid(3, 31)
        (event,) = await ear.kinds("xid")
    assert event.uuid == layout.gpus[3].uuid


async def test_a_burst_is_heard_whole(node: Node) -> None:
    """A thousand XIDs at once arrive in their order."""
    node.show(layouts.l40s_pcie())

    def burst() -> None:
        for number in range(1000):
            node.nvml.xid(number % 4, 1 + number)

    async with listening(node, node.probe()) as ear:
        await trio.to_thread.run_sync(burst)
        heard = await ear.until(lambda heard: len(heard) >= 1000)
    assert [event.xid for event in heard] == list(range(1, 1001))


async def test_listening_starts_no_process(node: Node) -> None:
    """A look does; until then the listener waits, and misses nothing of the process that the look starts."""
    node.show(layouts.l40s_pcie())
    probe = node.probe()
    async with listening(node, probe, looks=False) as ear:
        await trio.testing.wait_all_tasks_blocked()
        assert node.nvml.pids() == []
        await trio.to_thread.run_sync(probe.look)
        await armed(node)
        node.nvml.xid(0, 79)
        await ear.kinds("xid")


async def test_a_wait_that_fails_once_is_begun_again(node: Node) -> None:
    """It is told once, and the next event is heard by the same process."""
    node.show(layouts.l40s_pcie())
    probe = node.probe()
    async with listening(node, probe) as ear:
        waits = node.nvml.calls()[WAIT]
        node.nvml.fail_wait(UNKNOWN)
        (lost,) = await ear.kinds("lost")
        assert lost.detail == "waiting for events failed: the driver reports an unknown error"
        await armed(node, waits + 2)
        node.nvml.xid(0, 79)
        await ear.kinds("xid")
    assert (len(node.nvml.pids()), probe.restarts) == (1, 0)


async def test_a_wait_that_keeps_failing_neither_spins_nor_floods(node: Node) -> None:
    """Each failure doubles the pause, and only the first is told; when the wait works again, so do the events."""
    node.show(layouts.l40s_pcie())
    async with listening(node, node.probe()) as ear:
        before, begun = node.nvml.calls()[WAIT], time.monotonic()
        node.nvml.fail(WAIT, UNKNOWN)
        await armed(node, before + 5)  # each failure asks once more for what is there already
        assert time.monotonic() - begun >= 1  # pauses of 0 and 1 seconds
        assert node.nvml.calls()[WAIT] <= before + 6
        node.nvml.let_go()
        await armed(node, before + 7)
        node.nvml.xid(0, 79)
        heard = await ear.kinds("xid")
    assert [event.kind for event in heard] == ["lost", "xid"]


async def test_gpus_that_come_and_go(node: Node) -> None:
    """A GPU that is lost is told, the others are heard on, and when it is back, it is heard, too."""
    layout = layouts.l40s_pcie()
    node.show(layout)
    async with listening(node, node.probe()) as ear:
        node.nvml.lose(2)
        heard = await ear.kinds("unavailable", "changed")
        assert [event.uuid for event in heard if event.kind == "unavailable"] == [layout.gpus[2].uuid]
        node.nvml.xid(1, 31)
        await ear.kinds("xid")
        node.nvml.recover(2)
        await ear.kinds("changed")
        node.nvml.xid(2, 43)
        (event,) = await ear.kinds("xid")
    assert (event.xid, event.uuid) == (43, layout.gpus[2].uuid)


async def test_a_lost_gpu_is_told_though_the_wait_failed(node: Node) -> None:
    """A wait that fails because a GPU is lost is told once a minute, but each lost GPU is told."""
    layout = layouts.l40s_pcie()
    node.show(layout)
    async with listening(node, node.probe()) as ear:
        for lost in (2, 0):
            node.nvml.lose(lost)
            node.nvml.fail_wait(GPU_IS_LOST)
            heard = await ear.kinds("unavailable", "changed")
            assert [event.uuid for event in heard if event.kind == "unavailable"] == [layout.gpus[lost].uuid]
        node.nvml.xid(1, 31)
        await ear.kinds("xid")


async def test_a_changed_mig_layout_is_noticed(node: Node) -> None:
    """Drivers without an event for it are asked now and then."""
    layout = layouts.dgx_a100()
    node.show(layout)
    async with listening(node, node.probe()) as ear:
        node.show(replace(layout, gpus=(layouts.partition(layout.gpus[0], "3g.40gb"), *layout.gpus[1:])))
        (event,) = await ear.kinds("mig-changed")
    assert event.uuid == layout.gpus[0].uuid


async def test_a_crash_is_told_and_healed(node: Node) -> None:
    """The loss asks for a look, the look starts another process, and that one is listened to."""
    node.show(layouts.l40s_pcie())
    probe = node.probe()
    async with listening(node, probe) as ear:
        node.nvml.crash(WAIT, once=True)
        lost = (await ear.kinds("lost"))[-1]
        assert "SIGABRT" in lost.detail
        waits = node.nvml.calls()[WAIT]
        await armed(node, waits + 1)
        node.nvml.xid(0, 79)
        await ear.kinds("xid")
    assert probe.restarts == 1


@pytest.mark.slow
async def test_a_hung_wait_is_told_and_healed(node: Node) -> None:
    """Without a beat the process is given up, though no look had noticed anything."""
    node.show(layouts.l40s_pcie())
    probe = node.probe()
    async with listening(node, probe) as ear:
        node.nvml.hang(WAIT)
        lost = (await ear.kinds("lost"))[-1]
        assert "no beat" in lost.detail
        node.nvml.let_go()
        waits = node.nvml.calls()[WAIT]
        await armed(node, waits + 1)
        node.nvml.xid(0, 79)
        await ear.kinds("xid")
    assert probe.restarts == 1


async def test_a_new_driver_is_listened_to(node: Node) -> None:
    """After an upgrade the old process says that it is of no use any more, and the events of the new one are heard."""
    node.show(layouts.l40s_pcie())
    probe = node.probe()
    async with listening(node, probe) as ear:
        node.nvml.driver("590.10")
        (lost, *_) = await ear.kinds("lost")
        assert "different versions" in lost.detail
        waits = node.nvml.calls()[WAIT]
        await armed(node, waits + 1)
        node.nvml.xid(0, 79)
        await ear.kinds("xid")


async def test_a_driver_that_was_away_is_looked_for_again(node: Node) -> None:
    """After a loss, looks are asked for until NVML is back, without waiting for the next timed one."""
    node.show(layouts.l40s_pcie())
    probe = node.probe()
    async with listening(node, probe) as ear:
        node.unload()
        await ear.kinds("lost", "changed")
        node.show(layouts.l40s_pcie())
        waits = node.nvml.calls()[WAIT]
        await armed(node, waits + 1)
        node.nvml.xid(0, 79)
        await ear.kinds("xid")


async def test_events_of_a_slow_start(node: Node) -> None:
    """When NVML that was starting is there, a look is asked for."""
    node.show(layouts.l40s_pcie())
    node.nvml.hang("nvmlInitWithFlags")
    probe = node.probe(deadline=4.0)
    async with listening(node, probe, looks=False) as ear:
        await trio.to_thread.run_sync(probe.look)
        node.nvml.let_go()
        await ear.kinds("changed")
        await armed(node)


async def test_whoever_stops_listening_leaves_nothing_behind(node: Node) -> None:
    """The event set is freed, and the process goes on answering looks."""
    node.show(layouts.l40s_pcie())
    probe = node.probe()
    async with listening(node, probe):
        assert node.nvml.event_sets()
    await trio.to_thread.run_sync(lambda: node.nvml.wait_for(lambda nvml: not nvml.event_sets()))
    assert probe.look().source == "nvml"
    assert len(node.nvml.pids()) == 1
