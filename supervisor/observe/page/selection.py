"""What the reader wants to see, as the query of the address says it: so it can be kept, sent to others, and works without script."""

from collections.abc import Iterator, Mapping
from urllib.parse import urlencode

from msgspec import Struct

from supervisor.model import Health
from supervisor.pieces import pieces
from supervisor.report import DeviceReport, Report, ResourceReport

PIECE = 128
"""Devices that are compared, or drawn, before other threads get their turn: less than half a millisecond."""


class Selection(Struct, frozen=True):
    """Nothing given means everything."""

    sought: str = ""
    """Words; a device is found when each of them stands somewhere in its row or in the name of its resource."""
    resource: str = ""
    health: Health | None = None
    complete: bool = False
    """Show every row of a long list."""

    def __bool__(self) -> bool:
        return bool(self.sought.split() or self.resource or self.health)

    def link(self, resource: str) -> str:
        """The query that shows every row of one resource."""
        given = {"q": self.sought, "resource": resource, "health": self.health or "", "all": "1"}
        return urlencode({name: value for name, value in given.items() if value}, errors="replace")

    def devices(self, resource: ResourceReport) -> tuple[DeviceReport, ...]:
        """Those that are wanted."""
        return resource.devices if not self else tuple(self._found(resource))

    def _found(self, resource: ResourceReport) -> Iterator[DeviceReport]:
        words, name = self.sought.casefold().split(), resource.name.casefold()
        if self.resource and self.resource != resource.name:
            return
        words = [word for word in words if word not in name]
        for piece in pieces(resource.devices, PIECE):
            for device in piece:
                if (self.health is None or self.health is device.health) and _says(device, words):
                    yield device


def selection(query: Mapping[str, str]) -> Selection:
    """What a query asks for; what nobody knows is left aside."""
    health = next((health for health in Health if health.lower() == query.get("health", "").lower()), None)
    return Selection(query.get("q", "").strip(), query.get("resource", ""), health, bool(query.get("all")))


def found(report: Report, wanted: Selection) -> Iterator[tuple[ResourceReport, tuple[DeviceReport, ...]]]:
    """The resources to show, with their devices to show. A resource without devices is there as long as nothing is sought."""
    for resource in report.resources:
        devices = wanted.devices(resource)
        if devices or not wanted or wanted == Selection(resource=resource.name, complete=wanted.complete):
            yield resource, devices


def _says(device: DeviceReport, words: list[str]) -> bool:
    if not words:
        return True
    holders = (f"{holder.namespace}/{holder.pod} {holder.container}" for holder in device.holders)
    nodes = (f"numa{node}" for node in device.numa_nodes)
    row = "\n".join((device.id, device.health, device.reason, *nodes, *holders)).casefold()
    return all(word in row for word in words)
