"""When a plugin is looked at, in virtual time: soon after events, again in their aftermath, and with patience when it fails."""

import itertools
from collections.abc import Awaitable, Callable, Mapping, Sequence
from functools import partial

import msgspec
import pytest
import trio
import trio.testing
from hypothesis import given
from hypothesis import strategies as st

from supervisor.config import PluginOptions
from supervisor.discovery import AFTERMATH, BACKOFF, COALESCE, OWN, Discovery, Schedule, vouched_by_nobody
from supervisor.errors import PluginFailed
from supervisor.events import Event, LookFailed, LookFinished, PluginRecovered, PluginStuck
from supervisor.inventory import Inventory, Look
from supervisor.looking import LookLate
from supervisor.model import Device, Health, MetricFamily

WIDGET = "example.com/widget"
INVENTORY = Inventory.of(WIDGET, [Device("a"), Device("sick", Health.UNHEALTHY, "hot")])
GOOD = Look({WIDGET: INVENTORY}, subsystems=frozenset({"pci"}))
INTERVAL = 60.0
JITTER = 1.25
"""What the back-off after a failure is multiplied with at most."""


class Plugin:
    """Looks that take a while and end as a test wants; everything that comes of it, with its time."""

    def __init__(self, takes: float = 0.0) -> None:
        self.takes = takes
        self.problem: PluginFailed | None = None
        self.looked_at: list[float] = []
        self.trusted: list[Mapping[str, Inventory]] = []
        self.delivered: list[tuple[float, Look]] = []
        self.events: list[Event] = []
        self.discovery = Discovery("p", self.look, PluginOptions(look_interval=INTERVAL), self.deliver, self.events.append)

    async def look(self, trusted: Mapping[str, Inventory]) -> Look:
        self.looked_at.append(trio.current_time())
        self.trusted.append(trusted)
        await trio.sleep(self.takes)
        if self.problem is not None:
            raise self.problem
        return GOOD

    def deliver(self, look: Look) -> None:
        self.delivered.append((trio.current_time(), look))

    def told(self, kind: type[Event]) -> list[Event]:
        return [event for event in self.events if type(event) is kind]


Script = Callable[[Plugin], Awaitable[None]]


def play(script: Script, takes: float = 0.0) -> tuple[Plugin, float]:
    """Run a script beside the discovery of a plugin, in virtual time that starts at its first look."""

    async def main() -> tuple[Plugin, float]:
        plugin = Plugin(takes)
        began = trio.current_time()
        async with trio.open_nursery() as nursery:
            await plugin.discovery.look_now()
            nursery.start_soon(plugin.discovery.run)
            await script(plugin)
            nursery.cancel_scope.cancel()
        return plugin, began

    return trio.run(main, clock=trio.testing.MockClock(autojump_threshold=0))


def looks(script: Script, takes: float = 0.0) -> list[float]:
    """When the looks of that run began, counted from its start."""
    plugin, began = play(script, takes)
    return [at - began for at in plugin.looked_at]


async def rest(seconds: float, _: Plugin) -> None:
    """Nothing happens."""
    await trio.sleep(seconds)


# --- events -----------------------------------------------------------------------------------------------------------


def test_without_events_it_looks_at_intervals() -> None:
    """The first look is made by the caller; then one after each interval."""
    assert looks(partial(rest, 2.5 * INTERVAL)) == pytest.approx([0, INTERVAL, 2 * INTERVAL])


async def burst(plugin: Plugin, wake: Callable[[Discovery], None] = Discovery.look_again) -> None:
    """A hundred events within ten milliseconds, and a long rest."""
    await trio.sleep(10)
    for _ in range(100):
        wake(plugin.discovery)
        await trio.sleep(0.0001)
    await trio.sleep(20)


WAKES = pytest.mark.parametrize("wake", [Discovery.look_again, Discovery.look_again_from_thread], ids=["loop", "thread"])


@WAKES
def test_a_burst_of_events_is_one_look_soon_and_two_in_its_aftermath(wake: Callable[[Discovery], None]) -> None:
    """Soon after the first event, sooner where the plugin itself saw it; one second and five seconds after the last."""
    soon = OWN if wake is Discovery.look_again_from_thread else COALESCE
    found = looks(partial(burst, wake=wake))
    assert found[:2] == pytest.approx([0, 10 + soon])
    assert found[2:] == pytest.approx([10 + AFTERMATH[0], 10 + AFTERMATH[1]], abs=0.02)


async def storm(plugin: Plugin, wake: Callable[[Discovery], None] = Discovery.look_again) -> None:
    """An event every ten milliseconds, for ten seconds."""
    for _ in range(1000):
        wake(plugin.discovery)
        await trio.sleep(0.01)


@WAKES
def test_a_storm_starves_no_look(wake: Callable[[Discovery], None]) -> None:
    """Looks go on at a steady rate while events never stop, and they are far fewer than the events."""
    takes = 0.03
    found = looks(partial(storm, wake=wake), takes)
    gaps = [later - earlier for earlier, later in itertools.pairwise(found)]
    assert found[-1] > 9.5
    assert max(gaps) < COALESCE + takes + 0.03
    assert min(gaps) >= COALESCE - 1e-9


def test_a_storm_does_not_hammer_a_plugin_that_fails() -> None:
    """It is asked once a second at most."""

    async def script(plugin: Plugin) -> None:
        plugin.problem = PluginFailed("broken")
        await storm(plugin)

    assert 9 <= len(looks(script)) <= 13


def test_an_event_during_a_look_is_answered_by_another() -> None:
    """The look under way may have passed what has changed."""

    async def script(plugin: Plugin) -> None:
        plugin.discovery.look_again()
        await trio.sleep(COALESCE + 0.25)
        plugin.discovery.look_again()
        await trio.sleep(0.5)

    found = looks(script, takes=0.5)
    assert found[:3] == pytest.approx([0, 0.5 + COALESCE, 1.0 + COALESCE])


# --- failures ---------------------------------------------------------------------------------------------------------


async def fail_for(seconds: float, plugin: Plugin, problem: PluginFailed | None = None) -> None:
    """After the first look, looks fail; then they work again."""
    plugin.problem = problem or PluginFailed("broken")
    plugin.discovery.look_again()
    await trio.sleep(seconds)
    plugin.problem = None
    await trio.sleep(2 * INTERVAL)


def test_failures_back_off() -> None:
    """Each wait is twice the one before, up to the longest, and the event says how long it will be."""
    plugin, _ = play(partial(fail_for, 200.0))
    failed = [event for event in plugin.events if isinstance(event, LookFailed)]
    assert [event.failures for event in failed] == list(range(1, len(failed) + 1))
    waits = [later - earlier for earlier, later in zip(plugin.looked_at[1:], plugin.looked_at[2:], strict=False)][: len(failed)]
    quiet = waits[4:]  # the first ones are mixed with the aftermath of the event
    assert all(later >= earlier * 0.8 for earlier, later in itertools.pairwise(quiet))
    assert all(wait <= BACKOFF[1] * JITTER for wait in waits)
    assert max(quiet) >= BACKOFF[1]
    assert all(event.retry_in <= BACKOFF[1] + 1e-6 for event in failed)


def test_a_short_failure_changes_nothing() -> None:
    """Three looks fail, but not for long enough: the last inventory stays as it is."""
    plugin, _ = play(partial(fail_for, 25.0))
    assert len(plugin.told(LookFailed)) >= 3
    assert {id(look) for _, look in plugin.delivered} == {id(GOOD)}
    assert len(plugin.told(PluginRecovered)) == 1


def test_a_long_failure_makes_healthy_devices_unhealthy_and_a_good_look_restores_them() -> None:
    """After three looks and thirty seconds, not before; a device that was unhealthy already keeps its own reason."""
    plugin, began = play(partial(fail_for, 100.0))
    doubted = [(at - began, look) for at, look in plugin.delivered if look is not GOOD]
    at, look = doubted[0]
    options = PluginOptions()
    assert at >= options.unhealthy_after
    assert at <= options.unhealthy_after + BACKOFF[1] * JITTER + 1
    first, second = look.inventories[WIDGET].devices
    assert (first.health, second.reason) == (Health.UNHEALTHY, "hot")
    assert "plugin p" in first.reason
    assert plugin.delivered[-1][1] is GOOD
    assert len(plugin.told(PluginRecovered)) == 1
    assert all(trusted == GOOD.inventories for trusted in plugin.trusted[1:]), "what is doubted is never trusted"


def test_two_failed_looks_condemn_nobody_however_long_they_take() -> None:
    """Both conditions must hold."""

    async def script(plugin: Plugin) -> None:
        plugin.takes, plugin.problem = 20.0, PluginFailed("broken")
        plugin.discovery.look_again()
        await trio.sleep(COALESCE + 45.0)

    plugin, _ = play(script)
    assert len(plugin.told(LookFailed)) == 2
    assert [look for _, look in plugin.delivered] == [GOOD]


def test_a_plugin_that_never_looked_well_delivers_nothing() -> None:
    """There is nothing to doubt."""

    async def main() -> Plugin:
        plugin = Plugin()
        plugin.problem = PluginFailed("broken")
        await plugin.discovery.look_now()
        with trio.move_on_after(300):
            await plugin.discovery.run()
        return plugin

    plugin = trio.run(main, clock=trio.testing.MockClock(autojump_threshold=0))
    assert plugin.delivered == []
    assert plugin.discovery.subsystems == frozenset()
    assert len(plugin.told(LookFailed)) > 5


def test_a_late_look_is_told_as_stuck() -> None:
    """With the time since it went wrong."""
    plugin, _ = play(partial(fail_for, 30.0, problem=LookLate("late")))
    stuck = [event.seconds for event in plugin.events if isinstance(event, PluginStuck)]
    assert stuck == sorted(stuck)
    assert stuck[0] == 0
    assert stuck[-1] > 10


def test_a_good_look_tells_its_size_and_what_wakes_the_plugin() -> None:
    """Devices over all resources; subsystems as the plugin named them at that look."""
    plugin, _ = play(partial(rest, 1.0), takes=0.25)
    [finished] = [event for event in plugin.events if isinstance(event, LookFinished)]
    assert (finished.plugin, finished.devices) == ("p", 2)
    assert finished.seconds == pytest.approx(0.25)
    assert plugin.discovery.subsystems == {"pci"}


def test_doubt_keeps_ids_order_and_everything_else() -> None:
    """Only health and reason differ."""
    doubted = vouched_by_nobody(GOOD, "p").inventories[WIDGET]
    assert doubted.index == INVENTORY.index
    assert [device.id for device in doubted.devices] == ["a", "sick"]
    assert doubted.devices[1] is INVENTORY.devices[1]


def test_doubt_takes_the_metrics_away() -> None:
    """A figure that nobody has measured for long is no figure."""
    look = msgspec.structs.replace(GOOD, families=(MetricFamily("faults", "Faults."),))
    assert vouched_by_nobody(look, "p").families == ()


# --- the schedule alone -----------------------------------------------------------------------------------------------

TIMES = st.lists(st.floats(0, 100), max_size=30).map(sorted)


def simulate(times: Sequence[float], until: float) -> list[float]:
    """When looks that take no time begin, for events at these times."""
    schedule, found, left = Schedule(looked_at=0.0), [], list(times)
    while (due := schedule.next_look(INTERVAL, 0.0)) <= until:
        if left and left[0] <= due:
            schedule = schedule.event(left.pop(0))
        else:
            found.append(due)
            schedule = schedule.began(due)
    return found


@given(TIMES)
def test_every_event_is_answered_soon_and_twice_more(times: list[float]) -> None:
    """A look within the coalescing time of each event, and both looks of the aftermath of the last one."""
    found = simulate(times, 300.0)
    for event in times:
        assert any(event <= look <= event + COALESCE + 1e-9 for look in found)
    for delay in AFTERMATH if times else ():
        assert any(look == times[-1] + delay for look in found)


@given(TIMES)
def test_looks_are_never_closer_than_events_ask_nor_farther_than_the_interval(times: list[float]) -> None:
    """Time always moves on, the timed looks go on, and each event costs three looks at most."""
    found = [0.0, *simulate(times, 300.0)]
    gaps = [later - earlier for earlier, later in itertools.pairwise(found)]
    assert all(0 < gap <= INTERVAL + 1e-6 for gap in gaps)
    assert len(found) <= 1 + 300.0 / INTERVAL + 3 * len(times)


@given(st.integers(1, 1_000_000), st.floats(0, 1), st.floats(0.1, 1e6), st.floats(0, 1e9))
def test_after_a_failure_the_next_look_is_neither_at_once_nor_never(
    failures: int, jitter: float, interval: float, now: float
) -> None:
    """Whatever the number of failures."""
    wait = Schedule(looked_at=now, failures=failures).next_look(interval, jitter) - now
    assert min(interval, BACKOFF[0]) * 0.99 <= wait <= min(interval, BACKOFF[1] * JITTER) * 1.01
