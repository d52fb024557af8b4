"""Nothing grows: after many lives of the kubelet there are as many threads and descriptors as before. A gate, not a measurement."""

import os
import re
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


def arenas(pid: int) -> int:
    """How many arenas glibc has made besides the main one: 64 MiB each, aligned to that, and most of it only reserved."""
    maps = Path(f"/proc/{pid}/maps").read_text()
    halves = re.findall(r"^(\w+)-(\w+) rw-p \S+ 00:00 0 *\n\2-\w+ ---p", maps, re.MULTILINE)
    return sum(int(begin, 16) % (64 << 20) == 0 for begin, _ in halves)


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


def test_all_threads_share_one_arena(kubelet: KubeletSimulator, served: Process) -> None:
    """However many threads there are: what each arena keeps of its own peak is growth that no bound on objects holds."""
    for _ in range(5):
        another_stream(kubelet)
    assert served.get("/metrics")[0] == 200
    assert threads(served.pid) > 3
    assert arenas(served.pid) == 0
