"""One look, held together: what was found, what is offered of it, and what the kubelet is told."""

from collections.abc import Callable, Iterator, Mapping, Sequence

from msgspec import Struct

from supervisor import AllocationRefused, ContainerEdits, Device, Health, Topology
from supervisor_infiniband.edits import edits
from supervisor_infiniband.health import Verdict
from supervisor_infiniband.publishing import Published
from supervisor_infiniband.report import Report
from supervisor_infiniband.units import Offer, Unit, base, replica_ids

Judge = Callable[[Unit], Verdict]

LONGEST_REASON = 1024


class Picture(Struct, frozen=True):
    """The newest look, as the plugin's other threads read it."""

    report: Report
    offer: Offer
    published: Published
    given: Mapping[tuple[str, str], tuple[Unit, ContainerEdits]]
    """What the units add to their containers, by resource and id."""

    def of(self, resource: str) -> tuple[Unit, ...]:
        return tuple(unit for unit in self.offer.units if unit.resource == resource)

    def unit_of(self, resource: str, device_id: str) -> Unit:
        """The unit that one of the kubelet's ids means. Raises ``AllocationRefused`` where there is none any more."""
        meant = {device_id, base(device_id)}
        unit = next((unit for unit in self.of(resource) if unit.id in meant), None)
        if unit is None:
            raise AllocationRefused(f"{device_id} is not there any more")
        return unit

    def devices(self, judge: Judge) -> Mapping[str, Sequence[Device]]:
        """What the kubelet is told; a resource without a device has none."""
        found: dict[str, list[Device]] = {resource: [] for resource in self.offer.resources}
        for unit in self.offer.units:
            found[unit.resource] += self._replicas(unit, judge(unit))
        return found

    def _replicas(self, unit: Unit, verdict: Verdict) -> Iterator[Device]:
        """All replicas of a unit share its fate."""
        health = Health.HEALTHY if verdict.healthy else Health.UNHEALTHY
        reason = "" if verdict.healthy else verdict.reason[:LONGEST_REASON]
        _, given = self.given[unit.resource, unit.id]
        for name in replica_ids(unit):
            yield Device(name, health, reason, _topology(unit), given)


def picture(report: Report, offer: Offer, published: Published, before: Picture | None) -> Picture:
    """``before``: the one of the last look. What a unit adds is not made again where all that goes into it is the same."""
    same = before is not None and _surroundings(report, published) == _surroundings(before.report, before.published)
    old = before.given if before is not None and same else {}
    given = {}
    for unit in offer.units:
        key = unit.resource, unit.id
        known = old.get(key)
        given[key] = known if known is not None and known[0] == unit else (unit, edits(unit, report, published))
    return Picture(report, offer, published, given)


def _surroundings(report: Report, published: Published) -> tuple[object, ...]:
    return report.nodes, report.simulated, published


def _topology(unit: Unit) -> Topology:
    """Nothing where the firmware does not say, and for a pool with devices of several nodes."""
    nodes = {device.numa_node for device in unit.devices}
    node = nodes.pop() if len(nodes) == 1 else None
    return Topology() if node is None else Topology((node,))
