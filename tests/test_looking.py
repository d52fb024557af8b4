"""One look at a plugin: what it answers, what it may raise, and what happens when it does not come back."""

import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import pytest
import trio

from supervisor.errors import PluginFailed
from supervisor.inventory import Inventory
from supervisor.looking import Looker, LookLate, examine_once, explain_once, look_once
from supervisor.model import Device, Finding, MetricFamily, Sample, Topology

WIDGET = "example.com/widget"
SOON = 10.0
"""Seconds after which a test takes an event that has not come for one that never will."""


class Plugin:
    """The least that a plugin is; what it finds is made anew at each look."""

    name = "p"
    udev_subsystems: Sequence[str] = ("pci",)

    def __init__(self, discover: Callable[[], Any] = lambda: {WIDGET: [Device("a")]}) -> None:
        self.discover = discover


class Talkative(Plugin):
    """A plugin with every capability that a look asks for."""

    def pre_start_required(self, resource: str) -> bool:
        return resource == WIDGET

    def pre_start(self, resource: str, devices: Sequence[Device]) -> None:
        raise NotImplementedError

    def notices(self) -> Sequence[str]:
        return ["the driver is not loaded", "x" * 5000]

    def explain(self, text: str) -> Sequence[str]:
        return [f"{text} is not here"]

    def examine(self) -> Iterator[Finding]:
        yield Finding("ok", "a", "It is fine.")


class Mute(BaseException):
    """Neither an ordinary exception nor one that can be shown."""

    def __str__(self) -> str:
        raise RuntimeError


def raising(error: BaseException) -> Callable[[], Any]:
    """Plugin code that raises."""

    def function(*_: Any) -> Any:
        raise error

    return function


def test_a_look_is_what_the_plugin_says_checked() -> None:
    """Inventories, subsystems, notices of a bearable length, and whether containers must wait for the plugin."""
    look = look_once(Talkative(lambda: {WIDGET: [Device("a"), "nonsense"], "a/b": []}), {})
    assert look.inventories[WIDGET].index.keys() == {"a"}
    assert len(look.quarantined) == 1
    assert look.subsystems == {"pci"}
    assert look.notices[0] == "the driver is not loaded"
    assert len(look.notices[1]) == 500
    assert look.inventories[WIDGET].pre_start_required
    assert not look.inventories["a/b"].pre_start_required


class Measuring(Plugin):
    """A plugin with metrics."""

    def __init__(self, collect_metrics: Callable[[], Any]) -> None:
        super().__init__()
        self.collect_metrics = collect_metrics


def test_a_look_brings_the_plugins_metrics() -> None:
    """Checked; what is left out of them is told like a notice."""
    good = MetricFamily("faults", "Faults so far.", "counter", (Sample({"gadget": "A"}, 2),))
    look = look_once(Measuring(lambda: [good, "nonsense"]), {})
    assert look.families == (good,)
    assert look.notices == ("metric <str> is left out: it is str, not MetricFamily",)


@pytest.mark.parametrize("error", [ValueError("no sensor"), SystemExit(1), MemoryError()])
@pytest.mark.parametrize("late", [False, True])
def test_metrics_that_fail_spoil_no_look(error: BaseException, late: bool) -> None:
    """The devices are there all the same, and the operator reads why the metrics are not."""

    def generated() -> Iterator[MetricFamily]:
        yield MetricFamily("faults", "Faults so far.")
        raise error

    look = look_once(Measuring(generated if late else raising(error)), {})
    assert look.inventories[WIDGET].index.keys() == {"a"}
    assert look.families == ()
    assert look.notices[0].startswith(f"it has no metrics: collect_metrics() failed: {type(error).__name__}")


class Heir(Plugin):
    """A plugin that takes over."""

    def __init__(self, take_over: Callable[[], Any]) -> None:
        super().__init__()
        self.take_over = take_over


async def test_taking_over_keeps_the_slot_of_a_look() -> None:
    """Late or not, nothing else of the plugin runs beside it; ``idle`` waits for its end."""
    go, begun = threading.Event(), threading.Event()

    def take_over() -> None:
        begun.set()
        go.wait(SOON)

    plugin = Heir(take_over)
    looker = Looker(plugin, 0.05, lambda: None)
    with pytest.raises(LookLate, match=r"take_over\(\) has not come back for 0 s"):
        await looker.take_over(plugin)
    assert begun.is_set()
    with pytest.raises(LookLate, match=r"take_over\(\) has not come back"):
        await looker.look({})
    await looker.idle()  # no longer than for a look
    assert looker.stuck
    go.set()
    with trio.fail_after(SOON):
        while looker.stuck:
            await looker.idle()
    assert (await looker.look({})).inventories.keys() == {WIDGET}


async def test_taking_over_fails_like_a_look() -> None:
    """Whatever it raises."""
    plugin = Heir(raising(SystemExit(1)))
    with pytest.raises(PluginFailed, match=r"take_over\(\) failed: SystemExit"):
        await Looker(plugin, SOON, lambda: None).take_over(plugin)


def test_what_has_not_changed_keeps_its_identity() -> None:
    """Readers downstream compare by identity first."""
    plugin = Plugin()
    first = look_once(plugin, {})
    again = look_once(plugin, first.inventories)
    assert again.inventories[WIDGET] is first.inventories[WIDGET]
    plugin.discover = lambda: {WIDGET: [Device("a", topology=Topology((1,)))]}
    assert look_once(plugin, first.inventories).inventories[WIDGET] is not first.inventories[WIDGET]


@pytest.mark.parametrize(
    "error",
    [ValueError("x"), SystemExit(1), KeyboardInterrupt(), Mute(), RecursionError(), MemoryError()],
    ids=lambda error: type(error).__name__,
)
def test_whatever_a_look_raises_is_a_failure_of_the_plugin(error: BaseException) -> None:
    """It ends nothing but the look, and its kind is told."""
    with pytest.raises(PluginFailed, match=type(error).__name__):
        look_once(Plugin(raising(error)), {})
    plugin: Any = Talkative()
    plugin.explain = raising(error)
    with pytest.raises(PluginFailed, match=type(error).__name__):
        explain_once(plugin, "a")
    plugin.examine = raising(error)
    with pytest.raises(PluginFailed, match=type(error).__name__):
        examine_once(plugin)


@pytest.mark.parametrize("part", ["notices", "pre_start_required", "udev_subsystems"])
def test_nonsense_in_any_part_of_a_look_is_a_failure(part: str) -> None:
    """Half a look is none."""
    plugin = Talkative()
    setattr(plugin, part, 7)
    with pytest.raises(PluginFailed):
        look_once(plugin, {})


def test_an_answer_that_is_no_mapping_is_a_failure() -> None:
    """The reason says what is expected."""
    with pytest.raises(PluginFailed, match="mapping of resource name"):
        look_once(Plugin(lambda: [Device("a")]), {})


def test_an_explanation_is_the_plugins_sentences() -> None:
    """As texts of a bearable length."""
    assert explain_once(Talkative(), "/dev/x") == ("/dev/x is not here",)


def test_findings_are_asked_for_by_themselves() -> None:
    """They need no look, and what is wrong with them is told beside them."""
    assert examine_once(Talkative()) == ((Finding("ok", "a", "It is fine."),), ())


# --- in a thread ------------------------------------------------------------------------------------------------------


async def test_a_look_runs_in_a_thread_of_its_own() -> None:
    """Never on the supervising one, and two after each other are no trouble."""
    threads: list[threading.Thread] = []

    def discover() -> Mapping[str, Sequence[Device]]:
        threads.append(threading.current_thread())
        return {WIDGET: [Device("a")]}

    looker = Looker(Plugin(discover), SOON, raising(AssertionError("it was not late")))
    first = await looker.look({})
    again = await looker.look(first.inventories)
    assert again.inventories[WIDGET] is first.inventories[WIDGET]
    assert threading.main_thread() not in threads
    assert not looker.stuck


async def test_a_failing_look_leaves_the_looker_usable() -> None:
    """The slot is free again."""
    plugin = Plugin(raising(ValueError("x")))
    looker = Looker(plugin, SOON, lambda: None)
    with pytest.raises(PluginFailed):
        await looker.look({})
    plugin.discover = dict[str, Sequence[Device]]
    assert (await looker.look({})).inventories == {}


async def test_a_late_look_is_left_alone_and_told_when_it_comes_back() -> None:
    """No second one is started meanwhile; its answer is dropped; afterwards looks are possible again."""
    begun, release = threading.Event(), threading.Event()
    came_back = trio.Event()
    looks: list[int] = []

    def discover() -> Mapping[str, Sequence[Device]]:
        looks.append(len(looks))
        begun.set()
        assert release.wait(SOON)
        return {WIDGET: [Device("a")]}

    looker = Looker(Plugin(discover), 0.01, came_back.set)
    try:
        for _ in range(3):
            with pytest.raises(LookLate, match="has not come back"):
                await looker.look({})
        assert looker.stuck
        assert await trio.to_thread.run_sync(begun.wait, SOON)  # on a busy machine it may begin after it was late
        assert looks == [0]
    finally:
        release.set()
    with trio.fail_after(SOON):
        await came_back.wait()
        while looker.stuck:  # noqa: ASYNC110  # the slot is given back a moment after the news
            await trio.sleep(0.001)
        looker = Looker(Plugin(discover), SOON, raising(AssertionError("it was not late")))
        assert (await looker.look({})).inventories[WIDGET] == Inventory.of(WIDGET, [Device("a")])
