"""The control channel: one JSON object a line, requests one way, answers and events the other.

A request is ``{"id": 1, "op": "add_pod", "args": {…}}``, its answer ``{"id": 1, "result": …}`` or
``{"id": 1, "error": {"type": …, "message": …}}``; answers come in any order. Lines with ``"event"`` are events. The
simulator's process ends when the channel does.
"""

from __future__ import annotations

import asyncio
import base64
import json
import socket
from collections.abc import Awaitable, Callable
from dataclasses import asdict
from typing import Any

import grpc
import msgspec

from supervisor.kubelet.simulator.errors import NotFoundError, PluginCallError, SimulatorError
from supervisor.kubelet.simulator.events import Event
from supervisor.kubelet.simulator.faults import Fault
from supervisor.kubelet.simulator.injection import inject
from supervisor.kubelet.simulator.measure import AdmissionLoad, AllocateLoad, bench_allocate
from supervisor.kubelet.simulator.node import Node
from supervisor.kubelet.simulator.pods import PodSpec
from supervisor.kubelet.simulator.settings import NodeSettings, StartOptions

MAX_LINE_BYTES = 64 * 1024 * 1024


class Control:
    """Serves one node over one channel."""

    def __init__(self, channel: socket.socket) -> None:
        """Own ``channel``, a connected stream socket."""
        self._channel = channel
        self._writer: asyncio.StreamWriter | None = None
        self._encoder = msgspec.json.Encoder()
        self._loads: dict[int, AdmissionLoad | AllocateLoad] = {}
        self._tasks: set[asyncio.Task[None]] = set()

    async def serve(self) -> None:
        """Read the settings from the first line, then serve requests until the other side is gone."""
        reader, self._writer = await asyncio.open_connection(sock=self._channel, limit=MAX_LINE_BYTES)
        if not (first := await reader.readline()):
            return
        node = Node(NodeSettings.from_json(json.loads(first)), self._send_event)
        operations = self._operations(node)
        while line := await reader.readline():
            task = asyncio.create_task(self._answer(operations, json.loads(line)))
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)

    def _send_event(self, event: Event) -> None:
        self._send(event.to_json())

    def _send(self, message: dict[str, Any]) -> None:
        """Send a line at once: the next thing that a kubelet does may be its sudden death."""
        if self._writer is not None:
            self._writer.write(self._encoder.encode(message) + b"\n")

    async def _answer(self, operations: dict[str, Callable[..., Awaitable[Any]]], request: dict[str, Any]) -> None:
        number = request["id"]
        try:
            operation = operations.get(request["op"])
            if operation is None:
                raise NotFoundError(f"no operation {request['op']}")
            self._send({"id": number, "result": await operation(**request["args"])})
        except SimulatorError as error:
            kind = type(error).__name__
            detail = {"code": error.code} if isinstance(error, PluginCallError) else {}
            self._send({"id": number, "error": {"type": kind, "message": str(error), **detail}})
        except (OSError, TypeError, ValueError, KeyError) as error:
            detail = {"type": SimulatorError.__name__, "message": f"{type(error).__name__}: {error}"}
            self._send({"id": number, "error": detail})

    def _operations(self, node: Node) -> dict[str, Callable[..., Awaitable[Any]]]:
        return {**_lifecycle(node), **_pods(node), **_devices(node), **self._measurements(node)}

    def _measurements(self, node: Node) -> dict[str, Callable[..., Awaitable[Any]]]:
        async def bench(resource: str, ids: list[str], count: int) -> dict[str, Any]:
            return asdict(await bench_allocate(node, resource, ids, count))

        async def admission_load(resource: str, pods_per_second: float) -> int:
            return self._begin(AdmissionLoad(node, resource, pods_per_second))

        async def allocate_load(resource: str, ids: list[str], rate: float) -> int:
            return self._begin(AllocateLoad(node, resource, ids, rate))

        async def finish_load(load: int) -> dict[str, Any]:
            return await self._loads.pop(load).finish()

        return {
            "bench_allocate": bench,
            "admission_load": admission_load,
            "allocate_load": allocate_load,
            "finish_load": finish_load,
        }

    def _begin(self, load: AdmissionLoad | AllocateLoad) -> int:
        number = max(self._loads, default=0) + 1
        self._loads[number] = load
        return number


def _lifecycle(node: Node) -> dict[str, Callable[..., Awaitable[Any]]]:
    async def start(**options: float) -> None:
        await node.start(StartOptions(**options))

    async def restart(pause: float = 0.0, **options: float) -> None:
        await node.restart(StartOptions(**options), pause=pause)

    async def stop() -> None:
        await node.stop()

    async def inject_fault(fault: str, parameters: dict[str, Any]) -> None:
        await inject(node, Fault(fault), parameters)

    async def disarm() -> None:
        node.arsenal.disarm()

    async def advance(seconds: float) -> None:
        node.clock.advance(seconds)

    return {
        "start": start,
        "restart": restart,
        "stop": stop,
        "reboot": node.reboot,
        "inject": inject_fault,
        "disarm": disarm,
        "advance": advance,
    }


def _pods(node: Node) -> dict[str, Callable[..., Awaitable[Any]]]:
    async def add_pod(pod: dict[str, Any], start: bool) -> dict[str, Any]:
        return (await node.add_pod(PodSpec.from_json(pod), start=start)).to_json()

    async def start_container(namespace: str, name: str, container: str) -> dict[str, Any]:
        return (await node.start_container(namespace, name, container)).to_json()

    async def pod(namespace: str, name: str) -> dict[str, Any]:
        return node.pod_state(node.find(namespace, name)).to_json()

    async def pods() -> list[dict[str, Any]]:
        return [node.pod_state(pod).to_json() for pod in node.cluster.pods.values()]

    async def sync_loop_blocked_for() -> float:
        return node.kubelet.pods.sync_loop_blocked_for

    return {
        "add_pod": add_pod,
        "start_container": start_container,
        "delete_pod": node.delete_pod,
        "pod": pod,
        "pods": pods,
        "sync_loop_blocked_for": sync_loop_blocked_for,
    }


def _devices(node: Node) -> dict[str, Callable[..., Awaitable[Any]]]:
    async def node_status() -> dict[str, tuple[int, int]]:
        return node.kubelet.node_status()

    async def devices(resource: str) -> dict[str, str]:
        manager = node.kubelet.manager
        unhealthy = dict.fromkeys(manager.unhealthy.get(resource, ()), "Unhealthy")
        return {**unhealthy, **dict.fromkeys(manager.healthy.get(resource, ()), "Healthy")}

    async def topology(resource: str) -> dict[str, tuple[int, ...]]:
        return node.kubelet.manager.topology.get(resource, {})

    async def connected() -> dict[str, list[str]]:
        endpoints = node.kubelet.manager.endpoints
        live = [name for name, endpoint in endpoints.items() if endpoint.client and endpoint.stopped_at is None]
        registration = node.kubelet.registration
        return {name: [client.endpoint for client in registration.clients(name)] for name in sorted(live)}

    async def has_list(resource: str) -> bool:
        return resource in node.kubelet.manager.topology

    async def call(resource: str, method: str, request: str, deadline: float | None) -> str:
        try:
            answer = await node.client(resource).call(method, base64.b64decode(request), deadline)
        except grpc.aio.AioRpcError as error:
            raise PluginCallError(error.details() or "", error.code().name) from error
        return base64.b64encode(answer).decode()

    return {
        "node_status": node_status,
        "devices": devices,
        "topology": topology,
        "connected": connected,
        "has_list": has_list,
        "call": call,
    }
