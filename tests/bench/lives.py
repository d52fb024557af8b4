"""How fast everything is back: after a kubelet's restart, after the end of the process before us, and from nothing."""

from __future__ import annotations

import contextlib
import itertools
import signal
import time
from collections.abc import Iterator, Sequence

from supervisor.kubelet.simulator import EventKind, KubeletSimulator
from tests.bed.program import Program
from tests.bench.figures import Row, percentile
from tests.bench.lab import PATIENCE, REFERENCE, Lab, last_list, reference_names

RESTARTS = 100
RESTART_TARGETS = {3: 12.0, 32: 40.0}
"""Resources, and milliseconds for the median."""
LONGEST = 250.0
"""Milliseconds that no restart of all may exceed."""
HANDOVER_TARGETS = {3: 30.0, 32: 80.0}


def registration(lab: Lab, rounds: int) -> Iterator[Row]:
    """A restarted kubelet, from the moment it accepts to the last list. The bare plugin is told to register; ours notices."""
    restarts = min(RESTARTS, 20 * rounds)
    for resources, bound in RESTART_TARGETS.items():
        mine, theirs, names = [], [], reference_names(resources)
        with (
            lab.kubelet() as kubelet,
            lab.supervisor(kubelet, resources) as ours,
            lab.kubelet() as other_kubelet,
            lab.references(other_kubelet, resources) as bare,
        ):
            ours.lists()
            for _ in range(restarts):
                mine.append(_restarted(kubelet, ours.resources))
                theirs.append(_restarted(other_kubelet, names, bare))
        name = f"{resources} resources registered again"
        yield Row(f"{name}, p50 of {restarts}", "ms", mine, theirs, at_most=bound)
        yield Row(f"{name}, longest", "ms", [percentile(mine, 1.0)], [percentile(theirs, 1.0)], at_most=LONGEST)


def _restarted(kubelet: KubeletSimulator, resources: Sequence[str], bare: Program | None = None) -> float:
    """Restart the kubelet; milliseconds from its first accept to the last list."""
    position = kubelet.events.position
    kubelet.restart()
    accepting = kubelet.wait_event(EventKind.SOCKET_ACCEPTING, PATIENCE, position).at_ns
    if bare is not None:
        bare.write("register")
    return (last_list(kubelet, resources, position) - accepting) / 1e6


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
            with lab.reference(kubelet):
                came = kubelet.wait_event(EventKind.LIST_RECEIVED, PATIENCE, position, resource=REFERENCE)
                theirs.append((came.at_ns - began) / 1e6)
    yield Row("exec → lists of 3 resources", "ms", mine, theirs, at_most=400)
