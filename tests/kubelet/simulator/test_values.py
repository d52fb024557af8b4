"""The simulator's pure parts, by law."""

import asyncio
import json
import time
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from supervisor.kubelet.simulator import ERAS, Era, Event, EventKind, EventLog, Latencies, Phase, PodState
from supervisor.kubelet.simulator.checkpoint import read, write
from supervisor.kubelet.simulator.clock import Clock
from supervisor.kubelet.simulator.names import is_extended_resource
from supervisor.kubelet.simulator.pod_devices import Grant, PodDevices
from supervisor.kubelet.simulator.pods import (
    ContainerSpec,
    ContainerState,
    GrantedDevice,
    GrantedMount,
    PodSpec,
    RunOptions,
)
from supervisor.kubelet.simulator.settings import NodeSettings

TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=8)
COUNTS = st.dictionaries(TEXT, st.integers(0, 9), max_size=3)
TEXTS = st.dictionaries(TEXT, TEXT, max_size=3)
OPTIONS = st.builds(
    RunOptions,
    st.lists(st.builds(GrantedDevice, TEXT, TEXT, TEXT), max_size=2).map(tuple),
    st.lists(st.builds(GrantedMount, TEXT, TEXT, st.booleans()), max_size=2).map(tuple),
    TEXTS,
    TEXTS,
    st.lists(TEXT, max_size=2).map(tuple),
)
CONTAINERS = st.lists(st.builds(ContainerSpec, TEXT, COUNTS, st.booleans()), max_size=3).map(tuple)
STATES = st.builds(
    ContainerState,
    st.dictionaries(TEXT, st.lists(TEXT, max_size=3).map(tuple), max_size=2),
    OPTIONS,
    st.booleans(),
    st.integers(0, 9),
    TEXT,
    TEXT,
)


def over_the_channel(value: dict[str, Any]) -> dict[str, Any]:
    """Send plain values through JSON as the control channel does."""
    received: dict[str, Any] = json.loads(json.dumps(value))
    return received


@given(st.builds(PodSpec, TEXT, TEXT, CONTAINERS, CONTAINERS))
def test_pod_specs_survive_the_channel(spec: PodSpec) -> None:
    """A pod that was sent is the pod that is received."""
    assert PodSpec.from_json(over_the_channel(spec.to_json())) == spec


@given(st.builds(PodState, TEXT, TEXT, TEXT, st.sampled_from(Phase), TEXT, TEXT, st.dictionaries(TEXT, STATES, max_size=2)))
def test_pod_states_survive_the_channel(state: PodState) -> None:
    """A pod's state that was sent is the one that is received."""
    assert PodState.from_json(over_the_channel(state.to_json())) == state


@given(st.sampled_from(EventKind), st.integers(0), st.integers(0), TEXTS)
def test_events_survive_the_channel(kind: EventKind, at_ns: int, life: int, fields: dict[str, str]) -> None:
    """An event that was sent is the one that is received, unless a field takes a name that means something else."""
    event = Event(kind, at_ns, life, {f"x{name}": value for name, value in fields.items()})
    assert Event.from_json(over_the_channel(event.to_json())) == event


@pytest.mark.parametrize("name", ERAS)
def test_settings_survive_the_channel(name: str) -> None:
    """The simulator's process gets the settings it was given."""
    for directory in (None, Path("/elsewhere")):
        settings = NodeSettings(Path("/node"), ERAS[name], directory, 7, 0.5, 2.0, checkpoints=False)
        assert NodeSettings.from_json(over_the_channel(settings.to_json())) == settings
    assert Era.from_json(over_the_channel(ERAS[name].to_json())) == ERAS[name]


@given(
    st.lists(
        st.tuples(TEXT, TEXT, TEXT, st.dictionaries(st.integers(-1, 63), st.lists(TEXT, min_size=1)), st.binary()),
        max_size=5,
    ),
    st.dictionaries(TEXT, st.sets(TEXT, max_size=3), max_size=3),
)
def test_checkpoint_round_trip(
    grants: list[tuple[str, str, str, dict[int, list[str]], bytes]], resources: dict[str, set[str]]
) -> None:
    """What is written is read again: all grants, and the names of the resources but not their devices."""
    pods = PodDevices()
    for uid, container, resource, by_node, answer in grants:
        pods.insert(uid, container, resource, Grant(by_node, answer))
    with TemporaryDirectory(dir="/tmp") as name:
        write(Path(name), pods, resources)
        saved = read(Path(name))
        assert [path.name for path in Path(name).iterdir()] == ["kubelet_internal_checkpoint"]
    assert list(saved.pod_devices.entries()) == list(pods.entries())
    assert saved.resources == resources.keys()


LABEL = st.from_regex(r"[a-z0-9]([-a-z0-9]{0,8}[a-z0-9])?", fullmatch=True)


@given(st.lists(LABEL, min_size=1, max_size=4), st.from_regex(r"[A-Za-z0-9]([-_.A-Za-z0-9]{0,8}[A-Za-z0-9])?", fullmatch=True))
def test_names_of_vendors_are_resources(labels: list[str], name: str) -> None:
    """A DNS domain, a slash and a name make a resource, unless the domain is Kubernetes' or a quota's."""
    domain = ".".join(labels)
    reserved = domain.startswith("requests.") or domain.endswith("kubernetes.io")
    assert is_extended_resource(f"{domain}/{name}") is not reserved


@given(st.text())
def test_resources_have_one_slash(name: str) -> None:
    """Whatever is accepted has exactly one slash and two halves."""
    if is_extended_resource(name):
        halves = name.split("/")
        assert len(halves) == 2
        assert all(halves)


@given(st.lists(st.integers(1, 10**9), min_size=1))
def test_latencies(taken: list[int]) -> None:
    """The percentiles of latencies are in order, and the last is the longest one in microseconds."""
    summary = Latencies.of(taken)
    assert summary.p50 <= summary.p99 <= summary.max == max(taken) / 1000
    assert summary.count == len(taken)
    assert Latencies.of([]).count == 0


def test_clock_jumps_wake_sleepers() -> None:
    """Who sleeps for an hour of the kubelet wakes when the clock jumps over it, and not before."""

    async def sleep_and_jump() -> tuple[bool, float]:
        clock = Clock(0.5)
        before = clock.now()
        sleeper = asyncio.create_task(clock.sleep(3600))
        await asyncio.sleep(0)
        clock.advance(3000)
        await asyncio.sleep(0)
        early = sleeper.done()
        clock.advance(600)
        await asyncio.wait_for(sleeper, 10)
        return early, clock.now() - before

    early, passed = asyncio.run(sleep_and_jump())
    assert not early
    assert passed >= 3600


@pytest.mark.parametrize("scale", [0.0, -1.0])
def test_time_goes_forward(scale: float) -> None:
    """A clock that stands still or runs backwards is refused."""
    with pytest.raises(ValueError, match="must be positive"):
        Clock(scale)


def test_log_positions() -> None:
    """A position separates what was from what is to come."""
    log = EventLog()
    first = Event(EventKind.WARNING, time.monotonic_ns(), 1, {"text": "one"})
    log.append(first)
    position = log.position
    assert log.first(lambda event: True, position, timeout=0) is None
    log.append(Event(EventKind.WARNING, time.monotonic_ns(), 1, {"text": "two"}))
    assert [event["text"] for event in log.since(position)] == ["two"]
    assert log.first(lambda event: True, 0, timeout=0) is first
    assert "warning text=one" in str(first)
