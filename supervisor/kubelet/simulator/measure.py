"""Latencies and steady loads, measured inside the kubelet's process on the kubelet's own connections."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterable
from dataclasses import asdict
from typing import Any

import grpc

from supervisor.kubelet.protos import deviceplugin_pb2 as pb
from supervisor.kubelet.simulator.errors import KubeletDownError, NotFoundError, PluginCallError
from supervisor.kubelet.simulator.names import go_error
from supervisor.kubelet.simulator.node import Node
from supervisor.kubelet.simulator.pods import ContainerSpec, PodSpec
from supervisor.kubelet.simulator.results import Latencies

LOAD_NAMESPACE = "load"


def allocate_request(ids: Iterable[str]) -> bytes:
    """Serialize the request for one container."""
    wish = pb.ContainerAllocateRequest(devices_ids=list(ids))
    return pb.AllocateRequest(container_requests=[wish]).SerializeToString()


async def bench_allocate(node: Node, resource: str, ids: Iterable[str], count: int) -> Latencies:
    """Time ``count`` Allocate calls in a row; raises :class:`PluginCallError` at the first that fails."""
    client, request, taken = node.client(resource), allocate_request(ids), []
    for _ in range(count):
        started = time.perf_counter_ns()
        try:
            await client.quiet_call("Allocate", request)
        except grpc.aio.AioRpcError as error:
            raise PluginCallError(error.details() or "", error.code().name) from error
        taken.append(time.perf_counter_ns() - started)
    return Latencies.of(taken)


class AllocateLoad:
    """Allocate calls at a steady rate while something else happens."""

    def __init__(self, node: Node, resource: str, ids: Iterable[str], rate: float) -> None:
        """Begin at once; ``rate`` is calls a second, 0 means one after the other without a pause."""
        self._node = node
        self._resource = resource
        self._request = allocate_request(ids)
        self._rate = rate
        self._taken: list[int] = []
        self._failures: list[str] = []
        self._task = asyncio.create_task(self._run())

    async def _run(self) -> None:
        due = time.monotonic()
        while True:
            await self._once()
            due = max(due + (1 / self._rate if self._rate else 0.0), time.monotonic() if not self._rate else 0.0)
            await asyncio.sleep(max(0.0, due - time.monotonic()))

    async def _once(self) -> None:
        started = time.perf_counter_ns()
        try:
            await self._node.client(self._resource).quiet_call("Allocate", self._request)
        except grpc.aio.AioRpcError as error:
            self._failures.append(go_error(error))
        except (KubeletDownError, NotFoundError) as error:
            self._failures.append(str(error))
        else:
            self._taken.append(time.perf_counter_ns() - started)

    async def finish(self) -> dict[str, Any]:
        """Stop and summarise, with the texts of the failures."""
        await _ended(self._task)
        return {**asdict(Latencies.of(self._taken, len(self._failures))), "failures": sorted(set(self._failures))}


class AdmissionLoad:
    """Pods with one device each, admitted and deleted at a steady rate."""

    def __init__(self, node: Node, resource: str, pods_per_second: float) -> None:
        """Begin at once."""
        self._node = node
        self._resource = resource
        self._interval = 1 / pods_per_second
        self._admitted = 0
        self._failed: list[dict[str, Any]] = []
        self._skipped = 0
        self._task = asyncio.create_task(self._run())

    async def _run(self) -> None:
        due, number = time.monotonic(), 0
        while True:
            number += 1
            await self._once(f"load-{number}")
            due += self._interval
            await asyncio.sleep(max(0.0, due - time.monotonic()))

    async def _once(self, name: str) -> None:
        spec = PodSpec(name, LOAD_NAMESPACE, (ContainerSpec("main", {self._resource: 1}),))
        try:
            state = await self._node.add_pod(spec)
        except KubeletDownError:
            self._skipped += 1
            return
        if state.admitted and state.device_ids:
            self._admitted += 1
        else:
            message = state.message or "admitted without devices"
            self._failed.append({"at_ns": time.monotonic_ns(), "message": message})
        await self._node.delete_pod(LOAD_NAMESPACE, name)

    async def finish(self) -> dict[str, Any]:
        """Stop; return the count of pods admitted, those that failed, and those skipped with no kubelet there."""
        await _ended(self._task)
        for pod in [pod for pod in self._node.cluster.pods.values() if pod.spec.namespace == LOAD_NAMESPACE]:
            await self._node.delete_pod(LOAD_NAMESPACE, pod.spec.name)
        return {"admitted": self._admitted, "failed": self._failed, "skipped": self._skipped}


async def _ended(task: asyncio.Task[None]) -> None:
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
