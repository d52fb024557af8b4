"""The device manager of one kubelet life: endpoints, healthy and unhealthy ids, capacity, the checkpoint."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from supervisor.kubelet.protos import deviceplugin_pb2 as pb
from supervisor.kubelet.simulator import checkpoint
from supervisor.kubelet.simulator.clock import Clock
from supervisor.kubelet.simulator.eras import Era
from supervisor.kubelet.simulator.events import EventKind
from supervisor.kubelet.simulator.plugin_client import Emit, PluginClient
from supervisor.kubelet.simulator.pod_devices import PodDevices

GRACE_SECONDS = 300.0
"""A stopped endpoint keeps its capacity for this many kubelet seconds."""
HEALTHY = "Healthy"
"""The only text that means healthy; any other is unhealthy."""


@dataclass(slots=True, eq=False)
class Endpoint:
    """What the manager knows of a resource's current plugin; no client after a restart, until it registers."""

    client: PluginClient | None = None
    options: pb.DevicePluginOptions | None = None
    stopped_at: float | None = None
    """Kubelet time; None while connected."""

    def live_client(self, resource: str) -> PluginClient:
        """Return the client; raises :class:`EndpointError` with the kubelet's text when the endpoint has stopped."""
        if self.client is None or self.stopped_at is not None:
            raise EndpointError(f"endpoint {resource} has been stopped")
        return self.client


class EndpointError(Exception):
    """An endpoint cannot be used; the message is the kubelet's."""


@dataclass(slots=True)
class DeviceManager:
    """All that one kubelet life knows about devices."""

    directory: Path
    era: Era
    clock: Clock
    emit: Emit
    active_pods: Callable[[], set[str]]
    """The uids of the pods that have not ended."""
    checkpoints: bool = True
    """Whether to write the checkpoint; a measurement may do without its fsync."""
    endpoints: dict[str, Endpoint] = field(default_factory=dict)
    healthy: dict[str, set[str]] = field(default_factory=dict)
    unhealthy: dict[str, set[str]] = field(default_factory=dict)
    topology: dict[str, dict[str, tuple[int, ...]]] = field(default_factory=dict)
    """Resource → id → NUMA nodes of the newest list; ids that the list does not name are absent."""
    pod_devices: PodDevices = field(default_factory=PodDevices)
    in_use: defaultdict[str, set[str]] = field(default_factory=lambda: defaultdict(set))
    sources_ready: bool = False

    def restore(self) -> None:
        """Read the checkpoint: grants stay, and each known resource waits, stopped, for its plugin."""
        try:
            saved = checkpoint.read(self.directory)
        except ValueError as error:
            self.emit(EventKind.WARNING, text=f"checkpoint ignored: {error}")
            return
        self.pod_devices = saved.pod_devices
        self.in_use = saved.pod_devices.in_use()
        for resource in saved.resources:
            self.healthy[resource] = set()
            self.unhealthy[resource] = set()
            self.endpoints[resource] = Endpoint(stopped_at=self.clock.now())

    def save(self) -> None:
        """Write the checkpoint; a failure is only logged, as the kubelet does it."""
        if not self.checkpoints:
            return
        try:
            checkpoint.write(self.directory, self.pod_devices, self.healthy)
        except OSError as error:
            self.emit(EventKind.WARNING, text=f"checkpoint not written: {error}")

    def connected(self, resource: str, client: PluginClient, options: pb.DevicePluginOptions) -> None:
        """Make ``client`` the resource's endpoint; whatever was there is forgotten, not closed."""
        self.endpoints[resource] = Endpoint(client, options)
        self.emit(
            EventKind.CONNECTED,
            resource=resource,
            endpoint=client.endpoint,
            pre_start_required=options.pre_start_required,
            get_preferred_allocation_available=options.get_preferred_allocation_available,
        )

    def listed(self, client: PluginClient, message: bytes, at_ns: int) -> None:
        """Take a list, which replaces all that was known of the resource, whoever sent it."""
        resource = client.resource
        healthy: set[str] = set()
        unhealthy: set[str] = set()
        topology: dict[str, tuple[int, ...]] = {}
        for device in pb.ListAndWatchResponse.FromString(message).devices:
            name = device.ID
            (healthy if device.health == HEALTHY else unhealthy).add(name)
            topology[name] = tuple([node.ID for node in device.topology.nodes]) if device.HasField("topology") else ()
        self.healthy[resource], self.unhealthy[resource] = healthy, unhealthy
        self.topology[resource] = topology
        self.emit(
            EventKind.LIST_RECEIVED,
            at_ns=at_ns,
            resource=resource,
            endpoint=client.endpoint,
            healthy=len(healthy),
            unhealthy=len(unhealthy),
            bytes=len(message),
        )
        self._warn_of_vanished(resource)
        self.save()

    def _warn_of_vanished(self, resource: str) -> None:
        vanished = sorted(self.pod_devices.in_use().get(resource, set()) - self.topology[resource].keys())
        if vanished:
            verdict = "may panic" if self.era.vanished_id_panics else "would read a zero value"
            text = f"allocated ids vanished from the list: this kubelet {verdict}"
            self.emit(EventKind.WARNING, text=text, resource=resource, ids=vanished)

    def disconnected(self, resource: str) -> None:
        """Mark all devices unhealthy and start the grace period of the resource's endpoint, whichever it is."""
        endpoint = self.endpoints.get(resource)
        if endpoint is None:
            return
        lost = self.healthy.get(resource, set())
        self.healthy[resource] = set()
        self.unhealthy[resource] = self.unhealthy.get(resource, set()) | lost
        endpoint.stopped_at = self.clock.now()
        self.emit(EventKind.DISCONNECTED, resource=resource)

    def knows(self, resource: str) -> bool:
        """Say whether the kubelet takes a limit for a device plugin's."""
        return resource in self.healthy or bool(self.in_use.get(resource))

    def node_status(self) -> dict[str, tuple[int, int]]:
        """Return resource → (allocatable, capacity); resources whose grace period is over are dropped first."""
        dropped = {resource for resource in self.healthy.keys() | self.unhealthy.keys() if self._expired(resource)}
        for resource in dropped:
            for known in (self.healthy, self.unhealthy, self.endpoints):
                known.pop(resource, None)
            self.emit(EventKind.RESOURCE_DROPPED, resource=resource)
        if dropped:
            self.save()
        status: dict[str, tuple[int, int]] = {}
        for resource in self.healthy.keys() | self.unhealthy.keys():
            allocatable = len(self.healthy.get(resource, ()))
            status[resource] = (allocatable, allocatable + len(self.unhealthy.get(resource, ())))
        return status

    def _expired(self, resource: str) -> bool:
        endpoint = self.endpoints.get(resource)
        if endpoint is None:
            return True
        return endpoint.stopped_at is not None and self.clock.now() - endpoint.stopped_at > GRACE_SECONDS

    def recount(self) -> None:
        """Drop the grants of pods that have ended, once all pods are known, and count again what is in use."""
        if not self.sources_ready:
            return
        for uid in self.pod_devices.pods() - self.active_pods():
            self.pod_devices.remove(uid)
        self.in_use = self.pod_devices.in_use()

    def by_node(self, resource: str, ids: set[str]) -> dict[int, list[str]]:
        """Sort ids by NUMA node for the checkpoint; without topology under this era's key for that."""
        sorted_ids: defaultdict[int, list[str]] = defaultdict(list)
        known = self.topology.get(resource, {})
        for name in sorted(ids):
            for node in known.get(name) or (self.era.no_topology_node,):
                sorted_ids[node].append(name)
        return dict(sorted_ids)
