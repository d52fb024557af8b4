"""The kubelet's podresources v1 service, over the device manager of one life."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any, TypeAlias

import grpc

from supervisor.kubelet.protos import POD_RESOURCES_SERVICE
from supervisor.kubelet.protos import podresources_pb2 as pb
from supervisor.kubelet.simulator.cluster import Cluster, Pod
from supervisor.kubelet.simulator.manager import DeviceManager

BURST = 10
"""Calls at once before the rate limit counts."""


class PodResources:
    """Answers List, GetAllocatableResources and Get; what the era does not serve is UNIMPLEMENTED."""

    def __init__(self, manager: DeviceManager, cluster: Cluster) -> None:
        """``List`` is empty, without an error, until the manager's pod sources are ready."""
        self._manager = manager
        self._cluster = cluster
        self._tokens = float(BURST)
        self._filled = manager.clock.now()

    def handler(self) -> grpc.GenericRpcHandler:
        """Return the service for a ``grpc.aio`` server."""
        era = self._manager.era
        methods: dict[str, grpc.RpcMethodHandler[Any, Any]] = {
            "List": grpc.unary_unary_rpc_method_handler(self._list, None, _serialize)
        }
        if era.serves_allocatable:
            methods["GetAllocatableResources"] = grpc.unary_unary_rpc_method_handler(self._allocatable, None, _serialize)
        if era.serves_get:
            methods["Get"] = grpc.unary_unary_rpc_method_handler(self._get, pb.GetPodResourcesRequest.FromString, _serialize)
        return grpc.method_handlers_generic_handler(POD_RESOURCES_SERVICE, methods)

    async def _list(self, _request: bytes, context: _Context) -> pb.ListPodResourcesResponse:
        await self._limit(context)
        self._manager.recount()
        return pb.ListPodResourcesResponse(pod_resources=[self._pod(pod) for pod in self._listed()])

    async def _allocatable(self, _request: bytes, context: _Context) -> pb.AllocatableResourcesResponse:
        await self._limit(context)
        devices = [
            pb.ContainerDevices(
                resource_name=resource,
                device_ids=[name],
                topology=_topology(self._manager.topology.get(resource, {}).get(name, ())),
            )
            for resource, ids in self._manager.healthy.items()
            for name in ids
        ]
        return pb.AllocatableResourcesResponse(devices=devices)

    async def _get(self, request: pb.GetPodResourcesRequest, context: _Context) -> pb.GetPodResourcesResponse:
        await self._limit(context)
        for pod in self._listed():
            if (pod.spec.name, pod.spec.namespace) == (request.pod_name, request.pod_namespace):
                return pb.GetPodResourcesResponse(pod_resources=self._pod(pod))
        text = f"pod {request.pod_name} in namespace {request.pod_namespace} not found"
        await context.abort(grpc.StatusCode.UNKNOWN, text)
        raise AssertionError("abort always raises")

    async def _limit(self, context: _Context) -> None:
        rate = self._manager.era.pod_resources_rate
        if not rate:
            return
        now = self._manager.clock.now()
        self._tokens = min(float(BURST), self._tokens + (now - self._filled) * rate)
        self._filled = now
        if self._tokens < 1:
            await context.abort(grpc.StatusCode.RESOURCE_EXHAUSTED, "rejected by rate limit")
        self._tokens -= 1

    def _listed(self) -> Iterator[Pod]:
        if not self._manager.sources_ready:
            return
        active = self._cluster.active()
        for uid, pod in self._cluster.pods.items():
            if uid in active or not self._manager.era.lists_only_active_pods:
                yield pod

    def _pod(self, pod: Pod) -> pb.PodResources:
        sidecars = [spec for spec in pod.spec.init_containers if spec.restartable]
        shown = [*(sidecars if self._manager.era.lists_sidecars else []), *pod.spec.containers]
        containers = [pb.ContainerResources(name=spec.name, devices=self._devices(pod.uid, spec.name)) for spec in shown]
        return pb.PodResources(name=pod.spec.name, namespace=pod.spec.namespace, containers=containers)

    def _devices(self, uid: str, container: str) -> Iterator[pb.ContainerDevices]:
        """Each device on its own, and once for each of its NUMA nodes."""
        for resource, grant in self._manager.pod_devices.of(uid, container).items():
            for node, ids in grant.by_node.items():
                topology = _topology((node,) if node >= 0 else ())
                for name in ids:
                    yield pb.ContainerDevices(resource_name=resource, device_ids=[name], topology=topology)


_Context: TypeAlias = "grpc.aio.ServicerContext[Any, Any]"


def _topology(nodes: Iterable[int]) -> pb.TopologyInfo | None:
    known = [pb.NUMANode(ID=node) for node in nodes]
    return pb.TopologyInfo(nodes=known) if known else None


def _serialize(
    message: pb.ListPodResourcesResponse | pb.AllocatableResourcesResponse | pb.GetPodResourcesResponse,
) -> bytes:
    return message.SerializeToString()
