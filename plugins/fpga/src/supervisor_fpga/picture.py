"""One look, held together: what was found, what is offered of it, and what the kubelet is told."""

from collections.abc import Callable, Mapping, Sequence

from msgspec import Struct

from supervisor import AllocationRefused, ContainerEdits, Device, Health, Topology
from supervisor_fpga.edits import edits
from supervisor_fpga.health import Verdict
from supervisor_fpga.publishing import Published
from supervisor_fpga.report import Report
from supervisor_fpga.units import Offer, Unit

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
        unit, _ = self.given.get((resource, device_id), (None, None))
        if unit is None:
            raise AllocationRefused(f"{device_id} is not there any more")
        return unit

    def devices(self, judge: Judge) -> Mapping[str, Sequence[Device]]:
        """What the kubelet is told; a resource without a device has none."""
        found: dict[str, list[Device]] = {resource: [] for resource in self.offer.resources}
        for unit in self.offer.units:
            found[unit.resource].append(self._device(unit, judge(unit)))
        return found

    def _device(self, unit: Unit, verdict: Verdict) -> Device:
        health = Health.HEALTHY if verdict.healthy else Health.UNHEALTHY
        reason = "" if verdict.healthy else verdict.reason[:LONGEST_REASON]
        _, given = self.given[unit.resource, unit.id]
        return Device(unit.id, health, reason, _topology(unit), given, unit.claim)


def picture(report: Report, offer: Offer, published: Published, before: Picture | None) -> Picture:
    """``before``: the one of the last look. What a unit adds is not made again where all that goes into it is the same."""
    same = before is not None and (report.simulated, published) == (before.report.simulated, before.published)
    old = before.given if before is not None and same else {}
    given = {}
    for unit in offer.units:
        key = unit.resource, unit.id
        known = old.get(key)
        given[key] = known if known is not None and known[0] == unit else (unit, edits(unit, report, published))
    return Picture(report, offer, published, given)


def _topology(unit: Unit) -> Topology:
    """Nothing where the firmware does not say, and for a unit with functions of several nodes."""
    nodes = {function.numa_node for function in unit.functions}
    node = nodes.pop() if len(nodes) == 1 else None
    return Topology() if node is None else Topology((node,))
