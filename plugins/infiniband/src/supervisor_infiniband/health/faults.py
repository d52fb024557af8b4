"""What may be wrong with a device besides its link. Pure."""

from collections.abc import Iterator

from supervisor_infiniband.config import CharDevice, Judgement, Pool
from supervisor_infiniband.health.scene import Fault, Scene, own, ports
from supervisor_infiniband.health.sight import is_function, unset_guid
from supervisor_infiniband.health.slopes import excesses
from supervisor_infiniband.report import PciLink, Port, RdmaDevice

LONGEST_PROBLEM = 300
"""Characters of what a broken device says that are kept."""

_MODULES: dict[CharDevice, str] = {"rdma_cm": "rdma_ucm", "umad": "ib_umad", "issm": "ib_umad"}


def answering(device: RdmaDevice, judgement: Judgement, scene: Scene) -> Iterator[Fault]:
    """Whether it can be read, and makes sense."""
    if device.problem:
        yield Fault("Quarantined", device.problem[:LONGEST_PROBLEM])
        return
    track = scene.tracks.get((device.id, 0))
    if track is not None and track.believed == "silent":
        if track.seen == "silent":
            yield Fault("Unresponsive", "reading its state does not come back, as if its firmware hung")
        else:
            yield Fault("Unresponsive", f"it answers again, but not for {judgement.hold_down:g} s yet")
    elif not device.ports and not device.unresponsive:
        yield Fault("NoPorts", "it has no ports")


def char_devices(device: RdmaDevice, pool: Pool, scene: Scene) -> Iterator[Fault]:
    """Whether containers would find what they need below ``/dev/infiniband``."""
    if device.uverbs is None:
        yield Fault("UverbsMissing", "the kernel has made no uverbs device for it; is the module ib_uverbs loaded?")
    elif device.uverbs not in scene.nodes:
        yield Fault("UverbsMissing", f"/dev/infiniband/{device.uverbs} does not exist")
    for kind in pool.require:
        if not _has(device, kind, scene.nodes):
            module = _MODULES[kind]
            yield Fault(
                "CharDeviceMissing", f"the resource requires {kind}, which is not there; is the module {module} loaded?"
            )


def _has(device: RdmaDevice, kind: CharDevice, nodes: frozenset[str]) -> bool:
    """Whether a character device is there; of those that ports have, whether all its ports do."""
    if kind == "rdma_cm":
        return "rdma_cm" in nodes
    return all(_node(port, kind) in nodes for port in ports(device))


def _node(port: Port, kind: CharDevice) -> str | None:
    return port.umad if kind == "umad" else port.issm


def guid(device: RdmaDevice) -> Iterator[Fault]:
    """Whether a VF or SF has no GUID yet: until it has, an InfiniBand fabric does not know it."""
    if is_function(device):
        unset = (unset_guid(device, port) for port in ports(device))
        if found := next(filter(None, unset), ""):
            yield Fault("GuidNotConfigured", found)


def pci_link(device: RdmaDevice, scene: Scene) -> Iterator[Fault]:
    """Whether its PCI Express link, for VFs and SFs that of their physical function, has trained below what it can do."""
    link = device.pci_link
    if link is None and (pf := scene.carrier(device)) is not None:
        link = pf.pci_link
    if link is not None and link.degraded:
        yield Fault("PcieDegraded", f"its PCI Express link runs at {_speed(link)}, and can do {_best(link)}")


def _speed(link: PciLink) -> str:
    return _pci(link.speed, link.width)


def _best(link: PciLink) -> str:
    return _pci(link.max_speed, link.max_width)


def _pci(speed: float | None, width: int | None) -> str:
    """``16 GT/s x8``, as far as it is known."""
    return " ".join(filter(None, (f"{speed:g} GT/s" if speed else "", f"x{width}" if width else "")))


def error_rates(device: RdmaDevice, judgement: Judgement, scene: Scene) -> Iterator[Fault]:
    """Whether error counters of its ports, of those that carry its traffic, or of its PCI function rise too fast."""
    carrier = scene.carrier(device)
    whole = [(one, 0) for one in (device, carrier) if one is not None]
    of_ports = [(owner, port.number) for owner, port in (*own(device), *scene.carrying(device))]
    for owner, number in (*of_ports, *whole):
        slope = scene.slopes.get((owner.id, number))
        for counter, limit in excesses(slope, judgement.error_rates, scene.now) if slope is not None else ():
            where = f" of port {number}" if number else ""
            of = "" if owner.id == device.id else f" of its physical function {owner.id}"
            yield Fault("ErrorRate", f"{counter}{where}{of} has risen by {limit:g} in a minute, or more")
