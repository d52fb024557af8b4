"""The test kit for plugin authors: a good plugin passes, and each check finds the plugin that was made to fail it."""

import os
import threading
from collections.abc import Callable, Collection, Mapping, Sequence
from itertools import count
from pathlib import Path
from typing import Any

import pytest
import trio

from supervisor import (
    AllocationRefused,
    ContainerEdits,
    Device,
    DeviceNode,
    Finding,
    Health,
    HostView,
    Leftover,
    LookAgain,
    MetricFamily,
    Mount,
    NodeFacts,
    Sample,
)
from supervisor.contract import CAPABILITIES
from supervisor.testing import FakeHost, check_plugin
from supervisor.testing.exercise import EXERCISES

DEVICES = [Device("one", edits=ContainerEdits(envs={"A": "1"})), Device("two", edits=ContainerEdits(envs={"A": "2"}))]
SERIAL = count()


class Good:
    """Has every capability that costs no time, and keeps every promise."""

    name = "good"
    udev_subsystems: Sequence[str] = ("misc",)

    def discover(self) -> Mapping[str, Any]:
        return {"acme.example/widget": DEVICES}

    def allocate(self, resource: str, devices: Sequence[Device], edits: ContainerEdits) -> Any:
        return edits

    def preferred_allocation(self, resource: str, available: Sequence[str], must_include: Sequence[str], size: int) -> Any:
        return [*must_include, *(each for each in available if each not in must_include)][:size]

    def pre_start_required(self, resource: str) -> Any:
        return True

    def pre_start(self, resource: str, devices: Sequence[Device]) -> None: ...

    def notices(self) -> Any:
        return []

    def explain(self, text: str) -> Any:
        return [f"{text} is mine"] if text in {"one", "two"} else []

    def examine(self) -> Any:
        return [Finding("warning", "module widget", "It is old.", "Load a newer one.")]

    def leftovers(self, held: Mapping[str, Collection[str]]) -> Any:
        return [Leftover(__file__, tuple(held.get("acme.example/widget", ())))]

    def take_over(self) -> None: ...

    def learn_node(self, node: NodeFacts) -> None: ...

    def collect_metrics(self) -> Any:
        return [MetricFamily("widgets", "Widgets that were seen.", samples=(Sample({}, 2),))]


def fails(*_: object) -> Any:
    raise OSError("no such bus")


def changed(**attributes: Any) -> Good:
    """A good plugin but for these attributes."""
    made: Good = type("Changed", (Good,), attributes)()
    return made


def seeing(*looks: Any) -> Good:
    """A good plugin that sees these devices, one list after the other."""
    remaining = iter(looks)
    return changed(discover=lambda self: {"acme.example/widget": next(remaining)})


async def _waits(self: Good, look_again: LookAgain) -> None:
    look_again()
    await trio.sleep_forever()


def test_a_good_plugin_has_a_clean_report() -> None:
    """Nothing is held against it, and what it offers, can do and needs is told."""
    report = check_plugin(changed(watch=_waits))
    assert (report.problems, report.advice) == ((), ())
    assert report.devices == {"acme.example/widget": 2}
    assert report.capabilities == tuple(sorted(CAPABILITIES))
    assert report.seconds.keys() == {"discover", "pre_start_required", *CAPABILITIES}
    assert str(report).startswith(
        "plugin good offers 2 acme.example/widget; capabilities: allocate, collect_metrics, examine, explain,"
    )


def test_every_capability_has_its_exercise() -> None:
    """A new one cannot be forgotten here."""
    assert EXERCISES.keys() == CAPABILITIES.keys()


def _spoils_itself(self: Good) -> dict[str, list[Device]]:
    self.udev_subsystems = "usb"
    return {}


async def _ends(self: Good, look_again: LookAgain) -> None: ...


async def _raises(self: Good, look_again: LookAgain) -> None:
    fails()


def _serial(self: Good, *_: object) -> ContainerEdits:
    return ContainerEdits(envs={"SERIAL": str(next(SERIAL))})


def _not_for_two_threads() -> Callable[..., ContainerEdits]:
    """An ``allocate`` that breaks when two containers are allocated to at the same time."""
    calls, running, collided = count(), threading.Semaphore(1), threading.Event()

    def allocate(self: Good, resource: str, devices: Sequence[Device], edits: ContainerEdits) -> ContainerEdits:
        if next(calls) == 0:
            return edits
        if not running.acquire(blocking=False):
            collided.set()
            raise RuntimeError("busy")
        collided.wait(30)
        return edits

    return allocate


@pytest.mark.parametrize(
    ("attributes", "problem"),
    [
        ({"name": None}, "name must be a string"),
        ({"take_over": fails}, "take_over raised OSError: no such bus"),
        ({"learn_node": fails}, "learn_node raised OSError: no such bus"),
        ({"collect_metrics": fails}, "collect_metrics raised OSError: no such bus"),
        (
            {"collect_metrics": lambda self: {"widgets": 2}},
            "collect_metrics: collect_metrics() must return MetricFamily objects",
        ),
        ({"collect_metrics": lambda self: [MetricFamily("Widgets", "")]}, "collect_metrics: metric 'Widgets' is left out"),
        ({"name": property(lambda self: f"name-{next(SERIAL)}")}, "name changes from one reading to the next"),
        ({"discover": fails}, "discover raised OSError: no such bus"),
        ({"discover": _spoils_itself}, "udev_subsystems must be a collection"),
        ({"discover": lambda self: [1]}, "discover raised TypeError: discover() must return a mapping"),
        ({"discover": lambda self: {"widget": DEVICES}}, "widget: it has no vendor domain"),
        ({"discover": lambda self: {"a.b/c": [Device("")]}}, "a.b/c: id: Expected 1 to 63 printable ASCII characters"),
        ({"discover": lambda self: {"a.b/c": [Device("x"), Device("x")]}}, "a.b/c x: its id is listed twice"),
        ({"discover": lambda self: {f"a.b/{next(SERIAL)}": []}}, "is there in one look and not in the next"),
        ({"discover": lambda self: {"a.b/c": [Device(f"id-{next(SERIAL)}")]}}, "a.b/c has other ids at each look"),
        ({"watch": _ends}, "watch ended by itself"),
        ({"watch": _raises}, "watch raised OSError: no such bus"),
        ({"allocate": fails}, "allocate raised OSError"),
        ({"allocate": lambda self, *_: None}, "returned no usable answer: it is NoneType, not ContainerEdits"),
        (
            {"allocate": lambda self, *_: ContainerEdits(envs={"=": ""})},
            "returned no usable answer: a key of envs: Expected the name of an environment variable",
        ),
        ({"allocate": _serial}, "allocate of acme.example/widget differs for the same devices"),
        ({"allocate": _not_for_two_threads()}, "allocate raised RuntimeError: busy"),
        ({"preferred_allocation": fails}, "preferred_allocation raised OSError"),
        ({"preferred_allocation": lambda self, *_: None}, "must return a list of ids, not None"),
        ({"preferred_allocation": lambda self, *_: "one"}, "must return a list of ids, not 'one'"),
        ({"preferred_allocation": lambda self, *_: []}, "returned 0 ids"),
        ({"preferred_allocation": lambda self, r, a, m, size: ["one"] * size}, "returned an id twice"),
        ({"preferred_allocation": lambda self, r, a, m, size: list("xyz")[:size]}, "not available: ['x']"),
        ({"preferred_allocation": lambda self, r, a, m, size: a[:size]}, "left out two, which must be included"),
        ({"pre_start_required": fails}, "pre_start_required raised OSError"),
        ({"pre_start_required": lambda self, resource: "yes"}, "must return a bool, not 'yes'"),
        ({"pre_start": fails}, "pre_start raised OSError"),
        ({"notices": fails}, "notices raised OSError"),
        ({"notices": lambda self: "all is well"}, "notices must return a list of sentences, not 'all is well'"),
        ({"explain": lambda self, text: None}, "explain must return a list of sentences, not None"),
        ({"explain": lambda self, text: ["hm"]}, "explain('no-such-device') must return nothing"),
        ({"explain": lambda self, text: []}, "explain('one') must say something"),
        ({"examine": fails}, "examine raised OSError"),
        ({"examine": lambda self: "all is well"}, "examine: examine() must return Finding objects, not str"),
        ({"examine": lambda self: ["hm"]}, "examine: finding 1 is left out: it is str, not Finding"),
        ({"examine": lambda self: [Finding("failure", "a", "It is broken.")]}, "the failure about 'a' has no cure"),
        ({"leftovers": fails}, "leftovers raised OSError"),
        ({"leftovers": lambda self, held: __file__}, "leftovers: leftovers() must return Leftover objects, not str"),
        (
            {"leftovers": lambda self, held: [Leftover("a")]},
            "leftovers: leftover 1 is none: path: it must be the absolute path",
        ),
        ({"leftovers": lambda self, held: [Leftover(__file__, ("x",))]}, "leftover 1 is none: needed_by: x is not held"),
        ({"leftovers": lambda self, held: [Leftover("/nowhere")]}, "leftovers names /nowhere, which is not there"),
    ],
)
def test_a_broken_promise_is_found(attributes: dict[str, Any], problem: str) -> None:
    """Each check has a plugin that fails it, and it alone."""
    report = check_plugin(changed(**attributes))
    assert [found for found in report.problems if problem in found], report
    assert f"problem: {report.problems[0]}" in str(report)


def test_a_file_left_open_at_each_look_is_found() -> None:
    """Three looks, three descriptors: no process has enough for a year of that."""
    left = []

    def discover(self: Good) -> dict[str, list[Device]]:
        left.append(os.open(os.devnull, os.O_RDONLY))
        return {}

    try:
        assert "each look leaves a file descriptor open" in check_plugin(changed(discover=discover)).problems
    finally:
        for descriptor in left:
            os.close(descriptor)


def test_a_thread_left_running_at_each_look_is_found() -> None:
    """Three looks, three threads: a leak that would end the process some day."""
    end = threading.Event()

    def discover(self: Good) -> dict[str, list[Device]]:
        threading.Thread(target=end.wait, daemon=True).start()
        return {}

    try:
        assert "each look leaves a thread running" in check_plugin(changed(discover=discover)).problems
    finally:
        end.set()


@pytest.mark.parametrize("method", ["discover", "allocate", "explain"])
def test_a_call_that_does_not_come_back_ends_the_check(method: str) -> None:
    """What hangs is named; nothing after it is tried."""
    end = threading.Event()
    try:
        report = check_plugin(changed(**{method: lambda self, *_: end.wait()}), deadline=0.05)
    finally:
        end.set()
    assert f"{method} did not come back within 0.05 s" in report.problems


def test_a_watch_that_blocks_its_loop_is_found() -> None:
    """It could never be cancelled."""
    end = threading.Event()

    async def watch(self: Good, look_again: LookAgain) -> None:
        end.wait()

    try:
        report = check_plugin(changed(watch=watch), deadline=0.5)
    finally:
        end.set()
    assert report.problems == ("watch did not come back within 0.5 s",)


@pytest.mark.parametrize(
    ("plugin", "advice"),
    [
        (changed(udev_subsystems=()), "only the timed looks"),
        (changed(prefered_allocation=lambda self: None), "did you mean preferred_allocation?"),
        (seeing(DEVICES, DEVICES[::-1], DEVICES), "is in another order at each look"),
        (seeing(DEVICES, [Device("one"), Device("two")], DEVICES), "differs between looks"),
        (seeing(*[[Device("one", Health.UNHEALTHY), Device("two")]] * 3), "device one is unhealthy without a reason"),
        (
            seeing(
                *[[Device(name, edits=ContainerEdits((DeviceNode(f"/dev/{name}", "/dev/x"),))) for name in ("one", "two")]] * 3
            ),
            "two devices want to be /dev/x in one container",
        ),
        (
            seeing(*[[Device(name, edits=ContainerEdits((), (Mount(f"/{name}", "/x"),))) for name in ("one", "two")]] * 3),
            "two devices want to mount at /x",
        ),
    ],
)
def test_what_is_seldom_meant_is_advice(plugin: Good, advice: str) -> None:
    """It breaks no promise, so it is no problem."""
    report = check_plugin(plugin)
    assert report.problems == ()
    assert [found for found in report.advice if advice in found], report


def test_a_refused_allocation_is_no_broken_promise() -> None:
    """A plugin may say no; the author is told that it did."""

    def allocate(self: Good, *_: object) -> None:
        raise AllocationRefused("not these two")

    report = check_plugin(changed(allocate=allocate))
    assert report.problems == ()
    assert any("not these two" in advice for advice in report.advice)


def test_a_fake_host_is_seen_through_the_roots(tmp_path: Path) -> None:
    """Devices come with attributes, nodes and ancestors, and go without a trace."""
    fake = FakeHost(tmp_path)
    bridge = fake.add_device("pci", "0000:00:02.0", {"numa_node": "1"})
    gadget = fake.add_device("acme", "gadget0", {"serial": "A-0"}, node="gadget0", parent=bridge)
    (device,) = HostView(fake.host).devices("acme")
    assert (device.path, device.node, device.attribute("serial"), device.numa_node) == (gadget, "/dev/gadget0", "A-0", 1)
    assert device.subsystem == "acme"
    assert fake.path("/dev/gadget0").exists()
    fake.remove_device(gadget)
    assert HostView(fake.host).devices("acme") == ()
    assert not fake.path("/dev/gadget0").exists()


def test_a_fake_host_has_nothing_outside_its_roots(tmp_path: Path) -> None:
    """A test that means another directory is told so."""
    with pytest.raises(ValueError, match="/etc/passwd is not below"):
        FakeHost(tmp_path).write("/etc/passwd")
