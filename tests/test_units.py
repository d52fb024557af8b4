"""One plugin in life: its looks are delivered, its own event source is kept running, and retiring ends both."""

import gc
import threading
import weakref
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Any

import pytest
import trio
import trio.testing

from supervisor.config import PluginOptions
from supervisor.events import Event, LookFailed, WatchFailed
from supervisor.hookspecs import LookAgain
from supervisor.inventory import Look
from supervisor.model import Device, MetricFamily, NodeFacts
from supervisor.slots import Expired, Outcome
from supervisor.units import WATCH_BACKOFF, PluginUnit

WIDGET = "example.com/widget"
SOON = 10.0
"""Seconds after which a test takes an event that has not come for one that never will."""

Watch = Callable[[LookAgain], Awaitable[None]]


class Plugin:
    """Finds one device more at each look."""

    name = "p"
    udev_subsystems: Sequence[str] = ()

    def __init__(self) -> None:
        self.looks = 0

    def discover(self) -> Mapping[str, Sequence[Device]]:
        self.looks += 1
        return {WIDGET: [Device(str(n)) for n in range(self.looks)]}


class Watching(Plugin):
    """A plugin with an event source of its own."""

    def __init__(self, watch: Watch) -> None:
        super().__init__()
        self.watch = watch


class Mute(BaseException):
    """Neither an ordinary exception nor one that can be shown."""

    def __str__(self) -> str:
        raise RuntimeError


class Life:
    """A running unit, its looks and its failures as they come."""

    def __init__(self, plugin: Plugin, **told: Any) -> None:
        self._sends, self.looks = trio.open_memory_channel[Look](100)
        self._fails, self.failures = trio.open_memory_channel[WatchFailed](100)
        self._failed, self.failed_looks = trio.open_memory_channel[LookFailed](100)
        self.unit = PluginUnit(plugin, "package", PluginOptions(), self._observe, **told)
        self.unit.deliver = lambda _, look: self._sends.send_nowait(look)

    def _observe(self, event: Event) -> None:
        if isinstance(event, WatchFailed):
            self._fails.send_nowait(event)
        if isinstance(event, LookFailed):
            self._failed.send_nowait(event)


async def idle(look_again: LookAgain) -> None:
    """An event source without events."""
    await trio.sleep_forever()


async def test_looks_are_delivered_from_the_first_one() -> None:
    """The unit keeps the newest, and says that the first look has ended."""
    life = Life(Plugin())
    async with trio.open_nursery() as nursery:
        with trio.fail_after(SOON):
            nursery.start_soon(life.unit.run)
            first = await life.looks.receive()
            await life.unit.looked.wait()
            assert life.unit.look is first
            life.unit.discovery.look_again()
            assert len((await life.looks.receive()).inventories[WIDGET].devices) == 2
            life.unit.retire()


async def test_an_event_of_the_plugin_reaches_its_discovery() -> None:
    """``look_again`` is called in the plugin's own loop, which is another thread's."""
    go = threading.Event()
    threads: list[threading.Thread] = []

    async def watch(look_again: LookAgain) -> None:
        threads.append(threading.current_thread())
        await trio.to_thread.run_sync(go.wait, SOON)
        look_again()
        await trio.sleep_forever()

    life = Life(Watching(watch))
    async with trio.open_nursery() as nursery:
        with trio.fail_after(SOON):
            nursery.start_soon(life.unit.run)
            await life.unit.looked.wait()
            before = life.unit.discovery._schedule.last_event
            go.set()
            while life.unit.discovery._schedule.last_event == before:  # noqa: ASYNC110  # nothing else tells of it
                await trio.sleep(0.001)
            life.unit.retire()
    assert threads != [threading.current_thread()]


def raising(error: BaseException) -> Watch:
    """An event source that raises."""

    async def watch(look_again: LookAgain) -> None:
        raise error

    return watch


async def returning(look_again: LookAgain) -> None:
    """An event source that ends."""


@pytest.mark.parametrize(
    ("watch", "reason"),
    [
        (returning, "returned"),
        (raising(ValueError("no such bus")), "no such bus"),
        (raising(SystemExit(1)), "SystemExit"),
        (raising(KeyboardInterrupt()), "KeyboardInterrupt"),
        (raising(Mute()), "Mute"),
        (raising(BaseExceptionGroup("several", [Mute()])), "several"),
        (lambda _: None, "TypeError"),
    ],
    ids=["returns", "raises", "exits", "interrupts", "mute", "several", "not async"],
)
async def test_an_event_source_that_ends_is_told_and_started_again(
    watch: Any, reason: str, mock_clock: trio.testing.MockClock
) -> None:
    """With a back-off that grows; looks go on."""
    life = Life(Watching(watch))
    async with trio.open_nursery() as nursery:
        nursery.start_soon(life.unit.run)
        waits = []
        for _ in range(9):
            failure = await life.failures.receive()
            assert reason in failure.reason
            waits.append(failure.retry_in)
            await trio.testing.wait_all_tasks_blocked()
            mock_clock.jump(failure.retry_in)
        first, most = WATCH_BACKOFF
        assert first <= waits[0] <= first * 1.25
        assert most <= waits[-1] <= most * 1.25
        life.unit.retire()


async def test_an_event_source_that_has_worked_for_long_is_started_again_soon(mock_clock: trio.testing.MockClock) -> None:
    """Failures of the last year do not count."""
    steps: list[threading.Event] = []
    news = threading.Semaphore(0)

    async def watch(look_again: LookAgain) -> None:
        steps.append(threading.Event())
        news.release()
        await trio.to_thread.run_sync(steps[-1].wait, SOON)

    life = Life(Watching(watch))
    async with trio.open_nursery() as nursery:
        nursery.start_soon(life.unit.run)
        waits = []
        for lasts in (0, 0, 0, 0, 0, 2 * WATCH_BACKOFF[1]):
            assert await trio.to_thread.run_sync(news.acquire, True, SOON)  # its own signature
            mock_clock.jump(lasts)
            steps[-1].set()
            failure = await life.failures.receive()
            await trio.testing.wait_all_tasks_blocked()
            mock_clock.jump(failure.retry_in)
            waits.append(failure.retry_in)
        assert waits[-2] > WATCH_BACKOFF[0] * 2
        assert waits[-1] <= WATCH_BACKOFF[0] * 1.25
        await trio.to_thread.run_sync(news.acquire, True, SOON)  # as above
        steps[-1].set()
        life.unit.retire()


async def test_retiring_ends_looks_calls_and_the_event_source() -> None:
    """The plugin's loop is cancelled in its own thread, and what it would still say reaches nobody."""
    begun, ended = threading.Event(), threading.Event()
    keep: list[LookAgain] = []

    async def watch(look_again: LookAgain) -> None:
        keep.append(look_again)
        begun.set()
        try:
            await trio.sleep_forever()
        finally:
            ended.set()

    life = Life(Watching(watch))
    with trio.fail_after(2 * SOON):
        async with trio.open_nursery() as nursery:
            nursery.start_soon(life.unit.run)
            assert await trio.to_thread.run_sync(begun.wait, SOON)
            await life.looks.receive()
            life.unit.retire()
        assert await trio.to_thread.run_sync(ended.wait, SOON)
    keep[0]()
    outcomes: list[Outcome] = []
    life.unit.calls.slots.submit(print, deadline=float("inf"), done=outcomes.append)
    assert outcomes == [Expired()]


async def test_retiring_at_once_leaves_no_event_source_running() -> None:
    """However short the time between its start and the end of its plugin."""
    running: set[object] = set()
    changed = threading.Condition()

    async def watch(look_again: LookAgain) -> None:
        token = object()
        running.add(token)
        try:
            await trio.sleep_forever()
        finally:
            with changed:
                running.discard(token)
                changed.notify_all()

    threads = threading.active_count()
    for pause in range(20):
        life = Life(Watching(watch))
        async with trio.open_nursery() as nursery:
            nursery.start_soon(life.unit.run)
            await life.unit.looked.wait()
            for _ in range(pause):
                await trio.lowlevel.checkpoint()
            life.unit.retire()

    def all_ended() -> bool:
        with changed:
            return changed.wait_for(lambda: not running, SOON)

    assert await trio.to_thread.run_sync(all_ended)
    assert threading.active_count() < threads + 20


class Heir(Plugin):
    """A plugin that takes over; it notes what is asked of it, and in which thread."""

    def __init__(self, problems: int = 0) -> None:
        super().__init__()
        self.asked: list[str] = []
        self.problems = problems
        self.begun, self.go = threading.Event(), threading.Event()
        self.go.set()

    def take_over(self) -> None:
        self.asked.append("take_over")
        if self.problems:
            self.problems -= 1
            raise OSError("the disk is full")

    def discover(self) -> Mapping[str, Sequence[Device]]:
        self.asked.append("discover")
        self.begun.set()
        self.go.wait(SOON)
        self.asked.append("discovered")
        return super().discover()


LOOK = ["discover", "discovered"]


async def test_an_owner_takes_over_before_the_first_look() -> None:
    """Where this process owns the node by then, the look shows what the plugin has written."""
    plugin, told = Heir(), list[str]()
    life = Life(plugin, taken_over=told.append)
    life.unit.own()
    async with trio.open_nursery() as nursery:
        with trio.fail_after(SOON):
            nursery.start_soon(life.unit.run)
            await life.looks.receive()
            await life.looks.receive()
            life.unit.retire()
    assert plugin.asked == ["take_over", *LOOK, *LOOK]
    assert told == ["p"]


async def test_a_standby_takes_over_when_it_becomes_the_owner() -> None:
    """Never beside a look: after the one that is under way, and another look follows."""
    plugin, told = Heir(), list[str]()
    plugin.go.clear()
    life = Life(plugin, taken_over=told.append)
    async with trio.open_nursery() as nursery:
        with trio.fail_after(SOON):
            nursery.start_soon(life.unit.run)
            assert await trio.to_thread.run_sync(plugin.begun.wait, SOON)
            life.unit.own()
            plugin.go.set()
            await life.looks.receive()
            assert (plugin.asked[:2], told) == (LOOK, [])
            await life.looks.receive()
            life.unit.retire()
    assert plugin.asked == [*LOOK, "take_over", *LOOK]
    assert told == ["p"]


async def test_a_standby_takes_nothing_over(mock_clock: trio.testing.MockClock) -> None:
    """However long it waits and looks."""
    plugin = Heir()
    life = Life(plugin)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(life.unit.run)
        for _ in range(5):
            await life.looks.receive()
            await trio.testing.wait_all_tasks_blocked()
            mock_clock.jump(100)
        life.unit.retire()
    assert "take_over" not in plugin.asked


async def test_taking_over_that_fails_is_a_failed_look_and_tried_again(mock_clock: trio.testing.MockClock) -> None:
    """With the back-off of looks, until it succeeds; only then it is told, once."""
    plugin, told = Heir(problems=2), list[str]()
    life = Life(plugin, taken_over=told.append)
    life.unit.own()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(life.unit.run)
        for number in (1, 2):
            failure = await life.failed_looks.receive()
            assert "take_over() failed: OSError: the disk is full" in failure.reason
            assert (failure.failures, told) == (number, [])
            await trio.testing.wait_all_tasks_blocked()
            mock_clock.jump(failure.retry_in + 1)
        await life.looks.receive()
        life.unit.retire()
    assert plugin.asked == ["take_over", "take_over", "take_over", *LOOK]
    assert told == ["p"]


async def test_owning_again_is_taking_over_again() -> None:
    """The directory was replaced: another process may have owned the node in between."""
    plugin, told = Heir(), list[str]()
    life = Life(plugin, taken_over=told.append)
    async with trio.open_nursery() as nursery:
        with trio.fail_after(SOON):
            nursery.start_soon(life.unit.run)
            await life.unit.looked.wait()
            for times in (1, 2):
                life.unit.own()
                while len(told) < times:
                    await life.looks.receive()
                life.unit.disown()
            life.unit.retire()
    assert plugin.asked.count("take_over") == 2


async def test_a_late_answer_stands_for_no_second_taking_over() -> None:
    """The node was lost and won while the plugin still took over: it has yet to recall what came in between."""
    begun, go = threading.Event(), threading.Event()

    class Slow(Heir):
        def take_over(self) -> None:
            super().take_over()
            begun.set()
            go.wait(SOON)

    plugin, told = Slow(), list[int]()
    life = Life(plugin, taken_over=lambda _: told.append(plugin.asked.count("take_over")))
    life.unit.own()
    async with trio.open_nursery() as nursery:
        with trio.fail_after(SOON):
            nursery.start_soon(life.unit.run)
            assert await trio.to_thread.run_sync(begun.wait, SOON)
            life.unit.disown()
            life.unit.own()
            go.set()
            await life.looks.receive()
            await life.looks.receive()
            life.unit.retire()
    assert told == [2]


class Learner(Plugin):
    """A plugin that learns about the node; it notes what it is told."""

    def __init__(self, problems: int = 0) -> None:
        super().__init__()
        self.told: list[str] = []
        self.problems = problems

    def learn_node(self, node: NodeFacts) -> None:
        self.told.append(node.name)
        if self.problems:
            self.problems -= 1
            raise ValueError("no such zone")

    def discover(self) -> Mapping[str, Sequence[Device]]:
        self.told.append("discover")
        return super().discover()


async def test_what_is_known_of_the_node_is_told_before_a_look() -> None:
    """Only the newest, once, and a look follows at once."""
    plugin = Learner()
    life = Life(plugin)
    async with trio.open_nursery() as nursery:
        with trio.fail_after(SOON):
            nursery.start_soon(life.unit.run)
            await life.looks.receive()
            await life.looks.receive()
            life.unit.learn_node(NodeFacts("old"))
            life.unit.learn_node(NodeFacts("new"))
            await life.looks.receive()
            life.unit.retire()
    assert plugin.told == ["discover", "discover", "new", "discover"]


async def test_learning_that_fails_is_a_failed_look_and_tried_again(mock_clock: trio.testing.MockClock) -> None:
    """Until it succeeds; something newer takes its place."""
    plugin = Learner(problems=2)
    life = Life(plugin)
    life.unit.learn_node(NodeFacts("node"))
    async with trio.open_nursery() as nursery:
        nursery.start_soon(life.unit.run)
        for _ in range(2):
            failure = await life.failed_looks.receive()
            assert "learn_node() failed: ValueError: no such zone" in failure.reason
            await trio.testing.wait_all_tasks_blocked()
            mock_clock.jump(failure.retry_in + 1)
        await life.looks.receive()
        life.unit.retire()
    assert plugin.told == ["node", "node", "node", "discover"]


async def test_resting_waits_for_the_look_and_ends_no_calls() -> None:
    """Those who come after may write on the node then, while the kubelet is still answered."""
    plugin = Heir()
    plugin.go.clear()
    life = Life(plugin)
    rested = trio.Event()

    async def rest() -> None:
        await life.unit.rest()
        rested.set()

    async with trio.open_nursery() as nursery:
        with trio.fail_after(SOON):
            nursery.start_soon(life.unit.run)
            assert await trio.to_thread.run_sync(plugin.begun.wait, SOON)
            nursery.start_soon(rest)
            await trio.testing.wait_all_tasks_blocked()
            assert not rested.is_set()
            plugin.go.set()
            await rested.wait()
            assert plugin.asked == LOOK
            life.unit.discovery.look_again()
            outcomes, ended = [], trio.Event()
            token = trio.lowlevel.current_trio_token()

            def done(outcome: Outcome) -> None:
                outcomes.append(outcome)
                token.run_sync_soon(ended.set)

            life.unit.calls.slots.submit(lambda: "answer", deadline=float("inf"), done=done)
            await ended.wait()
            life.unit.retire()
    assert outcomes != [Expired()]
    assert plugin.asked == LOOK


async def test_a_metric_with_the_name_of_another_plugins_is_left_out() -> None:
    """And told like a notice; the other metrics stay."""

    class Measuring(Plugin):
        def collect_metrics(self) -> Sequence[MetricFamily]:
            return [MetricFamily("x_faults", "Faults."), MetricFamily("faults", "Faults.")]

    life = Life(Measuring(), neighbours=lambda: ["p", "p-x"])
    async with trio.open_nursery() as nursery:
        with trio.fail_after(SOON):
            nursery.start_soon(life.unit.run)
            look = await life.looks.receive()
            life.unit.retire()
    assert [family.name for family in look.families] == ["faults"]
    assert "device_plugin_p_x_faults is a name of plugin p-x" in look.notices[0]
    assert life.unit.look is look


@pytest.mark.parametrize("make", [Plugin, lambda: Watching(idle)], ids=["looking", "watching"])
async def test_a_plugin_that_is_retired_is_let_go(make: Callable[[], Plugin]) -> None:
    """What it holds, like a process, ends with the last reference to it, and not when somebody collects garbage."""
    unit = PluginUnit(make(), "package", PluginOptions(), lambda _: None)
    plugin = weakref.ref(unit.plugin)
    gc.disable()
    try:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(unit.run)
            await unit.looked.wait()
            unit.retire()
        del unit
        with trio.fail_after(SOON):
            while plugin() is not None:  # noqa: ASYNC110  # a watch ends in its own thread, which tells nobody
                await trio.sleep(0.01)
    finally:
        gc.enable()
