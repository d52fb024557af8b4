"""Pods as a caller asks for them and as the kubelet reports them: frozen values that travel as JSON."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from enum import StrEnum
from typing import Any


class Phase(StrEnum):
    """The pod phases a device plugin can bring about."""

    PENDING = "Pending"
    RUNNING = "Running"
    FAILED = "Failed"


@dataclass(frozen=True, slots=True)
class ContainerSpec:
    """One container's wish: resource name → count. ``restartable`` makes an init container a sidecar."""

    name: str
    limits: Mapping[str, int]
    restartable: bool = False


@dataclass(frozen=True, slots=True)
class PodSpec:
    """A pod bound to this node."""

    name: str
    namespace: str
    containers: tuple[ContainerSpec, ...]
    init_containers: tuple[ContainerSpec, ...] = ()

    def container(self, name: str) -> ContainerSpec | None:
        """Find a container or init container by name."""
        return next((spec for spec in (*self.init_containers, *self.containers) if spec.name == name), None)

    def to_json(self) -> dict[str, Any]:
        """Return plain JSON values."""
        return asdict(self)

    @classmethod
    def from_json(cls, data: dict[str, Any]) -> PodSpec:
        """Rebuild a pod from :meth:`to_json`."""
        return cls(
            data["name"],
            data["namespace"],
            tuple(ContainerSpec(**spec) for spec in data["containers"]),
            tuple(ContainerSpec(**spec) for spec in data["init_containers"]),
        )


@dataclass(frozen=True, slots=True)
class GrantedDevice:
    """A device node as the container runtime gets it."""

    host_path: str
    container_path: str
    permissions: str


@dataclass(frozen=True, slots=True)
class GrantedMount:
    """A bind mount as the container runtime gets it."""

    host_path: str
    container_path: str
    read_only: bool


@dataclass(frozen=True, slots=True)
class RunOptions:
    """What the kubelet tells the runtime for one container, after it has merged the answers of all resources."""

    devices: tuple[GrantedDevice, ...] = ()
    mounts: tuple[GrantedMount, ...] = ()
    envs: Mapping[str, str] = field(default_factory=dict)
    annotations: Mapping[str, str] = field(default_factory=dict)
    cdi_devices: tuple[str, ...] = ()

    @classmethod
    def from_json(cls, data: dict[str, Any]) -> RunOptions:
        """Rebuild from ``dataclasses.asdict``."""
        return cls(
            tuple(GrantedDevice(**device) for device in data["devices"]),
            tuple(GrantedMount(**mount) for mount in data["mounts"]),
            data["envs"],
            data["annotations"],
            tuple(data["cdi_devices"]),
        )


@dataclass(frozen=True, slots=True)
class ContainerState:
    """What one container holds and whether it runs."""

    devices: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    """Resource name → device ids, sorted."""
    options: RunOptions = field(default_factory=RunOptions)
    running: bool = False
    starts: int = 0
    waiting_reason: str = ""
    waiting_message: str = ""


@dataclass(frozen=True, slots=True)
class PodState:
    """What the kubelet reports of a pod."""

    name: str
    namespace: str
    uid: str
    phase: Phase
    reason: str = ""
    message: str = ""
    containers: Mapping[str, ContainerState] = field(default_factory=dict)

    @property
    def admitted(self) -> bool:
        """Whether the pod was let in; a Failed pod is never tried again."""
        return self.phase is not Phase.FAILED

    @property
    def device_ids(self) -> list[str]:
        """All ids of all containers, sorted, each once."""
        held = (ids for state in self.containers.values() for ids in state.devices.values())
        return sorted({name for ids in held for name in ids})

    def to_json(self) -> dict[str, Any]:
        """Return plain JSON values."""
        return asdict(self)

    @classmethod
    def from_json(cls, data: dict[str, Any]) -> PodState:
        """Rebuild a pod state from :meth:`to_json`."""
        containers = {
            name: ContainerState(
                {resource: tuple(ids) for resource, ids in state["devices"].items()},
                RunOptions.from_json(state["options"]),
                state["running"],
                state["starts"],
                state["waiting_reason"],
                state["waiting_message"],
            )
            for name, state in data["containers"].items()
        }
        return cls(
            data["name"],
            data["namespace"],
            data["uid"],
            Phase(data["phase"]),
            data["reason"],
            data["message"],
            containers,
        )
