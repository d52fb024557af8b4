"""One plugin misbehaves in every way it can: the other's devices stay healthy, and its pods get them."""

import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from supervisor.kubelet.simulator import EventKind, KubeletSimulator
from tests.system.conftest import Start
from tests.system.rig import HEALTHY, RESOURCE, Process, Puppet, assert_sound, wait_for

OTHER = "example.com/other"
IMPATIENT = {"lookTimeout": 0.3, "allocateTimeout": 0.3, "preStartTimeout": 0.3}
CALLS_MEANWHILE = 20


@pytest.fixture
def other(tmp_path: Path, puppet: Puppet) -> Puppet:
    """The one that misbehaves."""
    return Puppet(tmp_path, "other", {OTHER: {"o0": "", "o1": ""}})


@contextmanager
def undisturbed(kubelet: KubeletSimulator) -> Iterator[None]:
    """While the block runs, and for some calls more, each Allocate of the good plugin is answered; its list and stream stay."""
    position = kubelet.events.position
    with kubelet.allocate_load(RESOURCE, ["w0"], calls_per_second=100) as finish:
        yield
        for _ in range(CALLS_MEANWHILE):
            pod = kubelet.add_pod("neighbour", {RESOURCE: 1})
            assert pod.admitted, pod.message
            kubelet.delete_pod("neighbour")
        result = finish()
    assert result.latencies.count > 0
    assert (result.latencies.failed, result.failures) == (0, ())
    assert kubelet.devices(RESOURCE) == HEALTHY
    for kind in (EventKind.LIST_RECEIVED, EventKind.STREAM_ENDED):
        assert not kubelet.log(kind, since=position, resource=RESOURCE)
    assert_sound(kubelet)


def start_both(start: Start, kubelet: KubeletSimulator, puppet: Puppet, section: Mapping[str, Any]) -> Process:
    """Start, and wait for the good one."""
    process = start({"puppet": puppet.section(), "other": section})
    kubelet.wait_devices(RESOURCE, HEALTHY)
    return process


@pytest.mark.parametrize("mood", ["raise", "nap", "garbage", "hang"])
def test_in_discover(kubelet: KubeletSimulator, start: Start, puppet: Puppet, other: Puppet, mood: str) -> None:
    """Look after look; what it said before stays, and what it says after it has come to its senses is served."""
    section = other.section(**IMPATIENT | {"lookInterval": 0.1})
    process = start_both(start, kubelet, puppet, section)
    kubelet.wait_devices(OTHER, {"o0": "Healthy", "o1": "Healthy"})
    looks = other.calls("discover")
    other.behave(discover=mood)
    with undisturbed(kubelet):
        wait_for(lambda: other.calls("discover") >= looks + (1 if mood == "hang" else 3), what="the looks")
        if mood != "nap":
            process.wait_log('"LookFailed"')
        assert kubelet.devices(OTHER) == {"o0": "Healthy", "o1": "Healthy"}
    other.behave()
    other.show({"o0": "", "o1": "worn out"}, OTHER)
    kubelet.wait_devices(OTHER, {"o0": "Healthy", "o1": "Unhealthy"}, timeout=30)


@pytest.mark.parametrize("mood", ["raise", "nap", "garbage", "hang"])
def test_in_watch(kubelet: KubeletSimulator, start: Start, puppet: Puppet, other: Puppet, mood: str) -> None:
    """An event source that is none costs nobody anything: looks go on by the clock."""
    other.behave(watch=mood)
    process = start_both(start, kubelet, puppet, other.section(**IMPATIENT | {"lookInterval": 0.1}))
    with undisturbed(kubelet):
        wait_for(lambda: other.calls("watch") >= 1, what="the watch")
        if mood in {"raise", "garbage"}:
            process.wait_log('"WatchFailed"')
        other.show({"o0": ""}, OTHER)
        kubelet.wait_for(lambda: kubelet.devices(OTHER).get("o0") == "Healthy", what="its devices")


@pytest.mark.parametrize("method", ["allocate", "pre_start"])
@pytest.mark.parametrize("mood", ["raise", "nap", "garbage", "hang"])
def test_in_a_call(kubelet: KubeletSimulator, start: Start, puppet: Puppet, other: Puppet, method: str, mood: str) -> None:
    """Its own pod is refused, or not started, in bounded time and with a short text; nobody else's is."""
    other.require_pre_start()
    other.behave(**{method: mood})
    start_both(start, kubelet, puppet, other.section(**IMPATIENT))
    kubelet.wait_devices(OTHER, {"o0": "Healthy", "o1": "Healthy"})
    pods = [threading.Thread(target=kubelet.add_pod, args=(f"pod-{number}", {OTHER: 1})) for number in range(2)]
    with undisturbed(kubelet):
        for pod in pods:
            pod.start()
        wait_for(lambda: other.calls(method) >= 1, what="the call")
        for pod in pods:
            pod.join(30)
            assert not pod.is_alive()
    name = "Allocate" if method == "allocate" else "PreStartContainer"
    calls = [event for event in kubelet.calls(OTHER) if event["method"] == name]
    assert calls
    bad = [event for event in calls if event["code"] != "OK"]
    assert bool(bad) is (mood in {"raise", "hang"} or (mood, method) == ("garbage", "allocate"))
    assert all(len(event["message"]) < 500 and "Traceback" not in event["message"] for event in bad)


@pytest.mark.parametrize("mood", ["burn", "leak", "crash"])
def test_in_a_process_of_its_own(kubelet: KubeletSimulator, start: Start, puppet: Puppet, other: Puppet, mood: str) -> None:
    """What holds the interpreter, eats memory or kills its process is killed and replaced, and what it said stays."""
    section = other.section(isolation="process", memoryLimit="256Mi", lookTimeout=1, lookInterval=0.2)
    process = start_both(start, kubelet, puppet, section)
    kubelet.wait_devices(OTHER, {"o0": "Healthy", "o1": "Healthy"}, timeout=20)
    other.behave(discover=mood)
    with undisturbed(kubelet):
        process.wait_log('"LookFailed"', timeout=20)
        assert kubelet.devices(OTHER) == {"o0": "Healthy", "o1": "Healthy"}
    other.behave()
    other.show({"o0": "", "o1": "worn out"}, OTHER)
    kubelet.wait_devices(OTHER, {"o0": "Healthy", "o1": "Unhealthy"}, timeout=30)


@pytest.mark.parametrize("mood", ["burn", "crash"])
def test_in_a_call_of_a_process_of_its_own(
    kubelet: KubeletSimulator, start: Start, puppet: Puppet, other: Puppet, mood: str
) -> None:
    """The pod is refused, and a later one is served by the next process."""
    section = other.section(isolation="process", lookTimeout=1, lookInterval=0.2, allocateTimeout=0.5)
    start_both(start, kubelet, puppet, section)
    kubelet.wait_devices(OTHER, {"o0": "Healthy", "o1": "Healthy"}, timeout=20)
    other.behave(allocate=mood)
    with undisturbed(kubelet):
        pod = kubelet.add_pod("unlucky", {OTHER: 1})
        assert not pod.admitted
    other.behave()

    def admitted() -> bool:
        pod = kubelet.add_pod("lucky", {OTHER: 1})
        kubelet.delete_pod("lucky")
        return pod.admitted

    wait_for(admitted, 30, "the next process")
