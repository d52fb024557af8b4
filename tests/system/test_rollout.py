"""Containers are replaced, killed and configured while pods come and go: none is rejected while a supervisor could have served it."""

import json
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

from supervisor.kubelet.simulator import Event, EventKind, KubeletSimulator
from tests.system.container import Container
from tests.system.handover_campaign import RESOURCES, SIGNALS, distribution
from tests.system.rig import ERAS, HEALTHY, RESOURCE, Process, Puppet, assert_sound, endpoints, registered
from tests.system.rollout import Judgement, Outage, Rollout, judged, outages, upgrade

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
    kubelet, crashed = rollout.kubelet, rollout.runners[0]
    device = kubelet.pod(HELD).device_ids
    rollout.ended = endpoints(kubelet)
    with judged(kubelet) as judgement:
        position = kubelet.events.position
        crashed.signal(signal.SIGKILL)
        crashed.wait()
        rollout.join().wait_ready("active")
        kubelet.wait_event(EventKind.LIST_RECEIVED, since=position, resource=RESOURCE)
    assert_excused(judgement, 1)
    assert judgement.rejected > 0  # the start of a program takes longer than a pod's turn
    assert_kept(rollout, device, 2)


@pytest.mark.requires("root", "namespaces", "crun")
def test_a_configuration_is_replaced(rollout: Rollout) -> None:
    """Again and again, and the section of the plugin that serves: no stream ends, so no pod is rejected."""
    container, device = rollout.runners[0], rollout.kubelet.pod(HELD).device_ids
    plugins = json.loads(container.config.read_text())["plugins"]
    with judged(rollout.kubelet) as judgement:
        for edition in range(1, RELOADS + 1):
            container.edit(plugins=plugins | {rollout.puppet.name: rollout.puppet.section(edition=edition)})
            container.wait_generation(edition + 1)
    assert_excused(judgement, 0)
    assert judgement.rejected == 0
    assert rollout.puppet.calls("device_plugins") == RELOADS + 1
    assert_kept(rollout, device, 1)


@pytest.mark.requires("root", "namespaces", "crun")
@pytest.mark.parametrize("era", ERAS)
def test_the_kubelet_restarts(rollout: Rollout, era: str) -> None:
    """The container sees the new socket through its mount and registers; pods are rejected only until then."""
    kubelet, device = rollout.kubelet, rollout.kubelet.pod(HELD).device_ids
    with judged(kubelet) as judgement:
        for life in range(2, TIMES + 2):
            kubelet.restart()
            kubelet.wait_devices(RESOURCE, HEALTHY)
            assert registered(kubelet, life) == 1
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
