"""How fast everything is back: after a kubelet's restart, after the end of the process before us, and from nothing."""

from __future__ import annotations

import contextlib
import itertools
import signal
import time
from collections.abc import Iterator

from supervisor.kubelet.simulator import EventKind, KubeletSimulator
from tests.bench.figures import Row, percentile
from tests.bench.lab import PATIENCE, Lab, Supervisor

RESTARTS = 100
RESTART_TARGETS = {3: 12.0, 32: 40.0}
"""Resources, and milliseconds for the median."""
LONGEST = 250.0
"""Milliseconds that no restart of all may exceed."""
HANDOVER_TARGETS = {3: 30.0, 32: 80.0}
REFERENCE = "bench.example/reference"


def registration(lab: Lab, rounds: int) -> Iterator[Row]:
    """A restarted kubelet, from the moment it accepts to the last list."""
    restarts = min(RESTARTS, 20 * rounds)
    for resources, bound in RESTART_TARGETS.items():
        with lab.kubelet() as kubelet, lab.supervisor(kubelet, resources) as ours:
            ours.lists()
            taken = [_restart(kubelet, ours) for _ in range(restarts)]
        name = f"{resources} resources registered again"
        yield Row(f"{name}, p50 of {restarts}", "ms", taken, at_most=bound)
        yield Row(f"{name}, longest", "ms", [percentile(taken, 1.0)], at_most=LONGEST)


def _restart(kubelet: KubeletSimulator, ours: Supervisor) -> float:
    position = kubelet.events.position
    kubelet.restart()
    accepting = kubelet.wait_event(EventKind.SOCKET_ACCEPTING, PATIENCE, position).at_ns
    return (ours.lists(position) - accepting) / 1e6


def handover(lab: Lab, rounds: int) -> Iterator[Row]:
    """The owner ends, and the process that stands by registers everything."""
    for (resources, bound), number in itertools.product(HANDOVER_TARGETS.items(), (signal.SIGTERM, signal.SIGKILL)):
        with lab.kubelet() as kubelet, contextlib.ExitStack() as running:
            owner = running.enter_context(lab.supervisor(kubelet, resources))
            owner.lists()
            taken = []
            for _ in range(rounds):
                heir = running.enter_context(lab.supervisor(kubelet, resources))
                heir.ready()
                position = kubelet.events.position
                ended = owner.end(number)
                taken.append((heir.lists(position) - ended) / 1e6)
                owner = heir
        yield Row(f"{resources} resources handed over after {number.name}", "ms", taken, at_most=bound)


def start(lab: Lab, rounds: int) -> Iterator[Row]:
    """From exec to all lists at the kubelet."""
    mine, theirs = [], []
    for _ in range(2 * rounds):
        with lab.kubelet() as kubelet:
            with lab.supervisor(kubelet) as ours:
                mine.append((ours.lists() - ours.started_ns) / 1e6)
            began, position = time.monotonic_ns(), kubelet.events.position
            with lab.reference(kubelet, REFERENCE):
                came = kubelet.wait_event(EventKind.LIST_RECEIVED, PATIENCE, position, resource=REFERENCE)
                theirs.append((came.at_ns - began) / 1e6)
    yield Row("exec → lists of 3 resources", "ms", mine, theirs, at_most=400)
