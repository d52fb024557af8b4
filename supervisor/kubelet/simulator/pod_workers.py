"""From a bound pod to running containers: the kubelet's one sync loop and the pod workers behind it."""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from supervisor.kubelet.simulator.admission import Admission, AllocationError, StartError
from supervisor.kubelet.simulator.cluster import Cluster, Pod
from supervisor.kubelet.simulator.events import EventKind
from supervisor.kubelet.simulator.manager import DeviceManager
from supervisor.kubelet.simulator.pods import ContainerSpec, Phase


class PodWorkers:
    """The pods of one kubelet life."""

    def __init__(self, manager: DeviceManager, cluster: Cluster, chance: random.Random) -> None:
        """Begin without knowing any pod."""
        self._manager = manager
        self._cluster = cluster
        self._emit = manager.emit
        self._admission = Admission(manager, chance)
        self._sync_loop = asyncio.Lock()
        self._sync_since: float | None = None
        self._arrived = asyncio.Event()

    @property
    def sync_loop_blocked_for(self) -> float:
        """Real seconds for which the present admission has blocked all pods of the node; 0 when none is."""
        return 0.0 if self._sync_since is None else time.monotonic() - self._sync_since

    @asynccontextmanager
    async def _in_sync_loop(self) -> AsyncIterator[None]:
        async with self._sync_loop:
            self._sync_since = time.monotonic()
            try:
                yield
            finally:
                self._sync_since = None

    async def receive(self, delay: float) -> None:
        """Learn of the pods that were there before this life, and admit each again."""
        known = [pod for pod in self._cluster.pods.values() if pod.phase is not Phase.FAILED]
        await self._manager.clock.sleep(delay)
        for pod in known:
            if pod.uid in self._cluster.active():
                await self._admit(pod)
        self._manager.sources_ready = True
        self._arrived.set()
        self._emit(EventKind.PODS_ARRIVED, pods=len(known))
        for pod in known:
            if pod.phase is not Phase.FAILED:
                await self.start(pod)

    async def add(self, pod: Pod, *, start: bool) -> None:
        """Admit a new pod, once the kubelet knows its pods at all, and start its containers."""
        await self._arrived.wait()
        await self._admit(pod)
        if start and pod.phase is not Phase.FAILED:
            await self.start(pod)

    async def _admit(self, pod: Pod) -> None:
        started = time.perf_counter()
        async with self._in_sync_loop():
            try:
                await self._admission.admit(pod)
            except AllocationError as error:
                message = f"{self._manager.era.admission_prefix}{error}, which is unexpected"
                pod.fail("UnexpectedAdmissionError", message)
                self._emit(EventKind.POD_FAILED, pod=pod.spec.name, reason=pod.reason, message=message)
            else:
                seconds = time.perf_counter() - started
                self._emit(EventKind.POD_ADMITTED, pod=pod.spec.name, seconds=seconds)
        self._cluster.save()

    async def start(self, pod: Pod) -> None:
        """Run the init containers to their end, unless the pod runs already, then start what does not run."""
        if not pod.running:
            for spec in pod.spec.init_containers:
                if not await self.start_container(pod, spec):
                    return
                if not spec.restartable:
                    pod.running.discard(spec.name)
        for spec in pod.spec.containers:
            if spec.name not in pod.running:
                await self.start_container(pod, spec)

    async def start_container(self, pod: Pod, spec: ContainerSpec) -> bool:
        """Start a container, or leave it waiting with the kubelet's reason; say whether it runs."""
        pod.running.discard(spec.name)
        try:
            pod.options[spec.name] = await self._admission.run_options(pod, spec)
        except StartError as error:
            pod.waiting[spec.name] = ("CreateContainerConfigError", str(error))
            reason, message = pod.waiting[spec.name]
            self._emit(EventKind.CONTAINER_WAITING, pod=pod.spec.name, container=spec.name, reason=reason, message=message)
        else:
            pod.waiting.pop(spec.name, None)
            pod.running.add(spec.name)
            pod.starts[spec.name] = pod.starts.get(spec.name, 0) + 1
            self._emit(EventKind.CONTAINER_STARTED, pod=pod.spec.name, container=spec.name)
        runs = all(container.name in pod.running for container in pod.spec.containers)
        pod.phase = Phase.RUNNING if runs else Phase.PENDING
        self._cluster.save()
        return spec.name in pod.running
