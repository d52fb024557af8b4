"""Why an RDMA device is offered, refused or unhealthy, in sentences for people."""

from collections.abc import Callable, Iterator
from itertools import chain

from supervisor_infiniband import pci
from supervisor_infiniband.health import Verdict
from supervisor_infiniband.matching import bare_guid, names_of
from supervisor_infiniband.nodes import FOLDER, RDMA_CM
from supervisor_infiniband.report import Port, RdmaDevice, Report
from supervisor_infiniband.rules import title, titles
from supervisor_infiniband.units import Offer, Unit, base, device_id, replica_ids

Judge = Callable[[Unit], Verdict]


def explain(text: str, report: Report, offer: Offer, judge: Judge) -> Iterator[str]:
    """All that is known of what a person names; nothing where nothing is.

    ``text`` is an id of the kubelet, a PCI address, the kernel's name of an RDMA device or of a network interface, a GUID, or a node
    like ``/dev/infiniband/uverbs0``.
    """
    name = text.strip().removeprefix(f"{FOLDER}/")
    if (why := report.refused.get(name)) is not None:
        yield f"{name} is not offered: {why}"
    if name == RDMA_CM:
        yield from _rdma_cm(report, offer)
    for unit in offer.units:
        if unit.pool.mode == "pool" and base(name) == unit.id:
            yield from _unit(name, unit, judge(unit))
    for device in report.devices:
        if _means(name, device):
            yield from _device(name, device, offer, judge)


def _means(name: str, device: RdmaDevice) -> bool:
    nodes = chain([device.uverbs], *((port.umad, port.issm) for port in device.ports))
    interfaces = (netdev.name for port in device.ports for netdev in port.link.netdevs)
    names = {device.name, *names_of(device), device_id(device.id), *nodes, *interfaces} - {"", None}
    guids = {bare_guid(guid) for guid in (device.node_guid, *(port.guid for port in device.ports))} - {""}
    return not names.isdisjoint({name, base(name), pci.normal(name)}) or bare_guid(name) in guids


def _rdma_cm(report: Report, offer: Offer) -> Iterator[str]:
    getting = dict.fromkeys(unit.resource for unit in offer.units if RDMA_CM in unit.pool.char_devices)
    there = "is one for the whole node" if RDMA_CM in report.nodes else "is not there, as without the module rdma_ucm"
    yield f"{FOLDER}/{RDMA_CM} {there}; wanted by {', '.join(getting) or 'no resource that has devices'}"


# --- one device -------------------------------------------------------------------------------------------------------------


def _device(name: str, device: RdmaDevice, offer: Offer, judge: Judge) -> Iterator[str]:
    facts = (
        _function(device),
        f"{device.vendor}:{device.device}" if device.vendor else "",
        f"driver {device.driver}" if device.driver else "",
        f"firmware {device.firmware}" if device.firmware else "",
        f"NUMA node {device.numa_node}" if device.numa_node is not None else "",
        device.uverbs or "no uverbs",
    )
    yield f"{title(device)}: {', '.join(filter(None, facts))}"
    yield from (f"port {port.number}: {_port(port)}" for port in device.ports)
    yield from offer.reasons.get(device.id, ())
    for unit in offer.units:
        if device in unit.devices:
            yield from _unit(name, unit, judge(unit))


def _function(device: RdmaDevice) -> str:
    if device.kind == "pf":
        return "a physical function" + (f" with {device.vfs} virtual ones" if device.vfs else "")
    if device.kind == "virtual":
        return "of no bus"
    what = "virtual function" if device.kind == "vf" else "sub-function"
    owners = ", ".join((device.pf, *device.pf_netdevs)) if device.pf else "a function that is not seen"
    return f"{what}{'' if device.index is None else f' {device.index}'} of {owners}"


def _port(port: Port) -> str:
    facts = (
        f"{port.link.state.name} ({port.link.phys_state.name})",
        port.link_layer,
        f"{port.rate:g} Gb/s" if port.rate is not None and port.link.active else "",
        " and ".join(netdev.name for netdev in port.link.netdevs) or "no interface seen",
        f"GUID {port.guid}" if port.guid else "",
        *filter(None, (port.umad, port.issm)),
    )
    return ", ".join(filter(None, facts))


# --- one unit ---------------------------------------------------------------------------------------------------------------


def _unit(name: str, unit: Unit, verdict: Verdict) -> Iterator[str]:
    ids = replica_ids(unit)
    told = f"id {ids[0]}" if len(ids) == 1 else f"ids {ids[0]} to {ids[-1]}"
    what = f"{titles(unit.devices)} together" if unit.pool.mode == "pool" else f"it ({unit.pool.mode})"
    yield f"{unit.resource} offers {what}, by the {told}"
    if base(name) == unit.id and name not in {unit.id, *ids}:
        yield f"{name} is none of these: it was offered by another configuration, if ever"
    state = "healthy" if verdict.healthy else "not healthy"
    why = verdict.reason or ("" if verdict.state == "Healthy" else verdict.state)
    yield f"{unit.id} is {state}" + (f": {why}" if why else "")
    yield from verdict.shown
