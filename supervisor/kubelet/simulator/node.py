"""The node: its directories, pods and clock, and the kubelets that live on it one after the other."""

from __future__ import annotations

import asyncio
import os
import random
import signal
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace
from typing import Any

from supervisor.kubelet.simulator.clock import Clock
from supervisor.kubelet.simulator.cluster import Cluster, Pod
from supervisor.kubelet.simulator.errors import KubeletDownError, KubeletStartError, NotFoundError
from supervisor.kubelet.simulator.events import Event, EventKind
from supervisor.kubelet.simulator.faults import ArmedFault, Arsenal
from supervisor.kubelet.simulator.kubelet import Habitat, Kubelet
from supervisor.kubelet.simulator.plugin_client import PluginClient
from supervisor.kubelet.simulator.pods import PodSpec, PodState
from supervisor.kubelet.simulator.settings import NodeSettings, StartOptions


class Node:
    """One simulated node; all its methods run on one asyncio loop."""

    def __init__(self, settings: NodeSettings, sink: Callable[[Event], None]) -> None:
        """``sink`` gets every event at once. Creates the directories; no kubelet runs yet."""
        self.settings = settings
        self._sink = sink
        settings.root.mkdir(parents=True, exist_ok=True)
        settings.paths.device_plugins.mkdir(parents=True, exist_ok=True)
        self.cluster = Cluster(settings.root)
        self.clock = Clock(settings.time_scale)
        self.arsenal = Arsenal()
        self.chance = random.Random(settings.seed)  # noqa: S311 -- reproducible order, no secrets
        self._kubelet: Kubelet | None = None
        self._tasks: set[asyncio.Task[None]] = set()
        self._lifecycle = asyncio.Lock()

    @property
    def kubelet(self) -> Kubelet:
        """The newest kubelet; raises :class:`KubeletDownError` when none runs."""
        if self._kubelet is None or self._kubelet.ended:
            raise KubeletDownError("no kubelet is running")
        return self._kubelet

    def spawn(self, work: Any) -> None:
        """Run something beside the kubelets, to the node's end."""
        task: asyncio.Task[None] = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    def emit(self, kind: EventKind, /, *, at_ns: int | None = None, **fields: Any) -> None:
        """Report something that is not of one kubelet life in particular."""
        self._sink(Event(kind, at_ns if at_ns is not None else time.monotonic_ns(), self.cluster.lives, fields))

    def _emitter(self, life: int) -> Callable[..., None]:
        def emit(kind: EventKind, /, *, at_ns: int | None = None, **fields: Any) -> None:
            self._sink(Event(kind, at_ns if at_ns is not None else time.monotonic_ns(), life, fields))

        return emit

    # -- lives ----------------------------------------------------------------------------------------------------

    async def start(self, options: StartOptions | None = None) -> None:
        """Start a kubelet; raises :class:`KubeletStartError` when one runs or the new one exits at once."""
        async with self._lifecycle:
            if self._kubelet is not None and not self._kubelet.ended:
                raise KubeletStartError("a kubelet is running already")
            await self._begin(options or StartOptions())

    async def stop(self, reason: str = "stopped") -> None:
        """End the kubelet, also one that is still starting, as SIGTERM and SIGKILL alike do: its files stay."""
        await self._finish(reason)

    async def restart(self, options: StartOptions | None = None, *, pause: float = 0.0) -> None:
        """End the kubelet and start the next, ``pause`` real seconds later."""
        async with self._lifecycle:
            await self._finish("restarted")
            await asyncio.sleep(pause)
            await self._begin(options or StartOptions())

    async def overtake(self, seconds: float) -> None:
        """Start a second kubelet beside the running one, and end the first ``seconds`` later."""
        async with self._lifecycle:
            first = self._kubelet
            await self._begin(StartOptions())
            await asyncio.sleep(seconds)
            if first is not None:
                await first.end("another kubelet took its place")

    async def reboot(self) -> None:
        """End everything, containers included, then start a kubelet; nothing of the pods is lost."""
        async with self._lifecycle:
            await self._finish("the node went down")
            for pod in self.cluster.pods.values():
                pod.running.clear()
            self.cluster.save()
            await self._begin(StartOptions())

    async def _begin(self, options: StartOptions) -> None:
        settings = self.settings
        self.cluster.lives += 1
        self.cluster.save()
        habitat = Habitat(
            settings.paths, settings.era, self.clock, self.cluster, self.arsenal, self.chance, settings.checkpoints
        )
        kubelet = Kubelet(habitat, self._emitter(self.cluster.lives), self._die)
        self._kubelet = kubelet
        await kubelet.start(replace(options, sources_delay=settings.sources_delay))

    async def _finish(self, reason: str) -> None:
        if self._kubelet is not None:
            await self._kubelet.end(reason)

    def _die(self, kubelet: Kubelet, armed: ArmedFault) -> None:
        if armed.sigkill:
            os.kill(os.getpid(), signal.SIGKILL)
        self.spawn(self._die_and_return(kubelet, armed))

    async def _die_and_return(self, kubelet: Kubelet, armed: ArmedFault) -> None:
        async with self._lifecycle:
            await kubelet.end(armed.fault.value)
            if armed.restart_after is not None and kubelet is self._kubelet:
                await asyncio.sleep(armed.restart_after)
                with suppress(KubeletStartError):
                    await self._begin(StartOptions())

    async def close(self) -> None:
        """End the kubelet and everything beside it."""
        for task in list(self._tasks):
            task.cancel()
        await self.stop("the simulator ends")

    # -- pods -----------------------------------------------------------------------------------------------------

    async def add_pod(self, spec: PodSpec, *, start: bool = True) -> PodState:
        """Bind a pod to the node, admit and start it; raises :class:`KubeletDownError`, and the pod is gone then."""
        kubelet = self.kubelet
        if self.cluster.find(spec.namespace, spec.name) is not None:
            raise NotFoundError(f"a pod {spec.namespace}/{spec.name} exists already")
        pod = self.cluster.create(spec)
        try:
            await kubelet.run(kubelet.pods.add(pod, start=start))
        except KubeletDownError:
            self.cluster.pods.pop(pod.uid, None)
            raise
        return self.pod_state(pod)

    async def start_container(self, namespace: str, name: str, container: str) -> PodState:
        """Start or restart a container: no Allocate, but PreStartContainer where it is required."""
        pod, kubelet = self.find(namespace, name), self.kubelet
        spec = pod.spec.container(container)
        if spec is None:
            raise NotFoundError(f"pod {name} has no container {container}")
        await kubelet.run(kubelet.pods.start_container(pod, spec))
        return self.pod_state(pod)

    async def delete_pod(self, namespace: str, name: str) -> None:
        """Delete a pod, also while no kubelet runs; its devices are free at the next count."""
        pod = self.find(namespace, name)
        del self.cluster.pods[pod.uid]
        self.cluster.save()
        self.emit(EventKind.POD_DELETED, pod=name)

    def find(self, namespace: str, name: str) -> Pod:
        """Find a pod; raises :class:`NotFoundError`."""
        pod = self.cluster.find(namespace, name)
        if pod is None:
            raise NotFoundError(f"no pod {namespace}/{name}")
        return pod

    def pod_state(self, pod: Pod) -> PodState:
        """Freeze a pod with the devices the newest kubelet has on record for it."""
        held: dict[str, dict[str, tuple[str, ...]]] = {}
        if self._kubelet is not None:
            for uid, container, resource, grant in self._kubelet.manager.pod_devices.entries():
                if uid == pod.uid:
                    held.setdefault(container, {})[resource] = tuple(sorted(grant.ids))
        return pod.state(held)

    # -- devices --------------------------------------------------------------------------------------------------

    def client(self, resource: str) -> PluginClient:
        """Return the connection that Allocate would use; raises :class:`NotFoundError`."""
        endpoint = self.kubelet.manager.endpoints.get(resource)
        if endpoint is None or endpoint.client is None:
            raise NotFoundError(f"no plugin is registered for {resource}")
        return endpoint.client
