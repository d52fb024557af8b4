"""Who holds which device, read from the device manager's ``kubelet_internal_checkpoint``.

The kubelet replaces the file (temporary file, fsync, rename) after every device list and every allocation, so that an open file is
always a whole one. It outlives the kubelet, and tells of ordinary init containers, which podresources does not. An ended pod stays in it
until the next write. The checksum is a hash over a dump of Go structures and cannot be checked here.
Source: ``pkg/kubelet/cm/devicemanager/checkpoint``.
"""

import os
import stat
import time
from collections.abc import Mapping
from pathlib import Path

import msgspec
from msgspec import Struct, field

from supervisor.ledger import Holding, Reading

NAME = "kubelet_internal_checkpoint"

SIZE_LIMIT = 64 * 1024 * 1024
"""Bytes of the longest checkpoint that is read; 110 pods with large allocations stay below one tenth of it."""


class _Entry(Struct, frozen=True):
    pod_uid: str = field(name="PodUID")
    container: str = field(name="ContainerName")
    resource: str = field(name="ResourceName")
    device_ids: dict[int, list[str] | None] | list[str] | None = field(name="DeviceIDs", default=None)
    """By NUMA node. For "no topology" kubelets up to 1.22 wrote node 0, later ones write -1. A plain list: before 1.20."""


class _Data(Struct, frozen=True):
    entries: list[_Entry] | None = field(name="PodDeviceEntries")


class _Checkpoint(Struct, frozen=True):
    data: _Data = field(name="Data")


class _Registered(Struct, frozen=True):
    devices: dict[str, list[str] | None] | None = field(name="RegisteredDevices", default=None)


class _Registry(Struct, frozen=True):
    data: _Registered = field(name="Data")


_DECODER = msgspec.json.Decoder(_Checkpoint)
_REGISTRY = msgspec.json.Decoder(_Registry)


def read_checkpoint(directory: Path) -> Reading:
    """Read the file of this device-plugins directory, once more if it is broken. It is never written. Blocks for a disk read."""
    reading = _read(directory / NAME)
    # Somebody who copies a file into place (a backup being restored) lets half of it be seen; the kubelet never does.
    return reading if reading.complete else _read(directory / NAME)


def read_registered(directory: Path) -> Mapping[str, frozenset[str]]:
    """The healthy ids of each resource that any plugin has registered, as of the kubelet's last write. Raises ``OSError`` and ``ValueError``.

    The end of a plugin is no reason for it to write.
    """
    registered = _REGISTRY.decode(_content(directory / NAME)).data.devices or {}
    return {resource: frozenset(ids or ()) for resource, ids in registered.items()}


def _read(path: Path) -> Reading:
    at = time.monotonic()
    try:
        holdings = _holdings(_DECODER.decode(_content(path)).data.entries or [])
    except (OSError, ValueError, RecursionError) as error:
        return Reading(at, "checkpoint", complete=False, reason=f"checkpoint: {error}")
    return Reading(at, "checkpoint", complete=True, holdings=holdings)


def _content(path: Path) -> bytes:
    # Not blocking: what stands at this path might be a FIFO.
    with open(path, "rb", opener=_open) as file:
        status = os.fstat(file.fileno())
        if not stat.S_ISREG(status.st_mode):
            raise ValueError(f"{path} is not a regular file")
        if status.st_size > SIZE_LIMIT:
            raise ValueError(f"{path} has {status.st_size} bytes, more than {SIZE_LIMIT}")
        return file.read(status.st_size)


def _open(path: str, flags: int) -> int:
    return os.open(path, flags | os.O_NONBLOCK)


def _holdings(entries: list[_Entry]) -> tuple[Holding, ...]:
    """One for each device and container: a device of several NUMA nodes stands under each of them."""
    nodes: dict[tuple[str, str, str, str, str], set[int]] = {}
    for entry in entries:
        if isinstance(entry.device_ids, list):
            raise ValueError("it has the format of kubelets before 1.20")  # noqa: TRY004  # the file's fault, no type error
        for node, device_ids in (entry.device_ids or {}).items():
            for device_id in device_ids or ():
                key = (entry.resource, device_id, "", entry.pod_uid, entry.container)
                nodes.setdefault(key, set()).update({node} if node >= 0 else ())
    return tuple(Holding(*key, numa_nodes=tuple(sorted(found))) for key, found in nodes.items())
