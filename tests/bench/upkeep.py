"""What it costs to have it running: memory, threads, descriptors, and CPU while nothing happens."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterator

from supervisor.kubelet.simulator import EventKind, Fault, KubeletSimulator
from tests.bench import procfs
from tests.bench.figures import Row
from tests.bench.lab import PATIENCE, Lab, Supervisor

FEW, ALL = 3, 32
RECONNECTS, RESTARTS = 200, 40
IDLE = 120.0
"""Seconds of watching; a slow look comes every minute."""
SETTLED = 8.0
"""Seconds after the last list until nothing is left to do."""


def memory(lab: Lab, rounds: int) -> Iterator[Row]:
    """Resident memory, beside three bare plugins, and what each further resource adds."""
    few, peers, each, threads = [], [], [], []
    for _ in range(rounds):
        small, three = _settled(lab, FEW), _three_peers(lab)
        large = _settled(lab, ALL)
        few.append(small.rss)
        peers.append(three)
        each.append((large.rss - small.rss) / (ALL - FEW))
        threads.append(float(large.threads - small.threads))
    yield Row("RSS with 3 resources, against three bare plugins", "MB", few, peers, at_most=50, ratio_at_most=0.45)
    yield Row("RSS of each further resource", "MB", each, at_most=0.15)
    yield Row("threads of 29 further resources", "", threads, at_most=0)


def _settled(lab: Lab, resources: int) -> procfs.Usage:
    with lab.kubelet() as kubelet, lab.supervisor(kubelet, resources) as ours:
        ours.lists()
        ours.ready()
        ours.scrape()
        time.sleep(1.0)
        return ours.usage()


def _three_peers(lab: Lab) -> float:
    with lab.kubelet() as kubelet, contextlib.ExitStack() as running:
        peers = [running.enter_context(lab.reference(kubelet, f"bench.example/peer{number}")) for number in range(3)]
        return sum(procfs.usage(peer.pid).rss for peer in peers)


def growth(lab: Lab, rounds: int) -> Iterator[Row]:
    """What is left behind by lost streams and kubelet restarts."""
    reconnects, restarts = min(RECONNECTS, 40 * rounds), min(RESTARTS, 8 * rounds)
    with lab.kubelet() as kubelet, lab.supervisor(kubelet) as ours:
        ours.lists()
        _restart(kubelet, ours)
        ours.scrape()
        before = ours.usage()
        for number in range(reconnects):
            _reconnect(kubelet, ours.resources[number % FEW])
        for _ in range(restarts):
            _restart(kubelet, ours)
        time.sleep(1.0)
        after = ours.usage()
    after_what = f"after {reconnects} reconnects and {restarts} restarts"
    yield Row(f"RSS more {after_what}", "MB", [after.rss - before.rss], at_most=1.5)
    yield Row(f"threads more {after_what}", "", [float(after.threads - before.threads)], at_most=0)
    yield Row(f"descriptors more {after_what}", "", [float(after.descriptors - before.descriptors)], at_most=0)


def _reconnect(kubelet: KubeletSimulator, resource: str) -> None:
    position = kubelet.events.position
    kubelet.inject(Fault.RESET_CONNECTION, resource=resource)
    kubelet.wait_event(EventKind.LIST_RECEIVED, PATIENCE, position, resource=resource)


def _restart(kubelet: KubeletSimulator, ours: Supervisor) -> None:
    position = kubelet.events.position
    kubelet.restart()
    ours.lists(position)


def idle(lab: Lab, rounds: int) -> Iterator[Row]:
    """CPU and wake-ups while nothing happens, slow looks included, beside one bare plugin."""
    seconds = min(IDLE, 24.0 * rounds)
    with contextlib.ExitStack() as running:
        bounds, programs = [], []
        for resources, bound in ((FEW, 0.05), (ALL, 0.06)):
            kubelet = running.enter_context(lab.kubelet())
            ours = running.enter_context(lab.supervisor(kubelet, resources))
            ours.lists()
            bounds.append((resources, bound))
            programs.append(ours.pid)
        bare = running.enter_context(lab.reference(running.enter_context(lab.kubelet())))
        programs.append(bare.pid)
        time.sleep(SETTLED)
        before = [procfs.usage(pid) for pid in programs]
        time.sleep(seconds)
        after = [procfs.usage(pid) for pid in programs]
    cpu = [(last.cpu - first.cpu) / seconds * 100 for first, last in zip(before, after, strict=True)]
    wakeups = [(last.wakeups - first.wakeups) / seconds for first, last in zip(before, after, strict=True)]
    for number, (resources, bound) in enumerate(bounds):
        name = f"idle {seconds:g} s, {resources} resources"
        yield Row(f"{name}, CPU", "%", [cpu[number]], cpu[-1:], at_most=bound)
        yield Row(f"{name}, wake-ups", "/s", [wakeups[number]], wakeups[-1:], at_most=15)
