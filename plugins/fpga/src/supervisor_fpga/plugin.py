"""The plugin: a look at the FPGAs becomes a picture, and everything that is asked is answered from the newest one."""

import time
from collections.abc import AsyncIterator, Callable, Collection, Iterable, Mapping, Sequence
from typing import Any, Protocol

import trio

from supervisor import (
    AllocationRefused,
    Bell,
    Border,
    ContainerEdits,
    Device,
    Finding,
    Host,
    Leftover,
    LookAgain,
    Memory,
    MetricFamily,
)
from supervisor_fpga import metrics, reach, starting
from supervisor_fpga.config import FpgaConfig
from supervisor_fpga.edits import joint, refusal
from supervisor_fpga.examining import examine
from supervisor_fpga.explaining import explain
from supervisor_fpga.health import Monitor
from supervisor_fpga.leaving import leftovers
from supervisor_fpga.picture import Picture, picture
from supervisor_fpga.preferred import prefer
from supervisor_fpga.presets import rules_of
from supervisor_fpga.publishing import Publisher
from supervisor_fpga.report import Poll, Report
from supervisor_fpga.rules import offer
from supervisor_fpga.units import Unit

HEALTH, TAKEN, FILES = "health", "taken", "files"
"""What the plugin's memory holds: the health of the functions, the resources of each, and where files of ours lie."""

_SUBSYSTEMS = (
    "fpga_region",
    "fpga_manager",
    "fpga_bridge",
    "fpga",
    "platform",
    "dfl",
    "pci",
    "vfio",
    "vfio-dev",
    "drm",
    "misc",
    "module",
)


class Source(Protocol):
    """Where reports and polls come from: the process that reads the host's sysfs, or one that reads a simulated one."""

    @property
    def restarts(self) -> int: ...
    def look(self) -> Report: ...
    def events(self) -> AsyncIterator[Poll]: ...


class FpgaPlugin:
    """All FPGAs of the node. The looking thread replaces the picture; the kubelet's questions and the watch read it."""

    name = "fpga"

    def __init__(
        self,
        config: FpgaConfig,
        host: Host,
        memory: Memory,
        source: Source,
        operator: Border,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._config = config
        self._host = host
        self._memory = memory
        self._source = source
        self._operator = operator
        self._clock = clock
        self._monitor = Monitor(config.health)
        self._publisher = Publisher(config)
        self._looked = Bell()
        """When it is time for the next look may have changed."""
        self._operated = Bell()
        """Something was programmed or reset: no event tells of it."""
        self._starter = starting.Starter(operator, self._monitor, config, self._operated.ring)
        self._taken: Mapping[str, Any] = {}
        """The resources that had each function last."""
        self._picture: Picture | None = None
        self._recall()

    @property
    def udev_subsystems(self) -> Collection[str]:
        """Functions, managers, regions and nodes that come or go, the modules that make them, and what the operator has described."""
        return {*_SUBSYSTEMS, *(each.subsystem for each in self._config.declared)}

    # --- looking ------------------------------------------------------------------------------------------------------

    def discover(self) -> Mapping[str, Sequence[Device]]:
        """Look at everything. Raises ``BorderFailed`` when sysfs cannot be read; that there is no FPGA is none of that."""
        now = self._clock()
        report = self._source.look()
        offered = offer(report, self._config, self._taken)
        self._taken = dict(offered.taken)
        self._monitor.look(report, now)
        self._picture = picture(report, offered, self._publisher.look(offered.units, report), self._picture)
        self._keep()
        self._looked.ring()
        return self._picture.devices(self._monitor.verdict)

    def take_over(self) -> None:
        """Go on with what the owner before knew of the functions, and see to the files from now on."""
        recalled = self._recall()
        self._publisher.take_over(_mapping(recalled, FILES))
        self._keep()  # where files will lie has to be known before they are written

    def _recall(self) -> Mapping[str, Any]:
        recalled = self._memory.recall()
        self._monitor.recall(_mapping(recalled, HEALTH), self._clock())
        self._taken = {**_mapping(recalled, TAKEN), **self._taken}
        return recalled

    def _keep(self) -> None:
        self._memory.keep(
            {HEALTH: self._monitor.remember(), TAKEN: self._taken, FILES: self._publisher.remember()},
        )

    def notices(self) -> Sequence[str]:
        """What it waits for, what the rules have to say, what can never be made ready, and what is wrong with the files for others."""
        picture = self._picture
        if picture is None:
            return ()
        report = picture.report
        configured = self._config.resources or self._config.preset
        # Most nodes have no FPGAs, and who names no resource waits for none.
        waiting = report.notices if configured or report.functions or report.refused else ()
        refused = (f"{name} is not offered: {why}" for name, why in {**report.refused, **picture.offer.quarantined}.items())
        unready = reach.notices(picture.offer.units, self._host, self._operator)
        return (*waiting, *refused, *picture.offer.notices, *unready, *picture.published.notices)

    def collect_metrics(self) -> Iterable[MetricFamily]:
        """Of the last look, with what polls have told since, and of the containers that were started."""
        if self._picture is None:
            return ()
        return metrics.families(
            self._picture.report,
            self._picture.offer,
            self._monitor.verdict,
            self._monitor.readings(),
            self._monitor.counts(),
            self._starter.counts(),
            restarts={"fpga-sysfs": self._source.restarts, "fpga-operate": self._operator.restarts},
        )

    def explain(self, text: str) -> Sequence[str]:
        """Why a function is offered, refused or unhealthy: by any of its names, or by its node, card or resource."""
        if self._picture is None:
            return ()
        return tuple(explain(text, self._picture.report, self._picture.offer, self._monitor.verdict))

    def examine(self) -> Iterable[Finding]:
        """Whether this node has what its FPGAs need."""
        return examine(self._host, self._config, None if self._picture is None else self._picture.report)

    def leftovers(self, held: Mapping[str, Collection[str]]) -> Iterable[Leftover]:
        """CDI specs, where an owner of the node has written them."""
        return leftovers(_mapping(self._memory.recall(), FILES), held)

    # --- watching -----------------------------------------------------------------------------------------------------

    async def watch(self, look_again: LookAgain) -> None:
        """What changes without a uevent, and the moments at which time alone changes what is said."""
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self._keep_time, look_again)
            nursery.start_soon(self._follow_starts, look_again)
            async for poll in self._source.events():
                if self._monitor.poll(poll, self._clock()):
                    look_again()
                self._looked.ring()

    async def _keep_time(self, look_again: LookAgain) -> None:
        while True:
            rings = self._looked.rings
            if self._monitor.due(self._clock()):
                look_again()
            at = self._monitor.wake_at()
            await self._looked.wait(rings, None if at is None else max(0.0, at - self._clock()))

    async def _follow_starts(self, look_again: LookAgain) -> None:
        heard = 0
        while True:
            await self._operated.wait(heard, None)
            heard = self._operated.rings
            look_again()

    # --- the kubelet's questions --------------------------------------------------------------------------------------

    def allocate(self, resource: str, devices: Sequence[Device], edits: ContainerEdits) -> ContainerEdits:
        """What a container with all of these gets: variables cannot be joined out of those of each.

        Raises ``AllocationRefused`` for a unit that has gone or lacks a node now.
        """
        picture, units = self._units(resource, devices)
        if why := refusal(units):
            raise AllocationRefused(why)
        return joint(units, picture.report, picture.published)

    def pre_start_required(self, resource: str) -> bool:
        """Where the configuration says that functions are programmed or reset before a container starts."""
        units = () if self._picture is None else self._picture.offer.units
        return starting.required(resource, units, rules_of(self._config))

    def pre_start(self, resource: str, devices: Sequence[Device]) -> None:
        """Make the functions ready for their container, whatever is said of their health: that may be what mends them.

        Raises ``AllocationRefused`` with the reason, within the configured deadline.
        """
        _, units = self._units(resource, devices)
        self._starter.start(units)

    def preferred_allocation(
        self, resource: str, available: Sequence[str], must_include: Sequence[str], size: int
    ) -> Sequence[str]:
        """Functions that are near to each other, and do not exclude each other."""
        picture = self._picture
        return [] if picture is None else prefer(picture.of(resource), available, must_include, size)

    def _units(self, resource: str, devices: Sequence[Device]) -> tuple[Picture, list[Unit]]:
        picture = self._picture
        if picture is None:
            raise AllocationRefused("the FPGAs have not been looked at yet")
        return picture, [picture.unit_of(resource, device.id) for device in devices]


def _mapping(recalled: Mapping[str, Any], key: str) -> Mapping[str, Any]:
    value = recalled.get(key)
    return value if isinstance(value, Mapping) else {}
