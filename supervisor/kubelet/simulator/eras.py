"""What differs between kubelets: one frozen value for each era, with a switch for each difference.

The three eras differ in what ``Register`` does before it answers. Everything else is a switch of its own, so that
``dataclasses.replace(ERAS["1.25"], register_bounds_dial=True)`` makes a kubelet between two named ones.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass, fields
from enum import StrEnum
from typing import Any


class RegisterStyle(StrEnum):
    """How the kubelet keeps the plugins of one resource apart."""

    ANSWER_FIRST = "answer-first"
    """1.20-1.24: answers at once, dials back later, and only logs a failure."""
    SLOT_PER_RESOURCE = "slot-per-resource"
    """1.25-1.36: answers after dial-back and options; one client for each resource, whence the take-over bug."""
    SLOT_PER_SOCKET = "slot-per-socket"
    """1.37: as before, but sockets of one resource live side by side, and one path connects only once."""


class Cleanup(StrEnum):
    """Which entries of the device-plugins directory a starting kubelet deletes; sub-directories always stay."""

    FILES_BEHIND_LINKS = "files-behind-links"
    """1.20: everything that is not a directory after following links, except the checkpoint."""
    FILES = "files"
    """1.21-1.32: everything that is not itself a directory, except the checkpoint."""
    SOCKETS = "sockets"
    """From 1.33: sockets, also behind links; plain files survive."""


@dataclass(frozen=True, slots=True)
class Era:
    """One kubelet version, reduced to what a device plugin can notice."""

    name: str
    register: RegisterStyle
    cleanup: Cleanup
    path_authority: bool
    """``:authority`` is the percent-encoded socket path (to 1.25) instead of ``localhost``."""
    register_bounds_dial: bool
    """A cancelled or expired ``Register`` also ends the dial-back it waits for (from 1.35)."""
    deprecation_file: bool
    """An empty file ``DEPRECATION`` appears after the clean-up (to 1.24)."""
    cleanup_failure_is_fatal: bool
    """A directory that cannot be cleaned ends the kubelet (from 1.25)."""
    no_topology_node: int
    """The NUMA key of the checkpoint for devices without topology: 0, and -1 from 1.23."""
    health_checks_first: bool
    """Admission looks at health before it notices that the container has its devices already (from 1.25)."""
    running_container_exception: bool
    """Containers that run are not checked while the pod sources are not ready (from 1.26)."""
    vanished_id_panics: bool
    """An id that is missing from the newest list while it is needed is a nil pointer (from 1.34)."""
    cdi_devices: bool
    """``cdi_devices`` of an Allocate answer is honoured (from 1.28)."""
    admission_prefix: str
    unregistered_text: str
    lists_only_active_pods: bool
    """podresources ``List`` leaves out pods that have ended (from 1.34)."""
    lists_sidecars: bool
    """podresources ``List`` shows restartable init containers (from 1.30)."""
    serves_allocatable: bool
    """podresources ``GetAllocatableResources`` exists (served since 1.23)."""
    serves_get: bool
    """podresources ``Get`` exists (on since 1.34)."""
    pod_resources_rate: float
    """podresources calls a second, with a burst of 10; 0 is no limit (to 1.26)."""

    def to_json(self) -> dict[str, Any]:
        """Return the switches as plain JSON values."""
        return asdict(self)

    @classmethod
    def from_json(cls, data: dict[str, Any]) -> Era:
        """Rebuild an era from :meth:`to_json`; raises ``KeyError`` for a missing switch."""
        values = {field.name: data[field.name] for field in fields(cls)}
        values["register"] = RegisterStyle(values["register"])
        values["cleanup"] = Cleanup(values["cleanup"])
        return cls(**values)


ERAS = {
    "1.20": Era(
        name="1.20",
        register=RegisterStyle.ANSWER_FIRST,
        cleanup=Cleanup.FILES_BEHIND_LINKS,
        path_authority=True,
        register_bounds_dial=False,
        deprecation_file=True,
        cleanup_failure_is_fatal=False,
        no_topology_node=0,
        health_checks_first=False,
        running_container_exception=False,
        vanished_id_panics=False,
        cdi_devices=False,
        admission_prefix="Pod Allocate failed due to ",
        unregistered_text="can't allocate unregistered device ",
        lists_only_active_pods=False,
        lists_sidecars=False,
        serves_allocatable=False,
        serves_get=False,
        pod_resources_rate=0.0,
    ),
    "1.25": Era(
        name="1.25",
        register=RegisterStyle.SLOT_PER_RESOURCE,
        cleanup=Cleanup.FILES,
        path_authority=True,
        register_bounds_dial=False,
        deprecation_file=False,
        cleanup_failure_is_fatal=True,
        no_topology_node=-1,
        health_checks_first=True,
        running_container_exception=False,
        vanished_id_panics=False,
        cdi_devices=False,
        admission_prefix="Pod Allocate failed due to ",
        unregistered_text="cannot allocate unregistered device ",
        lists_only_active_pods=False,
        lists_sidecars=False,
        serves_allocatable=True,
        serves_get=False,
        pod_resources_rate=0.0,
    ),
    "1.36": Era(
        name="1.36",
        register=RegisterStyle.SLOT_PER_RESOURCE,
        cleanup=Cleanup.SOCKETS,
        path_authority=False,
        register_bounds_dial=True,
        deprecation_file=False,
        cleanup_failure_is_fatal=True,
        no_topology_node=-1,
        health_checks_first=True,
        running_container_exception=True,
        vanished_id_panics=True,
        cdi_devices=True,
        admission_prefix="Pod was rejected: Allocate failed due to ",
        unregistered_text="cannot allocate unregistered device ",
        lists_only_active_pods=True,
        lists_sidecars=True,
        serves_allocatable=True,
        serves_get=True,
        pod_resources_rate=100.0,
    ),
    "1.37": Era(
        name="1.37",
        register=RegisterStyle.SLOT_PER_SOCKET,
        cleanup=Cleanup.SOCKETS,
        path_authority=False,
        register_bounds_dial=True,
        deprecation_file=False,
        cleanup_failure_is_fatal=True,
        no_topology_node=-1,
        health_checks_first=True,
        running_container_exception=True,
        vanished_id_panics=True,
        cdi_devices=True,
        admission_prefix="Pod was rejected: Allocate failed due to ",
        unregistered_text="cannot allocate unregistered device ",
        lists_only_active_pods=True,
        lists_sidecars=True,
        serves_allocatable=True,
        serves_get=True,
        pod_resources_rate=100.0,
    ),
}
"""The kubelets one can ask for by name: one for each era, and 1.36 as the newest one released."""
