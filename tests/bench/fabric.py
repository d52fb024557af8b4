"""A node with RDMA devices for the bench, and the way from what happens to them to the kubelet's list: 8 HCAs with 16 VFs each.

They lie in namespaces, where uevents are real ones. The files are none of a card, whose firmware takes its time, too.
"""

from __future__ import annotations

import contextlib
import sys
import time
from collections.abc import Iterator, Mapping

from supervisor.kubelet.simulator import EventKind, KubeletSimulator
from supervisor_infiniband.simulate.changes import with_vfs
from supervisor_infiniband.simulate.machine import Machine
from tests.bed.fakesys import Tree
from tests.bed.infiniband import Fabric
from tests.bed.nsbed import BOTH, Bed, Source
from tests.bench.figures import Row
from tests.bench.infiniband import VFS, eight_hcas, hung, say
from tests.bench.lab import PATIENCE, Lab, Supervisor
from tests.machine import found

HCA, VF = "bench.example/hca", "bench.example/vf"
POLL = 1.0
"""Seconds between two polls, as where nothing is configured."""
ANY_TIME, AFTER_POLL = (0.0, 1.0), (0.9, 1.05)
"""When ports change, in intervals between polls after the last list: at all times, and where the next poll comes, which waits longest."""
STEP = 0.618
"""Of these spans, from one change to the next: they come evenly, and in no order."""
CHANGES = 12
"""Of a port at all times in one round, and as many after a poll."""
ARRIVALS = 4
"""Of VFs in one round."""
REST = 1.5
"""Seconds after VFs have come or gone. Looks at what happened before may come meanwhile, as on any node."""
SETTLED = 6.5
"""Seconds after the start."""


class _Clock(Bed):
    """A bed that knows when its newest event was sent."""

    sent_ns = 0

    def announce(
        self, action: str, devpath: str, subsystem: str, properties: Mapping[str, str], sources: tuple[Source, ...] = BOTH
    ) -> None:
        self.sent_ns = time.monotonic_ns()
        super().announce(action, devpath, subsystem, properties, sources)


class RdmaNode:
    """The devices, and the kubelet that has their lists."""

    def __init__(self, bed: _Clock, fabric: Fabric, kubelet: KubeletSimulator) -> None:
        self._bed = bed
        self.fabric = fabric
        self._kubelet = kubelet
        function = fabric.machine.functions[0]
        self._state = fabric.sys / function.path / "infiniband" / function.hcas[0].name / "ports/1/state"

    def port(self, state: str) -> float:
        """Write the state of the first card's port, which all of its functions have; milliseconds until the list says so."""
        position = self._kubelet.events.position
        was = self._unhealthy(HCA)
        began = time.monotonic_ns()
        say(self._state, state)
        came = self._list(HCA, position, was + (-1 if "ACTIVE" in state else 1))
        return (came - began) / 1e6

    def vfs(self, count: int) -> float:
        """Let the first card have so many VFs; milliseconds from the last event to the list."""
        machine = self.fabric.machine
        pf = machine.functions[0]
        before = sum(function.pf == pf.id for function in machine.functions)
        position, was = self._kubelet.events.position, self._unhealthy(VF)
        self.fabric.become(with_vfs(machine, pf.hcas[0].name, count))
        sent = self._bed.sent_ns
        return (self._list(VF, position, was + before - count) - sent) / 1e6

    def become(self, machine: Machine, unhealthy: int) -> None:
        """Show another machine, and wait until so many HCAs are Unhealthy."""
        position = self._kubelet.events.position
        self.fabric.become(machine)
        self._list(HCA, position, unhealthy)

    def _unhealthy(self, resource: str) -> int:
        return sum(health != "Healthy" for health in self._kubelet.devices(resource).values())

    def _list(self, resource: str, position: int, unhealthy: int) -> int:
        """When the list came in which so many are Unhealthy."""
        kind = EventKind.LIST_RECEIVED
        return self._kubelet.wait_event(kind, PATIENCE, position, resource=resource, unhealthy=unhealthy).at_ns


@contextlib.contextmanager
def rdma_node(lab: Lab) -> Iterator[RdmaNode]:
    """Offer 8 HCAs with 16 VFs each; the kubelet has the lists."""
    pools = [{"name": VF, "match": [{"kind": ["vf"]}]}, {"name": HCA, "match": [{"kind": ["pf"], "hasVfs": True}]}]
    section = {"resources": pools, "poll": POLL, "health": {"holdDown": 0}, "lookInterval": 3600}
    with lab.kubelet() as kubelet, _Clock(Tree(lab.new_folder() / "tree")) as bed:
        fabric = Fabric(bed, eight_hcas())
        ours = Supervisor(lab, kubelet, [HCA, VF], {"infiniband": section}, host={})
        bed.spawn("sh", "-c", 'exec "$@" 2> "$0"', str(ours.log_path), *ours.command, **lab.env)
        ours.lists()
        time.sleep(SETTLED)
        yield RdmaNode(bed, fabric, kubelet)


def ports(lab: Lab, rounds: int) -> Iterator[Row]:
    """From the new state of a port, of which no event tells, to the list; also while another card hangs with all its VFs."""
    if not _namespaces("a port's state → list"):
        return
    free, beside = [], []
    with rdma_node(lab) as node:
        healthy = node.fabric.machine
        for _ in range(rounds):
            free += _flaps(node)
            node.become(hung(healthy), unhealthy=1)
            beside += _flaps(node)
            node.become(healthy, unhealthy=0)
    at_most = 1000 * POLL + 50
    yield Row(
        "a port's state → list", "ms", free, at_most=at_most, worst=True, note=f"{len(free)} times, polls each {POLL:g} s"
    )
    yield Row(f"the same while a card with {VFS} VFs hangs", "ms", beside, at_most=at_most, worst=True)


def _flaps(node: RdmaNode) -> list[float]:
    taken = []
    for number in range(CHANGES):
        for (first, last), state in ((ANY_TIME, "1: DOWN"), (AFTER_POLL, "4: ACTIVE")):
            time.sleep(POLL * (first + (last - first) * (number * STEP % 1)))
            taken.append(node.port(state))
    return taken


def vfs(lab: Lab, rounds: int) -> Iterator[Row]:
    """From the last event of VFs that come to the list that has them."""
    if not _namespaces("a VF's last event → list"):
        return
    one: list[float] = []
    all_of_them: list[float] = []
    with rdma_node(lab) as node:
        for _ in range(rounds):
            for fewer, taken in ((VFS - 1, one), (0, all_of_them)):
                for _ in range(ARRIVALS):
                    node.vfs(fewer)
                    time.sleep(REST)
                    taken.append(node.vfs(VFS))
                    time.sleep(REST)
    yield Row("a VF's last event → list", "ms", one, at_most=300, worst=True, note=f"beside {8 * VFS - 1} others")
    yield Row(f"the same, {VFS} VFs at once", "ms", all_of_them, at_most=300, worst=True)


def _namespaces(what: str) -> bool:
    if not found("namespaces"):
        sys.stderr.write(f"{what}: left out, no namespaces can be made here\n")
    return found("namespaces")
