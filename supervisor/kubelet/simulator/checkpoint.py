"""``kubelet_internal_checkpoint``: what a kubelet remembers over its own death.

Written as the kubelet writes it: a temporary dot file in the same directory, fsync, rename. The checksum is one over our
JSON; the real one covers a dump of Go structures and cannot be made outside Go, so no reader outside the kubelet checks.
"""

from __future__ import annotations

import base64
import json
import os
import tempfile
import zlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from supervisor.kubelet.simulator.pod_devices import Grant, PodDevices

CHECKPOINT_NAME = "kubelet_internal_checkpoint"


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """Grants of pods, and the names of the resources that were registered."""

    pod_devices: PodDevices
    resources: frozenset[str]


def write(directory: Path, pods: PodDevices, registered: Mapping[str, Iterable[str]]) -> None:
    """Replace the checkpoint atomically; raises ``OSError`` where the directory is gone or full."""
    data = {
        "PodDeviceEntries": [
            {
                "PodUID": uid,
                "ContainerName": container,
                "ResourceName": resource,
                "DeviceIDs": {str(node): ids for node, ids in grant.by_node.items()},
                "AllocResp": base64.b64encode(grant.answer).decode(),
            }
            for uid, container, resource, grant in pods.entries()
        ],
        "RegisteredDevices": {resource: sorted(ids) for resource, ids in registered.items()},
    }
    text = json.dumps(data, separators=(",", ":"))
    content = f'{{"Data":{text},"Checksum":{zlib.crc32(text.encode())}}}'
    handle, temporary = tempfile.mkstemp(prefix=".", dir=directory)
    try:
        with os.fdopen(handle, "w") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        os.rename(temporary, directory / CHECKPOINT_NAME)
    except OSError:
        Path(temporary).unlink(missing_ok=True)
        raise


def read(directory: Path) -> Checkpoint:
    """Read the checkpoint; none there is an empty one. Raises ``ValueError`` for one that makes no sense."""
    try:
        text = (directory / CHECKPOINT_NAME).read_text()
    except FileNotFoundError:
        return Checkpoint(PodDevices(), frozenset())
    except OSError as error:
        raise ValueError(str(error)) from error
    try:
        return _parse(json.loads(text)["Data"])
    except (KeyError, TypeError, AttributeError) as error:
        raise ValueError(f"checkpoint is corrupted: {error!r}") from error


def _parse(data: dict[str, Any]) -> Checkpoint:
    pods = PodDevices()
    for entry in data["PodDeviceEntries"] or []:
        by_node = {int(node): list(ids) for node, ids in entry["DeviceIDs"].items()}
        grant = Grant(by_node, base64.b64decode(entry["AllocResp"] or ""))
        pods.insert(entry["PodUID"], entry["ContainerName"], entry["ResourceName"], grant)
    return Checkpoint(pods, frozenset(data["RegisteredDevices"] or {}))
