"""One look, complete: what there is, what is offered of it, and what its containers get. Frozen; all answers are made of it."""

from collections.abc import Callable, Mapping, Sequence

from msgspec import Struct

from supervisor import CdiState, ContainerEdits, Device, Health, Topology
from supervisor_nvidia_gpu.config import NvidiaGpuConfig
from supervisor_nvidia_gpu.edits import Strategies, edits
from supervisor_nvidia_gpu.health.monitor import Verdict
from supervisor_nvidia_gpu.nodes import Nodes
from supervisor_nvidia_gpu.report import Report
from supervisor_nvidia_gpu.simulate.edits import edits as simulated_edits
from supervisor_nvidia_gpu.topology import Topology as Nearness
from supervisor_nvidia_gpu.units import Offer, Unit, physical, replica_ids

Judge = Callable[[str], Verdict]
"""The verdict about a unit, by its id."""


class Picture(Struct, frozen=True):
    """The newest look, as the plugin's other threads read it."""

    report: Report
    offer: Offer
    nearness: Nearness
    nodes: Nodes
    cdi: CdiState
    strategies: Strategies

    @property
    def units(self) -> Mapping[str, Unit]:
        """By id."""
        return {unit.id: unit for unit in self.offer.units}

    def of(self, resource: str) -> tuple[Unit, ...]:
        return tuple(unit for unit in self.offer.units if unit.resource == resource)

    def unit_of(self, device_id: str) -> Unit | None:
        """The unit that one of the kubelet's ids means."""
        return next((unit for unit in self.offer.units if unit.id in {device_id, physical(device_id)}), None)

    def devices(self, config: NvidiaGpuConfig, judge: Judge) -> Mapping[str, Sequence[Device]]:
        """What the kubelet is told."""
        found: dict[str, list[Device]] = {resource: [] for resource in sorted(self.offer.resources)}
        for unit in self.offer.units:
            found[unit.resource] += self._replicas(unit, config, judge(unit.id))
        return found

    def _replicas(self, unit: Unit, config: NvidiaGpuConfig, verdict: Verdict) -> list[Device]:
        """All time slices of a unit share its fate."""
        # That a GPU does not answer is for its health to judge, unless nobody does.
        judged = self.report.source != "procfs" and verdict.state != "unmonitored"
        lost = "" if judged else unit.gpu.problem
        reason = "; ".join(filter(None, (unit.problem, lost, "" if verdict.healthy else verdict.reason)))[:1024]
        health = Health.UNHEALTHY if reason else Health.HEALTHY
        node = self.nearness.nodes.get(unit.gpu.uuid)
        topology = Topology() if node is None else Topology((node,))
        given = self._edits(unit, config)
        return [Device(name, health, reason, topology, given) for name in replica_ids(unit)]

    def _edits(self, unit: Unit, config: NvidiaGpuConfig) -> ContainerEdits:
        if self.report.source == "simulated":
            return simulated_edits(unit.gpu, unit.mig)
        return edits(unit, self.strategies, self.nodes, config, self.cdi)
