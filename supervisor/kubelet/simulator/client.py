"""The handle by which tests, benches and the demo hold a simulated kubelet. Blocking, and safe for threads."""

from __future__ import annotations

import base64
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from supervisor.kubelet.simulator.eras import ERAS, Era
from supervisor.kubelet.simulator.errors import SimulatorError
from supervisor.kubelet.simulator.faults import Fault
from supervisor.kubelet.simulator.pods import ContainerSpec, PodSpec, PodState
from supervisor.kubelet.simulator.process import SimulatorProcess
from supervisor.kubelet.simulator.results import (
    AdmissionLoadResult,
    AllocateLoadResult,
    FailedAdmission,
    Latencies,
)
from supervisor.kubelet.simulator.settings import NodeSettings, Paths
from supervisor.kubelet.simulator.witness import Witness

Limits = Mapping[str, int]
"""Resource name → count."""

DEFAULT_NAMESPACE = "default"
ANSWER_SECONDS = 60.0
"""How long any operation may take; admissions that a plugin blocks take as long as the caller says."""


class KubeletSimulator(Witness):
    """One node with a kubelet in a process of its own. A context manager: enters with the kubelet started.

    All times given and returned are real seconds unless said otherwise. The files of a dead kubelet stay in ``root``.
    """

    def __init__(
        self,
        root: Path,
        era: str | Era = "1.37",
        *,
        device_plugins_dir: Path | None = None,
        seed: int = 0,
        time_scale: float = 1.0,
        sources_delay: float = 1.0,
        checkpoints: bool = True,
    ) -> None:
        """Describe the node; see :class:`NodeSettings`. Raises ``KeyError`` for an era without a name in ``ERAS``."""
        self.settings = NodeSettings(
            root.absolute(),
            era if isinstance(era, Era) else ERAS[era],
            device_plugins_dir.absolute() if device_plugins_dir is not None else None,
            seed,
            time_scale,
            sources_delay,
            checkpoints,
        )
        super().__init__()
        self._process: SimulatorProcess | None = None
        self._spawning = threading.Lock()

    def __enter__(self) -> Self:
        """Start the kubelet."""
        try:
            self.start()
        except BaseException:
            self.close()
            raise
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        """End the process; its files stay."""
        self.close()

    @property
    def paths(self) -> Paths:
        """The kubelet's directories and sockets."""
        return self.settings.paths

    @property
    def pid(self) -> int | None:
        """The simulator's process, None when there is none."""
        process = self._process
        return process.pid if process is not None and process.alive else None

    # -- lives ----------------------------------------------------------------------------------------------------

    def start(
        self,
        *,
        runtime_ready_delay: float = 0.0,
        listen_gap: float = 0.0,
        cleanup_pause: float = 0.0,
        wait: bool = True,
    ) -> None:
        """Start a kubelet, in a new process if there is none; returns when ``kubelet.sock`` accepts.

        Without ``wait`` it returns at once, for a runtime that is not ready for long. Raises ``KubeletStartError``.
        """
        options = {
            "runtime_ready_delay": runtime_ready_delay,
            "listen_gap": listen_gap,
            "cleanup_pause": cleanup_pause,
        }
        if wait:
            self._ask("start", timeout=ANSWER_SECONDS + sum(options.values()), **options)
        else:
            threading.Thread(target=self._start_later, args=(options,), daemon=True).start()

    def _start_later(self, options: dict[str, float]) -> None:
        try:
            self._ask("start", timeout=ANSWER_SECONDS + sum(options.values()), **options)
        except SimulatorError:
            return  # the kubelet was ended before its runtime was ready, or could not start: its events tell

    def stop(self) -> None:
        """End the kubelet as SIGTERM does; the process stays for the next life, the files stay stale."""
        self._ask("stop")

    def kill(self) -> None:
        """SIGKILL the process. :meth:`start` begins a new one on the same directories."""
        if self._process is not None:
            self._process.kill()

    def restart(self, *, in_process: bool = True, pause: float = 0.0) -> None:
        """End the kubelet and start the next: within milliseconds in the same process, or after a SIGKILL."""
        if in_process:
            self._ask("restart", pause=pause)
        else:
            self.kill()
            time.sleep(pause)
            self.start()

    def reboot(self) -> None:
        """The node goes down with all containers, and comes back with its pods."""
        self._ask("reboot")

    def close(self) -> None:
        """End the process for good."""
        with self._spawning:
            process, self._process = self._process, None
        if process is not None:
            process.close()

    def advance(self, seconds: float) -> None:
        """Move the kubelet's clock forward by kubelet seconds."""
        self._ask("advance", seconds=seconds)

    def inject(self, fault: Fault, **parameters: Any) -> None:
        """Do or arm a fault; :class:`Fault` tells the parameters."""
        patience = ANSWER_SECONDS + float(parameters.get("seconds", 0.0))
        self._ask("inject", timeout=patience, fault=fault.value, parameters=parameters)

    def disarm(self) -> None:
        """Forget all armed faults that have not struck."""
        self._ask("disarm")

    # -- pods -----------------------------------------------------------------------------------------------------

    def add_pod(
        self,
        name: str,
        limits: Limits | None = None,
        *,
        containers: Mapping[str, Limits] | None = None,
        init_containers: Mapping[str, Limits] | None = None,
        sidecars: Mapping[str, Limits] | None = None,
        namespace: str = DEFAULT_NAMESPACE,
        start: bool = True,
        timeout: float = ANSWER_SECONDS,
    ) -> PodState:
        """Bind a pod, past the scheduler, and wait until it is admitted and started, or Failed.

        ``limits`` alone makes one container ``main``. Raises ``TimeoutError`` when the admission takes longer, which
        goes on regardless, and ``KubeletDownError`` when the kubelet dies meanwhile.
        """
        wanted = containers if containers is not None else {"main": limits or {}}
        inits = [ContainerSpec(key, dict(value)) for key, value in (init_containers or {}).items()]
        inits += [ContainerSpec(key, dict(value), restartable=True) for key, value in (sidecars or {}).items()]
        spec = PodSpec(name, namespace, tuple(ContainerSpec(key, dict(value)) for key, value in wanted.items()), tuple(inits))
        return PodState.from_json(self._ask("add_pod", timeout=timeout, pod=spec.to_json(), start=start))

    def start_container(self, pod: str, container: str = "main", namespace: str = DEFAULT_NAMESPACE) -> PodState:
        """Start or restart one container; a failure shows in its ``waiting_reason``."""
        answer = self._ask("start_container", namespace=namespace, name=pod, container=container)
        return PodState.from_json(answer)

    restart_container = start_container

    def delete_pod(self, name: str, namespace: str = DEFAULT_NAMESPACE) -> None:
        """Delete a pod, also while no kubelet runs."""
        self._ask("delete_pod", namespace=namespace, name=name)

    def pod(self, name: str, namespace: str = DEFAULT_NAMESPACE) -> PodState:
        """Look at one pod; raises ``NotFoundError``."""
        return PodState.from_json(self._ask("pod", namespace=namespace, name=name))

    def pods(self) -> list[PodState]:
        """Look at all pods."""
        return [PodState.from_json(pod) for pod in self._ask("pods")]

    @property
    def sync_loop_blocked_for(self) -> float:
        """How long the present admission has blocked all pods of the node; 0 when none does."""
        return float(self._ask("sync_loop_blocked_for"))

    # -- devices --------------------------------------------------------------------------------------------------

    def node_status(self) -> dict[str, tuple[int, int]]:
        """Return resource → (allocatable, capacity) as the kubelet would publish them now."""
        return {resource: (free, total) for resource, (free, total) in self._ask("node_status").items()}

    def devices(self, resource: str) -> dict[str, str]:
        """Return device id → ``Healthy`` or ``Unhealthy`` as the kubelet counts them."""
        return dict(self._ask("devices", resource=resource))

    def topology(self, resource: str) -> dict[str, tuple[int, ...]]:
        """Return device id → NUMA nodes of the newest list."""
        return {name: tuple(nodes) for name, nodes in self._ask("topology", resource=resource).items()}

    def connected(self) -> dict[str, list[str]]:
        """Return resource → socket names of its connected plugins."""
        return dict(self._ask("connected"))

    # -- calls and loads ------------------------------------------------------------------------------------------

    def call(self, resource: str, method: str, request: bytes = b"", timeout: float | None = None) -> bytes:
        """Make one raw call to a plugin on the kubelet's connection; raises ``PluginCallError`` with the status."""
        patience = ANSWER_SECONDS if timeout is None else timeout + 5.0
        encoded = base64.b64encode(request).decode()
        answer = self._ask("call", timeout=patience, resource=resource, method=method, request=encoded, deadline=timeout)
        return base64.b64decode(answer)

    def bench_allocate(self, resource: str, ids: Iterable[str], count: int) -> Latencies:
        """Time ``count`` Allocate calls in a row, inside the kubelet's process."""
        answer = self._ask("bench_allocate", timeout=600.0, resource=resource, ids=list(ids), count=count)
        return Latencies(**answer)

    @contextmanager
    def allocate_load(
        self, resource: str, ids: Iterable[str], calls_per_second: float = 0.0
    ) -> Iterator[Callable[[], AllocateLoadResult]]:
        """Call Allocate steadily while the block runs; call the yielded function for the result, which ends it."""
        number = self._ask("allocate_load", resource=resource, ids=list(ids), rate=calls_per_second)
        with self._load(number) as finish:

            def result() -> AllocateLoadResult:
                data = finish()
                failures = tuple(data.pop("failures"))
                return AllocateLoadResult(Latencies(**data), failures)

            yield result

    @contextmanager
    def admission_load(self, resource: str, pods_per_second: float) -> Iterator[Callable[[], AdmissionLoadResult]]:
        """Admit and delete pods of one device while the block runs; call the yielded function for the result."""
        number = self._ask("admission_load", resource=resource, pods_per_second=pods_per_second)
        with self._load(number) as finish:

            def result() -> AdmissionLoadResult:
                data = finish()
                failed = tuple(FailedAdmission(**entry) for entry in data["failed"])
                return AdmissionLoadResult(data["admitted"], failed, data["skipped"])

            yield result

    @contextmanager
    def _load(self, number: int) -> Iterator[Callable[[], dict[str, Any]]]:
        finished: list[dict[str, Any]] = []

        def finish() -> dict[str, Any]:
            if not finished:
                finished.append(self._ask("finish_load", load=number))
            return dict(finished[0])

        try:
            yield finish
        finally:
            if self.pid is not None:
                finish()

    # -- waiting --------------------------------------------------------------------------------------------------

    def wait_registered(self, resource: str, timeout: float = 10.0) -> None:
        """Wait until the resource has a connected plugin that has sent a list in this life of the kubelet."""

        def registered() -> bool:
            return resource in self.connected() and bool(self._ask("has_list", resource=resource))

        self.wait_for(registered, timeout, f"a list of {resource}")

    def wait_devices(self, resource: str, expected: Mapping[str, str], timeout: float = 10.0) -> None:
        """Wait until the kubelet's devices of a resource are exactly these, id → health."""
        self.wait_for(lambda: self.devices(resource) == expected, timeout, f"{resource} = {dict(expected)}")

    def wait_status(self, resource: str, allocatable: int, capacity: int, timeout: float = 10.0) -> None:
        """Wait until the node status of a resource is exactly this."""
        wanted = (allocatable, capacity)
        self.wait_for(lambda: self.node_status().get(resource) == wanted, timeout, f"{resource} = {wanted}")

    def _ask(self, operation: str, timeout: float = ANSWER_SECONDS, **arguments: Any) -> Any:
        return self._running().ask(operation, arguments, timeout)

    def _running(self) -> SimulatorProcess:
        with self._spawning:
            if self._process is not None and not self._process.alive:
                self._process.close()
                self._process = None
            if self._process is None:
                self._process = SimulatorProcess(self.settings, self.events.append, self.events.wake)
            return self._process
