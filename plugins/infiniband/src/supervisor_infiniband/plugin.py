"""The plugin: a look at the RDMA devices becomes a picture, and everything that is asked is answered from the newest one."""

import time
from collections.abc import AsyncIterator, Callable, Collection, Iterable, Mapping, Sequence
from typing import Any, Literal, Protocol

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
)
from supervisor_infiniband import environment, metrics
from supervisor_infiniband.config import InfinibandConfig
from supervisor_infiniband.edits import joint, refusal
from supervisor_infiniband.examining import examine
from supervisor_infiniband.explaining import explain
from supervisor_infiniband.health import Monitor, Verdict
from supervisor_infiniband.known import Known
from supervisor_infiniband.leaving import leftovers
from supervisor_infiniband.picture import Picture, picture
from supervisor_infiniband.preferred import prefer
from supervisor_infiniband.publishing import Publisher
from supervisor_infiniband.report import Poll, RdmaDevice, Report
from supervisor_infiniband.rules import offer
from supervisor_infiniband.units import Unit

HEALTH, DEVICES, TAKEN, FILES = "health", "devices", "taken", "files"
"""What the plugin's memory holds: the health of the devices, what is known of those that may be away, the resource of each, and where
files of ours lie."""


Want = Literal["ports", "everything"]


class Source(Protocol):
    """Where reports and polls come from: the process that reads the host's sysfs, or one that reads a simulated one."""

    @property
    def restarts(self) -> int: ...
    def look(self) -> Report: ...
    def follow(self) -> Report | None: ...
    def events(self) -> AsyncIterator[Poll]: ...


class InfinibandPlugin:
    """All RDMA devices of the node. The looking thread replaces the picture; the kubelet's questions and the watch read it."""

    name = "infiniband"
    udev_subsystems = ("infiniband", "infiniband_verbs", "infiniband_mad", "misc", "net", "pci", "auxiliary", "module")
    """A device, its character devices, an interface, a function that comes or goes, and the modules that make them."""

    def __init__(
        self,
        config: InfinibandConfig,
        host: Host,
        memory: Memory,
        source: Source,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._config = config
        self._host = host
        self._memory = memory
        self._source = source
        self._clock = clock
        self._known = Known(lambda device: _is_there(host, device))
        self._monitor = Monitor(config)
        self._publisher = Publisher(config)
        self._taken: Mapping[str, Any] = {}
        """The resource that had each device last."""
        self._wanted: set[Want] = set()
        """Why this plugin itself has asked for the next look."""
        self._looked = Bell()
        self._picture: Picture | None = None
        self._recall()

    # --- looking ------------------------------------------------------------------------------------------------------

    def discover(self) -> Mapping[str, Sequence[Device]]:
        """Look at everything. Raises ``BorderFailed`` when sysfs cannot be read; that there is no device is none of that."""
        now = self._clock()
        report = self._known.complete(self._report(), now)
        offered = offer(report, self._config, self._taken)
        self._taken = dict(offered.taken)
        self._monitor.look(report, now)
        self._picture = picture(report, offered, self._publisher.look(offered.units, report), self._picture)
        self._keep()
        self._looked.ring()
        return self._picture.devices(self._verdict)

    def _report(self) -> Report:
        """Of all devices. Where it is asked for since ports have changed, what polls have told of them will do: the list is not to wait
        until all devices have been read. An event that asks for the same look is answered by those that come after each event.
        """
        wanted, self._wanted = self._wanted, set()
        followed = self._source.follow() if wanted == {"ports"} else None
        return self._source.look() if followed is None else followed

    def take_over(self) -> None:
        """Go on with what the owner before knew of the devices, and see to the files from now on."""
        recalled = self._recall()
        self._publisher.take_over(_mapping(recalled, FILES))
        self._keep()  # where files will lie has to be known before they are written

    def _recall(self) -> Mapping[str, Any]:
        recalled = self._memory.recall()
        self._known.recall(recalled.get(DEVICES))
        self._monitor.recall(_mapping(recalled, HEALTH), self._clock())
        self._taken = {**_mapping(recalled, TAKEN), **self._taken}
        return recalled

    def _keep(self) -> None:
        self._memory.keep(
            {
                HEALTH: self._monitor.remember(),
                DEVICES: self._known.remember(),
                TAKEN: self._taken,
                FILES: self._publisher.remember(),
            }
        )

    def notices(self) -> Sequence[str]:
        """What it waits for, what the rules have to say, and what is wrong with the files for others."""
        picture = self._picture
        if picture is None:
            return ()
        report = picture.report
        # Most nodes have no RDMA devices, and who names no resource waits for none.
        waiting = report.notices if self._config.resources or report.devices or report.refused else ()
        odd = {
            device.id: device.problem for device in report.devices if device.problem and device.id not in picture.offer.taken
        }
        refused = (f"{name} is not offered: {why}" for name, why in {**report.refused, **odd}.items())
        told = (*picture.offer.notices, *environment.notices(picture.offer.units, report))
        return (*waiting, *refused, *told, *picture.published.notices)

    def collect_metrics(self) -> Iterable[MetricFamily]:
        """Of the last look, with the counters of the last poll."""
        if self._picture is None:
            return ()
        return metrics.families(
            self._picture.report,
            self._picture.offer,
            self._verdict,
            self._monitor.readings(),
            self._monitor.counts(),
            restarts=self._source.restarts,
        )

    def explain(self, text: str) -> Sequence[str]:
        """Why a device is offered, refused or unhealthy: by id, kernel name, node, interface or GUID."""
        if self._picture is None:
            return ()
        return tuple(explain(text, self._picture.report, self._picture.offer, self._verdict))

    def examine(self) -> Iterable[Finding]:
        """Whether this node has what its RDMA devices need."""
        return examine(self._host, self._config, None if self._picture is None else self._picture.report)

    def leftovers(self, held: Mapping[str, Collection[str]]) -> Iterable[Leftover]:
        """CDI specs and device-info files, where an owner of the node has written them."""
        return leftovers(_mapping(self._memory.recall(), FILES), held)

    def _verdict(self, unit: Unit) -> Verdict:
        return self._monitor.verdict(unit, self._config.judgement_of(unit.pool), self._clock())

    # --- watching -----------------------------------------------------------------------------------------------------

    async def watch(self, look_again: LookAgain) -> None:
        """What changes without a uevent, and the moments at which time alone changes what is said."""
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self._keep_time, look_again)
            async for poll in self._source.events():
                if self._monitor.poll(poll, self._clock()) or poll.structure:
                    self._wanted.add("everything" if poll.structure else "ports")
                    look_again()
                self._looked.ring()  # what is due may have changed

    async def _keep_time(self, look_again: LookAgain) -> None:
        while True:
            rings = self._looked.rings
            if self._monitor.due(self._clock()) or self._known.due(self._clock()):
                self._wanted.add("everything")
                look_again()
            times = [at for at in (self._monitor.wake_at(), self._known.wake_at()) if at is not None]
            await self._looked.wait(rings, max(0.0, min(times) - self._clock()) if times else None)

    # --- the kubelet's questions --------------------------------------------------------------------------------------

    def allocate(self, resource: str, devices: Sequence[Device], edits: ContainerEdits) -> ContainerEdits:
        """What a container with all of these gets: variables that go in step cannot be joined out of those of each.

        Raises ``AllocationRefused`` for a device that has gone, has no node for verbs now, or is in use elsewhere.
        """
        picture = self._picture
        if picture is None:
            raise AllocationRefused("the RDMA devices have not been looked at yet")
        units = dict.fromkeys(picture.unit_of(resource, device.id) for device in devices)
        if why := refusal(tuple(units), picture.report, picture.published):
            raise AllocationRefused(why)
        return joint(tuple(units), picture.report, picture.published)

    def preferred_allocation(
        self, resource: str, available: Sequence[str], must_include: Sequence[str], size: int
    ) -> Sequence[str]:
        """Devices that are near to each other, and replicas by the preference of their resource."""
        picture = self._picture
        return [] if picture is None else prefer(picture.of(resource), available, must_include, size)


def _mapping(recalled: Mapping[str, Any], key: str) -> Mapping[str, Any]:
    value = recalled.get(key)
    return value if isinstance(value, Mapping) else {}


def _is_there(host: Host, device: RdmaDevice) -> bool:
    """Whether the function of a device is there, with the driver that it had."""
    return bool(device.path and device.driver) and HostView(host).link_name(f"{device.path}/driver") == device.driver
