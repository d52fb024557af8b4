"""Containers are replaced, killed and configured while pods come and go: none is rejected while a supervisor could have served it."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from supervisor.kubelet.simulator import Event, EventKind, KubeletSimulator
from tests.system.container import Container
from tests.system.handover_campaign import RESOURCES, SIGNALS, distribution
from tests.system.rig import ERAS, HEALTHY, RESOURCE, Process, Puppet, assert_sound, endpoints, registered
from tests.system.rollout import (
    Judgement,
    Line,
    Outage,
    Rollout,
    crashed,
    edited,
    judged,
    outages,
    restarted,
    table,
    trial,
    upgrade,
)

TIMES = 3
"""For each signal and kubelet; ``make rollout`` does it 20 times."""
RELOADS = 5
HELD = "held"
"""A pod that was there before and stays."""


@pytest.fixture
def rollout(kubelet: KubeletSimulator, puppet: Puppet, short_dir: Path) -> Iterator[Rollout]:
    """A container that serves, and a pod that has one of its devices."""
    with Rollout.open(kubelet, puppet, short_dir) as running:
        kubelet.wait_devices(RESOURCE, HEALTHY)
        kubelet.add_pod(HELD, {RESOURCE: 1})
        yield running


def assert_kept(rollout: Rollout, device: list[str], containers: int) -> None:
    """The pod has its device still and may start again, and the kubelet was told nothing that it minds."""
    assert rollout.kubelet.pod(HELD).device_ids == device
    assert rollout.kubelet.restart_container(HELD).containers["main"].waiting_message == ""
    rollout.kubelet.wait_devices(RESOURCE, HEALTHY)
    assert len(endpoints(rollout.kubelet)) == containers * len(RESOURCES)
    assert_sound(rollout.kubelet, rollout.ended)


def assert_excused(judgement: Judgement, times: int) -> None:
    """So many times nobody served, and no pod was rejected at any other time."""
    print(judgement)
    assert len(judgement.outages) == times
    assert judgement.unexcused == []
    assert judgement.admitted > 0


@pytest.mark.slow
@pytest.mark.requires("root", "namespaces", "crun")
@pytest.mark.parametrize("era", ERAS)
@pytest.mark.parametrize("name", SIGNALS)
def test_a_container_is_replaced(rollout: Rollout, name: str) -> None:
    """The next one is ready when this one ends, in good order or not: only pods of the gap between them are rejected."""
    device = rollout.kubelet.pod(HELD).device_ids
    judgement, gaps = upgrade(rollout, TIMES, SIGNALS[name])
    print(name, distribution(gaps))
    assert_excused(judgement, TIMES)
    assert_kept(rollout, device, TIMES + 1)


@pytest.mark.requires("root", "namespaces", "crun")
def test_a_container_crashes(rollout: Rollout) -> None:
    """Alone and killed, it is started again as the kubelet does it: only pods of that time are rejected."""
    device = rollout.kubelet.pod(HELD).device_ids
    judgement, _ = trial(rollout, 1, crashed)
    assert_excused(judgement, 1)
    assert judgement.rejected > 0  # the start of a program takes longer than a pod's turn
    assert_kept(rollout, device, 2)


@pytest.mark.requires("root", "namespaces", "crun")
def test_a_configuration_is_replaced(rollout: Rollout) -> None:
    """Again and again, and the section of the plugin that serves: no stream ends, so no pod is rejected."""
    device = rollout.kubelet.pod(HELD).device_ids
    judgement, gaps = trial(rollout, RELOADS, edited)
    assert gaps == []
    assert_excused(judgement, 0)
    assert judgement.rejected == 0
    assert rollout.puppet.calls("device_plugins") == RELOADS + 1
    assert_kept(rollout, device, 1)


@pytest.mark.requires("root", "namespaces", "crun")
@pytest.mark.parametrize("era", ERAS)
def test_the_kubelet_restarts(rollout: Rollout, era: str) -> None:
    """The container sees the new socket through its mount and registers; pods are rejected only until then."""
    kubelet, device = rollout.kubelet, rollout.kubelet.pod(HELD).device_ids
    judgement, gaps = trial(rollout, TIMES, restarted)
    print(distribution(gaps))
    kubelet.wait_devices(RESOURCE, HEALTHY)
    assert [registered(kubelet, life) for life in range(2, TIMES + 2)] == [1] * TIMES
    assert_excused(judgement, TIMES)
    # A kubelet 1.25 asks for running pods' devices before any plugin can have registered, and fails the pods.
    assert era == "1.25" or kubelet.pod(HELD).device_ids == device
    assert_sound(kubelet)


@pytest.mark.requires("root", "namespaces", "crun")
def test_a_container_is_where_the_manifest_puts_it(rollout: Rollout) -> None:
    """First of its own process tree, without any capability, on a root that is read-only."""
    container = rollout.runners[0]
    assert isinstance(container, Container)
    status = Path(f"/proc/{container.pid}/status").read_text()
    fields = dict(line.split(":\t", 1) for line in status.splitlines())
    assert fields["NSpid"].split() == [str(container.pid), "1"]
    assert {int(fields[f"Cap{kind}"], 16) for kind in ("Inh", "Prm", "Eff", "Bnd", "Amb")} == {0}
    assert fields["NoNewPrivs"] == "1"
    mounts = [line.split() for line in Path(f"/proc/{container.pid}/mountinfo").read_text().splitlines()]
    assert next(words[5] for words in mounts if words[4] == "/").split(",")[0] == "ro"


# --- the measure itself -----------------------------------------------------------------------------------------------


def test_a_rejection_without_an_outage_is_told(kubelet: KubeletSimulator, served: Process, puppet: Puppet) -> None:
    """Devices are unhealthy for a while, and the pods of that time have no excuse."""
    with judged(kubelet) as judgement:
        puppet.show(dict.fromkeys(HEALTHY, "worn out"))
        rejected = kubelet.wait_event(EventKind.POD_FAILED)
        puppet.show(dict.fromkeys(HEALTHY, ""))
    assert judgement.outages == []
    assert rejected in judgement.unexcused
    assert len(judgement.unexcused) == judgement.rejected


def event(kind: EventKind, at_ns: int, resource: str = RESOURCE, **fields: str) -> Event:
    return Event(kind, at_ns, 1, {"resource": resource, **fields})


OPENED, LISTED, ENDED = EventKind.STREAM_OPENED, EventKind.LIST_RECEIVED, EventKind.STREAM_ENDED
SERVED = [event(OPENED, 1), event(LISTED, 2)]
AGAIN = [event(OPENED, 30), event(LISTED, 40), event(LISTED, 50)]


@pytest.mark.parametrize(
    ("between", "began"),
    [
        ([event(ENDED, 10)], 10),
        ([event(EventKind.CALL, 8, code="OK"), event(ENDED, 10)], 10),
        ([event(EventKind.CALL, 9, code="Unavailable"), event(ENDED, 10)], 9),
        ([event(EventKind.CALL, 7, code="Unavailable"), event(EventKind.CALL, 8, code="OK"), event(ENDED, 10)], 10),
        ([event(EventKind.CALL, 9, code="Unknown"), event(ENDED, 10)], 10),
        ([Event(EventKind.KUBELET_ENDED, 9, 1, {}), event(ENDED, 10)], 9),
        ([event(ENDED, 5, "example.com/other"), event(ENDED, 10)], 10),
    ],
)
def test_an_outage_ends_with_a_list(between: list[Event], began: int) -> None:
    """It begins where the kubelet can no longer reach anybody, and the first list of the next stream ends it."""
    assert outages([*SERVED, *between, *AGAIN], RESOURCE) == [Outage(began, 40)]
    assert outages([*SERVED, *between], RESOURCE) == []


def test_two_streams_are_one_too_many() -> None:
    """While another stream lives, the end of one is no outage."""
    overlap = [*SERVED, event(OPENED, 10), event(LISTED, 11), event(ENDED, 12)]
    assert outages([*overlap, event(LISTED, 13)], RESOURCE) == []
    assert outages([*overlap, event(ENDED, 20), *AGAIN], RESOURCE) == [Outage(20, 40)]


OUTAGE = Outage(0, 10_000_000)


@pytest.mark.parametrize(
    ("line", "text", "good"),
    [
        (Line("the DaemonSet is upgraded", Judgement([OUTAGE]), [0.01]), "10 ms (median of 1; longest 10 ms) | none", True),
        (Line("the DaemonSet is upgraded", Judgement([OUTAGE]), [0.06]), "60 ms (median of 1; longest 60 ms) | none", False),
        (
            Line("the DaemonSet is upgraded", Judgement([OUTAGE]), [0.01, 0.02, 0.6]),
            "20 ms (median of 3; longest 600 ms) | none",
            False,
        ),
        (Line("a crash", Judgement([OUTAGE]), [0.9]), "900 ms (median of 1; longest 900 ms) | none", True),
        (Line("a crash", Judgement([OUTAGE], unexcused=[SERVED[0]]), [0.9]), "900 ms (median of 1; longest 900 ms) | 1", False),
        (Line("an edit", Judgement(), []), "not at all | none", True),
        (Line("an edit", Judgement([OUTAGE]), []), "not at all | none", False),
    ],
)
def test_a_line_says_how_long_and_whether_that_is_good(line: Line, text: str, good: bool) -> None:
    """Hand-overs have bounds, an edit has no gap at all, and no pod is rejected without an excuse."""
    assert table([line]).splitlines()[2] == f"| {line.what} | {text} |"
    assert line.good is good
