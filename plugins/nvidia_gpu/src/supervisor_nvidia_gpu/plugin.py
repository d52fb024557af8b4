"""The plugin: a look at the GPUs becomes a picture, and everything that is asked is answered from the newest one."""

import logging
import time
from collections.abc import AsyncIterator, Callable, Collection, Iterable, Mapping, Sequence
from typing import Any, Protocol

import trio

from supervisor import (
    AllocationRefused,
    Bell,
    ContainerEdits,
    Device,
    Finding,
    Host,
    HostView,
    Leftover,
    LookAgain,
    Memory,
    MetricFamily,
    NodeFacts,
)
from supervisor_nvidia_gpu import metrics
from supervisor_nvidia_gpu.compat import Folded
from supervisor_nvidia_gpu.config import NvidiaGpuConfig
from supervisor_nvidia_gpu.edits import choose, node_evidence, refusal
from supervisor_nvidia_gpu.equipment import Equipment
from supervisor_nvidia_gpu.examining import examine
from supervisor_nvidia_gpu.explaining import explain
from supervisor_nvidia_gpu.health.monitor import Monitor, Verdict
from supervisor_nvidia_gpu.leaving import leftovers
from supervisor_nvidia_gpu.picture import Picture
from supervisor_nvidia_gpu.preferred import prefer
from supervisor_nvidia_gpu.report import GpuEvent, Report
from supervisor_nvidia_gpu.topology import matrix, numa_nodes
from supervisor_nvidia_gpu.units import check_request, offer

_LOG = logging.getLogger(__name__)

HEALTH, CDI = "health", "cdi"
"""What the plugin's memory holds: the health of the GPUs, and the directories with CDI specs of ours."""


class Source(Protocol):
    """Where reports and events come from: NVML's process, or a simulation."""

    restarts: int

    def look(self) -> Report: ...
    def events(self) -> AsyncIterator[GpuEvent]: ...


class NvidiaGpuPlugin:
    """All GPUs of the node. The looking thread replaces the picture; the kubelet's questions and the watch read it."""

    name = "nvidia-gpu"
    udev_subsystems = ("module", "pci")
    """A driver that is loaded, a GPU that is plugged."""

    def __init__(
        self,
        folded: Folded,
        host: Host,
        memory: Memory,
        source: Source,
        changed: Callable[[], Sequence[str]] = tuple,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """``changed`` says what of the configuration is not the newest any more, in sentences."""
        self._config: NvidiaGpuConfig = folded.config
        self._said = (*folded.problems, *folded.unsupported)
        self._host = host
        self._memory = memory
        self._source = source
        self._changed = changed
        self._clock = clock
        self._equipment = Equipment(host, folded.config)
        self._monitor = Monitor(folded.config.health)
        self._looked = Bell()
        self._picture: Picture | None = None
        self._recall()

    # --- looking ------------------------------------------------------------------------------------------------------

    def discover(self) -> Mapping[str, Sequence[Device]]:
        """Look at everything. Raises nothing for absent hardware or an absent driver."""
        now = self._clock()
        report = self._source.look()
        self._monitor.look(report, now)
        self._picture = self._pictured(report)
        self._keep()
        self._looked.ring()
        return self._picture.devices(self._config, self._verdict)

    def _pictured(self, report: Report) -> Picture:
        offered = offer(report, self._config)
        found, cdi = self._equipment.look(report, offered)
        nearness = matrix(report, numa_nodes(report, HostView(self._host)))
        return Picture(report, offered, nearness, found, cdi, choose(self._config, cdi, self._equipment.evidence))

    def take_over(self) -> None:
        """Go on with what the owner before knew of the GPUs' health, and see to the CDI specs from now on."""
        self._equipment.take_over(_directories(self._recall()))
        self._keep()  # what was kept as a standby knows of no directory

    def learn_node(self, node: NodeFacts) -> None:
        """Whether its container runtime and kubelet know CDI, which ``auto`` asks."""
        self._equipment.evidence = node_evidence(node.container_runtime_version, node.kubelet_version)

    def _recall(self) -> Mapping[str, Any]:
        recalled = self._memory.recall()
        health = recalled.get(HEALTH)
        self._monitor.recall(health if isinstance(health, Mapping) else {}, self._clock())
        return recalled

    def _keep(self) -> None:
        self._memory.keep({HEALTH: self._monitor.remember(), CDI: list(self._equipment.directories)})

    def notices(self) -> Sequence[str]:
        """What it waits for, what was chosen and why, and what is wrong with layouts and with NVIDIA's own configuration."""
        picture = self._picture
        said = (*self._said, *self._changed())
        if picture is None:
            return said
        report, offered = picture.report, picture.offer
        layouts = (f"{resource}: {problem}" for resource, problem in offered.problems.items())
        hidden = (f"{name} is not offered: {why}" for name, why in offered.hidden.items())
        how = (picture.strategies.reason,) if offered.units and report.source != "simulated" else ()
        waiting = (report.waiting_for,) if report.waiting_for else ()
        return (*waiting, *report.notices, *layouts, *offered.notices, *hidden, *how, *picture.cdi.conflicts, *said)

    def collect_metrics(self) -> Iterable[MetricFamily]:
        """Those of the last look."""
        if self._picture is None:
            return ()
        counts, usage = self._monitor.counts(), self._config.usage_metrics
        return metrics.families(self._picture, self._verdict, counts, restarts=self._source.restarts, usage=usage)

    def explain(self, text: str) -> Sequence[str]:
        """Why a GPU, a MIG device or one of their ids is offered, hidden or unhealthy."""
        return () if self._picture is None else tuple(explain(text, self._picture, self._verdict))

    def examine(self) -> Iterable[Finding]:
        """Whether this node has what its GPUs need."""
        return examine(self._host, self._config, self._picture, wants_cdi=self._equipment.wants_cdi)

    def leftovers(self, held: Mapping[str, Collection[str]]) -> Iterable[Leftover]:
        """The CDI specs, where an owner of the node has written them."""
        return (each for directory in _directories(self._memory.recall()) for each in leftovers(directory, held))

    def _verdict(self, unit: str) -> Verdict:
        return self._monitor.verdict(unit, self._clock())

    # --- watching -----------------------------------------------------------------------------------------------------

    async def watch(self, look_again: LookAgain) -> None:
        """The GPUs' events, and the moments at which time alone changes their health."""
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self._keep_time, look_again)
            async for event in self._source.events():
                if self._monitor.events((event,), self._clock()):
                    look_again()
                self._tell()
                self._looked.ring()  # what is due may have changed

    def _tell(self) -> None:
        """Log XIDs that change no device's health: those that do are told by the supervisor, with the device."""
        for gpu, change in self._monitor.told():
            if change.before == change.after:
                _LOG.warning("%s: %s", gpu, change.reason)

    async def _keep_time(self, look_again: LookAgain) -> None:
        while True:
            rings = self._looked.rings
            if self._monitor.due(self._clock()):
                look_again()
            at = self._monitor.wake_at()
            await self._looked.wait(rings, None if at is None else max(0.0, at - self._clock()))

    # --- the kubelet's questions --------------------------------------------------------------------------------------

    def preferred_allocation(
        self, resource: str, available: Sequence[str], must_include: Sequence[str], size: int
    ) -> Sequence[str]:
        """GPUs that are near to each other, and time slices by the sharing policy."""
        picture = self._picture
        if picture is None:
            return []
        return prefer(picture.of(resource), picture.nearness, available, must_include, size, self._config.sharing.policy)


def _directories(recalled: Mapping[str, Any]) -> Sequence[str]:
    """Where an owner of the node has written CDI specs."""
    noted = recalled.get(CDI)
    return [each for each in noted if isinstance(each, str) and each] if isinstance(noted, list) else []


class CheckingPlugin(NvidiaGpuPlugin):
    """With settings for which a request may have to be refused. Without them the kubelet is answered without asking a plugin."""

    def allocate(self, resource: str, devices: Sequence[Device], edits: ContainerEdits) -> ContainerEdits:
        """The edits as they are. Raises ``AllocationRefused`` where sharing forbids the request, or CDI could not do it."""
        picture = self._picture
        if picture is None:
            raise AllocationRefused("the GPUs have not been looked at yet")
        check_request([device.id for device in devices], picture.of(resource), self._config)
        if picture.report.source == "simulated":
            return edits
        cdi = self._equipment.cdi() if picture.strategies.cdi else picture.cdi
        for device in devices:
            unit = picture.unit_of(device.id)
            if unit is not None and (why := refusal(unit, picture.strategies, picture.nodes, self._config, cdi)):
                raise AllocationRefused(why)
        return edits


def needs_checks(config: NvidiaGpuConfig) -> bool:
    """Whether any setting may refuse a request."""
    sharing = config.sharing
    return (
        sharing.time_slicing.fail_requests_greater_than_one
        or sharing.policy == "spread"
        or config.runtime_cdi
        or (config.device_list_strategy != "auto" and any(name.startswith("cdi") for name in config.device_list_strategy))
        or any(extras.imex_required for extras in config.extras.values())
    )
