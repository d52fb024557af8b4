"""What a container is told of its RDMA devices in environment variables. Pure.

One function makes them for all devices of a container at once: lists that go in step cannot be joined out of those of single devices.
"""

import ipaddress
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence

import msgspec
from msgspec import Struct

from supervisor_infiniband.config import Pool
from supervisor_infiniband.nodes import RDMA_CM, devices_of, nodes_of
from supervisor_infiniband.report import Port, RdmaDevice, Report
from supervisor_infiniband.units import Unit

DEVICES = "RDMA_DEVICES"
"""The kernel's names, with commas."""
DEVICE_INFO = "RDMA_DEVICE_INFO"
"""JSON: a list with an object for each device, in the same order."""

_LONGEST_NAME = 255
_LONGEST_VALUE = 32_768
"""The supervisor takes no longer one; Linux starts no program with one of 128 KiB."""
_NOT_OF_A_NAME = re.compile(r"[^A-Z0-9_]")
_ROCE_V2 = "RoCE v2"


class PortInfo(Struct, frozen=True, rename="camel"):
    """An end point in ``RDMA_DEVICE_INFO``."""

    number: int
    link_layer: str
    guid: str
    netdevs: tuple[str, ...]
    gid_index: int | None
    """Of the GID that suits RoCE v2 best."""
    rate: float | None
    """Gb/s, while the port is active."""


class DeviceInfo(Struct, frozen=True, rename="camel"):
    """A device in ``RDMA_DEVICE_INFO``."""

    id: str
    name: str
    pci: str
    numa_node: int | None
    node_guid: str
    ports: tuple[PortInfo, ...]
    nodes: tuple[str, ...]
    """Paths in the container."""


def variables(units: Sequence[Unit], report: Report) -> Mapping[str, str]:
    """The variables for a container that gets these units of one pool, in this order.

    A variable that no program could be started with is left out, which ``notices`` tells.
    """
    return {name: value for name, value in _all(units, report) if _fits(name, value)}


def notices(units: Iterable[Unit], report: Report) -> Iterator[str]:
    """Sentences about variables that are left out. Only a whole pool has so many devices."""
    for unit in units:
        names = [name for name, value in _all((unit,), report) if not _fits(name, value)] if unit.pool.mode == "pool" else ()
        for name in names:
            yield f"containers with {unit.resource} are not given {name}: it would be too long"


def pcidevice(resource: str) -> str:
    """``PCIDEVICE_RDMA_HCA`` for ``rdma/hca``.

    As sriov-network-device-plugin has it for names without dashes; its variables with a dash no shell can read.
    """
    return f"PCIDEVICE_{_NOT_OF_A_NAME.sub('_', resource.upper())}"


def best_gid_index(port: Port) -> int | None:
    """Of the GID by which RoCE v2 reaches furthest: of an IPv4 address, else of a routable IPv6 one, else a link-local one; the lowest.

    ``None`` without any, as on InfiniBand. In a pod with a network namespace of its own the table may look different.
    """
    ranked = ((_reach(gid.gid), gid.index) for gid in port.gids if gid.kind == _ROCE_V2)
    usable = [(reach, index) for reach, index in ranked if reach is not None]
    return min(usable)[1] if usable else None


def _reach(gid: str) -> int | None:
    """Less is further; ``None`` for what is nobody's address."""
    try:
        address = ipaddress.IPv6Address(gid)
    except ValueError:
        return None
    mapped = address.ipv4_mapped
    if address.is_multicast or address.is_unspecified or (mapped is not None and mapped.is_unspecified):
        return None
    if address.is_link_local or (mapped is not None and mapped.is_link_local):
        return 2
    return 1 if mapped is None else 0


def _fits(name: str, value: str) -> bool:
    return len(name) <= _LONGEST_NAME and len(value) <= _LONGEST_VALUE


def _all(units: Sequence[Unit], report: Report) -> Iterator[tuple[str, str]]:
    if not units:
        return
    pool, devices = units[0].pool, devices_of(units, report)
    yield DEVICES, ",".join(device.name for device in devices)
    yield DEVICE_INFO, _json([_told(device, pool, report) for device in devices])
    yield pcidevice(pool.resource), ",".join(device.id for device in devices)
    if pool.pcidevice_info:
        yield f"{pcidevice(pool.resource)}_INFO", _json({each.id: _as_sriov(each, pool, report) for each in devices})
    yield from _hints(pool, devices)


def _json(value: object) -> str:
    return msgspec.json.encode(value).decode()


def _told(device: RdmaDevice, pool: Pool, report: Report) -> DeviceInfo:
    return DeviceInfo(
        id=device.id,
        name=device.name,
        pci=device.pci,
        numa_node=device.numa_node,
        node_guid=device.node_guid,
        ports=tuple(
            PortInfo(
                number=port.number,
                link_layer=port.link_layer,
                guid=port.guid,
                netdevs=tuple(netdev.name for netdev in port.link.netdevs),
                gid_index=best_gid_index(port),
                rate=port.rate if port.link.active else None,
            )
            for port in device.endpoints
        ),
        nodes=nodes_of(device, pool, report),
    )


def _as_sriov(device: RdmaDevice, pool: Pool, report: Report) -> Mapping[str, Mapping[str, str]]:
    """In the words of sriov-network-device-plugin, which names one node of each kind: of several ports the first."""
    rdma: dict[str, str] = {}
    for path in nodes_of(device, pool, report):
        name = path.rpartition("/")[2]
        rdma.setdefault(name if name == RDMA_CM else name.rstrip("0123456789"), path)
    return {"generic": {"deviceID": device.id}, "rdma": {**rdma, "rdma_dev": device.name}}


def _hints(pool: Pool, devices: Sequence[RdmaDevice]) -> Iterator[tuple[str, str]]:
    """By every end point, whether or not it is up: variables stay for the container's life, and links come back.

    Of one device the active ports come first, for programs that take the first and no other.
    """
    ends = [(device, port) for device in devices for port in sorted(device.endpoints, key=lambda port: not port.link.active)]
    ports = ",".join(f"{device.name}:{port.number}" for device, port in ends)
    if not ports:
        return
    if pool.hints.nccl:
        yield "NCCL_IB_HCA", f"={ports}"  # the sign makes names exact: mlx5_1 would be mlx5_10, too
        indices = {best_gid_index(port) for _, port in ends if port.link_layer == "Ethernet"}
        if len(indices) == 1 and None not in indices:
            yield "NCCL_IB_GID_INDEX", str(*indices)
    if pool.hints.ucx:
        yield "UCX_NET_DEVICES", ports
