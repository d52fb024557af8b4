"""Which container holds which devices with which Allocate answer: the part of the kubelet's memory that is saved."""

from __future__ import annotations

import random
from collections import defaultdict
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import TypeVar

from supervisor.kubelet.protos import deviceplugin_pb2 as pb
from supervisor.kubelet.simulator.pods import GrantedDevice, GrantedMount, RunOptions

_Value = TypeVar("_Value")

Conflict = Callable[[str, str, object, object], None]
"""Called with kind, key, the value that is kept and the one that is dropped."""


@dataclass(frozen=True, slots=True)
class Grant:
    """The devices of one container and resource, and the plugin's serialized ``ContainerAllocateResponse``."""

    by_node: dict[int, list[str]]
    """NUMA node → ids; a device on several nodes occurs once for each."""
    answer: bytes

    @property
    def ids(self) -> set[str]:
        """All ids, each once."""
        return {name for ids in self.by_node.values() for name in ids}


class PodDevices:
    """Pod uid → container name → resource name → grant."""

    def __init__(self) -> None:
        """Begin with no pods."""
        self._grants: dict[str, dict[str, dict[str, Grant]]] = {}

    def insert(self, uid: str, container: str, resource: str, grant: Grant) -> None:
        """Record a grant, replacing an earlier one."""
        self._grants.setdefault(uid, {}).setdefault(container, {})[resource] = grant

    def remove(self, uid: str) -> None:
        """Forget a pod."""
        self._grants.pop(uid, None)

    def pods(self) -> set[str]:
        """Return the uids of all pods with grants."""
        return set(self._grants)

    def of(self, uid: str, container: str) -> dict[str, Grant]:
        """Return resource → grant of one container."""
        return self._grants.get(uid, {}).get(container, {})

    def ids(self, uid: str, container: str, resource: str) -> set[str] | None:
        """Return the ids a container holds; None when nothing is recorded."""
        grant = self.of(uid, container).get(resource)
        return grant.ids if grant is not None else None

    def in_use(self) -> defaultdict[str, set[str]]:
        """Return resource → all ids that any pod holds."""
        used: defaultdict[str, set[str]] = defaultdict(set)
        for _, _, resource, grant in self.entries():
            used[resource] |= grant.ids
        return used

    def entries(self) -> Iterator[tuple[str, str, str, Grant]]:
        """Yield uid, container, resource, grant."""
        for uid, containers in self._grants.items():
            for container, resources in containers.items():
                for resource, grant in resources.items():
                    yield uid, container, resource, grant

    def run_options(self, uid: str, container: str, *, cdi: bool, order: random.Random, conflict: Conflict) -> RunOptions:
        """Merge the answers of all resources of a container: in random order, and the first value of a key wins."""
        merge = _Merge(conflict)
        resources = list(self.of(uid, container).values())
        order.shuffle(resources)
        for grant in resources:
            merge.add(pb.ContainerAllocateResponse.FromString(grant.answer), cdi=cdi)
        return merge.options()


class _Merge:
    """The kubelet's rules for one container: maps keyed by name or container path, CDI names as an ordered set."""

    def __init__(self, conflict: Conflict) -> None:
        self._conflict = conflict
        self._envs: dict[str, str] = {}
        self._annotations: dict[str, str] = {}
        self._mounts: dict[str, GrantedMount] = {}
        self._devices: dict[str, GrantedDevice] = {}
        self._cdi: dict[str, None] = {}

    def add(self, answer: pb.ContainerAllocateResponse, *, cdi: bool) -> None:
        for key, value in answer.envs.items():
            self._keep("env", self._envs, key, value)
        for key, value in answer.annotations.items():
            self._keep("annotation", self._annotations, key, value)
        for mount in answer.mounts:
            granted = GrantedMount(mount.host_path, mount.container_path, mount.read_only)
            self._keep("mount", self._mounts, mount.container_path, granted)
        for device in answer.devices:
            node = GrantedDevice(device.host_path, device.container_path, device.permissions)
            self._keep("device", self._devices, device.container_path, node)
        if cdi:
            self._cdi.update(dict.fromkeys(entry.name for entry in answer.cdi_devices))

    def _keep(self, kind: str, kept: dict[str, _Value], key: str, value: _Value) -> None:
        if kept.setdefault(key, value) != value:
            self._conflict(kind, key, kept[key], value)

    def options(self) -> RunOptions:
        return RunOptions(
            tuple(self._devices.values()),
            tuple(self._mounts.values()),
            self._envs,
            self._annotations,
            tuple(self._cdi),
        )
