"""All that is known when a unit is judged: the last look, and what polls and time have made of it since."""

from collections.abc import Mapping

from msgspec import Struct

from supervisor_infiniband.health.sight import PortKey, is_function
from supervisor_infiniband.health.slopes import Slope
from supervisor_infiniband.health.track import Track
from supervisor_infiniband.report import Link, Port, RdmaDevice

PortOf = tuple[RdmaDevice, Port]


class Fault(Struct, frozen=True):
    """Something that is wrong."""

    state: str
    """One word for machines."""
    text: str

    def __str__(self) -> str:
        return f"{self.state}: {self.text}"


class Scene(Struct, frozen=True):
    """The node at one moment, for judgements with one timing."""

    now: float
    devices: Mapping[str, RdmaDevice]
    nodes: frozenset[str]
    tracks: Mapping[PortKey, Track]
    links: Mapping[PortKey, Link]
    """The newest of each port; the report's are those of the last look."""
    slopes: Mapping[PortKey, Slope]

    def carrier(self, device: RdmaDevice) -> RdmaDevice | None:
        """The physical function whose ports a VF or SF shares; ``None``: it has ports of its own, or the function is not seen."""
        pf = self.devices.get(device.pf) if is_function(device) else None
        return None if pf is None or pf.elsewhere or pf.problem or not pf.ports else pf

    def carrying(self, device: RdmaDevice) -> tuple[PortOf, ...]:
        """The ports of that function which carry its traffic: by number, else any."""
        pf = self.carrier(device)
        if pf is None:
            return ()
        numbers = {port.number for port in ports(device)}
        same = tuple(port for port in ports(pf) if port.number in numbers)
        return tuple((pf, port) for port in same or ports(pf))

    def link(self, device: RdmaDevice, port: Port) -> Link:
        return self.links.get((device.id, port.number), port.link)


def ports(device: RdmaDevice) -> tuple[Port, ...]:
    """Those that count: its end points, or all where none can be told, as while their GIDs are not there."""
    return device.endpoints or device.ports


def own(device: RdmaDevice) -> tuple[PortOf, ...]:
    return tuple((device, port) for port in ports(device))
