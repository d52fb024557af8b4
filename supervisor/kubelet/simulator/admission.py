"""Letting pods in and starting their containers: which devices, which calls to plugins, which error texts.

Topology hints are off (policy ``none``). Nothing here has a deadline except PreStartContainer, as in the kubelet: a
plugin that hangs in Allocate blocks every pod of the node.
"""

from __future__ import annotations

import random
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import TypeVar

import grpc

from supervisor.kubelet.protos import deviceplugin_pb2 as pb
from supervisor.kubelet.simulator.cluster import Pod
from supervisor.kubelet.simulator.events import EventKind
from supervisor.kubelet.simulator.manager import DeviceManager, Endpoint, EndpointError
from supervisor.kubelet.simulator.names import go_error
from supervisor.kubelet.simulator.pod_devices import Grant
from supervisor.kubelet.simulator.pods import ContainerSpec, RunOptions

_Item = TypeVar("_Item")

PRE_START_SECONDS = 30.0
"""The kubelet waits this many kubelet seconds for PreStartContainer."""


class AllocationError(Exception):
    """Devices cannot be allocated; the message is the kubelet's, without prefix and suffix."""


class StartError(Exception):
    """A container cannot be started now; the message is the kubelet's, and the start would be retried."""


@dataclass(slots=True)
class _Choice:
    """Devices being picked for one container and resource."""

    needed: int
    picked: set[str] = field(default_factory=set)


class Admission:
    """The allocation side of one kubelet life."""

    def __init__(self, manager: DeviceManager, chance: random.Random) -> None:
        """``chance`` decides whatever is a random map order in the kubelet."""
        self._manager = manager
        self._chance = chance

    async def admit(self, pod: Pod) -> None:
        """Allocate for all containers, init containers first; raises :class:`AllocationError`."""
        reusable: dict[str, set[str]] = {}
        for container in pod.spec.init_containers:
            await self._container(pod, container, reusable)
            if not container.restartable:
                for resource, grant in self._manager.pod_devices.of(pod.uid, container.name).items():
                    reusable.setdefault(resource, set()).update(grant.ids)
        for container in pod.spec.containers:
            await self._container(pod, container, reusable)
            for resource, grant in self._manager.pod_devices.of(pod.uid, container.name).items():
                reusable.get(resource, set()).difference_update(grant.ids)

    async def run_options(self, pod: Pod, container: ContainerSpec) -> RunOptions:
        """Prepare the start of a container: PreStartContainer, then the merged answers; raises :class:`StartError`."""
        manager, unrecorded = self._manager, False
        try:
            for resource, count in self._shuffled(container.limits.items()):
                if count == 0 or not manager.knows(resource):
                    continue
                await self._pre_start(pod, container, resource)
                unrecorded |= manager.pod_devices.ids(pod.uid, container.name, resource) is None
            if unrecorded:
                await self._container(pod, container, {})
        except (AllocationError, EndpointError) as error:
            raise StartError(str(error)) from error
        return self.merged(pod, container)

    def merged(self, pod: Pod, container: ContainerSpec) -> RunOptions:
        """Merge the recorded answers of a container; conflicts become events."""

        def conflict(kind: str, key: str, kept: object, dropped: object) -> None:
            self._manager.emit(
                EventKind.CONFLICT,
                kind=kind,
                key=key,
                kept=str(kept),
                dropped=str(dropped),
                container=container.name,
                resources=sorted(container.limits),
            )

        return self._manager.pod_devices.run_options(
            pod.uid, container.name, cdi=self._manager.era.cdi_devices, order=self._chance, conflict=conflict
        )

    async def _container(self, pod: Pod, container: ContainerSpec, reusable: dict[str, set[str]]) -> None:
        manager, recounted, changed = self._manager, False, False
        for resource, count in self._shuffled(container.limits.items()):
            if not manager.knows(resource):
                continue
            if not recounted:
                manager.recount()
                recounted = True
            chosen = await self._choose(pod, container, resource, count, reusable.get(resource, set()))
            if chosen:
                await self._allocate(pod, container, resource, chosen)
                changed = True
        if changed:
            manager.save()

    async def _choose(self, pod: Pod, container: ContainerSpec, resource: str, count: int, reusable: set[str]) -> set[str]:
        """Pick ids; an empty set means that nothing is left to do."""
        manager = self._manager
        held = manager.pod_devices.ids(pod.uid, container.name, resource)
        needed = count - len(held) if held is not None else count
        if held is not None and needed:
            raise AllocationError(
                f'pod "{pod.uid}" container "{container.name}" changed request for resource "{resource}" '
                f"from {len(held)} to {count}"
            )
        if not manager.era.health_checks_first and needed == 0:
            return set()
        if self._runs_already(pod, container):
            return set()
        self._check_health(resource, held or set())
        if needed == 0:
            return set()
        choice = _Choice(needed)
        if self._take(choice, resource, reusable):
            return choice.picked
        return await self._choose_free(choice, resource, count)

    def _runs_already(self, pod: Pod, container: ContainerSpec) -> bool:
        exception = self._manager.era.running_container_exception and not self._manager.sources_ready
        return exception and container.name in pod.running

    def _check_health(self, resource: str, held: set[str]) -> None:
        healthy, era = self._manager.healthy.get(resource), self._manager.era
        if healthy is None:
            raise AllocationError(f"{era.unregistered_text}{resource}")
        if not era.health_checks_first:
            return
        if not healthy:
            raise AllocationError(f"no healthy devices present; cannot allocate unhealthy devices {resource}")
        if not held <= healthy:
            raise AllocationError(
                f"previously allocated devices are no longer healthy; cannot allocate unhealthy devices {resource}"
            )

    async def _choose_free(self, choice: _Choice, resource: str, count: int) -> set[str]:
        available = self._manager.healthy[resource] - self._manager.in_use[resource]
        if len(available) < choice.needed:
            raise AllocationError(
                f"requested number of devices unavailable for {resource}. "
                f"Requested: {choice.needed}, Available: {len(available)}"
            )
        preferred = await self._preferred(resource, available | choice.picked, choice.picked, count)
        if not self._take(choice, resource, preferred & available) and not self._take(choice, resource, available):
            got = count - choice.needed
            raise AllocationError(f"unexpectedly allocated less resources than required. Requested: {count}, Got: {got}")
        return choice.picked

    def _take(self, choice: _Choice, resource: str, ids: set[str]) -> bool:
        """Pick from ``ids`` in random order; say whether the need is met."""
        for name in self._shuffled(sorted(ids - choice.picked)):
            choice.picked.add(name)
            self._manager.in_use[resource].add(name)
            choice.needed -= 1
            if choice.needed == 0:
                return True
        return False

    async def _preferred(self, resource: str, available: set[str], must: set[str], size: int) -> set[str]:
        endpoint = self._endpoint(resource)
        if endpoint.options is None or not endpoint.options.get_preferred_allocation_available:
            return set()
        wish = pb.ContainerPreferredAllocationRequest(
            available_deviceIDs=self._shuffled(sorted(available)),
            must_include_deviceIDs=self._shuffled(sorted(must)),
            allocation_size=size,
        )
        request = pb.PreferredAllocationRequest(container_requests=[wish])
        try:
            answer = await _call(endpoint, resource, "GetPreferredAllocation", request.SerializeToString())
        except EndpointError as error:
            raise AllocationError(f"device plugin GetPreferredAllocation rpc failed with err: {error}") from error
        answers = pb.PreferredAllocationResponse.FromString(answer).container_responses
        return set(answers[0].deviceIDs) if answers else set()

    async def _allocate(self, pod: Pod, container: ContainerSpec, resource: str, ids: set[str]) -> None:
        manager = self._manager
        if resource not in manager.endpoints:
            manager.in_use = manager.pod_devices.in_use()
            raise AllocationError(f"unknown Device Plugin {resource}")
        wish = pb.ContainerAllocateRequest(devices_ids=self._shuffled(sorted(ids)))
        request = pb.AllocateRequest(container_requests=[wish])
        try:
            message = await _call(manager.endpoints[resource], resource, "Allocate", request.SerializeToString())
        except EndpointError as error:
            manager.in_use = manager.pod_devices.in_use()
            raise AllocationError(str(error)) from error
        answers = pb.AllocateResponse.FromString(message).container_responses
        if not answers:
            raise AllocationError("no containers return in allocation response &AllocateResponse{}")
        self._warn_of_vanished(resource, ids)
        grant = Grant(manager.by_node(resource, ids), answers[0].SerializeToString())
        manager.pod_devices.insert(pod.uid, container.name, resource, grant)

    def _warn_of_vanished(self, resource: str, ids: set[str]) -> None:
        vanished = sorted(ids - self._manager.topology.get(resource, {}).keys())
        if vanished and self._manager.era.vanished_id_panics:
            text = "would have panicked: ids vanished while their Allocate was under way"
            self._manager.emit(EventKind.WARNING, text=text, resource=resource, ids=vanished)

    async def _pre_start(self, pod: Pod, container: ContainerSpec, resource: str) -> None:
        endpoint = self._endpoint(resource)
        if endpoint.options is None or not endpoint.options.pre_start_required:
            return
        held = self._manager.pod_devices.ids(pod.uid, container.name, resource)
        if held is None:
            raise AllocationError(
                f"no devices found allocated in local cache for pod {pod.uid}, container {container.name}, resource {resource}"
            )
        request = pb.PreStartContainerRequest(devices_ids=self._shuffled(sorted(held)))
        deadline = self._manager.clock.real(PRE_START_SECONDS)
        try:
            await _call(endpoint, resource, "PreStartContainer", request.SerializeToString(), deadline)
        except EndpointError as error:
            raise EndpointError(f"device plugin PreStartContainer rpc failed with err: {error}") from error

    def _endpoint(self, resource: str) -> Endpoint:
        endpoint = self._manager.endpoints.get(resource)
        if endpoint is None:
            raise AllocationError(f"endpoint not found in cache for a registered resource: {resource}")
        return endpoint

    def _shuffled(self, items: Iterable[_Item]) -> list[_Item]:
        shuffled = list(items)
        self._chance.shuffle(shuffled)
        return shuffled


async def _call(endpoint: Endpoint, resource: str, method: str, request: bytes, timeout: float | None = None) -> bytes:
    """Call the plugin behind an endpoint; raises :class:`EndpointError` with the error as Go prints it."""
    try:
        return await endpoint.live_client(resource).call(method, request, timeout)
    except grpc.aio.AioRpcError as error:
        raise EndpointError(go_error(error)) from error
