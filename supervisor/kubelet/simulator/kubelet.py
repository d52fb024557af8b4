"""One life of a kubelet: from its start over registration and pods to its end, which leaves all files behind."""

from __future__ import annotations

import asyncio
import os
import random
import sys
import traceback
from collections.abc import Callable, Coroutine
from dataclasses import dataclass
from typing import Any, TypeVar

import grpc

from supervisor.kubelet.protos import REGISTRATION_SERVICE
from supervisor.kubelet.protos import deviceplugin_pb2 as pb
from supervisor.kubelet.simulator.cleanup import clean
from supervisor.kubelet.simulator.clock import Clock
from supervisor.kubelet.simulator.cluster import Cluster
from supervisor.kubelet.simulator.eras import Era, RegisterStyle
from supervisor.kubelet.simulator.errors import KubeletDownError, KubeletStartError
from supervisor.kubelet.simulator.events import EventKind
from supervisor.kubelet.simulator.faults import DEADLY, ArmedFault, Arsenal, Fault, Step
from supervisor.kubelet.simulator.listener import Listener
from supervisor.kubelet.simulator.manager import DeviceManager
from supervisor.kubelet.simulator.plugin_client import DialError, Emit, PluginClient
from supervisor.kubelet.simulator.pod_resources import PodResources
from supervisor.kubelet.simulator.pod_workers import PodWorkers
from supervisor.kubelet.simulator.registration import RegisterError, Surroundings, registration, validate
from supervisor.kubelet.simulator.settings import Paths, StartOptions

_Result = TypeVar("_Result")

STATUS_SECONDS = 10.0
"""The node status is computed and published this often, in kubelet seconds."""
DEPRECATION_NAME = "DEPRECATION"
NOBODY_WAITS = "the caller has stopped waiting"


@dataclass(frozen=True, slots=True)
class Habitat:
    """What a kubelet finds on its node and leaves behind there."""

    paths: Paths
    era: Era
    clock: Clock
    cluster: Cluster
    arsenal: Arsenal
    chance: random.Random
    checkpoints: bool = True


class Kubelet:
    """One kubelet process, as far as plugins can tell."""

    def __init__(self, habitat: Habitat, emit: Emit, die: Callable[[Kubelet, ArmedFault], None]) -> None:
        """``die`` is called when an armed fault wants this life to end; it must not wait for that end."""
        self.habitat = habitat
        self.emit = emit
        self._die = die
        self._tasks: set[asyncio.Task[Any]] = set()
        self._clients: list[PluginClient] = []
        self._listeners: list[Listener] = []
        self.ended = False
        paths, era, clock = habitat.paths, habitat.era, habitat.clock
        self.manager = DeviceManager(paths.device_plugins, era, clock, emit, habitat.cluster.active, habitat.checkpoints)
        self.pods = PodWorkers(self.manager, habitat.cluster, habitat.chance)
        self.registration = registration(
            Surroundings(paths.device_plugins, era, clock, emit, self.manager, self._reach, self._spawn, self._clients)
        )

    async def start(self, options: StartOptions) -> None:
        """Do what a kubelet does until ``kubelet.sock`` serves.

        Raises :class:`KubeletStartError` when that fails, :class:`KubeletDownError` when the life ends before.
        """
        self.emit(EventKind.KUBELET_STARTING, pid=os.getpid())
        try:
            await self.run(self._come_up(options))
        except OSError as error:
            await self.end(str(error))
            raise KubeletStartError(str(error)) from error
        self._spawn(self.pods.receive(options.sources_delay))
        self._spawn(self._publish_status())

    async def _come_up(self, options: StartOptions) -> None:
        paths = self.habitat.paths
        paths.device_plugins.mkdir(parents=True, exist_ok=True)
        paths.pod_resources.mkdir(parents=True, exist_ok=True)
        self.manager.restore()
        await asyncio.sleep(options.runtime_ready_delay)
        await self._serve_pod_resources()
        await self._clean(options.cleanup_pause)
        await self._serve_registration(options.listen_gap)
        if self.habitat.era.deprecation_file:
            (paths.device_plugins / DEPRECATION_NAME).touch()

    async def _clean(self, pause: float) -> None:
        failures = await clean(self.habitat.paths.device_plugins, self.habitat.era, self.habitat.chance, pause)
        for failure in failures:
            self.emit(EventKind.WARNING, text=f"clean-up: {failure}")
        if failures and self.habitat.era.cleanup_failure_is_fatal:
            raise failures[0]

    async def _serve_pod_resources(self) -> None:
        path = self.habitat.paths.pod_resources_socket
        path.unlink(missing_ok=True)
        listener = Listener(path, [PodResources(self.manager, self.habitat.cluster).handler()])
        self._listeners.append(listener)
        await listener.rename()

    async def _serve_registration(self, gap: float) -> None:
        register = grpc.unary_unary_rpc_method_handler(
            self._register, pb.RegisterRequest.FromString, pb.Empty.SerializeToString
        )
        handler = grpc.method_handlers_generic_handler(REGISTRATION_SERVICE, {"Register": register})
        path = self.habitat.paths.socket
        listener = Listener(path, [handler])
        self._listeners.append(listener)
        if gap:
            at_ns = await listener.bind_then_listen(gap, lambda: self.emit(EventKind.SOCKET_BOUND, path=str(path)))
        else:
            at_ns = await listener.appear()
        self.emit(EventKind.SOCKET_ACCEPTING, at_ns=at_ns, path=str(path))

    async def end(self, reason: str) -> None:
        """Die: connections and servers end, every file stays as it is."""
        if self.ended:
            return
        self.ended = True
        for listener in self._listeners:  # before any stream ends: a plugin that answers at once must not meet a dead kubelet
            await listener.close()
        await self._end_work()
        self.emit(EventKind.KUBELET_ENDED, reason=reason)

    async def _end_work(self) -> None:
        """Cancel until nothing is left: grpc.aio swallows a cancellation that meets an answer, and the work then goes on."""
        current = asyncio.current_task()
        while doomed := {task for task in self._tasks if task is not current}:
            for task in doomed:
                task.cancel()
            for client in tuple(self._clients):
                await client.close()
            await asyncio.wait(doomed, timeout=0.01)
        for client in tuple(self._clients):
            await client.close()

    async def run(self, work: Coroutine[Any, Any, _Result]) -> _Result:
        """Do some work within this life; raises :class:`KubeletDownError` when the life ends meanwhile."""
        if self.ended:
            work.close()
            raise KubeletDownError("the kubelet is down")
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        try:
            return await task
        except asyncio.CancelledError:
            if self.ended:
                raise KubeletDownError("the kubelet died meanwhile") from None
            raise

    def _spawn(self, work: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._finished)
        return task

    def _finished(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        if not task.cancelled() and (error := task.exception()) is not None:
            traceback.print_exception(error, file=sys.stderr)
            self.emit(EventKind.WARNING, text=f"the simulator itself failed: {error!r}")

    async def _reach(self, step: Step, resource: str) -> None:
        """Let an armed fault strike at a step of a registration."""
        armed = self.habitat.arsenal.take(step, resource)
        if armed is None:
            return
        self.emit(EventKind.FAULT, fault=armed.fault.value, resource=resource)
        if armed.fault in DEADLY:
            self._die(self, armed)
            await asyncio.Event().wait()
        await asyncio.sleep(armed.seconds)
        if armed.fault is Fault.REFUSED_DIAL_BACK:
            raise DialError("failed to dial device plugin: context deadline exceeded")

    async def _register(self, request: pb.RegisterRequest, context: grpc.aio.ServicerContext[Any, Any]) -> pb.Empty:
        resource, endpoint = request.resource_name, request.endpoint
        self.emit(
            EventKind.REGISTER_RECEIVED,
            resource=resource,
            endpoint=endpoint,
            version=request.version,
            pre_start_required=request.options.pre_start_required,
            get_preferred_allocation_available=request.options.get_preferred_allocation_available,
        )
        try:
            validate(request)
            await self._connect(request)
            await self._reach(Step.BEFORE_ANSWER, resource)
        except RegisterError as error:
            self.emit(EventKind.REGISTER_ANSWERED, resource=resource, endpoint=endpoint, error=str(error))
            await context.abort(grpc.StatusCode.UNKNOWN, str(error))
        except asyncio.CancelledError:
            if not self.ended:
                self.emit(EventKind.REGISTER_ANSWERED, resource=resource, endpoint=endpoint, error=NOBODY_WAITS)
            raise
        self.emit(EventKind.REGISTER_ANSWERED, resource=resource, endpoint=endpoint, error="")
        return pb.Empty()

    async def _connect(self, request: pb.RegisterRequest) -> None:
        """Connect as long as the era allows: to 1.34 also when the plugin has stopped waiting for the answer."""
        if self.habitat.era.register is RegisterStyle.ANSWER_FIRST or self.habitat.era.register_bounds_dial:
            await self.registration.register(request)
            return
        failures: list[RegisterError] = []
        await asyncio.shield(self._spawn(self._connect_regardless(request, failures)))
        if failures:
            raise failures[0]

    async def _connect_regardless(self, request: pb.RegisterRequest, failures: list[RegisterError]) -> None:
        try:
            await self.registration.register(request)
        except RegisterError as error:
            failures.append(error)
            resource, endpoint = request.resource_name, request.endpoint
            self.emit(EventKind.CONNECT_FAILED, resource=resource, endpoint=endpoint, error=str(error))

    def node_status(self) -> dict[str, tuple[int, int]]:
        """Compute resource → (allocatable, capacity) now; keys that were ever published stay, at 0."""
        status, cluster = self.manager.node_status(), self.habitat.cluster
        if not status.keys() <= cluster.node_resources:
            cluster.node_resources |= status.keys()
            cluster.save()
        return {resource: status.get(resource, (0, 0)) for resource in sorted(cluster.node_resources)}

    async def _publish_status(self) -> None:
        while True:
            self.node_status()
            await self.habitat.clock.sleep(STATUS_SECONDS)
