"""SIGTERM and SIGINT end the process soon, with exit code 0 and nothing left behind, whatever a plugin is doing."""

import os
import signal
import threading
from contextlib import suppress
from pathlib import Path
from queue import SimpleQueue

import pytest

from supervisor.kubelet.simulator import EventKind, KubeletSimulator, PodState
from tests.system.conftest import Start
from tests.system.rig import HEALTHY, RESOURCE, Process, Puppet, assert_sound, ours, wait_for

SOON = 5.0
"""Seconds; it takes less than one, of which half is for connections that do not want to end."""


def assert_ends_well(process: Process, kubelet: KubeletSimulator, number: int = signal.SIGTERM) -> None:
    """It ends with exit code 0 and takes its sockets with it; its lock file stays for the next one."""
    process.signal(number)
    assert process.wait(SOON) == 0
    directory = kubelet.paths.device_plugins
    assert ours(directory) == []
    hidden = directory / ".device-plugin-supervisor"
    assert [path.name for path in hidden.iterdir()] == ["owner.lock"]


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_with_open_streams(kubelet: KubeletSimulator, start: Start, puppet: Puppet, number: int) -> None:
    """The kubelet sees all streams end at once."""
    puppet.show({"o0": ""}, "example.com/other")
    process = start()
    kubelet.wait_devices(RESOURCE, HEALTHY)
    kubelet.wait_devices("example.com/other", {"o0": "Healthy"})
    assert_ends_well(process, kubelet, number)
    kubelet.wait_for(lambda: not any(kubelet.connected().values()), what="the end of all streams")
    kubelet.wait_status(RESOURCE, 0, 2)
    assert_sound(kubelet)


def test_before_the_first_look_has_ended(kubelet: KubeletSimulator, start: Start, puppet: Puppet) -> None:
    """A plugin that does not come back from its first look is left behind."""
    puppet.behave(discover="hang")
    process = start()
    wait_for(lambda: puppet.calls("discover") == 1, what="the look")
    assert_ends_well(process, kubelet)


@pytest.mark.parametrize("isolation", ["thread", "process"])
def test_while_a_plugin_hangs_in_a_look(kubelet: KubeletSimulator, start: Start, puppet: Puppet, isolation: str) -> None:
    """Its thread, or process, is not waited for."""
    process = start({"puppet": puppet.section(isolation=isolation)})
    kubelet.wait_devices(RESOURCE, HEALTHY)
    looks = puppet.calls("discover")
    puppet.behave(discover="hang")
    wait_for(lambda: puppet.calls("discover") > looks, what="the look")
    assert_ends_well(process, kubelet)


def test_while_a_plugin_hangs_in_its_watch(kubelet: KubeletSimulator, start: Start, puppet: Puppet) -> None:
    """Its loop is not waited for."""
    puppet.behave(watch="hang")
    process = start()
    kubelet.wait_devices(RESOURCE, HEALTHY)
    wait_for(lambda: puppet.calls("watch") == 1, what="the watch")
    assert_ends_well(process, kubelet)


@pytest.mark.parametrize("method", ["allocate", "pre_start"])
def test_while_a_plugin_hangs_in_a_call(kubelet: KubeletSimulator, start: Start, puppet: Puppet, method: str) -> None:
    """The kubelet's call ends with the process, and the pod with it."""
    puppet.require_pre_start()
    puppet.behave(**{method: "hang"})
    process = start()
    kubelet.wait_devices(RESOURCE, HEALTHY)
    pod = threading.Thread(target=kubelet.add_pod, args=("pod", {RESOURCE: 1}))
    pod.start()
    wait_for(lambda: puppet.calls(method) == 1, what="the call")
    assert_ends_well(process, kubelet)
    pod.join(30)
    assert not pod.is_alive()


def test_a_standby_ends_alone(kubelet: KubeletSimulator, served: Process, start: Start) -> None:
    """It takes its own directory with it, and the owner notices nothing."""
    standby = start()
    standby.wait_ready("standing by")
    before = ours(kubelet.paths.device_plugins)
    standby.signal(signal.SIGTERM)
    assert standby.wait(SOON) == 0
    assert ours(kubelet.paths.device_plugins) == before
    hidden = kubelet.paths.device_plugins / ".device-plugin-supervisor"
    assert len([path for path in hidden.iterdir() if path.is_dir()]) == 1
    assert kubelet.devices(RESOURCE) == HEALTHY
    assert_sound(kubelet)
    assert_ends_well(served, kubelet)


def test_without_a_kubelet(kubelet: KubeletSimulator, served: Process) -> None:
    """Nobody is there to be told, and nobody is waited for."""
    kubelet.stop()
    served.wait_log('"KubeletAwaited"')
    assert_ends_well(served, kubelet)


def test_while_a_plugin_answers(kubelet: KubeletSimulator, start: Start, puppet: Puppet) -> None:
    """What the kubelet has asked already is answered before the connection ends: the pod gets its device."""
    puppet.behave(allocate="nap")
    process = start()
    kubelet.wait_devices(RESOURCE, HEALTHY)
    pods: SimpleQueue[PodState] = SimpleQueue()
    asking = threading.Thread(target=lambda: pods.put(kubelet.add_pod("pod", {RESOURCE: 1})))
    asking.start()
    wait_for(lambda: puppet.calls("allocate") == 1, what="the call")
    assert_ends_well(process, kubelet)
    asking.join(30)
    pod = pods.get(timeout=1)
    assert pod.admitted, pod.message
    assert len(pod.device_ids) == 1


def event_sources(pid: int) -> list[str]:
    """The descriptors of a process by which the kernel tells it of changes; none of one that has ended."""
    found = []
    with suppress(FileNotFoundError, ProcessLookupError):
        netlink = {line.split()[9] for line in Path(f"/proc/{pid}/net/netlink").read_text().splitlines()[1:]}
        for number in os.listdir(f"/proc/{pid}/fd"):
            with suppress(FileNotFoundError):
                target = os.readlink(f"/proc/{pid}/fd/{number}")
                if target == "anon_inode:inotify" or target.removeprefix("socket:[").removesuffix("]") in netlink:
                    found.append(target)
    return found


def test_the_streams_end_last(kubelet: KubeletSimulator, served: Process) -> None:
    """The kernel may take its time to close what it tells of changes: the kubelet is served until that is done."""
    assert event_sources(served.pid)
    position = kubelet.events.position
    served.signal(signal.SIGTERM)
    kubelet.wait_event(EventKind.STREAM_ENDED, since=position)
    assert event_sources(served.pid) == []
    assert served.wait(SOON) == 0
