"""Nothing grows: after many lives of the kubelet there are as many threads and descriptors as before. A gate, not a measurement."""

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from supervisor.kubelet.simulator import EventKind, Fault, KubeletSimulator
from tests.system.rig import HEALTHY, RESOURCE, Process, assert_sound, registered, wait_for

GROWTH = 8 << 20
"""Bytes of resident memory that the allocator may keep back."""


def threads(pid: int) -> int:
    """How many threads a process has."""
    return len(os.listdir(f"/proc/{pid}/task"))


def descriptors(pid: int) -> int:
    """How many descriptors a process has open."""
    return len(os.listdir(f"/proc/{pid}/fd"))


def resident(pid: int) -> int:
    """Bytes of memory in use."""
    return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")


def another_kubelet(kubelet: KubeletSimulator) -> None:
    """A restart, and everything is back."""
    kubelet.restart()
    kubelet.wait_devices(RESOURCE, HEALTHY)


def another_stream(kubelet: KubeletSimulator) -> None:
    """The connection is reset, and the next one opened, in a new life of the kubelet so that no back-off is earned."""
    listed = len(kubelet.log(EventKind.LIST_RECEIVED))
    kubelet.inject(Fault.RESET_CONNECTION, resource=RESOURCE)
    kubelet.wait_for(lambda: len(kubelet.log(EventKind.LIST_RECEIVED)) > listed, what="the next stream")
    another_kubelet(kubelet)


@pytest.mark.slow
@pytest.mark.parametrize(("again", "times"), [(another_kubelet, 100), (another_stream, 50)])
def test_many_lives_leave_nothing_behind(
    kubelet: KubeletSimulator, served: Process, again: Callable[[KubeletSimulator], None], times: int
) -> None:
    """Many kubelets, or streams: no more threads, no more descriptors, and memory within bounds."""
    for _ in range(10):
        again(kubelet)
    most = threads(served.pid), descriptors(served.pid)
    memory = resident(served.pid)
    for _ in range(times):
        again(kubelet)
    # Fewer is well: a worker thread of the start may have gone to sleep for good. A leak would be one for each life.
    wait_for(lambda: threads(served.pid) <= most[0] and descriptors(served.pid) <= most[1], what=f"at most {most}")
    assert resident(served.pid) - memory < GROWTH
    assert registered(kubelet, kubelet.events.since()[-1].life) >= 1
    assert_sound(kubelet)
