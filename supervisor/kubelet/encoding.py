"""Model values to and from the kubelet's messages, and nothing else."""

import asyncio
import time
from collections.abc import Sequence

from supervisor.kubelet.protos import API_VERSION
from supervisor.kubelet.protos import deviceplugin_pb2 as pb
from supervisor.model import ContainerEdits, Device, Health

_CHUNK = 64
"""Devices that are encoded, and kept, as one piece: 0.1 ms of work."""
_TURN = 0.00005
"""Seconds that a turn of ours lasts. An Allocate that comes meanwhile takes several turns of the loop."""


class ListEncoder:
    """``ListAndWatchResponse`` bytes of a device list; what has not changed since the last list is not encoded again.

    Serialized repeated fields may be concatenated, so the list is kept as encoded chunks. One encoder belongs to one loop, and
    lets its other tasks run every now and then.
    """

    def __init__(self) -> None:
        self._chunks: list[tuple[Sequence[Device], bytes]] = []
        self._stale: list[tuple[Sequence[Device], bytes]] = []

    async def encode(self, devices: Sequence[Device]) -> bytes:
        """The whole list."""
        chunks: list[tuple[Sequence[Device], bytes]] = []
        turns = _Turns()
        for number, start in enumerate(range(0, len(devices), _CHUNK)):
            part = devices[start : start + _CHUNK]
            if number < len(self._chunks) and self._chunks[number][0] == part:
                chunks.append(self._chunks[number])  # not the new slice: to let go of the old one touches all its devices
            else:
                chunks.append((part, encode_devices(part)))
            await turns.give()
        self._stale, self._chunks = self._chunks, chunks
        return b"".join(encoded for _, encoded in chunks)

    async def let_go(self) -> None:
        """Free the list before piece by piece, once nobody else has it: in one go, 50 000 devices stop every thread for 8 ms."""
        turns = _Turns()
        while self._stale:
            self._stale.pop()
            await turns.give()


class _Turns:
    """Gives the loop its turn when one of ours has lasted long enough."""

    def __init__(self) -> None:
        self._ends = time.monotonic() + _TURN

    async def give(self) -> None:
        if time.monotonic() > self._ends:
            await asyncio.sleep(0)
            self._ends = time.monotonic() + _TURN


def encode_devices(devices: Sequence[Device]) -> bytes:
    return pb.ListAndWatchResponse(devices=[_device(device) for device in devices]).SerializeToString()


def _device(device: Device) -> pb.Device:
    health = Health.HEALTHY if device.healthy else Health.UNHEALTHY
    message = pb.Device(ID=device.id, health=health.value)
    if device.topology.numa_nodes:
        message.topology.nodes.extend(pb.NUMANode(ID=node) for node in device.topology.numa_nodes)
    return message


def container_response(edits: ContainerEdits) -> pb.ContainerAllocateResponse:
    return pb.ContainerAllocateResponse(
        envs=edits.envs,
        annotations=edits.annotations,
        devices=[
            pb.DeviceSpec(
                host_path=node.host_path,
                container_path=node.container_path or node.host_path,
                permissions=node.permissions,
            )
            for node in edits.device_nodes
        ],
        mounts=[
            pb.Mount(
                host_path=mount.host_path,
                container_path=mount.container_path or mount.host_path,
                read_only=mount.read_only,
            )
            for mount in edits.mounts
        ],
        cdi_devices=[pb.CDIDevice(name=name) for name in edits.cdi_devices],
    )


def register_request(resource: str, endpoint: str, options: pb.DevicePluginOptions) -> bytes:
    request = pb.RegisterRequest(version=API_VERSION, endpoint=endpoint, resource_name=resource, options=options)
    return request.SerializeToString()
