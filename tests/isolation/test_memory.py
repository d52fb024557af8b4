"""What isolated plugins remember, take over and measure: the same as in our own process, over every life of theirs."""

import json
import os
import shutil
import signal
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from supervisor import Host, MetricFamily, MetricsSource, NodeFacts, NodeLearner, Sample, Successor
from supervisor.errors import PluginFailed
from supervisor.isolation import IsolatedPackage, Limits
from supervisor.looking import look_once
from supervisor.memory import EMPTY
from tests.isolation.heir_plugin import RESOURCE

PATIENT = Limits(load=60, look=60)
SOON = 20.0
"""Seconds after which a test takes an event that has not come for one that never will."""


class Shelf:
    """Where the memory is kept."""

    def __init__(self) -> None:
        self.kept: list[Any] = []

    def recall(self) -> bytes:
        return json.dumps(self.kept[-1]).encode() if self.kept else EMPTY

    def keep(self, memory: bytes) -> None:
        self.kept.append(json.loads(memory))


class Heir:
    """The isolated plugin, and what it tells in its look."""

    def __init__(self, package: IsolatedPackage) -> None:
        self.package = package
        (self.plugin,) = package.load().plugins
        assert isinstance(self.plugin, Successor)
        assert isinstance(self.plugin, MetricsSource)

    def told(self) -> Any:
        (device,) = self.plugin.discover()[RESOURCE]
        return json.loads(device.reason)

    def take_over(self) -> None:
        assert isinstance(self.plugin, Successor)
        self.plugin.take_over()

    def kill(self) -> None:
        """End its process from outside."""
        pid = self.package.pid
        assert pid is not None
        os.kill(pid, signal.SIGKILL)
        until(lambda: self.package.pid is None)


def until(happened: Callable[[], object]) -> None:
    """Wait for something that shows only when it is looked at."""
    deadline = time.monotonic() + SOON
    while not happened():
        assert time.monotonic() < deadline, "it has not happened"
        time.sleep(0.005)


@pytest.fixture
def shelf() -> Shelf:
    return Shelf()


@pytest.fixture
def isolate(shelf: Shelf, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[..., Heir]]:
    """The heir in a process of its own, with the memory on the shelf."""
    info = tmp_path / "site" / "heir-1.0.dist-info"
    info.mkdir(parents=True)
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: heir\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text("[device_plugin_supervisor.plugins]\nheir = heir_plugin\n")
    shutil.copy(Path(__file__).with_name("heir_plugin.py"), tmp_path / "site")
    monkeypatch.setenv("PYTHONPATH", str(tmp_path / "site"))
    packages: list[IsolatedPackage] = []

    def new(**section: str) -> Heir:
        packages.append(IsolatedPackage("heir", section, Host(), PATIENT, shelf))
        return Heir(packages[-1])

    yield new
    for package in packages:
        package.close()


def test_a_standby_recalls_but_keeps_nothing(isolate: Callable[..., Heir], shelf: Shelf) -> None:
    """In its constructor already; what it wants to keep waits until it takes over."""
    shelf.kept = [{"lives": 4}]
    heir = isolate(does="eager")
    assert heir.told() == {"start": {"lives": 4}, "taken over": [], "now": {"lives": 4}}
    shelf.kept.append({"lives": 5})  # as another process keeps it
    assert heir.told()["now"] == {"lives": 5}
    assert shelf.kept == [{"lives": 4}, {"lives": 5}]


def test_what_an_heir_keeps_is_remembered(isolate: Callable[..., Heir], shelf: Shelf) -> None:
    """It recalls what was kept up to that moment, and only the newest of what it wants to keep arrives."""
    heir = isolate(does="eager")
    shelf.kept = [{"lives": 6}]
    heir.take_over()
    until(lambda: len(shelf.kept) == 2)
    assert shelf.kept[-1] == {"lives": 7, "pid": heir.package.pid}
    assert heir.told()["taken over"] == [{"lives": 6}]


def test_the_next_life_takes_over_by_itself(isolate: Callable[..., Heir], shelf: Shelf) -> None:
    """A process that was killed and replaced belongs to an owner still: before its first look, and once."""
    heir = isolate()
    heir.take_over()
    first = heir.package.pid
    until(lambda: len(shelf.kept) == 1)
    heir.kill()
    told = heir.told()
    assert told["start"] == {"lives": 1, "pid": first}
    assert told["taken over"] == [{"lives": 1, "pid": first}]
    until(lambda: len(shelf.kept) == 2)
    assert shelf.kept[-1] == {"lives": 2, "pid": heir.package.pid}
    assert len(heir.told()["taken over"]) == 1


def test_the_next_life_learns_of_the_node_by_itself(isolate: Callable[..., Heir]) -> None:
    """What was told last is told again to a process that was replaced, before its first look, and once."""
    heir = isolate()
    assert isinstance(heir.plugin, NodeLearner)
    for name in ("old", "new"):
        heir.plugin.learn_node(NodeFacts(name, {"zone": "a"}))
    assert heir.told()["nodes"] == ["old", "new"]
    heir.kill()
    assert heir.told()["nodes"] == ["new"]
    assert heir.told()["nodes"] == ["new"]


def test_the_next_life_of_a_standby_stays_one(isolate: Callable[..., Heir], shelf: Shelf) -> None:
    """Nobody told it to take over."""
    heir = isolate(does="eager")
    heir.told()
    heir.kill()
    assert heir.told()["taken over"] == []
    assert shelf.kept == []


def test_an_error_in_taking_over_is_the_plugins(isolate: Callable[..., Heir], shelf: Shelf) -> None:
    """The process lives on, and nothing is kept."""
    heir = isolate(does="raise")
    pid = heir.package.pid
    with pytest.raises(PluginFailed, match="OSError: the disk is full"):
        heir.take_over()
    assert heir.package.pid == pid
    assert shelf.kept == []


def test_what_is_no_memory_is_refused_over_there(isolate: Callable[..., Heir]) -> None:
    """In the author's own line."""
    with pytest.raises(PluginFailed, match=r"TypeError: a memory is a mapping, not int"):
        isolate(does="nonsense").plugin.discover()


def test_metrics_come_with_the_look(isolate: Callable[..., Heir]) -> None:
    """As they would in our own process."""
    heir = isolate()
    heir.take_over()
    look = look_once(heir.plugin, {})
    assert look.families == (MetricFamily("lives", "Times it took over.", "counter", (Sample({"device": "one"}, 1),)),)
    assert look.notices == ()


def test_bad_metrics_are_left_out_one_by_one(isolate: Callable[..., Heir]) -> None:
    """Also those that no message can hold."""
    look = look_once(isolate(does="metrics").plugin, {})
    assert {family.name: [dict(sample.labels) for sample in family.samples] for family in look.families} == {
        "lives": [{"device": "one"}],
        "part": [{"a": "b"}],
        "typed": [{"a": "b"}],
    }
    assert [notice.partition(" is left out")[0] for notice in look.notices] == [
        "metric 'Bad'",
        "sample of metric 'part'",
        "sample {'a': 5} of metric 'typed'",
        "metric <str>",
    ]


def test_metrics_that_raise_spoil_no_look(isolate: Callable[..., Heir]) -> None:
    """The devices are there, and the reason why the metrics are not."""
    look = look_once(isolate(does="metrics raise").plugin, {})
    assert look.inventories.keys() == {RESOURCE}
    assert "LookupError: no sensor" in look.notices[0]


def test_an_endless_row_of_lives_leaves_nothing_behind(isolate: Callable[..., Heir], shelf: Shelf) -> None:
    """Neither a thread nor a descriptor for each memory."""
    heir = isolate()
    heir.take_over()

    def held() -> int:
        return len(os.listdir("/proc/self/fd")) + len(os.listdir("/proc/self/task"))

    def kept(lives: int) -> Callable[[], bool]:
        return lambda: bool(shelf.kept and shelf.kept[-1]["lives"] == lives)

    before = held()
    for ended in range(5):
        until(kept(ended + 1))  # what a life keeps arrives soon, but not if it is killed before
        heir.kill()
        heir.told()
    until(lambda: held() <= before)
    until(kept(6))
